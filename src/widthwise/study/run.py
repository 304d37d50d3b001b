"""Run a study, or go on with one: every population that has not run yet, in order, into the store.

Where rates are planned while it runs, the next round is decided and written whenever nothing is left.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from widthwise.records import StoredStudy, TrialStatus, check_store, read_layers, read_study
from widthwise.study.checkpoints import remove_checkpoints
from widthwise.study.desk import Desk, More
from widthwise.study.executor import Crew, Executor, Local
from widthwise.study.expand import StudyPlan, expand, expand_arms
from widthwise.study.fitting_sizes import FittingSizes
from widthwise.study.own_source import function_facts, warn_if_changed
from widthwise.study.own_spec import OwnSpec
from widthwise.study.rate_spec import RateSweep
from widthwise.study.reuse import require_reusable, take_over
from widthwise.study.run_state import Listener, Tracker
from widthwise.study.runner import choose_device
from widthwise.study.sharded import led
from widthwise.study.spec import StudySpec
from widthwise.study.spec_file import SpecSource, parse_spec
from widthwise.study.stop import Stop
from widthwise.study.store import StoreWriter, create_store, writing
from widthwise.study.store_lock import left_open
from widthwise.study.sweep_rounds import Round, next_round
from widthwise.study.task import Job
from widthwise.study.text import begun_text, digest_of, load_text, tokens_of

if TYPE_CHECKING:
    from widthwise.train import Corpus

CHECKPOINT_SECONDS = 60.0
"""How often the state of a population in training is kept unless asked otherwise: what a kill can cost."""
LOCAL = Local()


def run_study(
    source: SpecSource,
    store: Path | str,
    *,
    device: str = "auto",
    executor: Executor = LOCAL,
    population_size: int | None = None,
    population_minutes: float | None = None,
    listener: Listener | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    stop: Stop | None = None,
    retry_failed: bool = False,
    reuse: Path | str | None = None,
) -> StoredStudy:
    """Run a specification into a store; an existing store of the same specification is continued.

    Args:
        source: from `load_spec` or `parse_spec`.
        store: the file; made if it does not exist.
        device: `cpu`, `cuda` or `auto`.
        executor: where populations are trained: `Local()`, `Processes()`, `Ray()`, or `Sharded()`, called in every
            process of torchrun.
        population_size: members side by side, for a new store; None for as many as fit and end in time.
        population_minutes: how long a population may take by its estimate, for a new store; 8 unless said.
        listener: told how the run stands, now and then.
        checkpoint_seconds: how often to keep the state of a population in training, in files beside the store; infinite
            for never, 0 for as often as 5 % of the time allows.
        stop: asked to stop, by `stop_on_signals` for one, what is in training here or in processes ends with a
            checkpoint after its next step.
        retry_failed: whether trials of an existing store that have failed are trained again, after a repair.
        reuse: another study's store, whose results of the same trials of a training function of one's own are taken.

    Raises:
        ValueError: bad input of any kind; files are then as they were.
        TrainingError: training raised another error; the message says of which population. The store can be resumed.
        KeyboardInterrupt: `stop` was asked. The store can be resumed.
    """
    store = Path(store)
    with led(executor, device) as mine:
        if mine is None:
            return read_study(store)
        if reuse is not None:
            require_reusable(source.spec, reuse)
        if os.path.exists(store):
            require_same_spec(source, store)
            if [arm.name for arm in read_study(store).arms] != [arm.name for arm in expand_arms(source.spec)]:
                raise ValueError(
                    f"store {str(store)!r} is a search for constants, not a study's; give another --store"
                )
            return resume_study(
                store,
                device=device,
                executor=mine,
                listener=listener,
                checkpoint_seconds=checkpoint_seconds,
                stop=stop,
                retry_failed=retry_failed,
                reuse=reuse,
            )
        with mine.open(device) as crew:
            corpus = load_text(source.spec)
            sizing = Sizing(
                crew.device, tokens_of(corpus), crew.sharing, population_size, population_minutes, crew.split
            )
            swept = any(isinstance(arm.grid, RateSweep) for arm in expand_arms(source.spec))
            places = crew.places if swept else 1
            plan = crew.call(plan_study, source.spec, digest_of(corpus), sizing, places, None, None)
            create_store(
                store,
                name=source.spec.name,
                spec=source.text,
                corpus=digest_of(corpus),
                plan=plan,
                members=population_size,
                minutes=population_minutes,
            )
            more = rounds_of_rates(tokens_of(corpus), crew)
            how = {"more": more, "stop": stop, "reuse": reuse}
            return train_pending(store, corpus, crew, listener, checkpoint_seconds, **how)


def resume_study(
    store: Path | str,
    *,
    device: str = "auto",
    executor: Executor = LOCAL,
    listener: Listener | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    stop: Stop | None = None,
    retry_failed: bool = False,
    reuse: Path | str | None = None,
) -> StoredStudy:
    """Train what a store still lacks, each population as recorded, from its checkpoint where there is one.

    Args and errors as `run_study`'s; further:

    Raises:
        ValueError: not a store, its corpus has changed, no such device, or another process is writing it.
    """
    store = Path(store)
    with led(executor, device) as mine:
        if mine is None:
            return read_study(store)
        study = read_study(store)
        again = retry_failed and any(t.status is TrialStatus.FAILED for t in study.trials.values())
        if not study.pending_populations() and not study.sweeping and not again:
            if left_open(store):
                with writing(store):
                    remove_checkpoints(store)
            return study
        with mine.open(device) as crew:
            corpus = begun_text(parse_spec(study.spec).spec, study.corpus, where=f"store {str(store)!r}")
            more = rounds_of_rates(tokens_of(corpus), crew)
            how = {"more": more, "stop": stop, "retry_failed": again, "reuse": reuse}
            return train_pending(store, corpus, crew, listener, checkpoint_seconds, **how)


@dataclass(frozen=True)
class Sizing:
    """What the size of populations follows from: see `FittingSizes`."""

    device: str
    corpus_bytes: int
    sharing: int
    members: int | None
    minutes: float | None
    split: int = 1


def plan_study(
    spec: StudySpec,
    corpus: str,
    sizing: Sizing,
    places: int,
    round_: Round | None,
    known: Mapping[str, int] | None,
) -> StudyPlan:
    """Trials and populations of a new store, or of a round; called where there is a device like those that train.

    Args:
        corpus: the hash of the text.
        places: how many populations the trials of one shape are spread over at least.
        round_: the runs to plan; None for those that a study begins with.
        known: as `expand` takes it.
    """
    from widthwise.train import free_memory

    device = choose_device(sizing.device)
    if device.type == "cuda":
        free_memory(device)  # of what the last round has left
    sizes = FittingSizes(
        device,
        corpus_bytes=sizing.corpus_bytes,
        data_seeds=len(spec.seeds),
        members=sizing.members,
        minutes=sizing.minutes,
        sharing=sizing.sharing,
        split=sizing.split,
        places=places,
        measure=spec.measure,
        starts=len(spec.seeds) * len(expand_arms(spec)),
    )
    runs = None if round_ is None else round_.at
    return expand(spec, corpus=corpus, population_size=sizes, runs=runs, known=known)


def train_pending(
    store: Path,
    corpus: "Corpus | None",
    crew: Crew,
    listener: Listener | None,
    checkpoint_seconds: float,
    *,
    more: More,
    stop: Stop | None = None,
    retry_failed: bool = False,
    reuse: Path | str | None = None,
) -> StoredStudy:
    """Train the populations that have not run, and more as long as there are, as the store's only writer."""
    with writing(store) as writer:
        if retry_failed:
            writer.retry_failed()
        study = read_study(store)  # by the one writer: nobody else can have finished a population since
        spec, facts = parse_spec(study.spec).spec, {}
        if isinstance(spec.model, OwnSpec):
            facts = function_facts(spec.model)
            warn_if_changed(study, spec.model, facts)
            if reuse is not None and take_over(writer, study, reuse):
                warn_if_changed(read_study(reuse), spec.model, facts)
                study = read_study(store)
        # A search for constants measures nothing, whatever its specification says: its store has no layers.
        measure = spec.measure if read_layers(store) else None
        job = Job(study.spec, study.corpus, crew.device, store.absolute(), checkpoint_seconds, measure)
        tracker = Tracker(study, listener)
        # Layer-major trials of a width are many and alike, so workers end together; what is stopped lacks the widest.
        longest_first = crew.longest_first and spec.training.form is None
        how = {"longest_first": longest_first, "more": more, "stop": stop, "facts": facts}
        desk = Desk(job, writer, corpus, tracker, study, **how)
        crew.train(desk, corpus)
        remove_checkpoints(store)
    return read_study(store)


