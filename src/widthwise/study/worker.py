"""A worker: a process of its own that trains the populations which the store's writer sends it, one after another.

It never opens the store. It ends when the writer's end of its connection closes, whatever it is doing then: a run that
is interrupted, or killed, leaves no worker behind. The connection is a socket pair that only these two processes hold.
"""

import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from widthwise.study import runner
from widthwise.study.spec_file import parse_spec
from widthwise.study.stop import Stop
from widthwise.study.task import (
    AtStep,
    Begun,
    Facts,
    Job,
    Message,
    Outcome,
    Raised,
    Revise,
    Task,
    Warned,
)
from widthwise.study.text import begun_text
from widthwise.study.train_stored import Bench, train_stored

TELL_SECONDS = 0.1
"""How often the writer is told of the steps done, at most."""


@dataclass(frozen=True)
class Ready:
    """A worker's first word: on what machine, with what versions it works."""

    facts: Facts


@dataclass(frozen=True)
class Recorded:
    """The writer's answer to `Revise`."""


@dataclass(frozen=True)
class Halt:
    """The writer's word that the run is to stop: what is in training ends with a checkpoint, all else at once."""


def main(descriptor: int) -> None:
    """Serve the writer at the other end of a connection."""
    connection, stop = Connection(descriptor), Stop()
    inbox: SimpleQueue[Any] = SimpleQueue()
    # A cluster sends this to every process of a job. Without a writer that stops, it is a lost worker's population.
    signal.signal(signal.SIGTERM, lambda *_: _halt(stop))
    threading.Thread(target=_receive, args=(connection, inbox, stop), daemon=True).start()
    job: Job = inbox.get()
    try:
        bench = replace(open_bench(job), stop=stop)
    except Exception as error:
        connection.send(raised(error))
        return
    connection.send(Ready(runner.host_facts(bench.device)))
    while True:
        task: Task = inbox.get()

        def say(message: Message, task: Task = task) -> None:
            try:
                connection.send((task.key, message))
            except OSError:
                os._exit(0)  # as in `_receive`, which is about to find it out

        try:
            say(perform(bench, task, task.checkpoint(job.store), ToWriter(say, inbox.get)))
        except KeyboardInterrupt:
            return
        if stop.asked:
            return


def _halt(stop: Stop) -> None:
    if not stop.ask():
        os._exit(128 + signal.SIGTERM)


def _receive(connection: Connection, inbox: "SimpleQueue[Any]", stop: Stop) -> None:
    try:
        while True:
            message = connection.recv()
            if isinstance(message, Halt):
                _halt(stop)
            else:
                inbox.put(message)
    except (EOFError, OSError):
        os._exit(0)  # nobody is there to report to; what is on the disk is all that the next run goes on from


def open_bench(job: Job) -> Bench:
    """Read the corpus and find the device.

    Raises:
        ValueError: there is no such device here, or the text here is not the one that the store was begun with.
    """
    text = begun_text(parse_spec(job.spec).spec, job.corpus, where="what a worker trains for, the store,")
    return Bench(text, runner.choose_device(job.device), job.checkpoint_seconds, job.measure)


class ToWriter:
    """A `Reporter` that sends messages.

    Args:
        say: sends one.
        answer: waits for the writer's answer to a revision.
    """

    def __init__(
        self,
        say: Callable[[Message], None],
        answer: Callable[[], object],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._answer, self._clock = say, answer, clock
        self._told = clock() - TELL_SECONDS

    def begun(self, step: int) -> None:
        """See `Reporter`."""
        self._say(Begun(step))

    def at_step(self, step: int) -> None:
        """See `Reporter`."""
        if (now := self._clock()) - self._told >= TELL_SECONDS:
            self._told = now
            self._say(AtStep(step))

    def revise(self, from_step: int, trials: Sequence[int]) -> None:
        """See `Reporter`."""
        self._say(Revise(from_step, tuple(trials)))
        answer = self._answer()
        assert isinstance(answer, Recorded), answer

    def warned(self, text: str) -> None:
        """A warning, for whoever watches the run."""
        self._say(Warned(text))


def perform(bench: Bench, task: Task, checkpoint: Path, reporter: ToWriter) -> Outcome:
    """Train a population; its warnings go to the writer, and an error becomes the outcome."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        reporter.warned(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        try:
            return train_stored(bench, task, checkpoint, reporter)
        except Exception as error:
            return raised(error)


def raised(error: Exception) -> Raised:
    """An error, as it travels."""
    bad_input = isinstance(error, ValueError)
    says = str(error) if bad_input else f"{type(error).__name__}: {error}"
    return Raised(says, bad_input, "".join(traceback.format_exception(error)))
