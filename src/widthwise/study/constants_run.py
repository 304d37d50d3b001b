"""Run a search for constants: its trials are populations like any other's, and its store is all it remembers."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from widthwise.records import ProposalRow, StoredStudy, read_study
from widthwise.study.constants_search import next_proposals, proposal_spec, search_spec
from widthwise.study.desk import More
from widthwise.study.executor import Crew, Executor
from widthwise.study.expand import StudyPlan
from widthwise.study.run import (
    CHECKPOINT_SECONDS,
    LOCAL,
    Sizing,
    plan_study,
    require_same_spec,
    train_pending,
)
from widthwise.study.run_state import Listener
from widthwise.study.sharded import led
from widthwise.study.spec import StudySpec
from widthwise.study.spec_file import SpecSource
from widthwise.study.stop import Stop
from widthwise.study.store import StoreWriter, create_store
from widthwise.study.text import begun_text, digest_of, load_text, tokens_of


def run_constants_search(
    source: SpecSource,
    store: Path,
    *,
    trials: int | None = None,
    device: str = "auto",
    executor: Executor = LOCAL,
    population_size: int | None = None,
    population_minutes: float | None = None,
    listener: Listener | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    stop: Stop | None = None,
) -> StoredStudy:
    """Search for the constants of a specification's arms, or go on with a search.

    Args:
        source: the specification; which arms are searched for, see `search_spec`.
        store: the search's own file; made if it does not exist.
        trials: of each range; None for the specification's.

    The rest as `run_study` takes it; `population_size` and `population_minutes` count for this run's populations.

    Raises:
        ValueError: bad input of any kind, or no Optuna; files are then as they were.
    """
    wanted = source.spec.constants_search.trials if trials is None else trials
    if wanted < 1:
        raise ValueError(f"trials {wanted} must be at least 1")
    _require_optuna()
    with led(executor, device) as mine:
        if mine is None:
            return read_study(store)
        begun = os.path.exists(store)
        if begun:
            require_same_spec(source, store)
            study = read_study(store)
            if [arm.name for arm in study.arms] != [part.name for part in search_spec(source.spec).arms]:
                raise ValueError(
                    f"store {str(store)!r} is a study's, not a search for its constants; give a search another --store"
                )
            if not study.pending_populations() and not next_proposals(study, source.spec, trials=wanted):
                return study
        with mine.open(device) as crew:
            corpus = (
                begun_text(source.spec, read_study(store).corpus, where=f"store {str(store)!r}")
                if begun
                else load_text(source.spec)
            )
            sizing = Sizing(
                crew.device, tokens_of(corpus), crew.sharing, population_size, population_minutes, crew.split
            )
            if not begun:
                first = search_spec(source.spec)
                plan = crew.call(plan_study, first, digest_of(corpus), sizing, crew.places, None, None)
                name = f"{source.spec.name}: constants"
                create_store(store, name=name, spec=source.text, corpus=digest_of(corpus), plan=plan)
            more = _batches(source.spec, wanted, sizing, crew)
            return train_pending(store, corpus, crew, listener, checkpoint_seconds, more=more, stop=stop)


def _batches(spec: StudySpec, trials: int, sizing: Sizing, crew: Crew) -> More:
    def propose_more(writer: StoreWriter, study: StoredStudy) -> bool:
        rows = next_proposals(study, spec, trials=trials)
        if not rows:
            return False
        known = {trial.identity: trial.id for trial in study.trials.values()}
        plan = crew.call(
            plan_study, proposal_spec(spec, rows), study.corpus, sizing, crew.places, None, known
        )
        writer.add_proposals(plan, with_trials(rows, plan))
        return True

    return propose_more


def with_trials(rows: Sequence[ProposalRow], plan: StudyPlan) -> list[ProposalRow]:
    """The proposals with the trials that a plan of `proposal_spec` has given them."""
    trials = {cell.arm: cell.trial for cell in plan.cells}
    return [replace(row, trial=trials[arm.name]) for row, arm in zip(rows, plan.arms, strict=True)]


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ValueError("a search for constants needs Optuna: pip install 'widthwise[optuna]'") from error
