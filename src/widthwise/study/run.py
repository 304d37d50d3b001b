"""Run a study, or go on with one: every population that has not run yet, in order, into the store."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from widthwise.records import StoredStudy, check_store, read_study
from widthwise.study.checkpoints import remove_checkpoints
from widthwise.study.compose import shape_key
from widthwise.study.expand import expand
from widthwise.study.fitting_sizes import FittingSizes
from widthwise.study.run_state import Listener, Tracker
from widthwise.study.runner import choose_device, host_facts
from widthwise.study.spec_file import SpecSource, parse_spec
from widthwise.study.store import create_store, left_open, writing
from widthwise.study.train_stored import OutOfMemory, StoredTraining, split_stored, train_stored

if TYPE_CHECKING:
    import torch

    from widthwise.train import Corpus

CHECKPOINT_SECONDS = 60.0
"""How often the state of a population in training is kept unless asked otherwise: what a kill can cost."""


def run_study(
    source: SpecSource,
    store: Path,
    *,
    device: str = "auto",
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
        population_size: members side by side, for a new store; None for as many as fit and end in time.
        population_minutes: how long a population may take by its estimate, for a new store; 8 unless said.
        listener: told how the run stands, now and then.
        checkpoint_seconds: how often to keep the state of a population in training, in files beside the store.

    Raises:
        ValueError: bad input of any kind; files are then as they were.
    """
    from widthwise.train import load_corpus

    if os.path.exists(store):
        _require_same(source, store)
        return resume_study(store, device=device, listener=listener, checkpoint_seconds=checkpoint_seconds)
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
    return _train_pending(store, corpus, chosen, listener, checkpoint_seconds)


def resume_study(
    store: Path,
    *,
    device: str = "auto",
    listener: Listener | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> StoredStudy:
    """Train what a store still lacks, each population as recorded, from its checkpoint where there is one.

    Args as `run_study`'s.

    Raises:
        ValueError: not a store, its corpus has changed, no such device, or another process is writing it.
    """
    from widthwise.train import load_corpus

    study = read_study(store)
    if not study.pending_populations():
        if left_open(store):
            with writing(store):
                remove_checkpoints(store)
        return study
    chosen = choose_device(device)
    corpus = load_corpus(parse_spec(study.spec).spec.corpus)
    if corpus.digest != study.corpus:
        raise ValueError(
            f"corpus {corpus.name!r} is not the text that store {str(store)!r} was begun with "
            f"(SHA-256 {corpus.digest[:12]} instead of {study.corpus[:12]}); restore it or begin another store"
        )
    return _train_pending(store, corpus, chosen, listener, checkpoint_seconds)


def _train_pending(
    store: Path,
    corpus: "Corpus",
    device: "torch.device",
    listener: Listener | None,
    checkpoint_seconds: float,
) -> StoredStudy:
    """Train the populations that have not run, in order, as the store's only writer."""
    with writing(store) as writer:
        study = read_study(store)  # by the one writer: nobody else can have finished a population since
        writer.register_host(host_facts(device))
        tracker = Tracker(study, listener)
        training = StoredTraining(store, writer, corpus, device, checkpoint_seconds, tracker)
        too_many: dict[str, tuple[int, OutOfMemory]] = {}
        pending = list(study.pending_populations())
        while pending:
            population = pending.pop(0)
            shape = shape_key(json.loads(study.trials[population.trials[0]].recipe))
            members = len(population.revisions[-1].trials)
            size, lack = too_many.get(shape, (0, None))
            if lack is not None and members >= max(size, 2):
                split_stored(training, population.id, lack)  # as many of this shape did not fit a while ago
            else:
                lack = train_stored(training, study, population)
                if lack is None:
                    continue
                too_many[shape] = (members, lack)
            study = read_study(store)
            tracker.read(study)
            pending = list(study.pending_populations())
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
