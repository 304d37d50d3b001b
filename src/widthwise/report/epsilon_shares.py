"""Which share of Adam's second moments an epsilon exceeds, by role and width: from how their entries are spread.

Shares are of the coordinates that ever had a gradient, the mean over a role's tensors. What is asked about need not be
what the runs used: sqrt(v_hat) of ten steps hardly knows epsilon.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from widthwise.records import Magnitude
from widthwise.report.measured_sizes import MeasuredSizes, RoleSpreads
from widthwise.theory import PARAMETERIZATIONS, Role, gradient_exponent

BITES = 0.01
"""From this share of coordinates below epsilon on, it bites (docs/epsilon.md)."""
SMALL = 1e-9
"""The paper's baseline, and the base of the epsilon per layer."""


@dataclass(frozen=True)
class Epsilon:
    """An epsilon that is asked about, at a width and for a tensor's gradient exponent g."""

    name: str
    at: Callable[[float, float], float]


EPSILONS = (
    Epsilon("1e-9", lambda ratio, g: SMALL),
    Epsilon("1e-15", lambda ratio, g: 1e-15),
    Epsilon("1e-9 per layer", lambda ratio, g: SMALL * ratio**-g),
)
"""The last is 1e-9 at the base width, and n^(-g) from there."""


@dataclass(frozen=True)
class EpsilonShares:
    """One arm, role and width.

    Args:
        magnitude: sqrt(v_hat) after the last step, as the state has it, or |g| of the first, which is sqrt(v_hat) then.
        median: of it, the geometric mean over tensors.
        below: by epsilon, the share of coordinates below it.
        near: the same, below ten times epsilon: these lose a tenth of their step or more.
    """

    parameterization: str
    optimizer: str
    role: str
    width: int
    magnitude: Magnitude
    median: float
    below: dict[str, float]
    near: dict[str, float]


def epsilon_shares(measured: MeasuredSizes) -> tuple[EpsilonShares, ...]:
    """Of every arm whose optimizer keeps second moments: of these, and of the first gradients."""
    base = measured.study.base_width
    keep = {one.arm.name for one in measured.spreads if one.magnitude is Magnitude.SECOND_MOMENT}
    return tuple(_shares(one, base) for one in measured.spreads if one.arm.name in keep)


def _shares(one: RoleSpreads, base_width: int) -> EpsilonShares:
    role = Role.EMBEDDING if one.role == "position" else Role(one.role)
    g = float(gradient_exponent(PARAMETERIZATIONS[one.arm.parameterization], role))
    found = {e.name: e.at(one.width / base_width, g) / one.factor for e in EPSILONS}
    logs = [math.log(spread.quantile(0.5)) for spread in one.spreads if spread.total]
    return EpsilonShares(
        parameterization=one.arm.parameterization,
        optimizer=one.arm.optimizer,
        role=one.role,
        width=one.width,
        magnitude=one.magnitude,
        median=one.factor * math.exp(math.fsum(logs) / len(logs)) if logs else math.nan,
        below={
            name: _mean(spread.share_below(size) for spread in one.spreads) for name, size in found.items()
        },
        near={
            name: _mean(spread.share_below(10 * size) for spread in one.spreads)
            for name, size in found.items()
        },
    )


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
