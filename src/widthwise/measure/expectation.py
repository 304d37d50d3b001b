"""What theory says of every number that a check measures, and the rows that compare the two.

With (a, b, c, g) of a tensor in the gauge of the model's own forward pass, and p, q and e of its optimizer's rule:

| measured | expected slope | |
|---|---|---|
| init factor times the initializer's own law | -b | exact |
| dW after the first update | -(c + p g + q b + e) | exact unless p = 1 |
| dW z | alpha - (c + p g + q b + e), alpha only where a growing dimension is contracted | read low at small widths |
| a module's output at step 0 | 0; an embedding's and a norm's -b; at most 0 where the output does not grow | |
| its change after each step | at most the same | |
| alpha and omega | reported | |

A factor that the model's own forward has (n^(-a), declared by a rule) or that a norm's gain carries for a tied readout
enters through the module's measured input.

Source: Everett et al. 2024 (arXiv 2407.05872). Logits of a standard readout grow in training by up to n^(1/2), since
its initial weights align with the features' change (omega = 1, where theory assumes 1/2): arXiv 2505.22491.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from widthwise.measure.check_result import FROZEN
from widthwise.measure.run_once import Key, Quantity, Tensors
from widthwise.measure.slope import slope_interval
from widthwise.measure.verdict import CheckRow, Margins, Verdict, measured_row
from widthwise.scaling import PlanRow, ScalingPlan
from widthwise.theory import FULL, NONE, Role, alignment_at

CONTRACTING = (Role.HIDDEN, Role.READOUT)
ROUNDING = 1e-5
"""A gradient this much smaller than those of the tensors of its role is what rounding leaves of one that is 0."""


@dataclass(frozen=True)
class Runs:
    """All measurements of a check.

    Args:
        plans: by width.
        measured: by width and seed.
        tensors: of the first seed, by width.
    """

    plans: Mapping[int, ScalingPlan]
    measured: Mapping[tuple[int, int], Mapping[Key, float]]
    tensors: Mapping[int, Tensors]

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.plans)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(seed for _, seed in self.measured))

    @property
    def plan(self) -> ScalingPlan:
        return next(iter(self.plans.values()))

    def values(self, key: Key) -> list[list[float]]:
        """For each seed that has the number at every width, its values in the order of widths."""
        rows = [[self.measured[n, seed].get(key) for n in self.widths] for seed in self.seeds]
        return [[value for value in row if value is not None] for row in rows if None not in row]

    def keys(self, quantity: Quantity) -> list[Key]:
        """The measured keys of a quantity, in the model's order."""
        first = next(iter(self.measured.values()))
        return [key for key in first if key.quantity is quantity]


def update_exponent(plan: ScalingPlan, row: PlanRow) -> float:
    """The exponent of an update's entries, n^(-exponent)."""
    rule, found = plan.optimizer.at(row.role), row.exponents
    return float(
        found.c + rule.gradient_power * found.g + rule.parameter_power * found.b + rule.entry_exponent
    )


def factor_rows(runs: Runs, margins: Margins) -> list[CheckRow]:
    """Init factors, times the initializers' own laws."""
    rows: list[CheckRow] = []
    for name, row in runs.plan.rows.items():
        fit = row.initializer
        values = runs.values(Key(Quantity.FACTOR, name, 0))
        if fit is None or fit.exponent is None or any(math.isnan(x) for seed in values for x in seed):
            why = "all entries are zero" if fit is not None and fit.exponent is not None else "no known law"
            rows.append(_undefined(Quantity.FACTOR, name, 0, row.role, why))
            continue
        laws = [abs(fit.scale_at(n)) for n in runs.widths]
        scaled = [[x * law for x, law in zip(seed, laws, strict=True)] for seed in values]
        rows.append(
            measured_row(
                Quantity.FACTOR, name, 0, widths=runs.widths, values=scaled,
                theory=-float(row.exponents.b), margin=margins.factor, role=row.role.value,
            )
        )  # fmt: skip
    return rows


