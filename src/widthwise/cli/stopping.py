"""How a command that trains ends when it is told to: Ctrl-C or SIGTERM, and how to go on."""

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from widthwise.cli.training_options import Device

if TYPE_CHECKING:
    from widthwise.study import Executor, Stop


@contextmanager
def stoppable(executor: "Executor", store: Path, go_on: str) -> "Iterator[Stop]":
    """Around a run: what signals ask to stop; one that was stopped ends with 128 + the signal, and says what goes on.

    Processes of torchrun are ended by it, all at once.

    Args:
        go_on: a command that goes on with the store.
    """
    from widthwise.study import Sharded, Stop, stop_on_signals

    if isinstance(executor, Sharded):
        yield Stop()
        return
    with stop_on_signals() as stop:
        try:
            yield stop
        except KeyboardInterrupt:
            says = f"{go_on} goes on" if store.exists() else "nothing was written"
            print(f"widthwise: stopped; {says}", file=sys.stderr)
            raise typer.Exit(128 + (stop.signal or signal.SIGINT)) from None


def resume_command(
    store: Path,
    device: Device,
    executor: str | None,
    workers: int | None,
    address: str | None,
    checkpoint_minutes: str | None,
) -> str:
    """`widthwise study resume`, with the options that were given.

    Example:
        >>> from pathlib import Path
        >>> print(resume_command(Path("my s.sqlite"), Device.CPU, "processes", 2, None, None))
        `widthwise study resume 'my s.sqlite' --device cpu --executor processes --workers 2`
    """
    options = {
        "--device": None if device is Device.AUTO else device.value,
        "--executor": executor,
        "--workers": workers,
        "--address": address,
        "--checkpoint-minutes": checkpoint_minutes,
    }
    said = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    return f"`{shlex.join(['widthwise', 'study', 'resume', str(store), *said])}`"
