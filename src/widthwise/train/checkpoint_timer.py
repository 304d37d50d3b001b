"""When a checkpoint of a training is worth what writing it costs.

With I the interval that was asked for, b the checkpoint's bytes, w the rate of writing, s the seconds since the last
one and r the seconds left,

    C = b / w                           what it costs
    K = C (1 / SHARE - 1)               what has to be trained for each of them
    due  <=>  s >= max(I, K) and r >= K

so writing takes at most `SHARE` of the time, the first checkpoint included, and none is written shortly before the end,
when a kill could cost little more than the checkpoint does. w is `WRITE_RATE` until one was written, and measured then.
"""

import time
from collections.abc import Callable

SHARE = 0.05
"""Checkpoints are written less often than asked where they would otherwise take more than this share of the time."""

WRITE_RATE = 3e8
"""Bytes a second from a GPU through SHA-256 onto a disk, until measured: 6 GB took 20 s."""


class CheckpointTimer:
    """Knows what the last checkpoint cost and when it was written; begins when it is made.

    Args:
        every_seconds: at least so long between two; infinite for none.

    Example:
        >>> now = [0.0]
        >>> timer = CheckpointTimer(60.0, clock=lambda: now[0])
        >>> now[0] = 379.0  # 6 GB cost 20 s, for which 380 s have to be trained
        >>> timer.due(done=379, steps=1000, size=6_000_000_000)
        False
        >>> now[0] = 380.0
        >>> timer.due(done=380, steps=1000, size=6_000_000_000)
        True
        >>> timer.due(done=380, steps=700, size=6_000_000_000)  # it ends in 320 s
        False
    """

    def __init__(self, every_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = every_seconds, clock
        self._seconds_a_byte, self._last, self._done = 1 / WRITE_RATE, clock(), 0

    def begin(self, done: int) -> None:
        """Training goes on after so many steps."""
        self._last, self._done = self._clock(), done

    def due(self, *, done: int, steps: int, size: int) -> bool:
        """Whether to write one now.

        Args:
            done, steps: how many steps are done, and how many there are.
            size: the checkpoint's bytes.
        """
        since, trained = self._clock() - self._last, done - self._done
        if since < self._every or trained <= 0:
            return False
        left = since / trained * (steps - done)
        return min(since, left) >= size * self._seconds_a_byte * (1 / SHARE - 1)

    def written(self, *, done: int, size: int, began: float) -> None:
        """One was written after so many steps.

        Args:
            began: the clock when writing began.
        """
        self.begin(done)
        self._seconds_a_byte = (self._last - began) / max(size, 1)
