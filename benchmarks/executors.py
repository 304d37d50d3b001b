"""A study on all GPUs of this host against the same study on one, and with a worker killed on the way.

    PYTHONPATH=src python benchmarks/executors.py [--workers N] [--corpus NAME] [--out FILE] [--smoke]

The study is that of `population.py`'s part `thousand`: 1,170 models of width 128 and 1.6 M tokens each, in populations
of at most 65, so that there are enough for every GPU. All runs, worker processes' start included, are by the clock. The
populations are the same everywhere, so on equal GPUs the losses should be too: their largest relative difference is a
row, and so is the number of trials that end in another way. `--smoke` runs a tiny one on a CPU with two workers.

Writes `benchmarks/results/executors.json`.
"""

import argparse
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from _population_study import specification
from _record import RESULTS, Row, machine, make_record, printed, row, versions, write_json

from widthwise.records import StoredStudy
from widthwise.study import Executor, Local, Processes, RunState, parse_spec, run_study

POPULATION = 65


def timed(
    name: str,
    store: Path,
    corpus: str,
    executor: Executor,
    listener: Callable[[RunState], None] | None = None,
    *,
    smoke: bool,
) -> tuple[StoredStudy, float]:
    """A whole run and its seconds."""
    print(f"{name} begins", flush=True)
    started = perf_counter()
    study = run_study(
        parse_spec(specification(corpus, smoke=smoke)),
        store,
        device="cpu" if smoke else "cuda",
        executor=executor,
        population_size=4 if smoke else POPULATION,
        listener=listener,
    )
    return study, perf_counter() - started


def workers() -> list[int]:
    """The worker processes of this one."""
    mine: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"widthwise.study.worker" in (folder / "cmdline").read_bytes():
                mine.append(int(folder.name))
        except OSError:
            continue
    return sorted(mine)


def kill_one() -> Callable[[RunState], None]:
    """A listener that kills a worker once, when half of the models have ended and every worker is at work.

    One that is not may still be starting; to lose that one is an error.
    """
    killed: list[int] = []

    def listen(state: RunState) -> None:
        half = 2 * state.trials_done >= state.trials
        if not killed and half and state.at_work and len(found := workers()) == len(state.at_work):
            killed.append(found[0])
            os.kill(found[0], signal.SIGKILL)

    return listen


def compare(name: str, study: StoredStudy, other: StoredStudy) -> Iterator[Row]:
    """How far the results of two runs are from each other."""
    pairs = [(study.trials[id_], other.trials[id_]) for id_ in study.trials]
    differences = [
        abs(a.validation_loss - b.validation_loss) / b.validation_loss
        for a, b in pairs
        if a.validation_loss is not None and b.validation_loss is not None
    ]
    yield row(
        f"{name}: largest difference of a loss", max(differences, default=0.0), "relative", "one process"
    )
    yield row(
        f"{name}: trials that end otherwise",
        sum(a.status != b.status for a, b in pairs),
        "models",
        "one process",
    )


def rows(folder: Path, corpus: str, count: int | None, *, smoke: bool) -> Iterator[Row]:
    """All three runs."""
    alone, seconds = timed("one process", folder / "local.sqlite", corpus, Local(), smoke=smoke)
    yield row(f"one process: {len(alone.trials)} models", seconds, "s")
    several = Processes(count)
    places = count or torch.cuda.device_count()
    name = f"{places} workers"
    study, beside = timed(name, folder / "workers.sqlite", corpus, several, smoke=smoke)
    yield row(f"{name}: {len(study.trials)} models", beside, "s", "one process", ratio=seconds / beside)
    yield from compare(name, study, alone)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a worker was lost
        killed, after = timed(
            f"{name}, one killed", folder / "killed.sqlite", corpus, several, kill_one(), smoke=smoke
        )
    yield row(f"{name}, one killed: {len(killed.trials)} models", after, "s", name, ratio=beside / after)
    yield from compare(f"{name}, one killed", killed, alone)


def main(arguments: list[str] | None = None) -> None:
    """Run, print, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, help="all GPUs unless said")
    parser.add_argument("--corpus", default="python-stdlib")
    parser.add_argument("--out", type=Path, default=RESULTS / "executors.json")
    parser.add_argument("--smoke", action="store_true", help="tiny, on a CPU, nothing written")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        count = 2 if options.smoke else options.workers
        found = printed(rows(Path(folder), options.corpus, count, smoke=options.smoke))
    if options.smoke:
        return
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    record = make_record(
        "executors", found, machine=machine(gpu), versions=versions("torch", "triton", "numpy")
    )
    write_json(options.out, record)


if __name__ == "__main__":
    main()
