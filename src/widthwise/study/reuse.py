"""What another store has of a study's trials: a grid is extended without training again what is there.

A trial's identity is the hash of all that it is trained from, so that a result of the same identity is its result. Only
for training functions of one's own, each of whose trials is a population: those of reference models train side by side,
and who trains beside whom is recorded.
"""

from pathlib import Path

from widthwise.records import StoredStudy, TrialRow, TrialStatus, read_curves, read_study
from widthwise.study.own_spec import OwnSpec
from widthwise.study.spec import StudySpec
from widthwise.study.spec_file import parse_spec
from widthwise.study.store import StoreWriter
from widthwise.study.trial_result import TrialResult

_ENDED = (TrialStatus.COMPLETED, TrialStatus.DIVERGED)


def require_reusable(spec: StudySpec, source: Path | str) -> None:
    """Check that a study may take results from a store, and that it is of the same training function.

    Raises:
        ValueError: it is no store, it is another function's, or the study is one of reference models.
    """
    if not isinstance(spec.model, OwnSpec):
        raise ValueError(
            f"--reuse {str(source)!r} is for training functions of one's own; the trials of a {spec.model.kind} train "
            "side by side, and are trained anew"
        )
    other = parse_spec(read_study(source).spec).spec.model
    if other != spec.model:
        raise ValueError(
            f"--reuse {str(source)!r} is a study of {_named(other)}, not of {_named(spec.model)}; a trial is the same "
            "only if its function, version and options are"
        )


def _named(model: object) -> str:
    if not isinstance(model, OwnSpec):
        return "reference models"
    return f"{model.runner}, version {model.version}, options {dict(model.options)}"


def take_over(writer: StoreWriter, study: StoredStudy, source: Path | str) -> int:
    """Write another store's results of trials that are pending; how many there were."""
    known, curves = _ended(source), read_curves(source)
    found = [p for p in study.pending_populations() if study.trials[p.trials[0]].identity in known]
    if found:
        writer.register_host({"results taken from": str(source)})
    for population in found:
        (id_,) = population.trials
        old = known[study.trials[id_].identity]
        ended = (old.status, old.reason, old.step, old.validation_loss)
        result = TrialResult(id_, *ended, curves.get(old.id, ()))
        writer.finish_population(population.id, [result], seconds=0.0)
    return len(found)


def _ended(source: Path | str) -> dict[str, TrialRow]:
    """The trials of a store that trained or diverged, by identity."""
    return {trial.identity: trial for trial in read_study(source).trials.values() if trial.status in _ENDED}
