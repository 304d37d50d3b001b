"""Measurements on a user's model: the coordinate check, the report on Adam's epsilon, and alignment.

`coordinate_check` trains a planned model a few steps at several widths and compares the slopes of what it measures with
theory's. `plan_ladder` makes the plans of many widths from one description. `measure_epsilon` compares an optimizer's
epsilon with what it is added to; an `EpsilonMonitor` does so every so many steps. `measure_alignment` measures how
weights, their change since a reference (a `Snapshot`, a `Redraw`, ...) and activations are aligned. An
`AlignmentSchedule` (experimental) multiplies a plan's rates by what alignment measured at small widths allows; an
`AlignmentWatch` says where that of a large run is another.
"""

from widthwise.measure.alignment_json import load_alignment
from widthwise.measure.alignment_reference import Redraw, Reference, Snapshot
from widthwise.measure.alignment_report import (
    AlignmentReport,
    Estimator,
    Gain,
    LayerAlignment,
    LookedUp,
    Unmeasured,
)
from widthwise.measure.alignment_runs import AlignmentRun, alignment_runs
from widthwise.measure.alignment_schedule import AlignmentSchedule
from widthwise.measure.alignment_watch import AlignmentWarning, AlignmentWatch
from widthwise.measure.check_result import CoordinateCheck
from widthwise.measure.coordinate_check import coordinate_check
from widthwise.measure.epsilon_monitor import EpsilonMonitor
from widthwise.measure.epsilon_report import EpsilonReport, EpsilonRow
from widthwise.measure.epsilon_verdict import EpsilonVerdict
from widthwise.measure.language import next_token_loss, random_tokens
from widthwise.measure.measure_alignment import measure_alignment
from widthwise.measure.measure_epsilon import measure_epsilon
from widthwise.measure.plan_ladder import plan_ladder
from widthwise.measure.run_once import Key, Quantity
from widthwise.measure.slope import SlopeInterval
from widthwise.measure.verdict import CheckRow, Margins, Verdict

__all__ = [
    "AlignmentReport",
    "AlignmentRun",
    "AlignmentSchedule",
    "AlignmentWarning",
    "AlignmentWatch",
    "CheckRow",
    "CoordinateCheck",
    "EpsilonMonitor",
    "EpsilonReport",
    "EpsilonRow",
    "EpsilonVerdict",
    "Estimator",
    "Gain",
    "Key",
    "LayerAlignment",
    "LookedUp",
    "Margins",
    "Quantity",
    "Redraw",
    "Reference",
    "SlopeInterval",
    "Snapshot",
    "Unmeasured",
    "Verdict",
    "alignment_runs",
    "coordinate_check",
    "load_alignment",
    "measure_alignment",
    "measure_epsilon",
    "next_token_loss",
    "plan_ladder",
    "random_tokens",
]
