"""The loss at the best rate under policies that share their seeds: by how much each is above the best of others.

At one width every policy trains the same seeds from the same draws and on the same batches, and only then differs. Two
policies are compared as any two prescriptions are (`best_loss`), with the noise that `difference_noise` finds in all
pairs of policies; the interval holds for all comparisons behind an excess together.
"""

import math
from collections.abc import Mapping, Sequence

from widthwise.analysis.best_loss import loss_difference
from widthwise.analysis.difference_noise import DifferenceNoise, common_cells
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.result import Interval

DIVERGED = Interval(math.inf, math.inf, math.inf)
"""The excess of a policy under which no rate trained at all."""

Policies = Mapping[str, Sequence[CellFit]]
"""Policy -> its cells."""


def excess(
    policies: Policies,
    policy: str,
    others: Sequence[str],
    noise: DifferenceNoise,
    *,
    width: int,
    level: float,
    among: int = 1,
) -> Interval | None:
    """Loss of a policy less the lowest of others at a width, nats; at least 0 if it is one of them.

    The interval holds for all comparisons behind it together (Bonferroni), since the lowest is picked: its ends are the
    largest of the comparisons' ends.

    Args:
        others: what it is compared with; those without an optimum are no candidates for the lowest.
        noise: of the policies.
        among: how many such intervals are to hold at the level together.

    Returns:
        Infinite if no rate trained under the policy; None if its optimum is not bracketed, no other's is, or the noise
        is unknown.
    """
    (own,) = (fit for fit in policies[policy] if fit.cell.width == width)
    if own.local is None:
        return DIVERGED if own.best_index is None else None
    compared = [
        common_cells(policies[policy], policies[other])
        for other in others
        if other != policy and other in policies
    ]
    candidates = [pairs for pairs in compared if width in pairs]
    if not candidates:
        return None
    level = 1 - (1 - level) / (among * len(candidates))
    found = [loss_difference(pairs, width, noise, level=level) for pairs in candidates]
    if any(interval is None for interval in found):
        return None
    floor = [0.0] if policy in others else []
    ends = [[getattr(i, end) for i in found if i is not None] + floor for end in ("estimate", "low", "high")]
    return Interval(*map(max, ends))
