"""Proposals of constants: Optuna's sampler asked from nothing but what has been tried.

The constants gamma of embedding, hidden layers and readout are searched in three dimensions, each log-uniform in a
range, at one base rate. At one width a run depends on the three products of rate and constant alone, so these three are
the whole space: a fourth dimension for the rate would move along itself.

Every batch is asked of a new sampler that is told all trials before it, seeded by their number: what it proposes
follows from the trials, and a search that was killed proposes what it would have. Optuna is imported when asked.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from widthwise.scaling import RateConstants

ROLES = ("embedding", "hidden", "readout")
STARTUP = 10
"""Trials that are drawn at random before the sampler models anything."""
EDGE = 0.1
"""How near to an end of its range, as a share of it, an optimum is one at the edge: 0.4 decades of four."""
SPAN = 100.0
"""From an optimum to each end of the range that is put around it."""
MOST_PHASES = 3
"""How many ranges are searched at most."""

Range = tuple[float, float]
Ranges = tuple[Range, Range, Range]
"""Lowest and highest of each role, in the order of `ROLES`."""


@dataclass(frozen=True)
class Tried:
    """Constants and the loss that they came to; None if the run diverged."""

    constants: RateConstants
    loss: float | None


def as_tuple(constants: RateConstants) -> tuple[float, float, float]:
    """In the order of `ROLES`."""
    return constants.embedding, constants.hidden, constants.readout


def inside(constants: RateConstants, ranges: Ranges) -> bool:
    """Whether a range holds each constant."""
    pairs = zip(as_tuple(constants), ranges, strict=True)
    return all(low <= value <= high for value, (low, high) in pairs)


def best_of(history: Sequence[Tried]) -> Tried | None:
    """The first of the lowest loss; None if nothing trained."""
    trained = [tried for tried in history if tried.loss is not None]
    return min(trained, key=lambda tried: tried.loss or 0.0) if trained else None


def recentred(ranges: Ranges, best: RateConstants) -> Ranges | None:
    """The ranges around an optimum that is near an edge of one; None if it is near none.

    Example:
        >>> recentred(((0.01, 100.0),) * 3, RateConstants(1.0, 50.0, 2.0))
        ((0.01, 100.0), (0.5, 5000.0), (0.01, 100.0))
    """
    found: list[Range] = []
    for value, (low, high) in zip(as_tuple(best), ranges, strict=True):
        share = math.log(value / low) / math.log(high / low)
        near = share <= EDGE or share >= 1 - EDGE
        found.append((value / SPAN, value * SPAN) if near else (low, high))
    moved = (found[0], found[1], found[2])
    return None if moved == ranges else moved


def propose(history: Sequence[Tried], ranges: Ranges, *, count: int, seed: int) -> list[RateConstants]:
    """The next constants to try, all at once.

    Args:
        history: all that ended, in the order in which it was proposed; what lies outside of the ranges is not told.
        count: how many.
        seed: of the sampler; the number of trials before is added.

    Raises:
        ValueError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ValueError("a search for constants needs Optuna: pip install 'widthwise[optuna]'") from error
    space: dict[str, optuna.distributions.BaseDistribution] = {
        role: optuna.distributions.FloatDistribution(low, high, log=True)
        for role, (low, high) in zip(ROLES, ranges, strict=True)
    }
    known = [tried for tried in history if inside(tried.constants, ranges)]
    worst = max((tried.loss for tried in known if tried.loss is not None), default=0.0)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=(seed * 1_000_003 + len(history)) % 2**32,
                multivariate=True,
                constant_liar=True,
                n_startup_trials=STARTUP,
            )
            study = optuna.create_study(sampler=sampler)
            for tried in known:
                study.add_trial(
                    optuna.trial.create_trial(
                        params=dict(zip(ROLES, as_tuple(tried.constants), strict=True)),
                        distributions=space,
                        value=worst + 1.0 if tried.loss is None else tried.loss,
                    )
                )
            asked = [study.ask(space).params for _ in range(count)]
    finally:
        optuna.logging.set_verbosity(verbosity)
    return [_rounded(params, ranges) for params in asked]


def _rounded(params: "dict[str, float]", ranges: Ranges) -> RateConstants:
    """Six digits, as people write them, and within the ranges."""
    embedding, hidden, readout = (
        min(max(float(f"{params[role]:.6g}"), low), high)
        for role, (low, high) in zip(ROLES, ranges, strict=True)
    )
    return RateConstants(embedding=embedding, hidden=hidden, readout=readout)
