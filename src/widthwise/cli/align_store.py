"""`widthwise align --store FILE`: what a study measured of alignment, as exponents, rates and the nearest preset."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widthwise.cli.columns import terminal_columns

if TYPE_CHECKING:
    from widthwise.study import MeasuredStore
    from widthwise.theory import MeasuredAlignment, MeasuredExponent, RateInterval

KIND, VERSION = "widthwise measured rates", 1
Store = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Train nothing: the exponents that this study measured, the rates they give, the nearest preset.",
    ),
]
Arm = Annotated[str | None, typer.Option(help="Of the store; left out, its only one.")]
Weighting = Annotated[
    str | None, typer.Option(help="Of the mean over training, with --store: loss-decrease, progress, equal.")
]


def stored_text(store: Path, *, arm: str | None, weighting: str | None, as_json: bool) -> str:
    """What a store says, as a table or as JSON.

    Args:
        arm: whose runs; None for the only one.
        weighting: what a measurement counts for in the mean over training; None for the loss it fell by.

    Raises:
        ValueError: as `study.read_measured` does, or an unknown weighting.
    """
    from widthwise.analysis import Weighting as Weightings
    from widthwise.study import read_measured
    from widthwise.study.measured_text import measured_text

    if weighting is not None and weighting not in list(Weightings):
        raise ValueError(f"--weighting {weighting!r} is unknown; choose one of {', '.join(Weightings)}")
    found = read_measured(store, arm=arm, weighting=None if weighting is None else Weightings(weighting))
    return (
        json.dumps(_document(found), indent=1, allow_nan=False)
        if as_json
        else measured_text(found, columns=terminal_columns())
    )


def _document(found: "MeasuredStore") -> dict[str, Any]:
    series = found.series
    return {
        "kind": KIND,
        "version": VERSION,
        "arm": series.arm,
        "parameterization": series.parameterization.name,
        "optimizer": series.optimizer.name,
        "learning_rates": {str(width): rate for width, rate in series.rates.items()},
        "seeds": list(series.seeds),
        "weighting": found.weighting.value,
        "roles": {
            role: {"alignment": _alignment(found.roles[role]), "c": _rate(found.solution.interval(role))}
            for role in found.roles
        },
        "layers": {
            layer: {
                "role": found.layer_roles[layer],
                "alignment": _alignment(own),
                "c": _rate(found.layer_rates[layer]),
            }
            for layer, own in found.layers.items()
        },
        "presets": {
            layer: {name: str(c) for name, c in reading.presets.items()}
            for layer, reading in found.nearest.layers.items()
        },
        "nearest": found.nearest.nearest,
        "inside": list(found.nearest.inside),
        "in_words": str(found.nearest),
    }


def _alignment(own: "MeasuredAlignment") -> dict[str, Any]:
    return {name: _exponent(getattr(own, name)) for name in ("alpha", "omega", "u")}


def _exponent(one: "MeasuredExponent") -> dict[str, Any]:
    return {"value": one.value, "low": one.low, "high": one.high, "widths": list(one.widths)}


def _rate(one: "RateInterval") -> dict[str, str]:
    return {"value": str(one.value), "low": str(one.low), "high": str(one.high)}
