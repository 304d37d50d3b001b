"""Optima that no fit finds, because the rates just above them diverge: what the grid itself says of them.

If the loss has one minimum over the rates, that lies between the neighbours of the best rate run, x_b = log2 of it:

    low = the nearest lower rate that trained,     high = the nearest higher rate that was run, however it ended

All three by the mean over the seeds; a rate trained if every seed did. Of two widths, the best rate moved by

    x_b(n) - x_b(base),     at least low(n) - high(base),     at most high(n) - low(base)

with the seeds that both widths have: a rate that some seeds survive is likelier to fail the more seeds there are. That
is an interval of what is possible, not of confidence: it takes the measured losses for what they are, so that it says
nothing of what other seeds would have done, and it is as wide as the grid is coarse.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stored import best_rate, octave

from widthwise.analysis import Interval, Observation


@dataclass(frozen=True)
class Bracket:
    """Between which rates, in log2, the best one lies."""

    best: float
    low: float
    high: float


def bracket(runs: Sequence[Observation]) -> Bracket | str:
    """The bracket of one arm's runs at one width, or why there is none.

    Example:
        >>> losses = {-4: 2.53, -3: 2.50, -2: 2.49, -1: None, 0: None}
        >>> bracket([Observation("full", 128, 2.0**x, 0, loss) for x, loss in losses.items()])
        Bracket(best=-2.0, low=-3.0, high=-1.0)
    """
    best, _ = best_rate(runs)
    failed = {octave(o) for o in runs if o.loss is None}
    rates = {octave(o) for o in runs}
    below = [x for x in rates - failed if x < best]
    above = [x for x in rates if x > best]
    if not rates - failed:
        return "no rate trained with every seed"
    if not below:
        return "no lower rate than the best trained"
    if not above:
        return "the best rate is the highest that was run"
    return Bracket(best, max(below), min(above))


def moved_between(base: Sequence[Observation], large: Sequence[Observation]) -> Interval | str:
    """How far the best rate moved from one width to another, by their brackets; or why that cannot be said."""
    both = {o.seed for o in base} & {o.seed for o in large}
    one, other = (bracket([o for o in runs if o.seed in both]) for runs in (base, large))
    if isinstance(one, str) or isinstance(other, str):
        ends = ((base, one), (large, other))
        return "; ".join(f"at {runs[0].width}: {end}" for runs, end in ends if isinstance(end, str))
    return Interval(other.best - one.best, other.low - one.high, other.high - one.low)
