"""The claims about the loss at the best rate: 4 to 9."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import pairwise

from widthwise.analysis.arm_label import ArmLabel
from widthwise.analysis.best_loss import loss_difference
from widthwise.analysis.claim import (
    ClaimVerdict,
    Condition,
    Gap,
    Standing,
    above_zero,
    all_of,
    any_of,
    below_zero,
    within,
)
from widthwise.analysis.claims_of_rates import adam
from widthwise.analysis.evidence import PARAMETERIZATIONS, Evidence
from widthwise.analysis.noise import distinct_fits, pool_noise, student_quantile, summed
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.optimum_loss import OptimumLoss
from widthwise.analysis.result import Interval
from widthwise.analysis.spread_ratio import Scatter, spread_ratio

NOISIER = 3.0


def _lower(study: Evidence, first: ArmLabel, second: ArmLabel, what: str) -> Condition:
    width = study.largest_width(first, second)
    where = "" if width is None else f" at width {width}"
    return below_zero(
        f"difference of best losses{where}, {what}",
        study.loss_difference(first, second),
        missing=study.missing(first, second),
    )


def claim_4(study: Evidence) -> ClaimVerdict:
    """Standard against muP, full alignment, default constants."""
    condition = _lower(study, adam("standard", "full"), adam("mup", "full"), "standard less muP, both full")
    claim = "Standard with full-alignment rates beats muP with full-alignment rates, default constants"
    return ClaimVerdict(4, claim, condition.standing, (condition,))


def claim_5(study: Evidence) -> ClaimVerdict:
    """The same with tuned constants on both sides."""
    labels = adam("standard", "full", constants="optimal"), adam("mup", "full", constants="optimal")
    condition = _lower(study, *labels, "standard less muP, both full with tuned constants")
    claim = "The same with tuned constants on both sides (paper: 0.027 nats at 26.8B)"
    return ClaimVerdict(5, claim, condition.standing, (condition,))


def claim_6(study: Evidence) -> ClaimVerdict:
    """Per-layer against one global rate for standard, and how the gain goes with the width."""
    labels = adam("standard", "full"), adam("standard", "global")
    slope = below_zero(
        "slope of the difference over log2 of the width, standard, full less global",
        study.loss_difference_slope(*labels),
        missing=study.missing(*labels),
    )
    conditions = (_lower(study, *labels, "standard, full less global"), slope)
    claim = "Per-layer rates beat one global rate for standard, and the gain grows with the width"
    return ClaimVerdict(6, claim, all_of(conditions), conditions)


def claim_7(study: Evidence) -> ClaimVerdict:
    """What tuned constants gain, muP's less standard's, full alignment."""
    mup = adam("mup", "full"), adam("mup", "full", constants="optimal")
    standard = adam("standard", "full"), adam("standard", "full", constants="optimal")
    width = study.largest_width(*mup, *standard)
    a, b = (_gain(study, pair, width) for pair in (mup, standard))
    difference = None
    if a is not None and b is not None:
        half = math.hypot(a.high - a.estimate, b.high - b.estimate)
        estimate = a.estimate - b.estimate
        difference = Interval(estimate, estimate - half, estimate + half)
    what = "loss gained by tuned constants, muP less standard, both full" + (
        f", width {width}" if width else ""
    )
    condition = above_zero(what, difference, missing=study.missing(*mup, *standard))
    return ClaimVerdict(7, "Constants help muP more than standard", condition.standing, (condition,))


def _gain(study: Evidence, pair: tuple[ArmLabel, ArmLabel], width: int | None) -> Interval | None:
    cells = study.pairs(*pair)
    if width is None or width not in cells:
        return None
    return loss_difference(cells, width, study.difference_noise(*pair), level=study.level)


def claim_8(study: Evidence) -> ClaimVerdict:
    """No alignment's rates against full alignment's under Adam with parameter scaling."""
    conditions = tuple(
        _lower(study, ArmLabel(name, "adam-ps", "none"), ArmLabel(name, "adam-ps", "full"), f"{name}, none less full")
        for name in PARAMETERIZATIONS
    )  # fmt: skip
    claim = "For Adam with parameter scaling the no-alignment rates beat the full-alignment rates"
    return ClaimVerdict(8, claim, all_of(conditions), conditions)


def claim_9(study: Evidence) -> ClaimVerdict:
    """SGD's spread over seeds against Adam's, and whether its loss falls with the width."""
    lacking = _lacking(study)
    spread = within(
        "spread of the best loss over seeds, SGD over Adam", None if lacking else _spread_ratio(study), NOISIER,
        math.inf, missing=lacking or Gap("SGD or Adam has no cell with two seeds"), demand=f"at least {NOISIER:g}",
    )  # fmt: skip
    found = None if lacking else _surest_rise(study)
    missing = lacking or Gap("no SGD prescription has two bracketed widths with known noise")
    demand = "above 0 for some parameterization and width"
    monotone = found or Condition(
        "the loss rises from one width to the next, SGD", demand, None, missing.standing, missing.reason
    )
    claim = "SGD transfers worst: noisy, and its loss is not monotone in the width"
    conditions = (spread, replace(monotone, demand=demand))
    return ClaimVerdict(9, claim, all_of(conditions), conditions, "" if lacking else _counted(study))


def _lacking(study: Evidence) -> Gap | None:
    """Why not all of SGD's and Adam's prescriptions are there."""
    for optimizer in ("sgd", "adam"):
        if optimizer not in {label.optimizer for label in study.labels.values()}:
            return Gap(f"the study has no {optimizer} prescription", Standing.NOT_RUN)
    return study.unfinished(lambda label: label.optimizer in ("sgd", "adam"))


def _arms(study: Evidence, optimizer: str) -> list[str]:
    found = (study.arm(label) for label in study.labels.values() if label.optimizer == optimizer)
    return [name for name in dict.fromkeys(found) if name is not None]


def _counted(study: Evidence) -> str:
    """Which cells the numbers are of."""
    counts: list[str] = []
    for name, optimizer in (("SGD's", "sgd"), ("Adam's", "adam")):
        fits = [fit for arm in _arms(study, optimizer) for fit in study.table.prescriptions[arm]]
        counts.append(f"{sum(fit.local is not None for fit in fits)} of {name} {len(fits)}")
    return f"Over the prescriptions and widths with a best rate, {' and '.join(counts)}, equal runs once."


def _spread_ratio(study: Evidence) -> Interval | None:
    """Ratio of the standard deviations of one seed's best loss, over the distinct cells of SGD and of Adam."""
    sgd, adam_ = (
        [fit for name in _arms(study, o) for fit in study.table.prescriptions[name]] for o in ("sgd", "adam")
    )
    return spread_ratio(_scatter(sgd), _scatter(adam_), level=study.level)


