"""Pareto corners: the stable rates that cannot be enlarged without lowering another one, and are no mixture of others.

A preference picks one of them. All are found by walking along the edges of the feasible polyhedron in exact arithmetic:
efficient vertices are connected through efficient edges (Evans and Steuer 1973), so a walk over efficient vertices from
one of them meets all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from widthwise.theory.linear_program import LinearProgram, Row
from widthwise.theory.parameterization import ZERO
from widthwise.theory.solution import Solution

MOST_CORNERS = 64
MOST_BASES = 5000

Rates = Mapping[str, Fraction]
Vector = tuple[Fraction, ...]


@dataclass(frozen=True)
class ParetoCorners:
    """The corners found, the preferred one first.

    Args:
        corners: layer -> c, for every corner.
        complete: whether these are all; False if the walk was cut off at its cap.
    """

    corners: tuple[Rates, ...]
    complete: bool


def pareto_corners(solution: Solution, *, most: int = MOST_CORNERS) -> ParetoCorners:
    """Every Pareto corner of the problem that a solution belongs to, up to a cap.

    Args:
        most: stop after this many corners, or after visiting 5,000 bases.

    Raises:
        ValueError: a cap below 1.

    Example:
        >>> from widthwise.theory import MUP, NONE, SGD, solve
        >>> for corner in pareto_corners(solve(MUP, SGD, NONE)).corners:
        ...     print(*corner.values())
        0 -1/2 0
        1/2 0 -1/2
    """
    if most < 1:
        raise ValueError(f"at most {most} corners: the cap must be at least 1")
    rates = {name: i for (symbol, name), i in solution.conditions.variables.items() if symbol == "c"}
    preferred = tuple(solution.certificate.point[index] for index in rates.values())
    if _is_ideal(solution.certificate.program, rates.values(), preferred):
        return ParetoCorners((dict(zip(rates, preferred, strict=True)),), complete=True)
    walk = _Walk(solution.certificate.program, tuple(rates.values()), most)
    points, complete = walk.run(list(solution.certificate.point))
    corners = [point for point in points if _is_corner(point, points)]
    corners.sort(key=lambda point: (point != preferred, sum(point), point))
    return ParetoCorners(tuple(dict(zip(rates, point, strict=True)) for point in corners[:most]), complete)


def _is_ideal(program: LinearProgram, rates: Iterable[int], point: Vector) -> bool:
    """Whether every rate is as large as it could be on its own: then no other corner exists."""
    from widthwise.theory.highs import NoVertexError, solve_with_highs

    for index, here in zip(rates, point, strict=True):
        try:
            least = solve_with_highs(replace(program, costs=({index: 1},))).point[index]
        except NoVertexError:  # falls without bound
            return False
        if least < here:
            return False
    return True


class _Walk:
    """Breadth first over the bases of efficient vertices; a basis is as many independent tight rows as variables."""

    def __init__(self, program: LinearProgram, rates: Sequence[int], most: int) -> None:
        self.program = program
        self.rates = rates
        self.most = most
        self.rows = [
            [Fraction(row.coefficients.get(v, 0)) for v in range(program.variables)] for row in program.rows
        ]
        self.efficient: dict[Vector, bool] = {}

    def run(self, point: list[Fraction]) -> tuple[list[Vector], bool]:
        """The rates at every efficient vertex, and whether the walk ended by itself."""
        start = self._vertex(point)
        waiting, seen = [start], {frozenset(start.basis)}
        found: dict[Vector, None] = {}
        while waiting:
            vertex = waiting.pop(0)
            found[self._rates(vertex.point)] = None
            if len(found) > self.most or len(seen) > MOST_BASES:
                return list(found), False
            for basis, neighbour in self._neighbours(vertex):
                if basis not in seen and self._is_efficient(neighbour):
                    seen.add(basis)
                    waiting.append(_Vertex(tuple(sorted(basis)), neighbour, self.rows))
        return list(found), True

    def _rates(self, point: Sequence[Fraction]) -> Vector:
        return tuple(point[index] for index in self.rates)

    def _slack(self, row: int, point: Sequence[Fraction]) -> Fraction:
        return self.program.rows[row].constant + _dot(self.rows[row], point)

    def _vertex(self, point: list[Fraction]) -> "_Vertex":
        """A vertex of the optimal face: from a point on it, along what its tight rows leave free."""
        while True:
            tight = [row for row in range(len(self.rows)) if self._slack(row, point) == 0]
            basis, free = _independent(self.rows, tight)
            if free is None:
                return _Vertex(tuple(basis), tuple(point), self.rows)
            step, _ = min(
                (self._step(point, direction) for direction in (free, [-x for x in free])),
                key=lambda found: (found[0] is None, found[0] or ZERO),
            )
            assert step is not None, (
                "rates and changes are bounded from below, so the polyhedron holds no line"
            )
            direction = free if self._step(point, free)[0] == step else [-x for x in free]
            point = [x + step * d for x, d in zip(point, direction, strict=True)]

    def _step(
        self, point: Sequence[Fraction], direction: Sequence[Fraction]
    ) -> tuple[Fraction | None, list[int]]:
        """How far a direction stays feasible, and the rows that stop it; None if nothing does."""
        longest: Fraction | None = None
        stops: list[int] = []
        for row in range(len(self.rows)):
            descent = -_dot(self.rows[row], direction)
            if descent > 0:
                step = self._slack(row, point) / descent
                if longest is None or step < longest:
                    longest, stops = step, []
                if step == longest:
                    stops.append(row)
        return longest, stops

    def _neighbours(self, vertex: "_Vertex") -> list[tuple[frozenset[int], Vector]]:
        found: list[tuple[frozenset[int], Vector]] = []
        for leaving, direction in zip(vertex.basis, vertex.edges, strict=True):
            step, stops = self._step(vertex.point, direction)
            if step is not None:
                point = tuple(x + step * d for x, d in zip(vertex.point, direction, strict=True))
                found += [(frozenset(vertex.basis) - {leaving} | {row}, point) for row in stops]
        return found

    def _is_efficient(self, point: Vector) -> bool:
        """Whether no other stable rates are at least as large everywhere and larger somewhere."""
        here = self._rates(point)
        if here not in self.efficient:
            from widthwise.theory.highs import solve_with_highs

            below = tuple(Row({i: -1}, c) for i, c in zip(self.rates, here, strict=True))
            total = dict.fromkeys(self.rates, 1)
            better = solve_with_highs(
                replace(self.program, rows=(*self.program.rows, *below), costs=(total,))
            )
            self.efficient[here] = sum(better.point[i] for i in self.rates) == sum(here)
        return self.efficient[here]


@dataclass(frozen=True)
class _Vertex:
    """A basis with its point; `edges[k]` leaves the k-th row of the basis and keeps the others tight."""

    basis: tuple[int, ...]
    point: Vector
    rows: Sequence[Sequence[Fraction]]

    @cached_property
    def edges(self) -> list[list[Fraction]]:
        inverse = _inverse([list(self.rows[row]) for row in self.basis])
        return [[line[k] for line in inverse] for k in range(len(self.basis))]


def _dot(left: Sequence[Fraction], right: Sequence[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(left, right, strict=True) if x and y), start=ZERO)


def _independent(
    rows: Sequence[Sequence[Fraction]], among: Sequence[int]
) -> tuple[list[int], list[Fraction] | None]:
    """Independent rows among some, and a direction that all of them leave free (None if there is none)."""
    size = len(rows[0])
    reduced: dict[int, list[Fraction]] = {}  # pivot column -> reduced row
    chosen: list[int] = []
    for index in among:
        line = list(rows[index])
        for pivot, known in reduced.items():
            line = [x - line[pivot] * y for x, y in zip(line, known, strict=True)] if line[pivot] else line
        pivot = next((column for column, x in enumerate(line) if x), None)
        if pivot is None:
            continue
        line = [x / line[pivot] for x in line]
        reduced = {
            p: [x - known[pivot] * y for x, y in zip(known, line, strict=True)]
            for p, known in reduced.items()
        }
        reduced[pivot] = line
        chosen.append(index)
    free = next((column for column in range(size) if column not in reduced), None)
    if free is None:
        return chosen, None
    direction = [ZERO] * size
    direction[free] = Fraction(1)
    for pivot, known in reduced.items():
        direction[pivot] = -known[free]
    return chosen, direction


def _inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """Gauss and Jordan's, in fractions."""
    size = len(matrix)
    joined = [row + [Fraction(int(i == k)) for k in range(size)] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if joined[i][column])
        joined[column], joined[pivot] = joined[pivot], joined[column]
        lead = joined[column][column]
        joined[column] = [x / lead for x in joined[column]]
        for i in range(size):
            factor = joined[i][column]
            if i != column and factor:
                joined[i] = [x - factor * y for x, y in zip(joined[i], joined[column], strict=True)]
    return [row[size:] for row in joined]


def _is_corner(point: Vector, points: Sequence[Vector]) -> bool:
    """Whether some positive weights make a point better than every other one: then it is no mixture of others."""
    others = [other for other in points if other != point]
    if not others:
        return True
    from scipy.optimize import linprog

    gaps = [[float(y - x) for x, y in zip(point, other, strict=True)] for other in others]
    found = linprog(
        [1.0] * len(point),
        A_ub=[[-gap for gap in line] for line in gaps],
        b_ub=[-1.0] * len(gaps),
        bounds=(1e-3, None),
        method="highs",
    )
    if not found.success:
        return False
    weights = [Fraction(float(weight)) for weight in found.x]
    here = _dot(weights, point)
    return all(_dot(weights, other) > here for other in others)
