"""The claims about the loss at the best rate: 4 to 9."""

import math
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
from widthwise.analysis.noise import distinct_fits, pool_noise, student_quantile
from widthwise.analysis.optimum import LocalFit
from widthwise.analysis.result import Interval

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
    rises = [] if lacking else [_largest_rise(study, name) for name in PARAMETERIZATIONS]
    rises = [rise for rise in rises if rise is not None]
    standing = lacking.standing if lacking else any_of(rises)
    best = max(
        (r for r in rises if r.measured is not None),
        key=lambda r: r.measured.low if r.measured else 0,
        default=None,
    )
    missing = lacking.reason if lacking else "no SGD prescription has two bracketed widths with known noise"
    monotone = (
        Condition(
            "the loss rises from one width to the next, SGD", "above 0 for some", None, standing, missing
        )
        if best is None
        else Condition(best.what, "above 0 for some parameterization and width", best.measured, standing)
    )
    claim = "SGD transfers worst: noisy, and its loss is not monotone in the width"
    return ClaimVerdict(9, claim, all_of((spread, monotone)), (spread, monotone))


def _lacking(study: Evidence) -> Gap | None:
    """Why not all of SGD's and Adam's prescriptions are there."""
    for optimizer in ("sgd", "adam"):
        if optimizer not in {label.optimizer for label in study.labels.values()}:
            return Gap(f"the study has no {optimizer} prescription", Standing.NOT_RUN)
    return study.unfinished(lambda label: label.optimizer in ("sgd", "adam"))


def _arms(study: Evidence, optimizer: str) -> list[str]:
    found = (study.arm(label) for label in study.labels.values() if label.optimizer == optimizer)
    return [name for name in dict.fromkeys(found) if name is not None]


def _spread_ratio(study: Evidence) -> Interval | None:
    """Ratio of the standard deviations of one seed's best loss, with the interval of Fisher's F."""
    variances: list[tuple[float, int]] = []
    for optimizer in ("sgd", "adam"):
        arms = _arms(study, optimizer)
        cells = distinct_fits(fit for name in arms for fit in study.table.prescriptions[name])
        freedom = sum(cell.seeds - 1 for cell in cells)
        total = sum(float(cell.levels @ cell.levels) for cell in cells)
        if freedom < 1:  # seeds at some rates alone: their scatter
            freedom = sum(cell.scatter_freedom for cell in cells)
            total = sum(float(cell.scatter @ cell.scatter) for cell in cells)
        if freedom < 1 or total == 0:
            return None
        variances.append((total / freedom, freedom))
    from scipy.special import fdtri

    (sgd, nu_1), (adam_, nu_2) = variances
    ratio = math.sqrt(sgd / adam_)
    low, high = (float(fdtri(nu_1, nu_2, p)) for p in ((1 - study.level) / 2, (1 + study.level) / 2))
    return Interval(ratio, ratio / math.sqrt(high), ratio / math.sqrt(low))


def _largest_rise(study: Evidence, parameterization: str) -> Condition | None:
    """The rise of the loss between neighbouring widths that is surest to be above 0, over SGD's prescriptions.

    The intervals hold for all the rises together (Bonferroni), since the largest of them is picked.
    """
    arms = _arms(study, "sgd")
    noise = pool_noise(fit for name in arms for fit in study.table.prescriptions[name])
    steps: list[tuple[str, LocalFit, LocalFit]] = []
    for name in arms:
        if study.labels[name].parameterization == parameterization:
            fits = [fit for fit in study.table.prescriptions[name] if fit.local is not None]
            steps += [
                (f"from width {n.cell.width} to {m.cell.width}, {name}", n.local, m.local)
                for n, m in pairwise(fits)
                if n.local is not None and m.local is not None
            ]
    if noise is None or not steps:
        return None
    level = 1 - (1 - study.level) / len(steps)
    found: list[tuple[float, Condition]] = []
    for where, before, after in steps:
        estimate = after.loss - before.loss
        variance = noise.level**2 * (1 / before.seeds + 1 / after.seeds)
        half = student_quantile(level, noise.degrees_of_freedom) * math.sqrt(variance)
        rise = Interval(estimate, estimate - half, estimate + half)
        found.append((rise.low, above_zero(f"rise of the best loss {where}", rise, missing=Gap(""))))
    surest = max(found, key=lambda pair: pair[0])[1]
    standings = {condition.standing for _, condition in found}
    open_ = Standing.OPEN in standings and surest.standing is Standing.DOES_NOT
    return Condition(surest.what, surest.demand, surest.measured, Standing.OPEN) if open_ else surest