def _scatter(fits: Sequence[CellFit]) -> Scatter:
    cells = distinct_fits(fits)
    whole = [(float(cell.levels @ cell.levels), cell.seeds - 1) for cell in cells]
    if any(freedom for _, freedom in whole):
        return whole
    return [
        (float(cell.scatter @ cell.scatter), cell.scatter_freedom) for cell in cells
    ]  # seeds at some rates alone


Step = tuple[str, CellFit, CellFit]
"""A prescription, and two cells of neighbouring widths of those with a best rate."""


def _surest_rise(study: Evidence) -> Condition | None:
    """The rise of the loss from one width to the next that is surest to be above 0, over SGD's prescriptions.

    The intervals hold for all the rises together (Bonferroni), since one of them is picked.
    """
    steps: dict[Hashable, Step] = {}
    for name in _arms(study, "sgd"):
        fits = [fit for fit in study.table.prescriptions[name] if fit.local is not None]
        for before, after in pairwise(fits):
            runs = tuple(fit.local.identity for fit in (before, after) if fit.local is not None)
            steps.setdefault(runs, (name, before, after))
    level = 1 - (1 - study.level) / max(len(steps), 1)
    every = [fit for name in _arms(study, "sgd") for fit in study.table.prescriptions[name]]
    rises = [(step, _rise(every, step, level)) for step in steps.values()]
    conditions = [
        above_zero(
            f"rise of the best loss from width {before.cell.width} to {after.cell.width}, {name}",
            rise,
            missing=Gap(""),
        )
        for (name, before, after), rise in rises
        if rise is not None
    ]
    if not conditions:
        return None
    surest = max(conditions, key=lambda c: c.measured.low if c.measured else -math.inf)
    return replace(surest, standing=any_of(conditions))


def _rise(fits: Sequence[CellFit], step: Step, level: float) -> Interval | None:
    """Loss at the optimum of the second cell less that of the first, each with the noise of its width's fits."""
    _, before, after = step
    losses = [OptimumLoss(fit, fit.local) for fit in (before, after) if fit.local is not None]
    noises = [pool_noise(fit for fit in fits if fit.cell.width == one.cell.cell.width) for one in losses]
    noises = [noise or pool_noise(fits) for noise in noises]
    parts = [
        (noise.level**2 * one.factor, noise.degrees_of_freedom)
        for one, noise in zip(losses, noises, strict=True)
        if noise is not None
    ]
    if len(parts) < 2:
        return None
    variance, freedom = summed(parts)
    half = abs(losses[1].local.loss_difference - losses[0].local.loss_difference)
    if variance:
        half += student_quantile(level, freedom) * math.sqrt(variance)
    estimate = losses[1].mean - losses[0].mean
    return Interval(estimate, estimate - half, estimate + half)
