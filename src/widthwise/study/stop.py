"""Stop a run with nothing lost: what is in training is told, writes a checkpoint after its next step, and ends.

A signal, or the store's writer where a worker trains, asks a `Stop`; a training that looks at it obeys. What does not
look (a text being read, a user's own function) is ended where it is, and so is everything when it is asked again.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what a cluster sends before it kills."""


class Stop:
    """Whether a run was asked to stop, and whether somebody looks at that now."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        """The last one that asked."""
        self._asked = self._looked_at = False

    @property
    def asked(self) -> bool:
        """Whether it was."""
        return self._asked

    def ask(self) -> bool:
        """Ask for it; False if nobody looks, so that whoever asks has to end the work.

        Example:
            >>> stop = Stop()
            >>> with stop.looked_at():
            ...     stop.ask()
            True
            >>> stop.ask(), stop.asked
            (False, True)
        """
        self._asked = True  # first: who has just left `looked_at` asks next whether this is set
        return self._looked_at

    @contextmanager
    def looked_at(self) -> Iterator[None]:
        """Within it, `asked` is looked at before long."""
        self._looked_at = True
        try:
            yield
        finally:
            self._looked_at = False


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """A `Stop` that SIGINT and SIGTERM ask; KeyboardInterrupt where nobody looks at it, and at the second signal.

    Signals that are ignored stay so. Outside the main thread, which alone gets signals, nothing asks it.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        again, stop.signal = stop.asked, signal.Signals(number)
        if not stop.ask() or again:
            raise KeyboardInterrupt
        # Not print: the signal may have come in the middle of one.
        os.write(
            2, b"\nwidthwise: stopping after a checkpoint of what is in training; again to end at once\n"
        )

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    mine = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in mine}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
