"""Train one trial with a user's own function: call it, keep its curve, and say how the trial ended."""

import math
import operator
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import SupportsFloat

from widthwise.records import TrialStatus
from widthwise.study.own_trial import Diverged, OwnFunction, Trial
from widthwise.study.runner import CURVE_POINTS
from widthwise.study.trial_result import TrialResult
from widthwise.user_code import said

REASON_LENGTH = 500


class Curve:
    """The losses that a training function reports, as at most so many means over equal stretches of its steps."""

    def __init__(self, steps: int, progress: Callable[[int], None], *, points: int = CURVE_POINTS) -> None:
        self._steps, self._progress, self._points = steps, progress, min(points, steps)
        self._last = 0
        self._open: list[tuple[int, float]] = []
        self._closed: list[tuple[int, float]] = []
        self.divergence: tuple[int, str] | None = None

    @property
    def last(self) -> int:
        """The last step that was reported; 0 before the first."""
        return self._last

    def points(self) -> tuple[tuple[int, float], ...]:
        """(step, mean of what was reported since the point before)."""
        return (*self._closed, *self._mean())

    def report(self, step: int, loss: SupportsFloat) -> None:
        """Take in the training loss after so many steps.

        Raises:
            ValueError: a step that is not a later one, or beyond the horizon.
            Diverged: the loss is not finite.
        """
        step = operator.index(step)
        if not self._last < step <= self._steps:
            raise ValueError(
                f"report({step}, ...) after step {self._last}: steps rise, and end at {self._steps}"
            )
        if self.divergence is not None:
            raise Diverged(self.divergence[1])
        value = float(loss)
        self._last = step
        if not math.isfinite(value):
            self.divergence = (step, f"training loss is {value}")
            raise Diverged(self.divergence[1])
        if self._open and self._stretch(step) > self._stretch(self._open[-1][0]):
            self._closed += self._mean()
            self._open = []
        self._open.append((step, value))
        self._progress(step)

    def _stretch(self, step: int) -> int:
        return (step - 1) * self._points // self._steps

    def _mean(self) -> list[tuple[int, float]]:
        if not self._open:
            return []
        return [(self._open[-1][0], math.fsum(loss for _, loss in self._open) / len(self._open))]


def train_own(id_: int, trial: Trial, function: OwnFunction, progress: Callable[[int], None]) -> TrialResult:
    """Call a training function; what it prints goes to standard error.

    Args:
        id_: the trial's, for its result.
        progress: called with the steps done.
    """
    curve = Curve(trial.steps, progress)
    try:
        with redirect_stdout(sys.stderr):
            returned = function(trial, curve.report)
        if isinstance(returned, bool) or not isinstance(returned, SupportsFloat):
            raise TypeError(
                f"the training function returned {returned!r}, which is no number; return the final validation loss"
            )
        loss = float(returned)
    except Diverged as error:
        return _diverged(id_, curve, error.reason)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        if curve.divergence is not None:
            return _diverged(id_, curve, curve.divergence[1])
        _warn(trial, error)
        return TrialResult(
            id_, TrialStatus.FAILED, said(error)[:REASON_LENGTH], curve.last or None, None, curve.points()
        )
    if curve.divergence is not None:
        return _diverged(id_, curve, curve.divergence[1])
    if not math.isfinite(loss):
        return _diverged(id_, curve, f"final loss is {loss}")
    return TrialResult(id_, TrialStatus.COMPLETED, None, None, loss, curve.points())


def _warn(trial: Trial, error: BaseException) -> None:
    """Show where the user's code failed: once for each width, since the same text is not shown twice."""
    # The first frame is `train_own` itself.
    beyond = error.__traceback__.tb_next if error.__traceback__ else None
    where = "".join(traceback.format_exception(error.with_traceback(beyond))).strip()
    warnings.warn(
        f"a trial of width {trial.width} failed, and the study goes on without it:\n{where}", stacklevel=3
    )


def _diverged(id_: int, curve: Curve, reason: str) -> TrialResult:
    step = curve.last if curve.divergence is None else curve.divergence[0]
    return TrialResult(id_, TrialStatus.DIVERGED, reason, step, None, curve.points())
