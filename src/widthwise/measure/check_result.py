"""The result of a coordinate check: its rows, its verdict, and its two forms, text and JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from widthwise.measure.run_once import Key, Quantity
from widthwise.measure.verdict import CheckRow, Verdict
from widthwise.theory import MATRIX_ROLES

MATRICES = frozenset(role.value for role in MATRIX_ROLES)


@dataclass(frozen=True)
class CoordinateCheck:
    """Every measured exponent beside theory's.

    Args:
        widths: ascending.
        seeds: models a width.
        steps: of training.
        learning_rate: the base rate.
        rows: those that name a broken rule (init factors, updates) first, then what updates do, then activations.
        measurements: for each number measured, for each seed, its value at each width.
    """

    widths: tuple[int, ...]
    seeds: int
    steps: int
    base_width: int
    parameterization: str
    optimizer: str
    alignment: str
    learning_rate: float
    rows: tuple[CheckRow, ...]
    measurements: Mapping[Key, tuple[tuple[float, ...], ...]] = field(repr=False)

    @property
    def verdict(self) -> Verdict:
        """Fail if a row fails; undecided if a row is, or if a trained matrix has no first update; else pass."""
        verdicts = {row.verdict for row in self.rows}
        if Verdict.FAIL in verdicts:
            return Verdict.FAIL
        return Verdict.UNDECIDED if Verdict.UNDECIDED in verdicts or self.unmeasured else Verdict.PASS

    @property
    def failures(self) -> tuple[CheckRow, ...]:
        """The rows that failed, those that name a broken rule first."""
        return tuple(row for row in self.rows if row.verdict is Verdict.FAIL)

    @property
    def suspects(self) -> tuple[CheckRow, ...]:
        """The failures to look at first: initial draws, or else updates, or else the first output that fails.

        A wrong draw changes gradients too, and both change outputs; an output that fails by itself has a factor of the
        model's own forward pass in front of it that no rule declares.
        """
        for quantity in (Quantity.FACTOR, Quantity.UPDATE):
            found = tuple(row for row in self.failures if row.quantity is quantity)
            if found:
                return found
        return tuple(row for row in self.failures if row.quantity is Quantity.FEATURE)[:1]

    @property
    def unmeasured(self) -> tuple[CheckRow, ...]:
        """Trained matrices without a first update: what the check says nothing about."""
        return tuple(
            row
            for row in self.rows
            if row.quantity is Quantity.UPDATE
            and row.verdict is Verdict.UNDEFINED
            and row.role in MATRICES
            and row.reason != FROZEN
        )

    def row(self, quantity: Quantity | str, name: str, step: int | None = None) -> CheckRow:
        """One row; of several steps the first, unless said.

        Raises:
            ValueError: no such row.
        """
        for row in self.rows:
            if row.quantity == quantity and row.name == name and step in (None, row.step):
                return row
        names = ", ".join(dict.fromkeys(row.name for row in self.rows if row.quantity == quantity))
        raise ValueError(
            f"no row {quantity} of {name!r}, step {step}; of this quantity there are {names or 'none'}"
        )

    def summary(self) -> str:
        """The verdict in a sentence or two."""
        from widthwise.measure.check_text import summary

        return summary(self)

    def table(self) -> str:
        """The rows as plain text, layers that differ only in their number in one row."""
        from widthwise.measure.check_text import table

        return table(self)

    def __str__(self) -> str:
        return f"{self.table()}\n{self.summary()}"

    def save(self, path: Path | str) -> None:
        """Write the check as JSON, replacing the file at once or not at all."""
        from widthwise.measure.check_json import save_check

        save_check(self, Path(path))

    @staticmethod
    def load(path: Path | str) -> "CoordinateCheck":
        """Read a check that `save` wrote.

        Raises:
            ValueError: a file that is not such a check.
        """
        from widthwise.measure.check_json import load_check

        return load_check(Path(path))


FROZEN = "frozen"
