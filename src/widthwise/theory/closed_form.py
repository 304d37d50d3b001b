"""The closed form: the least slack that the network needs, gradients at their initial scale, and each rate as large as
its own conditions then allow.

    r = max over the readers of (omega - (a + b) + r of the reader), at least 0        (0 where omega = 1/2)
    c = r - s - p G + max(alpha, u - r of the input)                                   (at least 0 where q = 1)

Its prices follow from two passes. Against the direction of the network, a rate's cost is paid by a row that limits it;
if that row counts on slack of its input, the input owes it, and passes the debt on to what it reads itself. Along the
network, what a row gave a layer beyond what it owed pays for the layer's slack: at r = 0, or on to the reader that asks
for it. Where a debt cannot be passed on, the point is not optimal. The certificate decides; nothing here is trusted.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from widthwise.theory.conditions import Conditions, Kind
from widthwise.theory.linear_program import Certificate, LinearProgram, Prices
from widthwise.theory.network import Network

SOURCE = "the closed form"
RATE_KINDS = (Kind.UPDATE, Kind.SCALE, Kind.CROSS, Kind.GRADIENT_UPDATE)
"""The conditions that can limit a rate; of several that do, the earlier one is priced: it asks less of other layers."""


def propose_closed_form(
    conditions: Conditions, network: Network, program: LinearProgram
) -> Certificate | None:
    """The closed form's point with its prices, unproven; None where the passes find no prices.

    Args:
        program: the conditions' rows, and any costs.
    """
    point = _point(conditions, network, program)
    tight = _tight_rows(conditions, program, point)
    stages: list[Prices] = []
    for cost in program.costs:
        prices = _Ledger(conditions, tight, cost).settle(network)
        if prices is None:
            return None
        stages.append({row: Fraction(price) for row, price in prices.items()})
    exact = {value: Fraction(value, program.denominator) for value in set(point)}
    return Certificate(program, tuple(exact[value] for value in point), tuple(stages), SOURCE)


def _point(conditions: Conditions, network: Network, program: LinearProgram) -> list[int]:
    """r as small as readers allow; G as large as initial readouts allow; c as small as its rows then allow.

    Everything is counted in units of 1 / denominator of the constants, so integers are exact.
    """
    point = [0] * program.variables
    of_kind: dict[Kind, list[int]] = defaultdict(list)
    read_by: dict[str, list[int]] = defaultdict(list)
    for index, meaning in enumerate(conditions.meanings):
        of_kind[meaning.kind].append(index)
        if meaning.kind is Kind.INITIAL and meaning.through is not None:
            read_by[meaning.through].append(index)
    for node in reversed(network.order):
        r = conditions.variables.get(("r", node.name))
        if r is not None:
            point[r] = max([0, *(_needed(program, row, r, point) for row in read_by[node.name])])
    initial: dict[int, list[int]] = defaultdict(list)
    for row in of_kind[Kind.GRADIENT_INITIAL]:
        (gradient,) = program.rows[row].coefficients
        initial[gradient].append(program.scaled_constants[row])
    for gradient, bounds in initial.items():
        point[gradient] = min(bounds)
    least: dict[int, int] = {}
    for row in (row for kind in RATE_KINDS for row in of_kind[kind]):
        c = conditions.variables.get(("c", conditions.meanings[row].layer))
        if c is not None:
            needed = _needed(program, row, c, point)
            least[c] = max(least.get(c, needed), needed)
    for c, needed in least.items():
        point[c] = needed
    return point


def _needed(program: LinearProgram, row: int, variable: int, point: list[int]) -> int:
    """How large a variable of a row must be, all others given."""
    others = [k * point[v] for v, k in program.rows[row].coefficients.items() if v != variable]
    return -program.scaled_constants[row] - sum(others)


@dataclass(frozen=True)
class _TightRows:
    """Rows that hold with equality at the point.

    Args:
        of: (layer or join, kind) -> one of its rows.
        read: input -> a row by which some reader's initial weights ask it for slack.
        initial: variable G -> the row of an initial readout that bounds it.
    """

    of: Mapping[tuple[str, Kind], int]
    read: Mapping[str, int]
    initial: Mapping[int, int]


def _tight_rows(conditions: Conditions, program: LinearProgram, point: list[int]) -> _TightRows:
    of: dict[tuple[str, Kind], int] = {}
    read: dict[str, int] = {}
    initial: dict[int, int] = {}
    for index, (row, meaning) in enumerate(zip(program.rows, conditions.meanings, strict=True)):
        if program.scaled_constants[index] + sum([k * point[v] for v, k in row.coefficients.items()]) == 0:
            of.setdefault((meaning.layer, meaning.kind), index)
            if meaning.kind is Kind.INITIAL and meaning.through is not None:
                read.setdefault(meaning.through, index)
            if meaning.kind is Kind.GRADIENT_INITIAL:
                (gradient,) = row.coefficients
                initial.setdefault(gradient, index)
    return _TightRows(of, read, initial)


class _Ledger:
    """What one cost still owes to every variable, and the prices paid so far; all of them integers."""

    def __init__(self, conditions: Conditions, tight: _TightRows, cost: Mapping[int, int]) -> None:
        self.conditions = conditions
        self.tight = tight
        self.owed = [cost.get(variable, 0) for variable in range(len(conditions.variables))]
        self.prices: dict[int, int] = {}

    def settle(self, network: Network) -> Mapping[int, int] | None:
        """The prices, or None where something stays owed."""
        of, variables = self.tight.of, self.conditions.variables
        for node in reversed(network.order):
            c = variables.get(("c", node.name))
            if c is not None and self.owed[c]:
                limits = (of.get((node.name, kind)) for kind in RATE_KINDS)
                if not self._pay(c, next((row for row in limits if row is not None), None)):
                    return None
            r = variables.get(("r", node.name))
            if r is not None and self.owed[r] < 0 and not self._pay(r, of.get((node.name, Kind.INITIAL))):
                return None
        for node in network.order:
            r = variables.get(("r", node.name))
            if r is not None and self.owed[r]:
                row = of.get((node.name, Kind.BOUNDED))
                if not self._pay(r, self.tight.read.get(node.name) if row is None else row):
                    return None
        for (symbol, _), gradient in variables.items():
            if (
                symbol == "G"
                and self.owed[gradient]
                and not self._pay(gradient, self.tight.initial.get(gradient))
            ):
                return None
        return self.prices

    def _pay(self, variable: int, row: int | None) -> bool:
        """Settle a variable by a row; whether that could be done."""
        if row is None:
            return False
        coefficients = self.conditions.rows[row].coefficients
        price = self.owed[variable] * coefficients[variable]  # coefficients are 1 or -1
        if price < 0:
            return False
        self.prices[row] = self.prices.get(row, 0) + price
        for other, coefficient in coefficients.items():
            self.owed[other] -= price * coefficient
        return True