def update_rows(runs: Runs, margins: Margins) -> list[CheckRow]:
    """The size of every tensor's first update."""
    rows: list[CheckRow] = []
    for name, row in runs.plan.rows.items():
        if not row.trainable:
            rows.append(_undefined(Quantity.UPDATE, name, 1, row.role, FROZEN))
            continue
        rule, step = runs.plan.optimizer.at(row.role), first_step(runs, name)
        if _is_rounding(runs, name, step or 1):
            rows.append(_undefined(Quantity.UPDATE, name, 1, row.role, "its gradient is zero up to rounding"))
            continue
        if step is None or (rule.gradient_power and step > 1):
            why = "no gradient reached it" if step is None else f"no gradient reached it before step {step}"
            rows.append(_undefined(Quantity.UPDATE, name, 1, row.role, why))
            continue
        if rule.parameter_power and (row.initializer is None or row.initializer.exponent is None):
            why = "its updates follow its own size, whose law is not known"
            rows.append(_undefined(Quantity.UPDATE, name, 1, row.role, why))
            continue
        values = runs.values(Key(Quantity.UPDATE, name, step))
        orthogonal = rule.alignment is not None  # as large as its rank, and so the batch, allows
        rows.append(
            measured_row(
                Quantity.UPDATE, name, step, widths=runs.widths, values=values,
                theory=None if orthogonal else -update_exponent(runs.plan, row), role=row.role.value,
                margin=margins.gradient_update if rule.gradient_power else margins.update,
                reason="the rank of a small batch's gradient limits it; see what it does" if orthogonal else "",
                bound=bool(rule.gradient_power) and row.role is Role.FIXED,
            )
        )  # fmt: skip
    return rows


def first_step(runs: Runs, name: str) -> int | None:
    """The first step after which a tensor differs from its start, in every run."""
    for key in runs.keys(Quantity.UPDATE):
        values = runs.values(key) if key.name == name else []
        if values and all(value != 0 for seed in values for value in seed):
            return key.step
    return None


def _is_rounding(runs: Runs, name: str, step: int) -> bool:
    """Whether a tensor's gradient is nothing but rounding: a bias in front of a norm that takes it away again."""
    role = runs.plan.rows[name].role
    keys = [key for key in runs.keys(Quantity.GRADIENT) if key.step == step]
    alike = [key for key in keys if runs.plan.rows[key.name].role is role]
    own = [x for seed in runs.values(Key(Quantity.GRADIENT, name, step)) for x in seed]
    if not own or not any(own):
        return False
    return median(own) < ROUNDING * median(x for key in alike for seed in runs.values(key) for x in seed)


def effect_rows(runs: Runs, margins: Margins, undefined: frozenset[str]) -> list[CheckRow]:
    """What every tensor's first update does to its module's output, under each of its names.

    Args:
        undefined: tensors whose update has no exponent.
    """
    rows: list[CheckRow] = []
    tensors = next(iter(runs.tensors.values()))
    for name, first_name in tensors.first_names.items():
        row, site = tensors.rows[name], tensors.sites[name]
        if not row.trainable or first_name in undefined:
            continue
        step = first_step(runs, first_name)
        if site is None or not site.local or step is None:
            where = (
                "no called module"
                if site is None
                else f"{site.module or 'the model'}, whose other layers it passes"
            )
            rows.append(_undefined(Quantity.EFFECT, name, 1, row.role, f"its output is that of {where}"))
            continue
        tied = name != first_name
        contracts = row.role in CONTRACTING or (tied and not _embeds(runs, name))
        alpha = _alpha(runs.plan, row) if contracts else 0.0
        z = _input_exponent(runs, name) if contracts and (tied or row.exponents.a) else 0.0
        counts = runs.plan.optimizer.at(row.role).gradient_power
        found = measured_row(
            Quantity.EFFECT, name, step, widths=runs.widths, values=runs.values(Key(Quantity.EFFECT, name, step)),
            theory=alpha + z - update_exponent(runs.plan, row), role=row.role.value,
            margin=margins.gradient_effect if counts else margins.effect,
        )  # fmt: skip
        fixed = runs.plan.optimizer.at(row.role).alignment is not None
        rows.append(_explained(found, alpha, fixed=fixed) if contracts else found)
    return rows


def _alpha(plan: ScalingPlan, row: PlanRow) -> float:
    fixed = plan.optimizer.at(row.role).alignment
    role = row.role if row.role is Role.HIDDEN else Role.READOUT  # a tied embedding contracts as a readout
    return float(alignment_at(plan.alignment, role.value).alpha if fixed is None else fixed)


