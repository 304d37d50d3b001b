"""Linear programs in exact arithmetic, and the certificate that proves a solution optimal.

    minimize  cost_1 . x,  then among the optima  cost_2 . x,  ...     subject to   a_i . x + k_i >= 0  for every row i

A point x is optimal in that order if there are prices y_1, y_2, ... with, at every stage s,

    feasible         a_i . x + k_i >= 0
    dual feasible    sum_i y_si a_i = cost_s,   y_si >= 0 except on rows that an earlier stage priced
    complementary    y_si = 0 wherever a_i . x + k_i > 0

Rows that a stage prices hold with equality at all of its optima, so later stages may price them with either sign.
`Certificate.check` verifies these with integers after scaling by a common denominator: no tolerance, no rounding.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

Prices = Mapping[int, Fraction]
"""Row index -> its price y; rows that are not named have price 0."""


@dataclass(frozen=True)
class Row:
    """One condition, coefficients . x + constant >= 0.

    Args:
        coefficients: variable index -> integer coefficient.
    """

    coefficients: Mapping[int, int]
    constant: Fraction


@dataclass(frozen=True)
class LinearProgram:
    """Rows over `variables` real variables, and the costs to be minimized one after another."""

    variables: int
    rows: tuple[Row, ...]
    costs: tuple[Mapping[int, int], ...]

    @cached_property
    def denominator(self) -> int:
        """The common denominator of the constants."""
        return math.lcm(*{row.constant.denominator for row in self.rows})

    @cached_property
    def scaled_constants(self) -> tuple[int, ...]:
        """The constants as multiples of 1 / denominator."""
        return tuple(
            row.constant.numerator * (self.denominator // row.constant.denominator) for row in self.rows
        )


class UncertifiedError(ArithmeticError):
    """A proposed solution that the certificate does not prove."""


class InfeasibleError(ValueError):
    """Conditions that no learning rates satisfy."""


@dataclass(frozen=True)
class Certificate:
    """A point with the prices that prove it optimal at every stage.

    Args:
        point: the value of every variable.
        prices: for every cost, the prices of the rows.
        source: who proposed it.
    """

    program: LinearProgram
    point: tuple[Fraction, ...]
    prices: tuple[Prices, ...]
    source: str

    def check(self) -> "Certificate":
        """This certificate, proven.

        Raises:
            UncertifiedError: naming the first row or variable that fails.
        """
        if len(self.prices) != len(self.program.costs):
            raise UncertifiedError(f"{len(self.prices)} stages of prices for {len(self.program.costs)} costs")
        slacks = self._slacks()
        negative = next((i for i, slack in enumerate(slacks) if slack < 0), None)
        if negative is not None:
            raise UncertifiedError(f"row {negative} is violated at the point proposed by {self.source}")
        equalities: set[int] = set()
        for stage, (cost, prices) in enumerate(zip(self.program.costs, self.prices, strict=True)):
            for row, price in prices.items():
                if slacks[row] and price:
                    raise UncertifiedError(f"stage {stage}: row {row} has a price and slack")
                if price < 0 and row not in equalities:
                    raise UncertifiedError(f"stage {stage}: row {row} has the negative price {price}")
            self._check_balance(stage, cost, prices)
            equalities |= {row for row, price in prices.items() if price}
        return self

    def _slacks(self) -> list[int]:
        """a_i . x + k_i of every row, times a common denominator."""
        scale = math.lcm(self.program.denominator, *{value.denominator for value in self.point})
        finer = scale // self.program.denominator
        point = [value.numerator * (scale // value.denominator) for value in self.point]
        return [
            sum([coefficient * point[variable] for variable, coefficient in row.coefficients.items()])
            + constant * finer
            for row, constant in zip(self.program.rows, self.program.scaled_constants, strict=True)
        ]

    def _check_balance(self, stage: int, cost: Mapping[int, int], prices: Prices) -> None:
        scale = math.lcm(*{price.denominator for price in prices.values()})
        balance = [0] * self.program.variables
        for row, price in prices.items():
            scaled = price.numerator * (scale // price.denominator)
            for variable, coefficient in self.program.rows[row].coefficients.items():
                balance[variable] += scaled * coefficient
        for variable, total in enumerate(balance):
            if total != scale * cost.get(variable, 0):
                raise UncertifiedError(
                    f"stage {stage}: the prices of variable {variable} do not add up to its cost"
                )

    def slack(self, row: int) -> Fraction:
        """By how much the point satisfies a row; 0 where the row binds."""
        coefficients = self.program.rows[row].coefficients
        return self.program.rows[row].constant + sum(k * self.point[v] for v, k in coefficients.items())

    def determines(self, variables: Sequence[int], *, stages: int) -> bool:
        """Whether the priced rows of the first stages alone fix these variables, so that every optimum agrees on them.

        Priced rows are equalities at every optimum. A row with one unknown variable fixes it; repeated until nothing
        more follows. True is a proof; False is only the absence of this one.
        """
        priced = {row for prices in self.prices[:stages] for row, price in prices.items() if price}
        rows = [set(self.program.rows[row].coefficients) for row in priced]
        known: set[int] = set()
        before = -1
        while len(known) > before:
            before = len(known)
            for row in rows:
                row -= known
                if len(row) == 1:
                    known |= row
        return known.issuperset(variables)
