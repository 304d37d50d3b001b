"""The JSON of `widthwise align`: exponents with their intervals, and every run they are the slopes of."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from widthwise.analysis import AlignmentExponent
    from widthwise.measure import AlignmentRun

KIND, VERSION = "widthwise alignment exponents", 1


def exponents_document(
    factory: str, runs: "Sequence[AlignmentRun]", exponents: "Sequence[AlignmentExponent]"
) -> dict[str, Any]:
    """All of it, as values of JSON; what is undefined is null."""
    from widthwise.measure.alignment_json import alignment_to_json

    return {
        "kind": KIND,
        "version": VERSION,
        "factory": factory,
        "exponents": [
            {
                "name": one.name,
                "role": one.role,
                "quantity": one.quantity,
                "exponent": _plain(one.exponent.value),
                "low": _plain(one.exponent.low),
                "high": _plain(one.exponent.high),
                "widths": one.exponent.widths,
                "seeds": one.seeds,
                "layers": one.layers,
                "standard_errors": {
                    "seeds": _plain(one.errors.seeds),
                    "widths": _plain(one.errors.widths),
                    "layers": _plain(one.errors.layers),
                },
                "undefined": one.undefined,
            }
            for one in exponents
        ],
        "runs": [
            {"width": run.width, "seed": run.seed, "report": alignment_to_json(run.report)} for run in runs
        ],
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
