"""The planned learning-rate sweep of one cell: which rates to train next, or how the cell is done.

Rates stand on one lattice, rate(k) = origin * 2^(k * step) with whole k, so that all cells and a full grid share their
trials. `decide` is a pure function of what a cell has so far:

1. a coarse population over the window: the whole range, or around the optimum of the next narrower width;
2. coarse steps below the best rate until a worse one is there, and above it until a rate diverges or its loss is
   `stop_ratio` times the best;
3. as soon as the best rate lies between two worse ones, every lattice point within `fill` of it, again and again as the
   best one moves;
4. then the further seeds, at the best rate and within `around` of it.

Every trial is trained to its full horizon. Choosing by short runs or by early ranks favours other rates than the
horizon's own, by an amount that may depend on the width: it would end up in the fitted exponent.

Source: the procedure of Everett et al. 2024 (arXiv 2407.05872), as their readers describe it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class SweepOutcome(StrEnum):
    """How the search of a cell ended."""

    BRACKETED = "bracketed"
    STABILITY_EDGE = "stability edge"
    LOWER_LIMIT = "lower limit"
    UPPER_LIMIT = "upper limit"
    NONE_TRAINED = "no rate trained"


@dataclass(frozen=True)
class SweepRule:
    """How a cell is swept; all but `origin`, `step` and `stop_ratio` in steps of the lattice.

    Args:
        origin: the rate at k = 0, the lowest of the first window.
        step: octaves from one lattice point to the next.
        last: the end of the first window.
        coarse: from one rate of a coarse population to the next.
        window: from a neighbour's optimum to each end of the window around it.
        fill: from the best rate to each end of what is filled.
        reach: how far the sweep may go beyond the first window, on each side; a hard limit.
        stop_ratio: a loss so many times the best ends the sweep to the right.
        around: from the best rate to each end of where further seeds train, in coarse steps of the lattice.
    """

    origin: float
    step: float
    last: int
    coarse: int
    window: int
    fill: int
    reach: int
    stop_ratio: float
    around: int

    @property
    def floor(self) -> int:
        """The lowest point that may be trained."""
        return -self.reach

    @property
    def ceiling(self) -> int:
        """The highest point that may be trained."""
        return self.last + self.reach

    def rate(self, k: int) -> float:
        """The learning rate at a lattice point."""
        return self.origin * 2.0 ** (k * self.step)

    def first_window(self, neighbour: int | None) -> tuple[int, ...]:
        """The coarse population of a cell.

        Args:
            neighbour: the optimum of the next narrower width; None for the first of its arm.
        """
        if neighbour is None:
            return tuple(range(0, self.last + 1, self.coarse))
        steps = range(-self.window, self.window + 1, self.coarse)
        return tuple(sorted({min(max(neighbour + k, self.floor), self.ceiling) for k in steps}))

    def expected_runs(self, *, first: bool) -> int:
        """About how many rates a search trains: a window, what is filled, and three for going on and moving.

        Args:
            first: whether it is that of an arm's first width.

        Example:
            >>> SweepRule(2.0**-8, 0.25, 32, 4, 8, 4, 32, 1.2, 0).expected_runs(first=False)  # 29 % of 49 is 14.2
            14
        """
        window = self.first_window(None if first else 0)
        return len(window) + 2 * self.fill - 2 * (self.fill // self.coarse) + 3


Losses = Mapping[int, float | None]
"""Lattice point -> the final loss of a run, None if it diverged."""
Point = tuple[int, int]
"""(lattice point, seed)."""


@dataclass(frozen=True)
class Decision:
    """What to do with a cell.

    Args:
        wanted: the runs to train next; none of them if the cell is done.
        outcome: how its search ended; None while rates are still wanted.
        best: the rate of lowest loss once the search has ended; None if none trained.
        reason: one sentence about the outcome.
    """

    wanted: tuple[Point, ...]
    outcome: SweepOutcome | None = None
    best: int | None = None
    reason: str = ""


def decide(
    rule: SweepRule, runs: Mapping[Point, float | None], *, neighbour: int | None, seeds: Sequence[int]
) -> Decision:
    """What a cell needs next.

    Args:
        runs: every run that has ended, by lattice point and seed, with its loss; None if it diverged.
        neighbour: where the window begins; see `SweepRule.first_window`.
        seeds: the first searches, the others are trained at the optimum.

    Example:
        >>> rule = SweepRule(2.0**-8, 0.5, 8, coarse=2, window=4, fill=2, reach=8, stop_ratio=1.2, around=0)
        >>> decide(rule, {}, neighbour=None, seeds=[0]).wanted
        ((0, 0), (2, 0), (4, 0), (6, 0), (8, 0))
        >>> runs = {(k, 0): None if k == 8 else 2 + abs(k - 4) / 10 for k in (0, 2, 4, 6, 8)}
        >>> decide(rule, runs, neighbour=None, seeds=[0]).wanted
        ((3, 0), (5, 0))
        >>> decide(rule, runs | {(3, 0): 2.1, (5, 0): 2.1}, neighbour=None, seeds=[0]).reason
        'the best rate lies between two worse ones'
    """
    losses = {k: loss for (k, seed), loss in runs.items() if seed == seeds[0]}
    wanted = _next_points(rule, losses, rule.first_window(neighbour))
    if wanted:
        return Decision(tuple((k, seeds[0]) for k in wanted))
    best = _best(losses)
    outcome, reason = _outcome(rule, losses, best)
    if best is None:
        return Decision((), outcome, None, reason)
    near = [k for k in range(best - rule.around, best + rule.around + 1, rule.coarse) if k in losses]
    again = [(k, seed) for seed in seeds[1:] for k in near]
    return Decision(tuple(point for point in again if point not in runs), outcome, best, reason)


def _best(losses: Losses) -> int | None:
    trained = [(loss, k) for k, loss in losses.items() if loss is not None]
    return min(trained)[1] if trained else None


def _next_points(rule: SweepRule, losses: Losses, window: Sequence[int]) -> list[int]:
    """The points that the search wants, ascending; none if it has ended."""
    if not losses:
        return list(window)
    best, lowest, highest = _best(losses), min(losses), max(losses)
    if best is None:
        below = range(lowest - rule.coarse, lowest - rule.window - 1, -rule.coarse)
        return sorted({max(k, rule.floor) for k in below} - losses.keys())
    wanted: set[int] = set()
    worse_below = any(loss is not None for k, loss in losses.items() if k < best)
    if not worse_below and best > rule.floor:
        wanted.add(max(lowest - rule.coarse, rule.floor))
    if right_end(rule, losses, best) is None and highest < rule.ceiling:
        wanted.add(min(highest + rule.coarse, rule.ceiling))
    if worse_below and highest > best:
        end = min((k for k, loss in losses.items() if k > best and loss is None), default=rule.ceiling + 1)
        wanted.update(range(max(best - rule.fill, rule.floor), min(best + rule.fill + 1, end)))
    return sorted(wanted - losses.keys())


def right_end(rule: SweepRule, losses: Losses, best: int) -> int | None:
    """The first rate above the best that diverged or lost too much; None if there is none yet."""
    least = losses[best]
    assert least is not None
    limit = least + (rule.stop_ratio - 1) * abs(least)
    return min((k for k, loss in losses.items() if k > best and (loss is None or loss > limit)), default=None)


def _outcome(rule: SweepRule, losses: Losses, best: int | None) -> tuple[SweepOutcome, str]:
    """How a search that wants nothing more has ended."""
    if best is None:
        return (
            SweepOutcome.NONE_TRAINED,
            f"every rate from {rule.rate(max(losses)):.3g} down to the limit of {rule.rate(rule.floor):.3g} diverged",
        )
    if best == rule.floor or not any(loss is not None for k, loss in losses.items() if k < best):
        return (
            SweepOutcome.LOWER_LIMIT,
            f"no worse rate trained down to the limit of {rule.rate(rule.floor):.3g}",
        )
    if best == rule.ceiling:
        return SweepOutcome.UPPER_LIMIT, f"no worse rate up to the limit of {rule.rate(rule.ceiling):.3g}"
    if losses[best + 1] is None:
        return SweepOutcome.STABILITY_EDGE, f"the next rate, {rule.rate(best + 1):.3g}, diverged"
    reason = "the best rate lies between two worse ones"
    if right_end(rule, losses, best) is None:
        reason += (
            f"; up to the limit of {rule.rate(rule.ceiling):.3g} none lost {rule.stop_ratio:g} times as much"
        )
    return SweepOutcome.BRACKETED, reason
