"""Runs the experiment: every case's studies, several devices at a time, until they are done or the time is up.

    python studies/alignment/run.py --corpus gutenberg.txt.xz --work /tmp/alignment --out out --minutes 7.5
    python studies/alignment/run.py --smoke --work /tmp/smoke --out /tmp/smoke-out        # two cores, a minute

A job is a part of one case: what the small widths say (`small`), or one of the large widths, which waits for that. One
process a device takes the longest job that is ready. A second run goes on with the stores of the first. At the end
`--out` holds `stores.tar.gz` and `log.txt`; `summarize.py` makes tables of them.
"""

import argparse
import contextlib
import lzma
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import plan
from plan import Case, Config, Found

HERE = Path(__file__).resolve().parent
SECONDS_TO_START = 15.0
"""What a process needs before it trains: imports, kernels, recorded steps."""
NEVER = 1e9
"""Seconds between checkpoints: a population of this experiment is shorter than writing one."""


@dataclass(frozen=True)
class Job:
    """One process' work.

    Args:
        part: `small`, or a large width.
        seconds: an estimate, to order jobs by.
    """

    case: Case
    part: str
    seconds: float

    @property
    def name(self) -> str:
        """As its log is called."""
        return f"{self.case.name}-{self.part}"

    @property
    def needs(self) -> str | None:
        """The job that has to be done first."""
        return None if self.part == "small" else f"{self.case.name}-small"


def all_jobs(config: Config, cases: list[Case]) -> list[Job]:
    """Every job, the longest first."""
    seconds = config["seconds_per_million_tokens"]
    tokens = config["training"]["steps"] * config["training"]["batch"] * config["model"]["context"] / 1e6
    seeds, rates = len(config["seeds"]), 5

    def cost(width: int, models: int) -> float:
        return seconds[width] * tokens * models

    arms = len(plan.PRESETS) + 2
    jobs: list[Job] = []
    for case in cases:
        small = cost(config["base_width"], 12 + seeds * (7 + 5 * len(config["readout_constants"])))
        small += cost(config["small_width"], seeds * rates * len(plan.PRESETS))
        small += sum(cost(w, seeds * len(config["measured_arms"])) for w in config["measured_widths"])
        jobs.append(Job(case, "small", small))
        for width in config["large_widths"]:
            models = arms * rates + (arms + 1) * (seeds - 1) * (width == config["large_widths"][-1])
            jobs.append(Job(case, str(width), cost(width, models)))
    return sorted(jobs, key=lambda job: -job.seconds)


# One job, in a process of its own


class Worker:
    """Runs one job's studies, one after the other."""

    def __init__(self, config: Config, case: Case, work: Path, corpus: str, device: str) -> None:
        self.config, self.case, self.work, self.corpus, self.device = config, case, work, corpus, device

    def store(self, study: str) -> Path:
        """Where a study of this case is."""
        return self.work / f"{self.case.name}-{study}.sqlite"

    def train(self, study: str, **options: object) -> Path:
        """Train a study, or what is left of it."""
        from widthwise.study import parse_spec, run_study

        begun = time.monotonic()
        text = plan.write_spec(self.config, self.case, study, corpus=self.corpus, **options)  # pyright: ignore
        store = self.store(study)
        run_study(parse_spec(text), store, device=self.device, checkpoint_seconds=NEVER)
        print(f"{store.name}: {time.monotonic() - begun:.1f} s", flush=True)
        return store

    def small(self) -> None:
        """What the base width and the small ones say."""
        c, case = self.config, self.case
        base, seeds = c["base_width"], c["seeds"]
        coarse = self.train("coarse", widths=[base], arms=plan.coarse_arms(c, case), seeds=seeds[:1])
        x, _ = best_rate(coarse, "full")
        self.train("base", widths=[base], arms=plan.base_arms(c, x), seeds=seeds)
        found = self.found()
        print(f"{case.name}: {found}", flush=True)
        arms = plan.measured_arms(c, found)
        self.train("measure", widths=c["measured_widths"], arms=arms, seeds=seeds, measured=True)
        width = c["small_width"]
        arms = plan.preset_arms(c, case, found, width)
        self.train("small", widths=[width], arms=arms, seeds=seeds)

    def found(self) -> Found:
        """What the base width says, from its store."""
        store = self.store("base")
        x, best = best_rate(store, "full")
        found = Found(x, 1.0, x)
        for value in self.config["readout_constants"]:
            at, loss = best_rate(store, plan.constant_name(value))
            if loss < best:
                found, best = Found(x, value, at), loss
        return found

    def large(self, width: int) -> None:
        """Every arm at a large width; at the largest, first the other seeds at the transferred rates."""
        c, found = self.config, self.found()
        own = own_rates(self.store("measure"), c["measured_arms"][0])
        if width == c["large_widths"][-1]:
            arms = plan.transferred_arms(found, own)
            self.train("transferred", widths=[width], arms=arms, seeds=c["seeds"][1:])
        arms = plan.large_arms(c, self.case, found, width, own)
        self.train(f"large-{width}", widths=[width], arms=arms, seeds=c["seeds"][:1])


