"""What a store measured of its tensors' sizes, arm by arm and role by role, each with the power that theory gives it.

Stored sizes are of weights with their multipliers folded in; here they are those of the parameterization as it is
written, with n^(-a) in the forward pass: gradients and second moments times n^(-a), weights and changes times n^a.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from widthwise.analysis import Sized
from widthwise.records import (
    ArmRow,
    CellRow,
    Magnitude,
    SizePoint,
    Spread,
    StoredStudy,
    read_sizes,
    read_spreads,
    read_study,
    read_tensors,
)
from widthwise.theory import (
    FULL,
    OPTIMIZER_RULES,
    PARAMETERIZATIONS,
    Role,
    gradient_exponent,
    role_exponents,
)

POSITION = "position"
"""The position embedding, which every sequence shares, apart from the role `embedding`."""
ROLES = ("embedding", POSITION, "hidden", "vector", "readout")


class Quantity(StrEnum):
    """What is measured of a tensor."""

    GRADIENT = "gradient at the start"
    SECOND_MOMENT = "median of √v̂"
    CHANGE = "change of the weights"
    INPUT_CHANGE = "change of the input"
    OUTPUT_CHANGE = "change of the output"


@dataclass(frozen=True)
class RoleSizes:
    """The sizes of one arm's tensors of a role, over widths.

    Args:
        theory: the power of the width under full alignment; None where there is none.
        bound: whether it is an upper bound.
    """

    arm: ArmRow
    role: str
    quantity: Quantity
    theory: float | None
    bound: bool
    sizes: tuple[Sized, ...]


@dataclass(frozen=True)
class RoleSpreads:
    """How the entries of one arm's tensors of a role are spread at a width.

    Args:
        magnitude: of the gradients of the first step, which are exact, or of second moments after the last.
        factor: what these folded sizes are multiplied by.
    """

    arm: ArmRow
    role: str
    width: int
    magnitude: Magnitude
    factor: float
    spreads: tuple[Spread, ...] = field(repr=False)


@dataclass(frozen=True)
class MeasuredSizes:
    """All of a store's.

    Args:
        sizes: by arm, role and quantity.
        spreads: by arm, width and role.
    """

    study: StoredStudy
    sizes: tuple[RoleSizes, ...]
    spreads: tuple[RoleSpreads, ...]


def has_sizes(store: Path) -> bool:
    """Whether a store is of a study that measures sizes."""
    return bool(read_tensors(store))


def has_one_rate(study: StoredStudy) -> bool:
    """Whether no prescription has two rates at a width: then there is no best one to report."""
    rates = {(cell.arm, cell.width, cell.learning_rate) for cell in study.cells}
    return len(rates) == len({(arm, width) for arm, width, _ in rates})


def measured_sizes(store: Path) -> MeasuredSizes:
    """Read them; trials that diverged count as far as they were measured.

    Raises:
        ValueError: not a store, or nothing in it yet.
    """
    study, points, spreads = read_study(store), read_sizes(store), read_spreads(store)
    if not points:
        raise ValueError(
            f"store {str(store)!r} has no measured sizes yet; `widthwise study resume` goes on with it"
        )
    roles = {(row.width, row.name): _role(row.name, row.role) for row in read_tensors(store)}
    cells: dict[str, list[CellRow]] = {}
    for cell in study.cells:
        cells.setdefault(cell.arm, []).append(cell)
    return MeasuredSizes(
        study,
        tuple(one for arm in study.arms for one in _sizes(arm, cells[arm.name], roles, points, spreads)),
        tuple(one for arm in study.arms for one in _spreads(arm, cells[arm.name], roles, spreads)),
    )


def _role(name: str, role: str) -> str:
    return POSITION if name == "position_embedding" else role


def _theory_role(role: str) -> Role:
    return Role.EMBEDDING if role == POSITION else Role(role)


def _factor(arm: ArmRow, role: str, width: int) -> float:
    """n^(-a), by which the multiplier makes gradients smaller."""
    return float(width) ** -float(PARAMETERIZATIONS[arm.parameterization][_theory_role(role)].a)


def theory_of(arm: ArmRow, role: str, quantity: Quantity) -> float | None:
    """The power of the width under full alignment.

    A change of the weights is c, less what the update itself has of the width: -(c + p g + q b), with p and q of
    `OptimizerRule`. Inputs and outputs change by order one at most under the rates for full alignment.
    """
    parameterization, of = PARAMETERIZATIONS[arm.parameterization], _theory_role(role)
    g = gradient_exponent(parameterization, of)
    if quantity in (Quantity.GRADIENT, Quantity.SECOND_MOMENT):
        return -float(g)
    if arm.prescription != FULL.name:
        return None
    if quantity is not Quantity.CHANGE:
        return 0.0
    rule = OPTIMIZER_RULES[arm.optimizer]
    exponents = role_exponents(parameterization, rule, FULL, of)
    powers = rule.gradient_power * g + rule.parameter_power * exponents.b
    return -float(exponents.c + powers)


def _sizes(
    arm: ArmRow,
    cells: Sequence[CellRow],
    roles: Mapping[tuple[int, str], str],
    points: Mapping[int, Sequence[SizePoint]],
    spreads: Mapping[int, Sequence[Spread]],
) -> Iterator[RoleSizes]:
    found: dict[tuple[str, Quantity], list[Sized]] = {}
    for cell in cells:
        last = max((point.step for point in points.get(cell.trial, ())), default=0)
        for point in points.get(cell.trial, ()):
            role = roles[cell.width, point.tensor]
            for quantity, value in _values(point, last, _factor(arm, role, cell.width)):
                one = Sized(cell.width, cell.seed, point.tensor, value)
                found.setdefault((role, quantity), []).append(one)
        for spread in _second_moments(spreads.get(cell.trial, ())):
            role = roles[cell.width, spread.tensor]
            value = spread.quantile(0.5) * _factor(arm, role, cell.width)
            one = Sized(cell.width, cell.seed, spread.tensor, value)
            found.setdefault((role, Quantity.SECOND_MOMENT), []).append(one)
    for role in ROLES:
        for quantity in Quantity:
            if sizes := found.get((role, quantity)):
                bound = quantity in (Quantity.INPUT_CHANGE, Quantity.OUTPUT_CHANGE)
                yield RoleSizes(arm, role, quantity, theory_of(arm, role, quantity), bound, tuple(sizes))


def _values(point: SizePoint, last: int, factor: float) -> Iterator[tuple[Quantity, float]]:
    """What a point says: the gradient of the first step, the rest of the last."""
    if point.step == 1 and point.gradient is not None:
        yield Quantity.GRADIENT, factor * point.gradient
    if point.step == last:
        given = (
            (Quantity.CHANGE, point.change, 1 / factor),
            (Quantity.INPUT_CHANGE, point.input_change, 1.0),
            (Quantity.OUTPUT_CHANGE, point.output_change, 1.0),
        )
        yield from ((quantity, value * by) for quantity, value, by in given if value is not None)


def _second_moments(spreads: Sequence[Spread]) -> list[Spread]:
    """Those of the last step."""
    found = [spread for spread in spreads if spread.magnitude is Magnitude.SECOND_MOMENT]
    last = max((spread.step for spread in found), default=0)
    return [spread for spread in found if spread.step == last]


def _spreads(
    arm: ArmRow,
    cells: Sequence[CellRow],
    roles: Mapping[tuple[int, str], str],
    spreads: Mapping[int, Sequence[Spread]],
) -> Iterator[RoleSpreads]:
    for cell in cells:
        found = spreads.get(cell.trial, ())
        first = [s for s in found if s.magnitude is Magnitude.GRADIENT and s.step == 1]
        for magnitude, of in ((Magnitude.GRADIENT, first), (Magnitude.SECOND_MOMENT, _second_moments(found))):
            for role in ROLES:
                if held := tuple(s for s in of if roles[cell.width, s.tensor] == role):
                    yield RoleSpreads(arm, role, cell.width, magnitude, _factor(arm, role, cell.width), held)
