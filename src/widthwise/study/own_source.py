"""Whether a training function of one's own is still the one that a store's trials were trained with.

Its name and `version` name a trial, not what the function does: who changes it and forgets the version would compare
runs of two functions. The file that it stands in is remembered with every process that worked on a store.
"""

import hashlib
import sys
import warnings
from pathlib import Path

from widthwise.records import StoredStudy, TrialStatus
from widthwise.study.own_spec import OwnSpec
from widthwise.study.task import Facts
from widthwise.user_code import find_callable

FACT = "training function"
"""Among a host's facts: the start of the SHA-256 of the function's file."""
_DIGITS = 12


def function_facts(model: OwnSpec) -> Facts:
    """What is remembered of a function: its file's hash; nothing where it has no file, as in a notebook.

    Raises:
        ValueError: there is no such function.
    """
    find_callable(model.runner, what="model.runner")
    file = getattr(sys.modules[model.runner.partition(":")[0]], "__file__", None)
    if file is None or not Path(file).is_file():
        return {}
    return {FACT: hashlib.sha256(Path(file).read_bytes()).hexdigest()[:_DIGITS]}


def warn_if_changed(study: StoredStudy, model: OwnSpec, facts: Facts) -> None:
    """Warn if trials have ended with another function than this one, as far as that is known."""
    ended = sum(trial.status is not TrialStatus.PENDING for trial in study.trials.values())
    others = {host[FACT] for host in study.hosts if FACT in host} - {facts.get(FACT)}
    if ended and others and FACT in facts:
        warnings.warn(
            f"the file of {model.runner!r} has changed since trials of this study were trained: {ended} of "
            f"{len(study.trials)} have ended and stay as they are. If the change matters to them, give model.version "
            "another value and begin another store",
            stacklevel=3,
        )
