"""The loss at the best rate under policies that share their seeds: by how much each is above the best of others.

At one width every policy i trains the same seeds s from the same draws and on the same batches, and only then differs:

    L_is = mu_i + seed_s + e_is,     sigma^2 = sum of squared residuals / nu,   nu = sum over cells (K - 1)(S - 1)

L_is is the loss of a seed at the policy's best rate, moved to the optimum by what the parabola says lies between. A
difference of two policies is the mean over their common seeds, in which the seeds' own parts cancel. With G the fit's
weights at the optimum less 1 at the best rate, from S_f fitted of S seeds, its variance is

    sigma^2 (f_i + f_j),     f = 1 / S + |G|^2 / S_f + 2 G_best / S

and by as much as cubics in the place of parabolas would change it, it may be wrong besides (as in `best_loss`). Seeds
that ran the best rate alone count here as they do where a sweep searches with one seed and repeats at the optimum.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from widthwise.analysis.noise import student_quantile
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.optimum_loss import OptimumLoss
from widthwise.analysis.result import Interval

DIVERGED = Interval(math.inf, math.inf, math.inf)
"""The excess of a policy under which no rate trained at all."""


@dataclass(frozen=True)
class PolicyNoise:
    """sigma and nu of the residuals; nu is at least 1."""

    sigma: float
    degrees_of_freedom: int


Policies = Mapping[str, CellFit]
"""Policy -> its cell, all at one width."""


def policy_noise(widths: Iterable[Policies]) -> PolicyNoise | None:
    """The residuals' noise, pooled over widths; None if no two different policies have two seeds in common."""
    total, freedom = 0.0, 0
    for policies in widths:
        found = _distinct(policies)
        seeds = sorted(set.intersection(*(set(one.by_seed) for one in found))) if found else []
        if len(found) < 2 or len(seeds) < 2:
            continue
        loss_KxS = np.array([[one.by_seed[seed] for seed in seeds] for one in found])
        residual_KxS = loss_KxS - loss_KxS.mean(1, keepdims=True) - loss_KxS.mean(0) + loss_KxS.mean()
        total += float((residual_KxS**2).sum())
        freedom += (len(found) - 1) * (len(seeds) - 1)
    return PolicyNoise(math.sqrt(total / freedom), freedom) if freedom else None


def _distinct(policies: Policies) -> list[OptimumLoss]:
    """Those with an optimum, of policies that are the same runs one."""
    found = {
        fit.local.identity: OptimumLoss(fit, fit.local) for fit in policies.values() if fit.local is not None
    }
    return list(found.values())


def excess(
    policies: Policies,
    policy: str,
    others: Sequence[str],
    noise: PolicyNoise,
    *,
    level: float,
    among: int = 1,
) -> Interval | None:
    """Loss of a policy less the lowest of others, nats; at least 0 if it is one of them.

    The interval holds for all comparisons behind it together (Bonferroni), since the lowest is picked: its ends are the
    largest of the comparisons' ends.

    Args:
        others: what it is compared with; those without an optimum are no candidates for the lowest.
        among: how many such intervals are to hold at the level together.

    Returns:
        Infinite if no rate trained under the policy; None if its optimum is not bracketed, or no other's is.
    """
    own = policies[policy]
    if own.local is None:
        return DIVERGED if own.best_index is None else None
    one = OptimumLoss(own, own.local)
    known = [(other, policies[other]) for other in others if other != policy and other in policies]
    candidates = [OptimumLoss(fit, fit.local) for _, fit in known if fit.local is not None]
    if not candidates:
        return None
    level = 1 - (1 - level) / (among * len(candidates))
    found = [_difference(one, other, noise, level) for other in candidates]
    if any(interval is None for interval in found):
        return None
    floor = [0.0] if policy in others else []
    ends = [[getattr(i, end) for i in found if i is not None] + floor for end in ("estimate", "low", "high")]
    return Interval(*map(max, ends))


def _difference(one: OptimumLoss, other: OptimumLoss, noise: PolicyNoise, level: float) -> Interval | None:
    """None if the two have no seed in common."""
    if one.local.identity == other.local.identity:
        return Interval(0.0, 0.0, 0.0)
    seeds = sorted(set(one.by_seed) & set(other.by_seed))
    if not seeds:
        return None
    estimate = math.fsum(one.by_seed[seed] - other.by_seed[seed] for seed in seeds) / len(seeds)
    variance = noise.sigma**2 * (one.variance_factor(len(seeds)) + other.variance_factor(len(seeds)))
    misses = [own.local.loss_difference for own in (one, other)]
    half = student_quantile(level, noise.degrees_of_freedom) * math.sqrt(variance) + abs(
        misses[0] - misses[1]
    )
    return Interval(estimate, estimate - half, estimate + half)