def own_rates(store: Path, arm: str) -> dict[str, tuple[object, object]]:
    """The rates that were measured: of all layers, and of the readout with full alignment elsewhere.

    None where they cannot be measured, such as an undefined exponent: the other arms are trained without them.
    """
    from widthwise.study.measured_rates import read_measured
    from widthwise.study.measured_spec import measured_rates_spec
    from widthwise.study.rates_choice import RatesByRole

    try:
        spec = measured_rates_spec(read_measured(store, arm=arm), name="measured")
    except ValueError as error:
        print(f"not measured: {error}", flush=True)
        return {}
    both = {"measured": spec, "readout": {**spec, "name": "readout", "hidden": "full"}}
    return {name: (one, RatesByRole.model_validate(one).prescription) for name, one in both.items()}


def best_rate(store: Path, arm: str) -> tuple[int, float]:
    """log2 of an arm's rate of lowest mean loss over seeds, and that loss, at the only width it has."""
    import math

    from widthwise.records import read_study

    study = read_study(store)
    losses: dict[float, list[float | None]] = {}
    for cell in study.cells:
        if cell.arm == arm:
            losses.setdefault(cell.learning_rate, []).append(study.trials[cell.trial].validation_loss)
    means = {
        rate: sum(some) / len(some)
        for rate, found in losses.items()
        if len(some := [loss for loss in found if loss is not None]) == len(found)
    }
    if not means:
        raise ValueError(f"{store.name}: no rate of {arm!r} trained with every seed")
    rate = min(means, key=lambda rate: means[rate])
    if rate in (min(losses), max(losses)):
        print(
            f"{store.name}: the best rate of {arm!r}, 2^{math.log2(rate):g}, is at an edge of its grid",
            flush=True,
        )
    return round(math.log2(rate)), means[rate]


# All jobs


def drive(jobs: list[Job], command: list[str], work: Path, slots: list[str], deadline: float) -> list[str]:
    """Run the jobs in processes, the longest ready one first, one a slot. Returns what happened to each."""
    waiting, done = list(jobs), set[str]()
    running: dict[str, tuple[Job, subprocess.Popen[bytes], float]] = {}
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    while waiting or running:
        for slot, (job, process, begun) in list(running.items()):
            if process.poll() is None and time.monotonic() < deadline:
                continue
            late = process.poll() is None
            if late:
                process.terminate()
                process.wait()
            del running[slot]
            good = process.returncode == 0
            if good:
                done.add(job.name)
            else:
                waiting = [other for other in waiting if other.needs != job.name]
            how = "done" if good else "stopped: the time is up" if late else f"failed ({process.returncode})"
            say(f"{job.name}: {how} after {time.monotonic() - begun:.0f} s on {slot}")
        if time.monotonic() >= deadline:
            for job in waiting:
                say(f"{job.name}: not begun: the time is up")
            waiting = []
        for slot in [slot for slot in slots if slot not in running]:
            ready = next((job for job in waiting if job.needs is None or job.needs in done), None)
            if ready is None:
                break
            waiting.remove(ready)
            running[slot] = (ready, _start(ready, command, work, slot), time.monotonic())
        time.sleep(0.2)
    return lines


