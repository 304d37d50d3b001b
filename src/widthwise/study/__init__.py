"""Studies: a specification becomes trials, trials become populations, and populations fill one store.

`load_spec` reads and checks a specification, `run_study` runs it into a store or goes on with one, `resume_study` goes
on with what a store holds. torch is imported when training begins.
"""

from widthwise.study.arm_axes import arm_axes, own_epsilon
from widthwise.study.constants_run import run_constants_search
from widthwise.study.constants_search import found_constants
from widthwise.study.constants_text import constants_text
from widthwise.study.desk import TrainingError
from widthwise.study.executor import Executor, Local
from widthwise.study.few_rates import few_rates_note
from widthwise.study.fitting_sizes import POPULATION_SIZE
from widthwise.study.measured_rates import MeasuredStore, read_measured
from widthwise.study.own_trial import Diverged, Report, RoleNumbers, Trial
from widthwise.study.processes import Processes
from widthwise.study.ray_cluster import Ray
from widthwise.study.run import resume_study, run_study
from widthwise.study.run_state import RunState
from widthwise.study.sharded import Sharded, follow, started_processes
from widthwise.study.spec import StudySpec
from widthwise.study.spec_file import (
    SpecSource,
    built_in_names,
    load_spec,
    parse_spec,
    with_constants,
    with_corpus,
    with_measured,
)
from widthwise.study.stop import Stop, stop_on_signals

__all__ = [
    "POPULATION_SIZE",
    "Diverged",
    "Executor",
    "Local",
    "MeasuredStore",
    "Processes",
    "Ray",
    "Report",
    "RoleNumbers",
    "RunState",
    "Sharded",
    "SpecSource",
    "Stop",
    "StudySpec",
    "TrainingError",
    "Trial",
    "arm_axes",
    "built_in_names",
    "constants_text",
    "few_rates_note",
    "follow",
    "found_constants",
    "load_spec",
    "own_epsilon",
    "parse_spec",
    "read_measured",
    "resume_study",
    "run_constants_search",
    "run_study",
    "started_processes",
    "stop_on_signals",
    "with_constants",
    "with_corpus",
    "with_measured",
]