def _embeds(runs: Runs, name: str) -> bool:
    """Whether a tied tensor's other use takes integers."""
    return not runs.values(Key(Quantity.INPUT, name, 0))


def _input_exponent(runs: Runs, name: str) -> float:
    values = runs.values(Key(Quantity.INPUT, name, 0))
    return round(slope_interval(runs.widths, values).estimate, 3) if len(values) > 1 else 0.0


def _explained(row: CheckRow, alpha: float, *, fixed: bool) -> CheckRow:
    """A slope that an alignment between 1/2 and 1 explains is that alignment, and no broken rule.

    Above the alignment that the plan's rates assume it is what they risk. Below it the plan is only cautious: at small
    widths many examples act like noise, and alpha is read too low.

    Args:
        alpha: what the plan assumes of this tensor.
        fixed: whether the optimizer's construction says so.
    """
    if row.verdict in (Verdict.PASS, Verdict.UNDEFINED) or row.slope is None or row.theory is None or fixed:
        return row
    measured = alpha + row.slope.estimate - row.theory
    if (
        grown(row)
        and alpha < FULL.alpha
        and row.slope.high <= row.theory + float(FULL.alpha) - alpha + row.margin
    ):
        why = f"grows: alignment measured {measured:.2f}, and the plan's rates assume {alpha:g}"
        return replace(row, verdict=Verdict.REPORTED, reason=why)
    lowest = row.theory + float(NONE.alpha) - alpha - row.margin
    if alpha > NONE.alpha and lowest <= row.slope.low and row.slope.high <= row.theory + row.margin:
        why = f"alignment {measured:.2f}, assumed {alpha:g}: small widths read it low"
        return replace(row, verdict=Verdict.REPORTED, reason=why)
    return row


def alignment_rows(runs: Runs) -> list[CheckRow]:
    """Measured alpha and omega of every matrix that contracts a growing dimension: reported, never judged."""
    rows: list[CheckRow] = []
    tensors = next(iter(runs.tensors.values()))
    for key in runs.keys(Quantity.PROPAGATION):
        name, row = key.name, tensors.rows[key.name]
        first_name = tensors.first_names[name]
        tied = name != first_name
        if row.role not in CONTRACTING and not tied:
            continue
        for quantity, of, w, x in (
            (Quantity.ALPHA, Key(Quantity.EFFECT, name, 1), (Quantity.UPDATE, 1), (Quantity.INPUT, 0)),
            (Quantity.OMEGA, key, (Quantity.WEIGHTS, 0), (Quantity.INPUT_CHANGE, 1)),
        ):
            weights = Key(w[0], first_name, w[1])
            values = _ratios(runs.values(of), runs.values(weights), runs.values(Key(x[0], name, x[1])))
            if not values:
                continue
            found = measured_row(
                quantity,
                name,
                1,
                widths=runs.widths,
                values=values,
                theory=None,
                margin=0.0,
                role=row.role.value,
            )
            grows = quantity is Quantity.OMEGA and (row.role is Role.READOUT or tied) and _exceeds(found, 0.5)
            rows.append(replace(found, reason=f"above 1/2: {HARMLESS}") if grows else found)
    return rows


HARMLESS = "the logits of a standard readout grow in training, which cross-entropy bears: arXiv 2505.22491"


def _exceeds(row: CheckRow, limit: float) -> bool:
    return row.slope is not None and row.slope.low > limit


def _ratios(*factors: Sequence[Sequence[float]]) -> list[list[float]]:
    product, one, two = factors
    if not len(product) == len(one) == len(two):
        return []
    return [
        [x / (y * z) if y * z else 0.0 for x, y, z in zip(*seed, strict=True)]
        for seed in zip(product, one, two, strict=True)
    ]


def grown(row: CheckRow) -> bool:
    """Whether a row that does not pass is estimated to grow beyond its margin."""
    if row.slope is None or row.theory is None or row.verdict is Verdict.PASS:
        return False
    return row.slope.estimate > row.theory + row.margin


def _undefined(quantity: Quantity, name: str, step: int, role: Role, reason: str) -> CheckRow:
    return CheckRow(quantity, name, step, role.value, None, False, 0.0, None, (), Verdict.UNDEFINED, reason)
