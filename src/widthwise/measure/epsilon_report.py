"""The result of an epsilon report: a row a tensor, a row a role, and its forms, text and plain rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from widthwise.measure.epsilon_verdict import SEVERITY, EpsilonVerdict, epsilon_verdict


@dataclass(frozen=True)
class EpsilonRow:
    """What an epsilon does to one tensor, or to all tensors of a role.

    Args:
        name: of the tensor; of the role, in a role's row.
        role: by the plan; empty without one.
        tensors: how many the row is about.
        epsilon: that is in use, or asked about; None if there is none, or if the tensors' differ.
        step: how many updates the moments have seen.
        coordinates: all of them.
        untouched: never had a gradient (m = v = 0); neither in the fraction nor in the medians.
        non_finite: with an infinite or undefined second moment; not in them either.
        zeros: where the second moment has underflowed, v = 0 and m != 0. They are below any epsilon.
        below: where sqrt(v_hat) < epsilon; None without an epsilon.
        sampled: how many coordinates the next three numbers were read off; see `moment_sizes`.
        low: the sqrt(v_hat) that 1 % of the coordinates lie below, in units of the gradient; NaN if undefined.
        median: of sqrt(v_hat); NaN if undefined.
        median_ratio: of sqrt(v_hat) / epsilon; NaN if undefined.
        exponent: g, by the plan: the gradient is of size n^(-g), and so should epsilon be. None without a plan.
        planned: the epsilon that the plan gives at this width; None without a plan, or where the base width's is
            unknown.
        largest_fine: the largest power of ten with which the verdict would be *fine*; None if there is none.
    """

    name: str
    role: str
    tensors: int
    epsilon: float | None
    step: int
    coordinates: int
    untouched: int
    non_finite: int
    zeros: int
    below: int | None
    sampled: int
    low: float
    median: float
    median_ratio: float
    exponent: Fraction | None
    planned: float | None
    largest_fine: float | None

    @property
    def counted(self) -> int:
        """The coordinates that a fraction is a fraction of: touched, and finite."""
        return self.coordinates - self.untouched - self.non_finite

    @property
    def fraction(self) -> float:
        """Of the counted coordinates, those below epsilon; NaN if undefined."""
        return float("nan") if self.below is None or not self.counted else self.below / self.counted

    @property
    def verdict(self) -> EpsilonVerdict:
        """See `epsilon_verdict`."""
        return epsilon_verdict(below=self.below, counted=self.counted, median_ratio=self.median_ratio)


@dataclass(frozen=True)
class EpsilonReport:
    """How Adam's epsilon compares with what it is added to.

    Args:
        optimizer: its class.
        step: how many updates the most updated tensor has seen.
        width: of the plan; None without one, as all that follows.
        base_width: of the plan.
        parameterization: of the plan.
        base_epsilon: as tuned at the base width; None if it could not be told.
        rows: one a tensor, in the order of the groups.
        roles: one a role, made of its tensors' coordinates together; none without a plan.
    """

    optimizer: str
    step: int
    width: int | None
    base_width: int | None
    parameterization: str | None
    base_epsilon: float | None
    rows: tuple[EpsilonRow, ...]
    roles: tuple[EpsilonRow, ...]

    @property
    def verdict(self) -> EpsilonVerdict:
        """The worst of the tensors'."""
        return max((row.verdict for row in self.rows), key=SEVERITY.index)

    @property
    def largest_fine(self) -> float | None:
        """The largest power of ten that would be fine for every tensor; None if some tensor has none."""
        found = [row.largest_fine for row in self.rows if row.counted]
        known = [value for value in found if value is not None]
        return min(known) if known and len(known) == len(found) else None

    def row(self, name: str) -> EpsilonRow:
        """The row of a tensor, or of a role.

        Raises:
            ValueError: no such row.
        """
        for row in (*self.rows, *self.roles):
            if row.name == name:
                return row
        raise ValueError(
            f"no row {name!r}; there are {', '.join(row.name for row in self.rows + self.roles)}"
        )

    def worst(self, verdict: EpsilonVerdict) -> Sequence[EpsilonRow]:
        """The tensors with this verdict, those with the smallest median ratio first."""
        found = [row for row in self.rows if row.verdict is verdict]
        return sorted(found, key=lambda row: (row.median_ratio, -row.fraction))

    def table(self) -> str:
        """The rows as plain text, tensors that differ only in their layer's number in one."""
        from widthwise.measure.epsilon_text import table

        return table(self)

    def summary(self) -> str:
        """What the report comes to, and what to do, in a few sentences."""
        from widthwise.measure.epsilon_text import summary

        return summary(self)

    def __str__(self) -> str:
        return f"{self.table()}\n{self.summary()}"

    def plain_rows(self) -> list[dict[str, Any]]:
        """Every row, of tensors and then of roles, as a plain dictionary. See `epsilon_json.plain_row`."""
        from widthwise.measure.epsilon_json import plain_rows

        return plain_rows(self)

    def save(self, path: Path | str) -> None:
        """Write the report as JSON, replacing the file at once or not at all."""
        from widthwise.measure.epsilon_json import save_report

        save_report(self, Path(path))

    @staticmethod
    def load(path: Path | str) -> "EpsilonReport":
        """Read a report that `save` wrote.

        Raises:
            ValueError: a file that is not such a report.
        """
        from widthwise.measure.epsilon_json import load_report

        return load_report(Path(path))
