"""The claims about epsilon: 12 and 13, from the loss at the best rate under each policy.

What is compared was fixed before any of these runs was seen. A policy is a constant epsilon (1e-9, 1e-12, 1e-15,
1e-30), an epsilon per layer from a base of 1e-12, or Adam-atan2, each with full-alignment rates at its own best rate.
Its **excess** at a width is its loss there less the lowest of any policy of that parameterization, nats, with the
interval of `policy_losses`: over the study's own seeds, which all policies share, each pair of policies with its own
noise, and for all comparisons behind it together. Where nothing trained the excess is infinite.

The margin between a cost and none is `COST`, 0.005 nats: the least that the paper's figures show of 1e-9 (NTK, 0.005 to
0.015).

Claim 12 holds if all of these do, W the largest width:
  order      the excess of 1e-9 at W is larger for mean-field, and for NTK, than for standard and for muP: four
             differences above 0, the two excesses of each at a joint level
  safe       1e-12 and 1e-15: the largest excess over the widths is below the margin, for every parameterization
  1e-30      the excess at W is above the margin, for every parameterization
Claim 13 holds if, for every parameterization, the loss of each remedy less that of the best constant is below the
margin at every width: its largest value over the widths. A remedy better than every constant does no harm.
"""

import math
from collections.abc import Sequence

from widthwise.analysis.arm_label import ArmLabel
from widthwise.analysis.claim import ClaimVerdict, Condition, Gap, above_zero, all_of, within
from widthwise.analysis.claims_of_rates import adam
from widthwise.analysis.difference_noise import difference_noise
from widthwise.analysis.evidence import PARAMETERIZATIONS, Evidence
from widthwise.analysis.policy_losses import Policies, excess
from widthwise.analysis.result import Interval

COST = 0.005
LARGE, SAFE, TINY = 1e-9, (1e-12, 1e-15), 1e-30
CONSTANTS = (LARGE, *SAFE, TINY)
BASE = 1e-12
REMEDIES = ("per layer", "atan2")
_HURT_FIRST, _HURT_LATER = ("mean-field", "ntk"), ("standard", "mup")
_READING = (
    "Excess: loss at a policy's own best rate less the lowest of all policies of that parameterization and width, "
    "nats, full-alignment rates, over the seeds that all share. An excess holds for all its comparisons together, with "
    "the noise of that parameterization's policies."
)


def _constant(epsilon: float) -> str:
    return f"{epsilon:g}"


def _labels(study: Evidence, parameterization: str) -> dict[str, ArmLabel]:
    """Policy -> the label of its prescription; the planned one where a study could call it by two."""
    own = {
        _constant(epsilon): adam(
            parameterization,
            "full",
            epsilon="constant" if epsilon == study.epsilon else f"constant {epsilon:g}",
        )
        for epsilon in CONSTANTS
    }
    several = adam(parameterization, "full", epsilon=f"per-layer {BASE:g}")
    single = adam(parameterization, "full", epsilon="per-layer")
    per_layer = several if several in study.labels.values() else single
    atan2 = ArmLabel(parameterization, "adam-atan2", "full", epsilon="none")
    return {**own, "per layer": per_layer, "atan2": atan2}


