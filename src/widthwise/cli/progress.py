"""What a person sees while a study runs: a bar in a terminal, lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from widthwise.study import RunState


@contextmanager
def show_progress(note: str | None = None) -> "Iterator[Callable[[RunState], None]]":
    """Give a listener for `run_study`; lines go to standard error.

    Args:
        note: what to say first, once training begins: what is refused before has one message alone.
    """
    if not sys.stderr.isatty():
        yield _noting(note, _Lines())
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("starting", total=1.0)

        def listen(state: "RunState") -> None:
            progress.update(task, completed=state.work_done / state.work, description=describe(state))

        yield _noting(note, listen)


def _noting(note: str | None, listen: "Callable[[RunState], None]") -> "Callable[[RunState], None]":
    waiting = [] if note is None else [note]

    def listener(state: "RunState") -> None:
        while waiting:
            print(f"widthwise: {waiting.pop()}", file=sys.stderr, flush=True)
        listen(state)

    return listener


SILENCE = 60.0
"""Seconds after which a line is printed though no population has begun."""
SHORT = 5.0
"""Seconds between lines of populations of one model: a training function's own trials may be many and short."""


class _Lines:
    """Prints a line when a population begins, or is gone on with, after `SILENCE` without one, and at the end.

    Of populations of one model, a line in `SHORT`.
    """

    def __init__(self) -> None:
        self._begun: set[tuple[int, int]] = set()
        self._printed = -SHORT

    def __call__(self, state: "RunState") -> None:
        begun = (state.population, state.resumed_step)
        since = state.seconds - self._printed
        new = begun not in self._begun and (state.members > 1 or since >= SHORT)
        self._begun.add(begun)
        if new or since >= SILENCE or state.trials_done == state.trials:
            self._printed = state.seconds
            print(describe(state), file=sys.stderr, flush=True)


SHOWN = 4
"""How many populations at work one line names."""


def describe(state: "RunState") -> str:
    """One line: models done, what is at work, the speed, the time left, and the round where rates are planned."""
    round_ = f"round {state.round}: " if state.round else ""
    parts = [f"{round_}{state.trials_done}/{state.trials} models"]
    if len(state.at_work) > 1:
        parts += [f"{p.members} of width {p.width} at {p.step}/{p.steps}" for p in state.at_work[:SHOWN]]
        if (more := len(state.at_work) - SHOWN) > 0:
            parts.append(f"{more} more populations")
    else:
        parts.append(f"{state.members} of width {state.width} at step {state.step}/{state.steps}")
    if state.resumed_step:
        parts.append(f"gone on with from step {state.resumed_step}")
    if state.tokens_per_second is not None:
        parts.append(f"{state.tokens_per_second / 1e3:.1f} k tokens/s")
    if state.seconds_left is not None:
        parts.append(f"{duration(state.seconds_left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    Example:
        >>> duration(3725.2)
        '1 h 02 min'
        >>> duration(65)
        '1 min 05 s'
    """
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"
