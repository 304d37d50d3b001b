"""An alignment report as JSON: the sums themselves, so that what is read back adds up as what was written."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from widthwise.files import document, load_document, save_document
from widthwise.measure.alignment_report import AlignmentReport, LayerAlignment, LookedUp, Unmeasured
from widthwise.measure.alignment_sizes import ProductSizes, Tally
from widthwise.theory import AlignmentQuantity, Role

KIND, VERSION = "widthwise alignment report", 1
FACTS = ("layer", "fan_in", "fan_out", "calls", "note")
PARTS = ("output", "matrix", "vector", "tokens")


def alignment_to_json(report: AlignmentReport) -> dict[str, Any]:
    """Sums and facts, and for readers the log gains and ratios that follow from them; undefined numbers are null."""
    return {
        "kind": KIND,
        "version": VERSION,
        "layers": [_layer_to_json(one) for one in report.layers],
        "looked_up": [
            {
                "layer": one.layer,
                "role": one.role,
                "weights": _plain(one.weights),
                "change": _plain(one.change),
            }
            for one in report.looked_up
        ],
        "unmeasured": [{"layer": one.layer, "reason": one.reason} for one in report.unmeasured],
    }


def _layer_to_json(layer: LayerAlignment) -> dict[str, Any]:
    return {
        **{name: getattr(layer, name) for name in FACTS},
        "role": layer.role,
        "spectral_norm": _plain(layer.spectral_norm),
        "log_gain": {one.value: _plain(layer.log_gain(one)) for one in AlignmentQuantity},
        "ratio": {one.value: _plain(layer.ratio(one)) for one in AlignmentQuantity},
        "sums": {quantity.value: _sizes_to_json(sizes) for quantity, sizes in layer.sizes.items()},
    }


def _sizes_to_json(sizes: ProductSizes) -> dict[str, list[float | int | None]]:
    tallies = {part: getattr(sizes, part) for part in PARTS}
    return {part: [_plain(tally.total.item()), int(tally.count)] for part, tally in tallies.items()}


def alignment_from_json(values: object) -> AlignmentReport:
    """Read a report.

    Raises:
        ValueError: what is no such report.
    """
    found = document(values, kind=KIND, version=VERSION, name="an alignment report")
    try:
        return AlignmentReport(
            layers=tuple(_layer_from_json(one) for one in found["layers"]),
            looked_up=tuple(
                LookedUp(one["layer"], _role(one), _number(one["weights"]), _number(one["change"]))
                for one in found["looked_up"]
            ),
            unmeasured=tuple(Unmeasured(one["layer"], one["reason"]) for one in found["unmeasured"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"not an alignment report: {type(error).__name__} {error}") from error


def _layer_from_json(values: Mapping[str, Any]) -> LayerAlignment:
    sizes = {
        AlignmentQuantity(quantity): ProductSizes(**{part: _tally(sums[part]) for part in PARTS})
        for quantity, sums in values["sums"].items()
    }
    facts: dict[str, Any] = {name: values[name] for name in FACTS}
    return LayerAlignment(
        **facts, role=_role(values), sizes=sizes, spectral_norm=_number(values["spectral_norm"])
    )


def _tally(values: tuple[float | None, int]) -> Tally:
    total, count = values
    return Tally(torch.tensor(_number(total), dtype=torch.float64), count)


def _role(values: Mapping[str, Any]) -> Role | None:
    return None if values["role"] is None else Role(values["role"])


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def save_alignment(report: AlignmentReport, path: Path) -> None:
    """Write a report: the file is replaced at once or left as it was."""
    save_document(path, alignment_to_json(report))


def load_alignment(path: Path) -> AlignmentReport:
    """Read a report.

    Raises:
        ValueError: a file that is not one.
        OSError: a file that cannot be read.
    """
    return load_document(path, alignment_from_json)
