"""Proposals by HiGHS, through scipy: a vertex in floating point, rounded to the data's common denominator.

Written as c - r and G - c, the conditions are differences of two variables, so that vertices have the constants'
denominator and prices are integers; bounds on rates can multiply both by an integer, and such fractions are tried too.
The certificate decides; nothing here is trusted.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from widthwise.theory.linear_program import Certificate, LinearProgram, Prices, UncertifiedError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SOURCE = "HiGHS"
OPTIMAL, INFEASIBLE, UNBOUNDED = 0, 2, 3
MULTIPLES = (1, 2, 3, 4, 6, 12)
LARGEST_DENOMINATOR = 1000
"""Of the simplest fractions, where several layers share one amount: thirds, tenths."""
NOISE = 1e-6
"""Prices are multiples of at least 1/12; what is smaller than this is rounding."""
BASE, MOST_DIGITS = 512, 3
"""Several costs in one: prices up to 255 in size are told apart, and three digits stay far from a float's 53 bits."""


class NoVertexError(ArithmeticError):
    """HiGHS found no optimum.

    Args:
        status: 2 if the rows contradict each other, 3 if a cost falls without bound.
        stage: which cost.
    """

    def __init__(self, status: int, stage: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.stage = stage


def solve_with_highs(program: LinearProgram) -> Certificate:
    """The proven optimum of a program.

    Raises:
        NoVertexError: the program is infeasible or unbounded, as far as HiGHS can tell.
        UncertifiedError: no rounding of what HiGHS proposes is proven by its certificate.
    """
    matrix = _matrix(program)
    costs = [stage for stage, cost in enumerate(program.costs) if cost]
    if len(costs) <= MOST_DIGITS:
        try:
            return _certified(program, *_all_at_once(program, matrix, costs))
        except (NoVertexError, UncertifiedError):
            pass  # one cost after another is slower and sees through more
    return _certified(program, *_one_by_one(program, matrix, costs))


def _certified(
    program: LinearProgram, point: Sequence[float], stages: Sequence[Mapping[int, float]]
) -> Certificate:
    failure: UncertifiedError | None = None
    for candidate in _roundings(program, point, stages):
        try:
            return candidate.check()
        except UncertifiedError as error:
            failure = failure or error
    raise UncertifiedError(f"no rounding of the vertex that HiGHS proposes is proven optimal: {failure}")


def _roundings(
    program: LinearProgram, point: Sequence[float], stages: Sequence[Mapping[int, float]]
) -> Iterator[Certificate]:
    """The vertex on lattices of growing fineness, and with each number as the simplest fraction near it."""
    for multiple in MULTIPLES:
        yield Certificate(
            program,
            tuple(_rounded(value, multiple * program.denominator) for value in point),
            tuple(_rounded_prices(prices, multiple) for prices in stages),
            SOURCE,
        )
    unit = program.denominator
    yield Certificate(
        program,
        tuple(Fraction(value * unit).limit_denominator(LARGEST_DENOMINATOR) / unit for value in point),
        tuple(
            {row: Fraction(price).limit_denominator(LARGEST_DENOMINATOR) for row, price in prices.items()}
            for prices in stages
        ),
        SOURCE,
    )


def _one_by_one(
    program: LinearProgram, matrix: "csr_array", costs: Sequence[int]
) -> tuple[Sequence[float], Sequence[Mapping[int, float]]]:
    """Every cost minimized with the rows that earlier costs priced held at equality: the point, and prices by stage."""
    point: Sequence[float] = ()
    stages: list[Mapping[int, float]] = [{} for _ in program.costs]
    equalities: set[int] = set()
    for stage in costs:
        point, prices = _minimize(program, matrix, program.costs[stage], stage, equalities)
        stages[stage] = prices
        equalities |= {row for row, price in prices.items() if abs(price) > NOISE}
    return point, stages


def _all_at_once(
    program: LinearProgram, matrix: "csr_array", costs: Sequence[int]
) -> tuple[Sequence[float], Sequence[Mapping[int, float]]]:
    """The costs as the digits of one cost in base BASE; its integer prices then hold every stage's prices as digits."""
    total: dict[int, int] = {}
    for stage in costs:
        total = {
            v: BASE * total.get(v, 0) + program.costs[stage].get(v, 0)
            for v in {*total, *program.costs[stage]}
        }
    point, prices = _minimize(program, matrix, total, 0, set())
    stages: list[dict[int, float]] = [{} for _ in program.costs]
    for row, price in prices.items():
        rest = round(price)
        for stage in reversed(costs):
            digit = (rest + BASE // 2) % BASE - BASE // 2  # digits may be negative
            rest = (rest - digit) // BASE
            if digit:
                stages[stage][row] = digit
    return point, stages


def _matrix(program: LinearProgram) -> "csr_array":
    from scipy.sparse import csr_array

    values = [float(k) for row in program.rows for k in row.coefficients.values()]
    columns = [v for row in program.rows for v in row.coefficients]
    starts = [0, *accumulate(len(row.coefficients) for row in program.rows)]
    return csr_array((values, columns, starts), shape=(len(program.rows), program.variables))


def _minimize(
    program: LinearProgram, matrix: "csr_array", cost: Mapping[int, int], stage: int, equalities: set[int]
) -> tuple[Sequence[float], dict[int, float]]:
    """One cost minimized, some rows held at equality: the point, and the prices of the rows that have one."""
    from scipy.optimize import linprog

    constants = [float(row.constant) for row in program.rows]
    equal = sorted(equalities)
    free = [row for row in range(len(program.rows)) if row not in equalities]
    found = linprog(
        [float(cost.get(variable, 0)) for variable in range(program.variables)],
        A_ub=(-matrix[free] if equal else -matrix) if free else None,
        b_ub=[constants[row] for row in free] if free else None,
        A_eq=-matrix[equal] if equal else None,
        b_eq=[constants[row] for row in equal] if equal else None,
        bounds=(None, None),
        method="highs-ds",
        options={"presolve": False},
    )
    if found.status != OPTIMAL:
        raise NoVertexError(found.status, stage, found.message)
    marginals = (
        *zip(free, found.ineqlin.marginals, strict=True),
        *zip(equal, found.eqlin.marginals, strict=True),
    )
    return found.x.tolist(), {row: -float(marginal) for row, marginal in marginals if marginal}


def _rounded(value: float, denominator: int) -> Fraction:
    return _ratio(round(value * denominator), denominator)


_ratio = lru_cache(maxsize=4096)(Fraction)
"""Few numbers occur, many times each: 0, 1, the exponents of a network."""


def _rounded_prices(prices: Mapping[int, float], denominator: int) -> Prices:
    rounded = {row: _rounded(price, denominator) for row, price in prices.items()}
    return {row: price for row, price in rounded.items() if price}
