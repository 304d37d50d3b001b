"""Train on all GPUs of this host, or on its cores: one worker process for each."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from widthwise.study import runner
from widthwise.study.desk import Desk, TrainingError
from widthwise.study.executor import Crew
from widthwise.study.task import Outcome, Raised, Revise, Task
from widthwise.study.worker import Halt, Ready, Recorded

if TYPE_CHECKING:
    from widthwise.train import Corpus

Value = TypeVar("Value")
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from widthwise.study.worker import main; main(int(sys.argv[2]))"
)
LOOK_SECONDS = 0.2
"""How long a request to stop may wait for."""
PATIENCE = 10.0
"""Seconds that workers have to end by themselves."""


@dataclass(frozen=True)
class Processes:
    """In worker processes of this host, one for each GPU, which sees no other.

    Args:
        workers: how many; None for all GPUs, or, on a CPU, one for each two cores.
    """

    workers: int | None = None

    def open(self, device: str) -> "AbstractContextManager[Crew]":
        """See `Executor`.

        Raises:
            ValueError: fewer than one worker, or more than GPUs.
        """
        import torch

        chosen = runner.choose_device(device).type
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers {self.workers} must be at least 1")
        if chosen == "cpu":
            count = self.workers or max(1, cores() // 2)
            return nullcontext(_ProcessCrew(chosen, tuple({} for _ in range(count)), sharing=count))
        gpus = visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count())
        count = self.workers or len(gpus)
        if count > len(gpus):
            raise ValueError(
                f"workers {count} are more than the {len(gpus)} GPUs that torch sees; at most one each"
            )
        alone = tuple({"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus[:count])
        return nullcontext(_ProcessCrew(chosen, alone, sharing=1))


def visible_gpus(variable: str | None, count: int) -> list[str]:
    """The names by which each GPU alone can be made visible.

    Args:
        variable: the value of CUDA_VISIBLE_DEVICES; None if it is not set.
        count: how many CUDA sees.

    Example:
        >>> visible_gpus("3,GPU-8a, 1", 3)
        ['3', 'GPU-8a', '1']
        >>> visible_gpus(None, 2)
        ['0', '1']
    """
    names = [str(i) for i in range(count)] if variable is None else [n.strip() for n in variable.split(",")]
    return names[:count]


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Started(Protocol):
    """A started process."""

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...


def start_process(descriptor: int, environment: Mapping[str, str]) -> Started:
    """Start a worker that holds a connection's end, in a session of its own: Ctrl-C is the writer's business.

    What it prints goes to standard error, which the writer's output is kept apart from.
    """
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(sys.path), str(descriptor)],
        pass_fds=[descriptor],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=2,
        start_new_session=True,
    )


@dataclass
class _Worker:
    """A process, the writer's end of its connection, and what it does; `host` is None until it is ready."""

    slot: int
    process: Started
    connection: Connection
    host: int | None = None
    task: Task | None = None

    def send(self, value: object) -> None:
        with contextlib.suppress(OSError):  # it is gone; whoever listens to it will find that out
            self.connection.send(value)


@dataclass
class _ProcessCrew:
    """Workers, each with environment variables of its own; `sharing` of them on one device."""

    device: str
    slots: tuple[Mapping[str, str], ...]
    sharing: int
    split: int = 1
    longest_first: bool = True
    workers: list[_Worker] = field(default_factory=list)

    @property
    def places(self) -> int:
        return len(self.slots)

    def call(self, function: Callable[..., Value], *arguments: object) -> Value:
        return function(*arguments)

    def train(self, desk: Desk, corpus: "Corpus | None") -> None:
        try:
            with desk.stop.looked_at():
                while desk.waiting() or desk.at_work:
                    if desk.stop.asked:
                        self._halt(desk)
                    self._staff(desk)
                    for worker in self.workers:
                        if worker.host is not None and worker.task is None and (task := desk.next_task()):
                            worker.task = task
                            worker.send(task)
                    self._listen(desk)
        finally:
            self._stop()

    def _halt(self, desk: Desk) -> None:
        """Have all workers end, those that train with a checkpoint, and hear what they have to say until then."""
        for worker in self.workers:
            worker.send(Halt())
        while self.workers:
            self._listen(desk)
        raise KeyboardInterrupt

    def _listen(self, desk: Desk) -> None:
        for worker, message in self._messages(desk):
            self._act(desk, worker, message)

    def _staff(self, desk: Desk) -> None:
        """Start as many workers as there is work for."""
        free = sorted(set(range(len(self.slots))) - {worker.slot for worker in self.workers})
        threads = {"OMP_NUM_THREADS": str(max(1, cores() // len(self.slots)))}
        threads = {} if "OMP_NUM_THREADS" in os.environ else threads
        for slot in free[: desk.waiting() + desk.at_work - len(self.workers)]:
            ours, theirs = socket.socketpair()
            with theirs:
                process = start_process(theirs.fileno(), {**threads, **self.slots[slot]})
            worker = _Worker(slot, process, Connection(ours.detach()))
            self.workers.append(worker)
            worker.send(desk.job)

    def _messages(self, desk: Desk) -> Iterator[tuple[_Worker, Any]]:
        """What workers say next, if they do soon; who is gone has said its last."""
        listened = {id(worker.connection): worker for worker in self.workers}
        if not listened:
            return
        for connection in wait([worker.connection for worker in self.workers], LOOK_SECONDS):
            worker = listened[id(connection)]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                self._bury(desk, worker)
            else:
                yield worker, message

    def _act(self, desk: Desk, worker: _Worker, message: Any) -> None:
        match message:
            case Ready(facts):
                worker.host = desk.register(facts)
            case Raised(says, bad_input, traceback):
                raise ValueError(says) if bad_input else TrainingError(f"a worker: {says}\n{traceback}")
            case (_, said):
                assert worker.task is not None
                desk.take(worker.task, said, host=worker.host)
                if isinstance(said, Revise):
                    worker.send(Recorded())
                elif isinstance(said, Outcome):
                    worker.task = None

    def _bury(self, desk: Desk, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.connection.close()
        how = ended(worker.process.wait())
        if desk.stop.asked:
            return  # it was asked, too
        if worker.host is None:
            raise TrainingError(f"a worker did not start: it was {how}; what it printed says more")
        if worker.task is not None:
            desk.lose(worker.task, how)

    def _stop(self) -> None:
        """Close the connections, which ends the workers; kill who does not end."""
        for worker in self.workers:
            worker.connection.close()
        while self.workers:
            process = self.workers.pop().process
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ended(code: int) -> str:
    """How a process ended, in words.

    Example:
        >>> ended(-9), ended(1)
        ('killed by signal 9', 'ended with exit code 1')
    """
    return f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
