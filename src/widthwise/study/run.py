"""Run a study, or go on with one: every population that has not run yet, in order, into the store."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from widthwise.records import StoredStudy, check_store, read_study
from widthwise.study.expand import expand
from widthwise.study.fitting_sizes import FittingSizes
from widthwise.study.spec_file import SpecSource, parse_spec
from widthwise.study.store import create_store, left_open, writing
from widthwise.study.workload import workloads

if TYPE_CHECKING:
    import torch

    from widthwise.train import Corpus


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Args:
        populations, population: how many there are, and which (from 1) is at work; 0 before the first.
        trials, trials_done: how many there are, and how many have ended.
        width, members, step, steps: the population at work.
        work_done, work: in tokens times parameters, of the whole study; `work_before` was done by earlier runs.
        tokens_per_second: over this run; None at its start.
        seconds: since this run began.
    """

    populations: int
    population: int
    trials: int
    trials_done: int
    width: int
    members: int
    step: int
    steps: int
    work_done: float
    work_before: float
    work: float
    tokens_per_second: float | None
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """An estimate by the work done so far; None before any is done."""
        done = self.work_done - self.work_before
        return self.seconds * (self.work - self.work_done) / done if done > 0 else None


Listener = Callable[[RunState], None]


def run_study(
    source: SpecSource,
    store: Path,
    *,
    device: str = "auto",
    population_size: int | None = None,
    population_minutes: float | None = None,
    listener: Listener | None = None,
) -> StoredStudy:
    """Run a specification into a store; an existing store of the same specification is continued.

    Args:
        source: from `load_spec` or `parse_spec`.
        store: the file; made if it does not exist.
        device: `cpu`, `cuda` or `auto`.
        population_size: members side by side, for a new store; None for as many as fit and end in time.
        population_minutes: how long a population may take by its estimate, for a new store; 8 unless said.
        listener: told how the run stands, now and then.

    Raises:
        ValueError: bad input of any kind; files are then as they were.
    """
    from widthwise.study.runner import choose_device
    from widthwise.train import load_corpus

    if os.path.exists(store):
        _require_same(source, store)
        return resume_study(store, device=device, listener=listener)
    chosen = choose_device(device)
    corpus = load_corpus(source.spec.corpus)
    corpus.require(batch=source.spec.training.batch, context=source.spec.model.context)
    sizes = FittingSizes(
        chosen,
        corpus_tokens=len(corpus.train),
        data_seeds=len(source.spec.seeds),
        members=population_size,
        minutes=population_minutes,
    )
    plan = expand(source.spec, corpus=corpus.digest, population_size=sizes)
    create_store(store, name=source.spec.name, spec=source.text, corpus=corpus.digest, plan=plan)
    return _train_pending(store, corpus, chosen, listener)


def resume_study(store: Path, *, device: str = "auto", listener: Listener | None = None) -> StoredStudy:
    """Train what a store still lacks, each population as composed when the store was made.

    Raises:
        ValueError: not a store, its corpus has changed, no such device, or another process is writing it.
    """
    from widthwise.study.runner import choose_device
    from widthwise.train import load_corpus

    study = read_study(store)
    if all(population.completed for population in study.populations):
        if left_open(store):
            with writing(store):
                pass
        return study
    chosen = choose_device(device)
    corpus = load_corpus(parse_spec(study.spec).spec.corpus)
    if corpus.digest != study.corpus:
        raise ValueError(
            f"corpus {corpus.name!r} is not the text that store {str(store)!r} was begun with "
            f"(SHA-256 {corpus.digest[:12]} instead of {study.corpus[:12]}); restore it or begin another store"
        )
    return _train_pending(store, corpus, chosen, listener)


def _train_pending(
    store: Path, corpus: "Corpus", device: "torch.device", listener: Listener | None
) -> StoredStudy:
    """Train the populations that have not run, in order, as the store's only writer."""
    from widthwise.study.runner import host_facts, train_trials

    with writing(store) as writer:
        study = read_study(store)  # by the one writer: nobody else can have finished a population since
        writer.register_host(host_facts(device))
        tracker = _Tracker(study, listener)
        for population in study.populations:
            if population.completed:
                continue
            tracker.begin(population.id)
            started = time.monotonic()
            trials = [study.trials[id_] for id_ in population.trials]
            results = train_trials(
                trials,
                corpus,
                device=device,
                progress=tracker.at_step,
                micro_batches=population.micro_batches,
                recompute=population.recompute,
            )
            writer.finish_population(population.id, results, seconds=time.monotonic() - started)
            tracker.end()
    return read_study(store)


def _require_same(source: SpecSource, store: Path) -> None:
    check_store(store)
    begun = read_study(store)
    if parse_spec(begun.spec).spec != source.spec:
        raise ValueError(
            f"store {str(store)!r} belongs to another specification ({begun.name!r}); "
            "give another --store, or `widthwise study resume` to go on with the one it has"
        )


class _Tracker:
    """Turns populations and steps into `RunState`s."""

    def __init__(self, study: StoredStudy, listener: Listener | None) -> None:
        self._listener = listener
        self._work = workloads(study)
        self._total_work = sum(load.work for load in self._work.values())
        self._trials = len(study.trials)
        finished = [self._work[p.id] for p in study.populations if p.completed]
        self._before = sum(load.work for load in finished)
        self._done = self._before
        self._trials_done = sum(load.members for load in finished)
        self._tokens = 0
        self._started = time.monotonic()
        self._current = 0
        self._step = 0

    def begin(self, population: int) -> None:
        self._current, self._step = population, 0
        self._tell()

    def at_step(self, step: int) -> None:
        self._step = step
        self._tell()

    def end(self) -> None:
        load = self._work[self._current]
        self._done += load.work
        self._tokens += load.tokens
        self._trials_done += load.members
        self._step = 0
        self._tell(ended=True)

    def _tell(self, *, ended: bool = False) -> None:
        if self._listener is None:
            return
        load = self._work[self._current]
        share = 0.0 if ended else self._step / load.steps
        seconds = time.monotonic() - self._started
        tokens = self._tokens + share * load.tokens
        self._listener(
            RunState(
                populations=len(self._work),
                population=self._current,
                trials=self._trials,
                trials_done=self._trials_done,
                width=load.width,
                members=load.members,
                step=load.steps if ended else self._step,
                steps=load.steps,
                work_done=self._done + share * load.work,
                work_before=self._before,
                work=self._total_work,
                tokens_per_second=tokens / seconds if tokens else None,
                seconds=seconds,
            )
        )
