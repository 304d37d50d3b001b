"""The experiment's jobs: what each needs, how long it takes, whether it is done, and all of them on some devices."""

import contextlib
import os
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import plan
from plan import Case, Config

ORDER = ("base", "small", "large", "more", "finer")
"""What comes first: what the others need and what decides the question; then what widens it."""


@dataclass(frozen=True)
class Job:
    """One process' work.

    Args:
        part: `base`, `small`, a large width, `more`, or `finer-WIDTH`.
        needs: the jobs that have to be done first.
        seconds: an estimate.
        studies: those that it always makes; none if what it makes depends on what was found.
    """

    case: Case
    part: str
    needs: tuple[str, ...]
    seconds: float
    studies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As its log is called."""
        return f"{self.case.name}-{self.part}"

    @property
    def rank(self) -> tuple[int, float]:
        """Its place in the order: by kind, then the longest first."""
        kind = self.part.partition("-")[0]
        return ORDER.index("large" if kind.isdecimal() else kind), -self.seconds


def all_jobs(config: Config, cases: list[Case]) -> list[Job]:
    """Every job of the cases, in the order in which they are begun."""
    jobs: list[Job] = []
    for case in cases:
        first = Case(case.optimizer, config["parameterizations"][0])
        if first.name not in {job.case.name for job in jobs if job.part == "base"}:
            jobs += _of_optimizer(config, first)
        jobs += _of_case(config, case)
    return sorted(jobs, key=lambda job: job.rank)


def _of_optimizer(config: Config, first: Case) -> list[Job]:
    own, width, seeds = config["optimizers"][first.optimizer], config["base_width"], len(config["seeds"])
    more = own["more_readout_constants"]
    populations = [12, seeds * (7 + 5 * len(own["readout_constants"])), seeds * 5 * len(more)]
    studies = ("coarse", "base", *(["constants"] if more else []))
    jobs = [_job(config, first, "base", (), [(width, n) for n in populations], studies)]
    if own["finer"]:
        jobs.append(_job(config, first, f"finer-{width}", (f"{first.name}-base",), [(width, 4 * seeds)]))
    return jobs


def _of_case(config: Config, case: Case) -> list[Job]:
    seeds, widths, rates, arms = len(config["seeds"]), config["large_widths"], 5, len(plan.PRESETS) + 2
    base = f"{case.optimizer}-{config['parameterizations'][0]}-base"
    measured = [(width, seeds * len(config["measured_arms"])) for width in config["measured_widths"]]
    small = (config["small_width"], seeds * rates * len(plan.PRESETS))
    jobs = [_job(config, case, "small", (base,), [*measured, small], ("measure", "small"))]
    for width in widths:
        last = width == widths[-1]
        populations = [(width, arms * rates), *([(width, (arms + 1) * (seeds - 1))] if last else [])]
        studies = (*(["transferred"] if last else []), f"large-{width}")
        jobs.append(_job(config, case, str(width), (f"{case.name}-small",), populations, studies))
    wider = [(width, 2 * rates) for width in widths]
    jobs.append(_job(config, case, "more", (f"{case.name}-small",), [*measured, *wider]))
    if config["optimizers"][case.optimizer]["finer"]:
        width = config["small_width"]
        needs = (f"{case.name}-small",)
        finer = [(width, 2 * seeds * len(plan.PRESETS))]
        jobs.append(_job(config, case, f"finer-{width}", needs, finer))
        for width in widths:
            needs = (f"{case.name}-{width}", f"{case.name}-more")
            jobs.append(_job(config, case, f"finer-{width}", needs, [(width, 2 * arms)]))
    return jobs


def _job(
    config: Config,
    case: Case,
    part: str,
    needs: tuple[str, ...],
    populations: list[tuple[int, int]],
    studies: tuple[str, ...] = (),
) -> Job:
    """A job of populations, each a width and how many models."""
    tokens = config["training"]["steps"] * config["training"]["batch"] * config["model"]["context"] / 1e6
    cost, start = config["seconds_per_million_tokens"], config["seconds_to_start"]
    seconds = sum(start + cost[width] * tokens * models for width, models in populations if models)
    return Job(case, part, needs, seconds, studies)


def is_done(config: Config, job: Job, work: Path) -> bool:
    """Whether there is nothing left of a job: it said so itself, or all of its studies are there and ended."""
    if marker(job, work).exists():
        return True
    stores = [work / plan.store_name(config, job.case, study) for study in job.studies]
    return bool(stores) and all(store.exists() and pending(store) == 0 for store in stores)


def marker(job: Job, work: Path) -> Path:
    """The empty file that a job leaves when it is done."""
    return work / f"{job.name}.done"


def pending(store: Path) -> int:
    """How many trials of a store have not ended."""
    with contextlib.closing(sqlite3.connect(store)) as connection:
        return connection.execute("SELECT count(*) FROM trial WHERE status = 'pending'").fetchone()[0]


def device_of(slot: str, visible: str) -> str:
    """The device of a slot, among those that this process may see; none named are all.

    Example:
        >>> device_of("gpu1.0", ""), device_of("gpu1.0", "2,3")
        ('1', '3')
    """
    index = slot.removeprefix("gpu").partition(".")[0]
    return visible.split(",")[int(index)] if visible else index


class Drive:
    """Runs jobs in processes, one a slot, the first ready one next.

    Args:
        slots: such as `gpu0.0` and `gpu0.1`, two processes on one device.
        deadline: monotonic seconds; what still runs then is stopped.
    """

    def __init__(self, command: list[str], work: Path, slots: list[str], deadline: float) -> None:
        self.command, self.work, self.slots, self.deadline = command, work, slots, deadline
        self.begun = time.monotonic()
        self.running: dict[str, tuple[Job, subprocess.Popen[bytes], float]] = {}
        self.done, self.crashed = set[str](), set[str]()
        self.waiting: list[Job] = []
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Print a line, with the time, and keep it."""
        self.lines.append(f"{time.monotonic() - self.begun:4.0f} s  {line}")
        print(self.lines[-1], flush=True)

    def run(self, jobs: list[Job], done: set[str]) -> list[str]:
        """All jobs but those that are done. Returns what happened to each."""
        self.waiting, self.done = [job for job in jobs if job.name not in done], set(done)
        if done:
            self.say(f"done before: {', '.join(sorted(done))}")
        while self.waiting or self.running:
            for slot in list(self.running):
                self._look_at(slot)
            if time.monotonic() >= self.deadline:
                for job in self.waiting:
                    self.say(f"{job.name}: not begun: the time is up")
                self.waiting = []
            for slot in [slot for slot in self.slots if slot not in self.running]:
                self._fill(slot)
            time.sleep(0.2)
        return self.lines

    def _look_at(self, slot: str) -> None:
        """What becomes of a slot's process if it has ended or the time is up."""
        job, process, begun = self.running[slot]
        if process.poll() is None and time.monotonic() < self.deadline:
            return
        late = process.poll() is None
        if late:
            process.terminate()
            process.wait()
        del self.running[slot]
        how = "done" if process.returncode == 0 else f"failed ({process.returncode})"
        if process.returncode == 0:
            self.done.add(job.name)
            marker(job, self.work).touch()
        elif late:
            how = "stopped: the time is up"
        elif process.returncode < 0 and job.name not in self.crashed:  # by a signal, at its start: once more
            self.crashed.add(job.name)
            self.waiting.insert(0, job)
            how = f"crashed ({process.returncode}), tried again"
        else:
            self._drop_what_needs(job.name)
        self.say(f"{job.name}: {how} after {time.monotonic() - begun:.0f} s on {slot}")

    def _drop_what_needs(self, name: str) -> None:
        for job in [job for job in self.waiting if name in job.needs]:
            if job in self.waiting:
                self.waiting.remove(job)
                self.say(f"{job.name}: not begun: {name} failed")
                self._drop_what_needs(job.name)

    def _fill(self, slot: str) -> None:
        for job in self.waiting:
            if all(name in self.done for name in job.needs):
                self.waiting.remove(job)
                self.running[slot] = (job, self._start(job, slot), time.monotonic())
                return

    def _start(self, job: Job, slot: str) -> subprocess.Popen[bytes]:
        environment = dict(os.environ)
        if slot.startswith("gpu"):
            environment["CUDA_VISIBLE_DEVICES"] = device_of(slot, os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        with (self.work / f"{job.name}.log").open("ab") as log:
            return subprocess.Popen(
                [*self.command, "--job", job.case.optimizer, job.case.parameterization, job.part],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
