"""Run studies on worker processes, and kill, interrupt and break these; write down what came of it.

Run as a program, with a folder as its argument, this loads everything once and forks whatever is a process: the writer
of a study, and its workers, which otherwise would each start a Python of their own. Two scenarios, each in its folder,
have their `spec.yaml` already; the others make theirs.
"""

import gc
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from study_kills import PATIENCE, Forked, kill_until_done, random_moments, run_command
from widthwise.study import Processes, RunState, Stop, processes, run_study, runner, worker
from widthwise.study.spec_file import load_spec

WORKERS = ("--executor", "processes", "--workers", "2")
KILLS = 4


def forked_worker(descriptor: int, environment: Mapping[str, str]) -> Forked:
    """A worker as `processes.start_process` starts it, but for Python's start."""

    def be_worker() -> None:
        os.closerange(3, descriptor)
        os.closerange(descriptor + 1, 1024)
        os.setsid()
        os.environ.update(environment)
        worker.main(descriptor)

    started = Forked(be_worker)
    with Path("workers").open("a") as file:
        file.write(f"{started.pid}\n")
    return started


def left(folder: Path) -> list[int]:
    """The workers of a folder's runs that are still there a moment later: they end when their writer does."""
    ends = time.monotonic() + 10
    pids = [int(line) for line in (folder / "workers").read_text().split()]
    while (alive := [pid for pid in pids if _running(pid)]) and time.monotonic() < ends:
        time.sleep(0.01)
    return alive


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def train(
    folder: Path,
    listener: Callable[[RunState], None] | None = None,
    *,
    stop: Stop | None = None,
    checkpoint_seconds: float = 0.0,
) -> dict[str, Any]:
    """Run a folder's study on two workers, in a process of its own; what it warned of, raised, and told."""

    def be_writer() -> None:
        # A shell's background job inherits that the signal is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        told: list[RunState] = []

        def listen(state: RunState) -> None:
            told.append(state)
            if listener is not None:
                listener(state)

        found: dict[str, Any] = {"raised": None}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                run_study(
                    load_spec(str(folder / "spec.yaml")),
                    folder / "s.sqlite",
                    device="cpu",
                    executor=Processes(2),
                    population_size=4,
                    checkpoint_seconds=checkpoint_seconds,
                    listener=listen,
                    stop=stop,
                )
            except BaseException as error:
                found["raised"] = [type(error).__name__, str(error)]
        found["warned"] = [str(warning.message) for warning in caught]
        found["side by side"] = max((len(state.at_work) for state in told), default=0)
        found["resumed"] = sorted({(s.population, s.resumed_step) for s in told if s.resumed_step})
        found["done"] = [state.trials_done for state in told]
        found["last work"] = [told[-1].work_done, told[-1].work] if told else None
        (folder / "found.json").write_text(json.dumps(found))

    os.chdir(folder)
    assert Forked(be_writer).wait(PATIENCE) == 0
    return {**json.loads((folder / "found.json").read_text()), "left": left(folder)}


def once(act: Callable[[], None]) -> Callable[[RunState], None]:
    """A listener that does something the first time that a population is between its steps."""
    done: list[bool] = []

    def listen(state: RunState) -> None:
        if 0 < state.step < state.steps and not done:
            done.append(True)
            act()

    return listen


def kill_first_worker() -> None:
    os.kill(int(Path("workers").read_text().split()[0]), signal.SIGKILL)


def interrupted(folder: Path) -> dict[str, Any]:
    """Ctrl-C in mid-population; then the study is gone on with."""
    first = train(folder, once(lambda: os.kill(os.getpid(), signal.SIGINT)))
    return {"first": first, "then": train(folder)}


def stopped(folder: Path) -> dict[str, Any]:
    """Every process of the run gets SIGTERM in mid-population, as of a cluster; then the study is gone on with."""
    from widthwise.train import TrainingStep

    real, stop = TrainingStep.run, Stop()

    def slow(self: TrainingStep) -> None:
        time.sleep(0.01)
        real(self)

    def terminate(state: RunState) -> None:
        if len(state.at_work) == 2 and all(0 < at.step < at.steps for at in state.at_work) and not stop.asked:
            for pid in map(int, (folder / "workers").read_text().split()):
                os.kill(pid, signal.SIGTERM)
            stop.ask()

    TrainingStep.run = slow
    try:
        first = train(folder, terminate, stop=stop, checkpoint_seconds=float("inf"))
    finally:
        TrainingStep.run = real
    kept = sorted(path.name for path in folder.glob("s.sqlite.checkpoints/*"))
    return {"first": first, "kept": kept, "then": train(folder)}


def broken(folder: Path, error: Exception) -> dict[str, Any]:
    """Training raises an error in every population that holds trial 6."""
    real = runner.train_trials

    def raising(trials: Sequence[Any], *arguments: Any, **keywords: Any) -> Any:
        if 6 in [trial.id for trial in trials]:
            raise error
        return real(trials, *arguments, **keywords)

    runner.train_trials = raising
    try:
        return train(folder)
    finally:
        runner.train_trials = real


def small_device(folder: Path) -> dict[str, Any]:
    """No room for a step of more than two members."""
    import torch

    from widthwise.train import TrainingStep

    real = TrainingStep.run

    def run(self: TrainingStep) -> None:
        if self.losses_LxP.shape[1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        real(self)

    TrainingStep.run = run
    try:
        return train(folder)
    finally:
        TrainingStep.run = real


def deadly(folder: Path) -> dict[str, Any]:
    """A population that no worker survives."""
    real = runner.train_trials

    def dying(trials: Sequence[Any], *arguments: Any, **keywords: Any) -> Any:
        if 6 in [trial.id for trial in trials]:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(trials, *arguments, **keywords)

    runner.train_trials = dying
    try:
        return train(folder)
    finally:
        runner.train_trials = real


def writer_killed(folder: Path, whole: float) -> dict[str, Any]:
    """The command is killed again and again."""

    def start(arguments: Sequence[str], log: Path) -> Forked:
        return Forked(lambda: run_command(arguments, log))

    os.chdir(folder)
    found = kill_until_done(folder, start, random_moments(whole, KILLS), WORKERS)
    return {**found, "left": left(folder)}


def main(folder: Path) -> None:
    """All scenarios, each in a folder of its name, with `spec.yaml` there."""
    import torch

    import widthwise.analysis
    import widthwise.cli
    import widthwise.report.terminal
    import widthwise.train  # noqa: F401

    assert torch.get_num_threads() == 1
    processes.start_process = forked_worker
    found: dict[str, Any] = {}
    began = time.monotonic()
    # In this process, so that what training imports late is there for all that is forked.
    run_study(
        load_spec(str(folder / "local" / "spec.yaml")),
        folder / "local" / "s.sqlite",
        device="cpu",
        population_size=4,
    )
    whole = time.monotonic() - began
    gc.freeze()  # no fork copies the pages of what was there before it, to find no garbage there
    found["killed"] = train(folder / "killed", once(kill_first_worker))
    found["interrupted"] = interrupted(folder / "interrupted")
    found["stopped"] = stopped(folder / "stopped")
    found["broken"] = broken(folder / "broken", RuntimeError("a wire is loose"))
    found["mended"] = train(folder / "broken")
    found["bad input"] = broken(folder / "bad input", ValueError("a number is wrong"))
    found["small device"] = small_device(folder / "small device")
    found["own function"] = train(folder / "own function")
    found["deadly"] = deadly(folder / "deadly")
    found["writer killed"] = writer_killed(folder / "writer killed", whole)
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except BaseException:
        traceback.print_exc()
        raise