def _start(job: Job, command: list[str], work: Path, slot: str) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    if slot.startswith("gpu"):
        environment["CUDA_VISIBLE_DEVICES"] = slot.removeprefix("gpu").partition(".")[0]
    log = (work / f"{job.name}.log").open("ab")
    with log:
        return subprocess.Popen(
            [*command, "--job", job.case.optimizer, job.case.parameterization, job.part],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )


def plain_corpus(source: str, work: Path) -> str:
    """The corpus as a file that every process can read at once: an .xz is unpacked, once."""
    if not source.endswith(".xz"):
        return source
    target = work / "corpus.txt"
    if not target.exists():
        partial = target.with_suffix(".partial")
        with lzma.open(source) as packed, partial.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 24)
        partial.rename(target)
    return str(target)


def pack(work: Path, out: Path, lines: list[str]) -> None:
    """All stores in one file, all logs in another."""
    out.mkdir(parents=True, exist_ok=True)
    for store in work.glob("*.sqlite"):
        if store.with_name(store.name + "-wal").exists():  # its writer was stopped
            with contextlib.closing(sqlite3.connect(store)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")
    with tarfile.open(out / "stores.tar.gz", "w:gz") as tar:
        for store in sorted(work.glob("*.sqlite")):
            tar.add(store, store.name)
    logs = [f"== {log.name}\n{log.read_text('utf-8', 'replace')}" for log in sorted(work.glob("*.log"))]
    (out / "log.txt").write_text("\n".join([*lines, *logs]), "utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--corpus", default="python-stdlib", help="a text file, an .xz of one, or python-stdlib"
    )
    parser.add_argument("--work", type=Path, required=True, help="where stores and logs are made")
    parser.add_argument("--out", type=Path, help="where stores.tar.gz and log.txt go at the end")
    parser.add_argument(
        "--minutes", type=float, default=7.5, help="after which what is still at work is stopped"
    )
    parser.add_argument("--gpus", type=int, help="how many; left out, all there are; 0 for the CPU")
    parser.add_argument("--per-gpu", type=int, default=1, help="processes on each")
    parser.add_argument("--cases", nargs="*", help="such as adam-mup; left out, all")
    parser.add_argument("--smoke", action="store_true", help="at a size for two CPU cores")
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    config = plan.load_config(HERE / ("smoke.yaml" if given.smoke else "base.yaml"))
    given.work.mkdir(parents=True, exist_ok=True)
    if given.job is not None:
        return run_job(config, given)
    begun = time.monotonic()
    gpus = device_count() if given.gpus is None else given.gpus
    slots = [f"gpu{i}.{j}" for j in range(given.per_gpu) for i in range(gpus)] or ["cpu"]
    chosen = [case for case in plan.cases(config) if given.cases is None or case.name in given.cases]
    corpus = plain_corpus(given.corpus, given.work)
    command = [sys.executable, str(Path(__file__).resolve()), "--work", str(given.work), "--corpus", corpus]
    command += ["--smoke"] * given.smoke + ["--gpus", str(gpus)]
    lines = drive(all_jobs(config, chosen), command, given.work, slots, begun + 60 * given.minutes)
    lines.append(f"{time.monotonic() - begun:.0f} s in all")
    if given.out is not None:
        pack(given.work, given.out, lines)
    print(lines[-1])
    return 1 if any(": failed" in line for line in lines) else 0


def run_job(config: Config, given: argparse.Namespace) -> int:
    """One job, in this process."""
    *names, part = given.job
    worker = Worker(config, Case(*names), given.work, given.corpus, "cuda" if given.gpus else "cpu")
    if part == "small":
        worker.small()
    else:
        worker.large(int(part))
    return 0


def device_count() -> int:
    """CUDA devices of this machine."""
    import torch

    return torch.cuda.device_count()


if __name__ == "__main__":
    sys.exit(main())
