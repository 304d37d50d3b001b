"""What an epsilon does to the members of a population: `measure.measure_epsilon` of an optimizer's state that has P of
each tensor, whole or in parts.

Of a state in parts one tensor at a time is gathered, so that counts and order statistics are those of the whole.
"""

from collections.abc import Sequence
from dataclasses import replace

from widthwise.measure.adam_moments import Moments
from widthwise.measure.epsilon_report import EpsilonReport
from widthwise.measure.epsilon_rows import Measured, Plan
from widthwise.measure.gathered_sizes import sizes_of
from widthwise.measure.measure_epsilon import report_of
from widthwise.optim import AdamAtan2Update, AdamUpdate
from widthwise.optim.bias_correction import root_correction
from widthwise.train.member import Member
from widthwise.train.trainable import Trainable


def epsilon_reports(
    population: Trainable,
    members: Sequence[Member],
    *,
    plan: Plan | None = None,
    epsilon: float | None = None,
) -> tuple[EpsilonReport, ...]:
    """The report of every member, in order; where tensors are in parts, every process calls this and has the same.

    Args:
        members: those of the population.
        plan: gives each tensor its role, its gradient's exponent and the epsilon that it should have.
        epsilon: asked about in the place of the members' own; Adam-atan2, which has none, is reported by its sizes
            alone unless this is given.

    Raises:
        ValueError: the optimizer keeps no second moment of each coordinate, or has not stepped yet.
    """
    update = population.recipe.update
    if not isinstance(update, AdamUpdate | AdamAtan2Update):
        raise ValueError(
            f"{type(update).__name__} keeps no second moment of every coordinate: the report is for Adam and Adam-atan2"
        )
    steps = population.optimizer.snapshot()["steps"].tolist()
    if not min(steps):
        raise ValueError("the optimizer has not stepped yet: call this after the first step")
    measured: list[list[Measured]] = [[] for _ in members]
    for name, state in population.optimizer.state.items():
        key = "u" if isinstance(update, AdamAtan2Update) else "v"
        first_P, second_P = (population.placement.whole(name, state[k]) for k in ("m", key))
        for position, member in enumerate(members):
            own = None if isinstance(update, AdamAtan2Update) else member.numbers[name].epsilon
            moments = Moments(
                population.parameters[name][position],
                first_P[position],
                second_P[position],
                key == "v",
                root_correction(steps[position], update.beta2),
                own if epsilon is None else epsilon,
                steps[position],
            )
            [sizes] = sizes_of([moments])
            measured[position].append(Measured(name, replace(moments, first=None, second=None), sizes))
    return tuple(report_of(type(update).__name__, found, plan) for found in measured)
