"""Run a study again and again, killing it, and write down what stood in its store each time.

Run as a program, with the folder of a `spec.yaml` as its argument, this loads everything once and forks a process for
each attempt: a kill then costs no start of Python. `kill_until_done` takes any way of starting a process.
"""

import gc
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

KILLS = 10
SEED = 20240705
PATIENCE = 120.0
"""Seconds after which a run that nobody kills is given up."""


class Attempt(Protocol):
    """A started process."""

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...


Start = Callable[[Sequence[str], Path], Attempt]
"""Start `widthwise` with arguments, its standard error into a file."""


class Forked:
    """A child of this process, with the interface of `subprocess.Popen`."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                work()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)

    def wait(self, timeout: float | None = None) -> int:
        ends = float("inf") if timeout is None else time.monotonic() + timeout
        while self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG if timeout is not None else 0)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > ends:
                raise subprocess.TimeoutExpired("the forked command", timeout or 0)
            else:
                time.sleep(0.0005)
        return self._code

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def look(store: Path) -> dict[str, Any]:
    """What a store holds: the completed populations with host and seconds, and how many trials have ended."""
    if not store.exists():
        return {"completed": {}, "ended": 0}
    with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT id, host, seconds FROM population WHERE status = 'completed'")
        completed = {str(id_): [host, seconds] for id_, host, seconds in rows}
        (ended,) = connection.execute("SELECT count(*) FROM trial WHERE status <> 'pending'").fetchone()
    return {"completed": completed, "ended": ended}


def said(log: Path) -> int:
    """How many models a run had reported as done, by the last line that it finished writing."""
    lines = [
        line
        for line in log.read_text().splitlines(keepends=True)
        if " models, " in line and line.endswith("\n")
    ]
    return int(lines[-1].split("/")[0]) if lines else 0


def attempts(folder: Path, store: Path, options: Sequence[str] = ()) -> Sequence[str]:
    """With the specification at first and every other time, from the store alone in between."""
    odd = sum(1 for _ in folder.glob("*.log")) % 2
    if store.exists() and odd:
        return ["study", "resume", str(store), "--device", "cpu", *options]
    spec = ["study", "run", str(folder / "spec.yaml"), "--store", str(store)]
    return [*spec, "--device", "cpu", "--population-size", "4", *options]


def kill_until_done(
    folder: Path, start: Start, moments: Sequence[float], options: Sequence[str] = ()
) -> dict[str, Any]:
    """Kill a run at each of the moments (seconds after its start) that it lives to see, then let it end.

    A study that ends earlier is followed by a new one, so that every moment is used.

    Args:
        options: of the command, further ones.

    Returns:
        `stores`, and for each a list of what was seen after each attempt: `look`, with `said` and `killed` added.
    """
    remaining = list(moments)
    history: dict[str, list[dict[str, Any]]] = {}
    for number in itertools.count():
        store = folder / f"killed-{number}" / "s.sqlite"
        store.parent.mkdir()
        seen = history[str(store)] = []
        while not (seen and seen[-1]["killed"] is False):
            log = folder / f"{number}-{len(seen)}.log"
            arguments = attempts(folder, store, options)
            log.touch()
            attempt = start(arguments, log)
            try:
                code = attempt.wait(remaining[0] if remaining else PATIENCE)
            except subprocess.TimeoutExpired:
                attempt.kill()
                code = attempt.wait()
            # It may have ended by itself in the last moment; then it was not killed.
            killed = code == -signal.SIGKILL and bool(remaining)
            assert killed or code == 0, log.read_text()
            if killed:
                remaining.pop(0)
            seen.append({**look(store), "said": said(log), "killed": killed})
        if not remaining:
            return {"stores": history}
    raise AssertionError


def random_moments(whole: float, kills: int) -> list[float]:
    """Seeded moments in units of an undisturbed run's length: two at its very beginning, the rest all over it."""
    rng = random.Random(SEED)
    return [0.0, 0.02 * whole, *(rng.uniform(0.03, 0.6) * whole for _ in range(kills - 2))]


def main(folder: Path) -> None:
    """Do it all with forked processes: an undisturbed run, then kills by time, then kills by statement."""
    import torch

    import widthwise.analysis
    import widthwise.cli
    import widthwise.report.terminal
    import widthwise.study.runner
    import widthwise.train

    assert torch.get_num_threads() == 1

    def start(arguments: Sequence[str], log: Path) -> Forked:
        return Forked(lambda: run_command(arguments, log))

    began = time.monotonic()
    # In this process, so that what a study imports late is there for all that is forked.
    assert not widthwise.cli.app(list(attempts(folder, folder / "whole.sqlite")), standalone_mode=False)
    moments = random_moments(time.monotonic() - began, KILLS)
    gc.freeze()  # no fork copies the pages of what was there before it, to find no garbage there
    found = {"by time": kill_until_done(folder, start, moments), "by statement": kill_at_statements(folder)}
    (folder / "found.json").write_text(json.dumps(found))


def run_command(arguments: Sequence[str], log: Path) -> None:
    """Be the command."""
    import widthwise.cli

    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(descriptor, 2)
    os.dup2(descriptor, 1)
    code = widthwise.cli.app(list(arguments), standalone_mode=False)
    if code:
        raise RuntimeError(f"exit code {code}")


def kill_at_statements(folder: Path) -> dict[str, Any]:
    """Ten processes, each of which kills itself as it is about to execute a random statement of its store's writer."""
    rng = random.Random(SEED)
    store = folder / "statements" / "s.sqlite"
    store.parent.mkdir()
    seen: list[dict[str, Any]] = []
    for number, fatal in enumerate([*(rng.randint(1, 180) for _ in range(KILLS)), None]):
        log = folder / f"statement-{number}.log"
        arguments = attempts(folder, store)
        log.touch()
        code = Forked(lambda a=arguments, f=fatal, out=log: run_until_statement(a, out, f)).wait(PATIENCE)
        seen.append({**look(store), "said": said(log), "killed": code == -signal.SIGKILL, "at": fatal})
        assert seen[-1]["killed"] or code == 0, log.read_text()
    return {"stores": {str(store): seen}}


def run_until_statement(arguments: Sequence[str], log: Path, fatal: int | None) -> None:
    connect, count = sqlite3.connect, itertools.count(1)

    def at_statement(_: str) -> None:
        if next(count) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(database: Any, **keywords: Any) -> sqlite3.Connection:
        connection = connect(database, **keywords)
        if "mode=ro" not in str(database):
            connection.set_trace_callback(at_statement)
        return connection

    sqlite3.connect = watched
    run_command(arguments, log)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
