"""Run a study, or go on with one: every population that has not run yet, in order, into the store."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from widthwise.records import StoredStudy, check_store, read_study
from widthwise.study.checkpoints import remove_checkpoints
from widthwise.study.desk import Desk
from widthwise.study.executor import Crew, Executor, Local
from widthwise.study.expand import StudyPlan, expand, expand_arms
from widthwise.study.fitting_sizes import FittingSizes
from widthwise.study.run_state import Listener, Tracker
from widthwise.study.runner import choose_device
from widthwise.study.spec import StudySpec
from widthwise.study.spec_file import SpecSource, parse_spec
from widthwise.study.store import create_store, left_open, writing
from widthwise.study.task import Job
from widthwise.study.text import digest_of, load_text, require_same

if TYPE_CHECKING:
    from widthwise.train import Corpus

CHECKPOINT_SECONDS = 60.0
"""How often the state of a population in training is kept unless asked otherwise: what a kill can cost."""
LOCAL = Local()


def run_study(
    source: SpecSource,
    store: Path,
    *,
    device: str = "auto",
    executor: Executor = LOCAL,
    population_size: int | None = None,
    population_minutes: float | None = None,
    listener: Listener | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> StoredStudy:
    """Run a specification into a store; an existing store of the same specification is continued.

    Args:
        source: from `load_spec` or `parse_spec`.
        store: the file; made if it does not exist.
        device: `cpu`, `cuda` or `auto`.
        executor: where populations are trained: `Local()`, `Processes()`, `Ray()`.
        population_size: members side by side, for a new store; None for as many as fit and end in time.
        population_minutes: how long a population may take by its estimate, for a new store; 8 unless said.
        listener: told how the run stands, now and then.
        checkpoint_seconds: how often to keep the state of a population in training, in files beside the store.

    Raises:
        ValueError: bad input of any kind; files are then as they were.
        TrainingError: training raised another error; the message says of which population. The store can be resumed.
    """
    if os.path.exists(store):
        _require_same(source, store)
        return resume_study(
            store,
            device=device,
            executor=executor,
            listener=listener,
            checkpoint_seconds=checkpoint_seconds,
        )
    with executor.open(device) as crew:
        corpus = load_text(source.spec)
        plan = crew.call(
            plan_study,
            source.spec,
            digest_of(corpus),
            0 if corpus is None else len(corpus.train),
            crew.device,
            crew.sharing,
            population_size,
            population_minutes,
        )
        create_store(store, name=source.spec.name, spec=source.text, corpus=digest_of(corpus), plan=plan)
        return _train_pending(store, corpus, crew, listener, checkpoint_seconds)


def resume_study(
    store: Path,
    *,
    device: str = "auto",
    executor: Executor = LOCAL,
    listener: Listener | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> StoredStudy:
    """Train what a store still lacks, each population as recorded, from its checkpoint where there is one.

    Args and errors as `run_study`'s; further:

    Raises:
        ValueError: not a store, its corpus has changed, no such device, or another process is writing it.
    """
    study = read_study(store)
    if not study.pending_populations():
        if left_open(store):
            with writing(store):
                remove_checkpoints(store)
        return study
    with executor.open(device) as crew:
        corpus = load_text(parse_spec(study.spec).spec)
        require_same(corpus, study.corpus, where=f"store {str(store)!r}")
        return _train_pending(store, corpus, crew, listener, checkpoint_seconds)


def plan_study(
    spec: StudySpec,
    corpus: str,
    corpus_tokens: int,
    device: str,
    sharing: int,
    members: int | None,
    minutes: float | None,
) -> StudyPlan:
    """The trials and populations of a new store; called where there is a device like those that will train it.

    Args:
        corpus, corpus_tokens: the hash of the text and the length of its training stream.
        sharing, members, minutes: see `FittingSizes`.
    """
    sizes = FittingSizes(
        choose_device(device),
        corpus_tokens=corpus_tokens,
        data_seeds=len(spec.seeds),
        members=members,
        minutes=minutes,
        sharing=sharing,
        measure=spec.measure,
        starts=len(spec.seeds) * len(expand_arms(spec)),
    )
    return expand(spec, corpus=corpus, population_size=sizes)


def _train_pending(
    store: Path, corpus: "Corpus | None", crew: Crew, listener: Listener | None, checkpoint_seconds: float
) -> StoredStudy:
    """Train the populations that have not run, as the store's only writer."""
    with writing(store) as writer:
        study = read_study(store)  # by the one writer: nobody else can have finished a population since
        measure = parse_spec(study.spec).spec.measure
        job = Job(study.spec, study.corpus, crew.device, store.absolute(), checkpoint_seconds, measure)
        tracker = Tracker(study, listener)
        crew.train(Desk(job, writer, corpus, tracker, longest_first=crew.longest_first), corpus)
        remove_checkpoints(store)
    return read_study(store)


def _require_same(source: SpecSource, store: Path) -> None:
    check_store(store)
    begun = read_study(store)
    if parse_spec(begun.spec).spec != source.spec:
        raise ValueError(
            f"store {str(store)!r} belongs to another specification ({begun.name!r}); "
            "give another --store, or `widthwise study resume` to go on with the one it has"
        )