class _Cells:
    """The policies of one parameterization at every width that all of them were run at."""

    def __init__(self, study: Evidence, parameterization: str) -> None:
        self._level, labels = study.level, _labels(study, parameterization)
        lacking = [label for label in labels.values() if study.arm(label) is None]
        cells = {policy: study.cells(label) for policy, label in labels.items()}
        common = set.intersection(*({fit.cell.width for fit in fits} for fits in cells.values()))
        self.widths: Sequence[int] = sorted(common)
        self.policies: Policies = {
            policy: [fit for fit in fits if fit.cell.width in common] for policy, fits in cells.items()
        }
        self.noise = difference_noise(self.policies.values())
        self.gap = study.missing(*lacking) if lacking else Gap(self._reason())

    def _reason(self) -> str:
        if not self.widths:
            return "no width has all the policies"
        if None in self.noise.cells.values():
            return "the noise is unknown: no policy has two seeds at its best rate"
        return "no bracketed optimum where one is needed"

    def excess(
        self, policy: str, width: int, *, others: Sequence[str] | None = None, among: int = 1
    ) -> Interval | None:
        """Over all policies, or others; None where it cannot be told."""
        over = list(self.policies) if others is None else others
        return excess(self.policies, policy, over, self.noise, width=width, level=self._level, among=among)

    def last(self, policy: str, *, among: int = 1) -> Interval | None:
        """The excess at the largest width."""
        return self.excess(policy, max(self.widths), among=among) if self.widths else None

    def largest(self, policy: str, *, others: Sequence[str] | None = None) -> Interval | None:
        """The largest excess over the widths."""
        found = [self.excess(policy, width, others=others, among=len(self.widths)) for width in self.widths]
        known = [one for one in found if one is not None]
        if not known or len(known) < len(found):
            return None
        return Interval(*(max(getattr(one, end) for one in known) for end in ("estimate", "low", "high")))


def _cells(study: Evidence) -> dict[str, _Cells]:
    return {name: _Cells(study, name) for name in PARAMETERIZATIONS}


def _at(cells: _Cells) -> str:
    return f" at width {max(cells.widths)}" if cells.widths else ""


def claim_12(study: Evidence) -> ClaimVerdict:
    """What a constant epsilon costs: see the module."""
    cells = _cells(study)
    conditions: list[Condition] = []
    for first in _HURT_FIRST:
        for later in _HURT_LATER:
            a, b = (cells[name].last(_constant(LARGE), among=2) for name in (first, later))
            what = f"excess of 1e-9{_at(cells[first])}, {first} less {later}"
            lacking = cells[first] if a is None else cells[later]
            conditions.append(above_zero(what, subtracted(a, b), missing=lacking.gap))
    conditions += [
        within(
            f"largest excess of {_constant(epsilon)} over widths {_listed(own)}, {name}",
            own.largest(_constant(epsilon)), -math.inf, COST, missing=own.gap, demand=f"below {COST:g}",
        )
        for name, own in cells.items()
        for epsilon in SAFE
    ]  # fmt: skip
    conditions += [
        within(
            f"excess of {_constant(TINY)}{_at(own)}, {name}", own.last(_constant(TINY)), COST, math.inf,
            missing=own.gap, demand=f"above {COST:g}",
        )
        for name, own in cells.items()
    ]  # fmt: skip
    claim = (
        "A constant epsilon of 1e-9 hurts mean-field and NTK before standard and muP; 1e-12..1e-15 is safe; "
        "1e-30 hurts"
    )
    return ClaimVerdict(12, claim, all_of(conditions), tuple(conditions), _READING)


def subtracted(a: Interval | None, b: Interval | None) -> Interval | None:
    """One excess less another, end by end; None where one is unknown or the second infinite."""
    if a is None or b is None or math.isinf(b.estimate):
        return None
    return Interval(a.estimate - b.estimate, a.low - b.high, a.high - b.low)


def _listed(cells: _Cells) -> str:
    return ", ".join(map(str, cells.widths)) or "in common"


def claim_13(study: Evidence) -> ClaimVerdict:
    """Whether the remedies do as well as the best constant: see the module."""
    constants = [_constant(epsilon) for epsilon in CONSTANTS]
    conditions = [
        within(
            f"loss of {remedy} less that of the best constant epsilon, largest over widths {_listed(own)}, {name}",
            own.largest(remedy, others=constants), -math.inf, COST, missing=own.gap, demand=f"below {COST:g}",
        )
        for name, own in _cells(study).items()
        for remedy in REMEDIES
    ]  # fmt: skip
    remark = (
        f"Losses at each policy's own best rate, nats, full-alignment rates; epsilon per layer from {BASE:g}, "
        f"of which it is the very run at the base width."
    )
    return ClaimVerdict(
        13,
        "Per-layer epsilon and Adam-atan2 remove the effect",
        all_of(conditions),
        tuple(conditions),
        remark,
    )
