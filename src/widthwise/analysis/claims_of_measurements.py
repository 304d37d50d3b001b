"""The claims about what is inside a network: 11, 14 and 15.

How each is judged was fixed before the measurements were seen.

Claim 11: g is minus the slope of ln(rms of a role's gradients at initialization) over ln(width), over all widths and
seeds of the record; its interval covers the seeds and the widths' scatter about the line. It is within 0.1 of theory's.

Claim 14: two parameterizations that are one up to gauge, relative to a base width with per-layer rates, train from the
same draw on the same tokens in float64. d is the largest relative difference of their losses, its interval the range
over seeds. Equal to rounding: d at most 1e-10, a million roundings, under Adam-atan2. Parted: d at least 1e-8 under
Adam with an epsilon of 1e-9.

Claim 15, all of these:
  start          the exponent of the whole product W z at initialization, in small models: within 0.1 of 1/2, per role
  intermediate   the exponent of alpha (the change of the weights meeting the activations before it), averaged over
                 the measured steps: between 1/2 and 1, per role and parameterization; Adam, one global rate, the runs
                 at each width's best rate
  over training  the exponent of alpha at the last measured step less that at the first: away from 0 by 0.05 or more,
                 a tenth of what lies between no and full alignment, for some role and parameterization
  over layers    the averaged exponent of the readout less that of the hidden layers: so too, for some parameterization
A difference is taken run by run before the regression over widths. Where one of several is enough, their intervals hold
together (Bonferroni); the claim is contradicted where every one of them lies within 0.05 of 0.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from widthwise.analysis.alignment_exponents import Pool, alignment_exponents
from widthwise.analysis.alignment_rows import AlignmentRow
from widthwise.analysis.claim import ClaimVerdict, Condition, Gap, Standing, all_of, any_of, within
from widthwise.analysis.claims_of_rates import adam
from widthwise.analysis.evidence import PARAMETERIZATIONS, Evidence
from widthwise.analysis.over_training import WHOLE
from widthwise.analysis.result import Interval
from widthwise.analysis.width_slope import LEAST_WIDTHS, width_slope
from widthwise.theory import ADAM, FULL, AlignmentQuantity, Role, role_exponents
from widthwise.theory import PARAMETERIZATIONS as THEORIES

GRADIENT_SLACK = 0.1
EQUAL, PARTED = 1e-10, 1e-8
PARTING_EPSILON = 1e-9
START_SLACK = 0.1
LEAST, MOST = 0.5, 1.0
MOVED = 0.05
_ROLES = (Role.EMBEDDING, Role.HIDDEN, Role.READOUT)
_MEASURED = (Role.HIDDEN, Role.READOUT)
_PAIRS = (("standard", "ntk"), ("mup", "mean-field"))


def _none(what: str) -> Gap:
    return Gap(f"{what} not measured; give a record with --evidence", Standing.NOT_RUN)


def claim_11(study: Evidence) -> ClaimVerdict:
    """Gradients at initialization against n^(-g): see the module."""
    sizes = study.measurements.gradients
    conditions: list[Condition] = []
    for name in PARAMETERIZATIONS:
        for role in _ROLES:
            g = float(role_exponents(THEORIES[name], ADAM, FULL, role).g)
            own: dict[int, list[float]] = defaultdict(list)
            for one in sizes:
                if (one.parameterization, one.role) == (name, role.value):
                    own[one.width].append(one.rms)
            low, high = g - GRADIENT_SLACK, g + GRADIENT_SLACK
            conditions.append(
                within(
                    f"g, {name}, {role.value}{_over(own)}", _power(own, study.level), low, high,
                    missing=_none("gradients at initialization were") if len(own) < LEAST_WIDTHS
                    else Gap("a gradient is zero or not finite"),
                    demand=f"{low:.1f} to {high:.1f}",
                )
            )  # fmt: skip
    return ClaimVerdict(
        11, "Gradients at initialization fall as n^(-g)", all_of(conditions), tuple(conditions),
        "From models at initialization, no training.", len({(s.width, s.seed, s.parameterization) for s in sizes}),
    )  # fmt: skip


def _over(sizes: Mapping[int, Sequence[float]]) -> str:
    return f", widths {min(sizes)} to {max(sizes)}" if sizes else ""


def _power(sizes: Mapping[int, Sequence[float]], level: float) -> Interval | None:
    """Minus the power of the width; None below three widths, or where a size has no logarithm."""
    if len(sizes) < LEAST_WIDTHS or not all(0 < s < math.inf for held in sizes.values() for s in held):
        return None
    widths = sorted(sizes)
    found = width_slope(widths, [[[-math.log(s) for s in sizes[width]] for width in widths]], level=level)
    return Interval(found.estimate, found.low, found.high)


def claim_14(study: Evidence) -> ClaimVerdict:
    """Two pairs that are one up to gauge, without and with an epsilon: see the module."""
    runs, conditions = study.measurements.gauge, list[Condition]()
    for optimizer, epsilon, words in (
        ("adam-atan2", None, "under Adam-atan2"),
        ("adam", PARTING_EPSILON, f"under Adam with epsilon {PARTING_EPSILON:g}"),
    ):
        low, high = (-math.inf, math.log10(EQUAL)) if epsilon is None else (math.log10(PARTED), math.inf)
        for pair in _PAIRS:
            found = [
                math.log10(run.difference) if run.difference > 0 else -math.inf
                for run in runs
                if (run.pair, run.optimizer) == (pair, optimizer) and epsilon in (None, run.epsilon)
            ]
            spread = Interval(math.fsum(found) / len(found), min(found), max(found)) if found else None
            conditions.append(
                within(
                    f"log10 of the largest relative difference of losses, {pair[0]} and {pair[1]}, {words}",
                    spread, low, high, missing=_none("trajectories were"),
                    demand=f"at most {high:g}" if epsilon is None else f"at least {low:g}",
                )
            )  # fmt: skip
    claim = "Standard = NTK and muP = mean-field up to gauge; a fixed epsilon breaks it"
    remark = "A small Transformer in float64; the interval is the range over seeds."
    return ClaimVerdict(14, claim, all_of(conditions), tuple(conditions), remark, 2 * len(runs))


def claim_15(study: Evidence) -> ClaimVerdict:
    """Where alignment starts, whether it is intermediate, and whether it changes: see the module."""
    conditions = [_start(study, role) for role in _MEASURED]
    for name in PARAMETERIZATIONS:
        rows = _alpha(study, name)
        for role in _MEASURED:
            own = [row for row in rows if row.role is role]
            conditions.append(
                within(
                    f"exponent of alpha, {role.value}, mean over training, {name}",
                    _exponent(_mean_over_training(own), study.level), LEAST, MOST,
                    missing=_unmeasured(study, name), demand=f"{LEAST:g} to {MOST:g}",
                )
            )  # fmt: skip
    conditions.append(
        _some(
            study,
            {
                (name, f"exponent of alpha, {role.value}, last measured step less first, {name}"): _change(
                    [row for row in _alpha(study, name) if row.role is role]
                )
                for name in PARAMETERIZATIONS
                for role in _MEASURED
            },
        )
    )
    conditions.append(
        _some(
            study,
            {
                (
                    name,
                    f"exponent of alpha, readout less hidden, mean over training, {name}",
                ): _readout_less_hidden(_mean_over_training(_alpha(study, name)))
                for name in PARAMETERIZATIONS
            },
        )
    )
    return ClaimVerdict(
        15, "Alignment starts at 1/2, is intermediate, and changes over training and layers", all_of(conditions),
        tuple(conditions),
        "Exponents from the regression over widths; 1/2 is no alignment, 1 is full. Adam, one global rate, at each "
        "width's best, of the measured steps each once; the start is of the whole product, in small models.",
    )  # fmt: skip


def _start(study: Evidence, role: Role) -> Condition:
    rows = [row for row in study.measurements.initial if row.role is role]
    return within(
        f"exponent of the whole product at initialization, {role.value}", _exponent(rows, study.level),
        LEAST - START_SLACK, LEAST + START_SLACK, missing=_none("alignment at initialization was"),
        demand=f"{LEAST - START_SLACK:.1f} to {LEAST + START_SLACK:.1f}",
    )  # fmt: skip


def _alpha(study: Evidence, parameterization: str) -> list[AlignmentRow]:
    name = study.arm(adam(parameterization, "global"))
    rows = () if name is None else study.alignment.get(name, ())
    return [row for row in rows if row.quantity is AlignmentQuantity.ALPHA]


def _unmeasured(study: Evidence, parameterization: str) -> Gap:
    label = adam(parameterization, "global")
    if study.arm(label) is None:
        return study.missing(label)
    if not _alpha(study, parameterization):
        return Gap("the study has not measured alignment", Standing.NOT_RUN)
    return Gap(f"fewer than {LEAST_WIDTHS} widths, or undefined at one of them")


def _exponent(rows: Iterable[AlignmentRow], level: float) -> Interval | None:
    """Of rows of one role and time; None below three widths, or where it is undefined."""
    rows = list(rows)
    if len({row.width for row in rows}) < LEAST_WIDTHS:
        return None
    (one,) = alignment_exponents(rows, pool=Pool.ROLE, level=level)
    found = one.exponent
    return None if one.undefined else Interval(found.value, found.low, found.high)


Run = tuple[int, int, str]
"""Width, seed and layer."""


def _series(rows: Iterable[AlignmentRow]) -> Mapping[Run, list[AlignmentRow]]:
    """Every layer's measurements in every run, in order."""
    found: dict[Run, list[AlignmentRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.progress):
        found[row.width, row.seed, row.layer].append(row)
    return found


def _mean_over_training(rows: Iterable[AlignmentRow]) -> list[AlignmentRow]:
    return _each(rows, lambda gains: math.fsum(gains) / len(gains))


def _change(rows: Iterable[AlignmentRow]) -> list[AlignmentRow]:
    """The last less the first; nothing where there is one measurement alone."""
    rows = list(rows)
    if len({row.progress for row in rows}) < 2:
        return []
    return _each(rows, lambda gains: gains[-1] - gains[0])


def _each(rows: Iterable[AlignmentRow], of: Callable[[list[float]], float]) -> list[AlignmentRow]:
    return [
        replace(held[0], progress=WHOLE, log_gain=of([row.log_gain for row in held]))
        for held in _series(rows).values()
    ]


def _readout_less_hidden(rows: Iterable[AlignmentRow]) -> list[AlignmentRow]:
    """Run by run, the readout's log gain less the mean of the hidden layers'."""
    runs: dict[tuple[int, int], dict[Role | None, list[AlignmentRow]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows:
        runs[row.width, row.seed][row.role].append(row)
    found: list[AlignmentRow] = []
    for roles in runs.values():
        hidden, readout = ([row.log_gain for row in roles[role]] for role in _MEASURED)
        if hidden and readout:
            first = roles[Role.READOUT][0]
            difference = math.fsum(readout) / len(readout) - math.fsum(hidden) / len(hidden)
            found.append(replace(first, layer="readout less hidden", log_gain=difference))
    return found


def _some(study: Evidence, candidates: Mapping[tuple[str, str], list[AlignmentRow]]) -> Condition:
    """That one of these exponents is away from 0; the surest one is shown."""
    level = 1 - (1 - study.level) / len(candidates)
    judged: list[tuple[float, Condition]] = []
    demand = f"{MOVED:g} or more away from 0, for some"
    for (name, what), rows in candidates.items():
        found = _exponent(rows, level)
        if found is None:
            gap = _unmeasured(study, name)
            judged.append((-math.inf, Condition(what, demand, None, gap.standing, gap.reason)))
            continue
        distance = max(found.low, -found.high)
        standing = Standing.HOLDS if distance >= MOVED else Standing.OPEN
        if max(-found.low, found.high) < MOVED:
            standing = Standing.DOES_NOT
        judged.append((distance, Condition(what, demand, found, standing)))
    standing = any_of(condition for _, condition in judged)
    if standing is Standing.NOT_RUN:
        return next(condition for _, condition in judged if condition.standing is Standing.NOT_RUN)
    return replace(max(judged, key=lambda pair: pair[0])[1], standing=standing)
