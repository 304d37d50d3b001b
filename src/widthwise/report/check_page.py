"""What a coordinate check's page shows, as plain values: no room that measures is known here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckLine:
    """One measured exponent, or several that differ only in a layer's number or in the step.

    Args:
        measured: what was measured, in words.
        name: of the tensor or module.
        role: of the tensor; empty for a module.
        theory: the exponent expected; None where there is none.
        bound: whether theory is an upper bound only.
        margin: what the slope may miss theory by.
        slope: with its interval, (estimate, low, high); None where it is undefined.
        verdict: `pass`, `fail`, `undecided`, `undefined` or `reported`.
        reason: why, where the numbers do not say it.
        values: for each seed, the value at each width.
    """

    measured: str
    name: str
    role: str
    theory: float | None
    bound: bool
    margin: float
    slope: tuple[float, float, float] | None
    verdict: str
    reason: str
    values: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class CheckPage:
    """The content of one check's page.

    Args:
        title: the model's name.
        verdict: of all rows.
        head: what was checked, in a line.
        summary: the verdict in sentences.
        widths: ascending.
        lines: every exponent.
    """

    title: str
    verdict: str
    head: str
    summary: tuple[str, ...]
    widths: tuple[int, ...]
    lines: tuple[CheckLine, ...]
