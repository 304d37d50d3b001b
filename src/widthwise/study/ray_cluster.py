"""Train on a Ray cluster: populations are Ray tasks, each on one GPU, or on one core of a cluster without.

The store's writer stays the one process that ran the study. What a population in training has to say, and the answer
that it waits for before a revision takes effect, goes through a mailbox, an actor on the writer's node. A worker or a
node that is lost costs what its population did since its last checkpoint, if the next one can reach that: checkpoints
lie beside the store where its folder is shared, else in the temporary folder of the worker's node. Nodes may join or
leave. The text goes to the nodes through Ray; a user's own function has to be importable there.
"""

import hashlib
import json
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from widthwise.study.checkpoints import shared_marker
from widthwise.study.desk import Desk, TrainingError
from widthwise.study.executor import Crew
from widthwise.study.mailbox import Mailbox
from widthwise.study.task import Facts, Job, Message, Outcome, Raised, Revise, Task

if TYPE_CHECKING:
    from widthwise.train import Corpus

Value = TypeVar("Value")
LOOK_SECONDS = 1.0
"""How often the cluster is asked how many populations it has room for."""
ANSWER_SECONDS = 10.0
"""How long a cluster's address may take to answer at all; Ray itself asks again for more than five minutes."""


@dataclass(frozen=True)
class Ray:
    """On a Ray cluster.

    Args:
        address: of a running one, `auto`, `HOST:6379` or `ray://HOST:10001`; None for the one that the environment
            variable RAY_ADDRESS names, or else one of this host alone, which ends with the run.
    """

    address: str | None = None

    def open(self, device: str) -> "AbstractContextManager[Crew]":
        """See `Executor`.

        Raises:
            ValueError: Ray is not installed, no cluster answers there, or it has no GPU where one was asked for.
        """
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise ValueError("executor ray needs Ray: pip install 'widthwise[ray]'") from error
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device {device!r} is unknown; choose cpu, cuda or auto")
        return _opened(self.address, device)