def rounds_of_rates(corpus_bytes: int, crew: Crew) -> More:
    """What there is more to do in a study whose rates are planned."""
    return lambda writer, study: _begin_round(writer, study, corpus_bytes, crew)


def _begin_round(writer: StoreWriter, study: StoredStudy, corpus_bytes: int, crew: Crew) -> bool:
    """Write the next round of planned rates; False if all sweeps are done."""
    if not study.sweeping:
        return False
    spec = parse_spec(study.spec).spec
    found = next_round(study, expand_arms(spec), spec.seeds)
    if not found.runs:
        writer.record_sweeps(found.rows)
        return False
    first = study.rounds[0]
    sizing = Sizing(crew.device, corpus_bytes, crew.sharing, first.members, first.minutes, crew.split)
    known = {trial.identity: trial.id for trial in study.trials.values()}
    plan = crew.call(plan_study, spec, study.corpus, sizing, crew.places, found, known)
    writer.add_round(plan, found.rows)
    return True


def require_same_spec(source: SpecSource, store: Path) -> None:
    """Check that a store was begun with this specification.

    Raises:
        ValueError: it is another's, or no store.
    """
    check_store(store)
    begun = read_study(store)
    if parse_spec(begun.spec).spec != source.spec:
        raise ValueError(
            f"store {str(store)!r} belongs to another specification ({begun.name!r}); "
            "give another --store, or `widthwise study resume` to go on with the one it has"
            + (
                f"; --reuse {store} takes the results of trials that are the same into another --store"
                if isinstance(source.spec.model, OwnSpec)
                else ""
            )
        )
