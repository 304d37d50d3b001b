"""The table of alignment exponents: one row a prescription and role, alpha, omega and u as means over training."""

import math
from dataclasses import dataclass

from widthwise.analysis import AlignmentExponent
from widthwise.report.alignment_series import ArmAlignment
from widthwise.report.numbers import MISSING, fixed, plural
from widthwise.report.page_data import PageData
from widthwise.report.tables import Entry
from widthwise.theory import SOLVER_QUANTITIES


@dataclass(frozen=True)
class AlignmentTableRow:
    """One prescription and role."""

    prescription: str
    role: str
    entries: tuple[Entry, ...]
    measured: str


def alignment_rows(data: PageData) -> list[AlignmentTableRow]:
    """The rows; a prescription without exponents has one, which says why."""
    return [row for arm in data.alignment for row in _arm_rows(arm)]


def _arm_rows(arm: ArmAlignment) -> list[AlignmentTableRow]:
    widths = f"widths {', '.join(map(str, arm.rates))}"
    if not arm.mean.exponents:
        nothing = tuple(Entry(MISSING, arm.missing) for _ in SOLVER_QUANTITIES[:1])
        return [AlignmentTableRow(arm.prescription, MISSING, (*nothing, *[Entry(MISSING)] * 2), widths)]
    rows: list[AlignmentTableRow] = []
    for role in dict.fromkeys(one.name for one in arm.mean.exponents):
        found = {one.quantity: one for one in arm.mean.exponents if one.name == role}
        first = next(iter(found.values()))
        runs = f"{widths}; {plural(first.seeds, 'seed')}, {plural(len(first.layers), 'layer')}"
        entries = tuple(_entry(found[quantity]) for quantity in SOLVER_QUANTITIES)
        rows.append(AlignmentTableRow(arm.prescription, role, entries, runs))
    return rows


def _entry(one: AlignmentExponent) -> Entry:
    value = one.exponent
    if not math.isfinite(value.value):
        return Entry(MISSING, one.undefined)
    return Entry(fixed(value.value, 2), f"[{fixed(value.low, 2)}, {fixed(value.high, 2)}]")