@contextmanager
def _opened(address: str | None, device: str) -> "Iterator[Crew]":
    import ray

    joined = ray.is_initialized()
    if not joined:
        if address is not None:
            require_answer(address)
        try:
            with _own_sigterm():
                ray.init(
                    address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False
                )
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = "here" if address is None else f"at {address!r}"
            raise ValueError(
                f"no Ray cluster can be started or joined {where}: {error}; is it up, and if it asks for a token, is "
                "RAY_AUTH_MODE=token set?"
            ) from error
    try:
        gpus = ray.cluster_resources().get("GPU", 0)
        if device == "cuda" and gpus < 1:
            raise ValueError("device 'cuda' was asked for but no node of the Ray cluster has a GPU now")
        yield _RayCrew(
            "cuda" if device == "cuda" or (device == "auto" and gpus >= 1) else "cpu", stays=joined
        )
    finally:
        if not joined:
            ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Afterwards SIGTERM does what it did: Ray takes it, to end the process with code 15 and a dump of its stack."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def require_answer(address: str) -> None:
    """Check that something listens at an address of host and port; other forms are Ray's to judge.

    Raises:
        ValueError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address!r}: {error}; give the address that `ray start` printed, or auto on a "
            "node of the cluster"
        ) from error


@dataclass
class _RayCrew:
    """Args:
    stays: whether this process goes on with Ray after the run. If not, Ray ends what it has at work itself.
    """

    device: str
    stays: bool
    longest_first: bool = True
    _hosts: dict[str, int] = field(default_factory=dict)

    @property
    def split(self) -> int:
        return 1

    @property
    def sharing(self) -> int:
        if self.device == "cuda":
            return 1
        import ray

        return max(1, *(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]))

    @property
    def places(self) -> int:
        """How many populations the nodes that are there have room for; at least one, which waits for them."""
        import ray

        resources = ray.cluster_resources()
        return max(1, int(resources.get("GPU" if self.device == "cuda" else "CPU", 0)))

    def call(self, function: Callable[..., Value], *arguments: object) -> Value:
        import ray

        value, error = ray.get(self._remote(_attempt).remote(function, arguments))
        if error is not None:
            raise (
                ValueError(error.says)
                if error.bad_input
                else TrainingError(f"{error.says}\n{error.traceback}")
            )
        return value

    def train(self, desk: Desk, corpus: "Corpus | None") -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        box: Any = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        running: dict[Any, Task] = {}
        with shared_marker(desk.job.store) as marker:
            try:
                self._serve(desk, box, running, (ray.put(corpus), desk.job, marker, os.getcwd()))
            finally:
                if self.stays:  # not else: a task that ends while it is cancelled makes Ray end this process
                    for ref in running:
                        ray.cancel(ref, force=True)
                ray.kill(box)

    def _serve(self, desk: Desk, box: Any, running: dict[Any, Task], common: tuple[Any, ...]) -> None:
        import ray

        train = self._remote(_train)
        letters, looked, room = box.take.remote(), float("-inf"), 1
        while desk.waiting() or desk.at_work:
            if time.monotonic() - looked > LOOK_SECONDS:
                looked, room = time.monotonic(), self.places
            while len(running) < room and (task := desk.next_task()) is not None:
                running[train.remote(task, box, *common)] = task
            ready, _ = ray.wait([letters, *running], num_returns=1, timeout=LOOK_SECONDS)
            if ready and (ready[0] == letters or letters in ray.wait([letters], timeout=0)[0]):
                self._read(desk, box, running, ray.get(letters))
                letters = box.take.remote()
            for ref in [ref for ref in ready if ref in running]:
                self._read(desk, box, running, ray.get(box.rest.remote()))
                self._end(desk, running.pop(ref), ref)

    def _read(
        self, desk: Desk, box: Any, running: dict[Any, Task], letters: list[tuple[tuple[int, int], Message]]
    ) -> None:
        tasks = {task.key: task for task in running.values()}
        for key, message in letters:
            if key in tasks and desk.hears(key):
                desk.take(tasks[key], message)
                if isinstance(message, Revise):
                    box.confirm.remote(key)

    def _end(self, desk: Desk, task: Task, ref: Any) -> None:
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            facts, outcome = ray.get(ref)
        except RayTaskError as error:
            raise TrainingError(f"a worker: {error}") from error
        except RayError as error:
            desk.lose(task, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
        else:
            desk.take(task, outcome, host=self._host(desk, facts))

    def _host(self, desk: Desk, facts: Facts) -> int:
        key = json.dumps(dict(facts), sort_keys=True)
        if key not in self._hosts:
            self._hosts[key] = desk.register(facts)
        return self._hosts[key]

    def _remote(self, function: Callable[..., Any]) -> Any:
        """A function as a Ray task with what one population needs; Ray itself never repeats it."""
        import ray

        return ray.remote(function).options(
            num_cpus=1, num_gpus=1 if self.device == "cuda" else 0, max_retries=0
        )


def _attempt(function: Callable[..., Any], arguments: tuple[object, ...]) -> tuple[Any, Raised | None]:
    from widthwise.study.worker import raised

    try:
        return function(*arguments), None
    except Exception as error:
        return None, raised(error)


def _train(
    task: Task, box: Any, text: "Corpus | None", job: Job, marker: Path, folder: str
) -> tuple[Facts, Outcome]:
    """Train one population; run by Ray, wherever it has room."""
    import ray

    from widthwise.study import runner
    from widthwise.study.train_stored import Bench
    from widthwise.study.worker import ToWriter, perform, raised

    def say(message: Message) -> None:
        box.put.remote(task.key, message)

    def answer() -> object:
        return ray.get(box.answer.remote(task.key))

    if os.path.isdir(folder):
        os.chdir(folder)  # where a user's own functions, and texts by relative names, are
    facts: Facts = {}
    try:
        bench = Bench(text, runner.choose_device(job.device), job.checkpoint_seconds, job.measure)
        facts = runner.host_facts(bench.device)
        beside = task.checkpoint(job.store)
        own = _own_folder(job) / beside.name
        outcome = perform(bench, task, beside if marker.exists() else own, ToWriter(say, answer))
        own.unlink(missing_ok=True)
    except Exception as error:
        outcome = raised(error)
    ray.get(box.heard.remote())  # all that was said before is in the box
    return facts, outcome


def _own_folder(job: Job) -> Path:
    """Where a node that does not see the store's folder keeps checkpoints; the same for every run of a store."""
    name = hashlib.sha256(f"{job.store}\n{job.spec}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"widthwise-{name}"
    folder.mkdir(exist_ok=True)
    return folder
