"""Weight norm: W = g V / ||V||, two tensors of which the gain alone sets W's size, so that their factors must agree.

With W's entries to be of size n^(-b), as V's are planned, and n^k of them under each norm, ||V|| = n^(k/2 - b), and

    g = n^(-t),   t = b - k/2

keeps W = V, as the user's own initializer does. That is a gain's own n^0 for the rows of a hidden matrix (b = 1/2,
k = 1) and for standard readouts; it is not for muP's readouts (b = 1), nor where a norm runs over two dimensions that
grow.
"""

from collections.abc import Mapping
from fractions import Fraction

from widthwise.scaling.description import ModelDescription, TensorDescription
from widthwise.scaling.scaling_plan import PlanRow

PAIRS = {"original0": "original1", "weight_g": "weight_v"}
"""Last parts of the names of gain and direction, of `parametrizations.weight_norm` and of `utils.weight_norm`."""


def check_weight_norms(description: ModelDescription, rows: Mapping[str, PlanRow]) -> None:
    """Refuse a plan under which a weight norm's gain does not follow what it normalizes.

    Raises:
        ValueError: such a gain, with the rule that makes it follow.
    """
    for name, gain in description.tensors.items():
        owner, _, last = name.rpartition(".")
        direction = description.tensors.get(f"{owner}.{PAIRS.get(last)}".removeprefix("."))
        if direction is None or not _normalizes(gain, direction):
            continue
        under_one_norm = sum(
            (law.exponent for law, kept in zip(direction.growth, gain.shapes[-1], strict=True) if kept == 1),
            start=Fraction(0),
        )
        wanted = rows[direction.name].exponents.b - under_one_norm / 2
        missing = wanted - rows[name].exponents.b
        if missing:
            factor = gain.forward_factor + missing
            raise ValueError(
                f"{name} is the gain of a weight norm, which takes the size of {direction.name} away: the gain has to "
                f"start as n^({-wanted}). Say so: Rule({name!r}, forward_factor=Fraction({str(factor)!r}))"
            )


def _normalizes(gain: TensorDescription, direction: TensorDescription) -> bool:
    """Whether the gain has one entry for each slice that is normalized: by shape, at the widest described width."""
    one, whole = gain.shapes[-1], direction.shapes[-1]
    return len(one) == len(whole) and all(size in (1, full) for size, full in zip(one, whole, strict=True))
