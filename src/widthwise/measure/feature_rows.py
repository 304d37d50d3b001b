"""Rows of modules: how large every output is at initialization, and how much it changes in training.

At step 0 an output that grows with the width must keep the size of its entries; an embedding's and a norm's follow
their own tensor; what does not grow (logits) may only fall. Changes may not outgrow that.
"""

from dataclasses import replace
from itertools import pairwise

from widthwise.measure.expectation import HARMLESS, Runs, grown
from widthwise.measure.recorder import INPUT
from widthwise.measure.run_once import Key, Quantity
from widthwise.measure.slope import slope_interval
from widthwise.measure.verdict import CheckRow, Margins, Verdict, measured_row
from widthwise.scaling import PlanRow
from widthwise.theory import FULL, MATRIX_ROLES, Role, weakest_update


def feature_rows(runs: Runs, margins: Margins) -> list[CheckRow]:
    """Every module's output: its size at step 0, and its change after each step."""
    rows: list[CheckRow] = []
    for key in (*runs.keys(Quantity.FEATURE), *runs.keys(Quantity.CHANGE)):
        values = runs.values(key)
        if not values or all(value == 0 for seed in values for value in seed):
            continue  # the data itself, or what depends on no trained tensor
        grows = _grows(runs, key.name)
        start = key.quantity is Quantity.FEATURE
        theory = _module_exponent(runs, key.name) if grows else 0.0
        found = measured_row(
            key.quantity, key.name, key.step, widths=runs.widths, values=values, theory=theory,
            margin=margins.feature if start else margins.growth, bound=not (start and grows),
        )  # fmt: skip
        rows.append(found if start else growth_allowed(found, runs, grows=grows))
    return rows


def _grows(runs: Runs, module: str) -> bool:
    shapes = [runs.tensors[n].shapes.get(module, ()) for n in runs.widths]
    sizes = zip(*shapes, strict=False)
    return any(all(one < two for one, two in pairwise(size)) for size in sizes)


def _module_exponent(runs: Runs, module: str) -> float:
    """The exponent that a module's own tensors give its output: an embedding's or a norm's -b, else 0."""
    plain = module.removesuffix(INPUT)
    if module != plain:
        tied = [
            row for name, row in _held(runs, plain).items() if row.exponents.a or name not in runs.plan.rows
        ]
        return _nearest_feature(runs, module) if tied else 0.0
    held = list(_held(runs, module).values())
    matrices = [row for row in held if row.role in MATRIX_ROLES]
    acting = matrices if matrices else held
    own = [row for row in acting if row.role in (Role.EMBEDDING, Role.VECTOR)]
    return -float(own[0].exponents.b) if own and len(own) == len(acting) else 0.0


def _held(runs: Runs, module: str) -> dict[str, PlanRow]:
    tensors = next(iter(runs.tensors.values()))
    return {name: row for name, row in tensors.rows.items() if name.rpartition(".")[0] == module}


def _nearest_feature(runs: Runs, module: str) -> float:
    """The input of a tied or declared readout: whatever factor the model applies in front of it, in halves."""
    values = runs.values(Key(Quantity.FEATURE, module, 0))
    if len(values) < 2 or any(value <= 0 for seed in values for value in seed):
        return 0.0
    return round(2 * slope_interval(runs.widths, values).estimate) / 2


def growth_allowed(row: CheckRow, runs: Runs, *, grows: bool) -> CheckRow:
    """Growth that the plan's choices allow is reported by its name."""
    if row.slope is None or not grown(row):
        return row
    plan = runs.plan
    if weakest_update(plan.alignment) < FULL.update:
        why = f"grows: the plan's rates assume alignment {weakest_update(plan.alignment)}"
        return replace(row, verdict=Verdict.REPORTED, reason=why)
    readout = plan.parameterization.readout
    slack = 1 - float(readout.a + readout.b)
    if grows or slack <= 0 or row.slope.low > slack + row.margin:
        return row
    bears = row.slope.high <= slack + row.margin
    why = f"grows: {HARMLESS}" + ("" if bears else f", up to n^{slack:g}")
    return replace(row, verdict=Verdict.REPORTED if bears else Verdict.UNDECIDED, reason=why)
