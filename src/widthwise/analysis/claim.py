"""How a claim is judged: by conditions on intervals, stated before the runs.

A condition **holds** when its whole interval meets it, **does not hold** when its whole interval contradicts it, and is
otherwise **not decidable** at the study's scale. One whose runs are not there, or not all finished, is **not run yet**,
and so is its claim, whatever its other conditions say. A claim of several conditions holds if all do, and does not hold
if one does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from widthwise.analysis.result import Interval


class Standing(StrEnum):
    """How a claim or one of its conditions stands."""

    HOLDS = "holds"
    DOES_NOT = "does not hold"
    OPEN = "not decidable at this scale"
    NOT_RUN = "not run yet"


@dataclass(frozen=True)
class Gap:
    """Why a number is not there.

    Args:
        reason: in words.
        standing: `OPEN` where the runs cannot tell, `NOT_RUN` where they are missing or unfinished.
    """

    reason: str
    standing: Standing = Standing.OPEN


@dataclass(frozen=True)
class Condition:
    """One condition of a claim.

    Args:
        what: was measured, in words.
        demand: what was asked of it, in words.
        measured: with its interval; None if it could not be, and then `reason` says why.
    """

    what: str
    demand: str
    measured: Interval | None
    standing: Standing
    reason: str = ""


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim of the paper and how it stands in a study.

    Args:
        number: in the list of claims.
        claim: in words.
        remark: what must be said beside the numbers.
        trials: the runs of the prescriptions that it rests on; 0 where it rests on none.
    """

    number: int
    claim: str
    standing: Standing
    conditions: tuple[Condition, ...]
    remark: str = ""
    trials: int = 0


def within(
    what: str, measured: Interval | None, low: float, high: float, *, missing: Gap, demand: str
) -> Condition:
    """A condition that a number lie between two bounds; a bound may be infinite.

    Example:
        >>> within("e", Interval(0.1, 0.0, 0.2), -0.15, 0.15, missing=Gap(""), demand="").standing.name
        'OPEN'
        >>> within("e", Interval(0.3, 0.2, 0.4), -0.15, 0.15, missing=Gap(""), demand="").standing.name
        'DOES_NOT'
    """
    if measured is None:
        return Condition(what, demand, None, missing.standing, missing.reason)
    if low <= measured.low and measured.high <= high:
        return Condition(what, demand, measured, Standing.HOLDS)
    outside = measured.high < low or measured.low > high
    return Condition(what, demand, measured, Standing.DOES_NOT if outside else Standing.OPEN)


def below_zero(what: str, measured: Interval | None, *, missing: Gap) -> Condition:
    """A condition that a number be below 0; an interval that reaches 0 leaves it open."""
    return _sign(what, measured, missing, demand="below 0", sign=-1)


def above_zero(what: str, measured: Interval | None, *, missing: Gap) -> Condition:
    """A condition that a number be above 0."""
    return _sign(what, measured, missing, demand="above 0", sign=1)


def _sign(what: str, measured: Interval | None, missing: Gap, *, demand: str, sign: int) -> Condition:
    if measured is None:
        return Condition(what, demand, None, missing.standing, missing.reason)
    ends = sorted((sign * measured.low, sign * measured.high))
    standing = Standing.HOLDS if ends[0] > 0 else Standing.DOES_NOT if ends[1] < 0 else Standing.OPEN
    return Condition(what, demand, measured, standing)


def all_of(conditions: Iterable[Condition]) -> Standing:
    """The standing of a claim whose conditions must all hold.

    Example:
        >>> all_of([])
        <Standing.OPEN: 'not decidable at this scale'>
    """
    standings = [condition.standing for condition in conditions]
    if Standing.NOT_RUN in standings:
        return Standing.NOT_RUN
    if Standing.DOES_NOT in standings:
        return Standing.DOES_NOT
    return Standing.HOLDS if standings and Standing.OPEN not in standings else Standing.OPEN


def any_of(conditions: Iterable[Condition]) -> Standing:
    """The standing of a claim that one condition is enough for."""
    standings = [condition.standing for condition in conditions]
    if Standing.NOT_RUN in standings:
        return Standing.NOT_RUN
    if Standing.HOLDS in standings:
        return Standing.HOLDS
    return Standing.DOES_NOT if standings and Standing.OPEN not in standings else Standing.OPEN
