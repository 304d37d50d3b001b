"""`initialize_`: the one place where a plan touches a model.

The user's own draw is kept; every tensor is multiplied by its factor. Before anything is touched, every draw is
compared with what its initializer gives at this width: a model that was never initialized (`to_empty`), or that was
initialized by something else, is refused with the tensor's name, and a second call finds the plan's sizes and does
nothing. Nothing is remembered on tensors.

Whether the factors are in already is seen on any tensor whose factor is well beyond its draw's scatter. Where there is
none (small tensors, a width next to the base width), all tensors decide together by their likelihood, and a wrong
decision changes sizes by no more than two draws differ.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from math import isfinite, log, sqrt
from typing import TYPE_CHECKING

from widthwise.scaling.initializers import ROUNDING, Draw
from widthwise.scaling.parameter_names import check_shapes, rows_of
from widthwise.scaling.scaling_plan import PlanRow, ScalingPlan
from widthwise.scaling.shards import local_part, summed_over_shards

if TYPE_CHECKING:
    from torch import Tensor, nn

DEVIATES = 6.0
"""Standard errors of a draw's size before it is called another draw's: of 10^8 true draws, fewer than one."""
UNEVEN = 0.02
"""What a size may miss its law by beyond sampling: entries of several scales in one tensor, padding rows."""


class State(Enum):
    """What a tensor holds: its initializer's own draw, the plan's, either (the factor is 1), or neither."""

    OWN = auto()
    PLANNED = auto()
    EITHER = auto()
    NEITHER = auto()


@dataclass(frozen=True)
class _Reading:
    """One tensor: what it holds, its size, what its initializer gives, and 2 log likelihood(planned / own)."""

    state: State
    size: float = 0.0
    expected: float = 0.0
    evidence: float = 0.0


@dataclass(frozen=True)
class _Sums:
    """Over a whole tensor, all of its shards included: entries, and the sum of their squares."""

    entries: int
    squares: float

    @property
    def size(self) -> float:
        """Root mean square."""
        return sqrt(self.squares / self.entries) if self.entries else 0.0


def initialize_(plan: ScalingPlan, model: "nn.Module") -> None:
    """Turn the draw of the model's own initializers into the plan's, in place; once done, doing it again does nothing.

    Args:
        model: at the plan's width, initialized by its own code; sharded, wrapped or compiled as it may be.

    Raises:
        ValueError: another model or width; parameters on the meta device; a tensor that holds neither its initializer's
            draw nor the plan's; a model of which a part is initialized by the plan and a part is not.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from widthwise.scaling import make_plan
        >>> from widthwise.theory import ADAM, FULL, MUP
        >>> def build(width):
        ...     return nn.Sequential(nn.Embedding(50, width), nn.Linear(width, 50, bias=False))
        >>> plan = make_plan(build, width=256, base_width=64, parameterization=MUP, optimizer=ADAM, alignment=FULL)
        >>> torch.manual_seed(0) and None
        >>> model = build(256)
        >>> before = model[1].weight.std()
        >>> plan.initialize_(model)
        >>> plan.initialize_(model)
        >>> round((model[1].weight.std() / before).item(), 6)
        0.5
    """
    import torch

    rows = rows_of(plan.rows, model)
    parameters = dict(model.named_parameters())
    on_meta = [name for name, parameter in parameters.items() if parameter.is_meta]
    if on_meta:
        raise ValueError(
            f"{on_meta[0]} is on the meta device and holds no draw; materialize the model (to_empty) and run its own "
            "initializer first"
        )
    check_shapes(parameters, rows, plan.width)
    readings = {name: _read(plan, rows[name], parameter) for name, parameter in parameters.items()}
    frozen = {name for name, parameter in parameters.items() if not parameter.requires_grad}
    if _already_planned(plan, readings, frozen):
        return
    with torch.no_grad():
        for name, parameter in parameters.items():
            if rows[name].init != 1.0:
                parameter.mul_(rows[name].init)


def _already_planned(plan: ScalingPlan, readings: Mapping[str, _Reading], frozen: Collection[str]) -> bool:
    for name, reading in readings.items():
        if reading.state is State.NEITHER:
            loaded = "; frozen weights that are loaded come after it" if name in frozen else ""
            raise ValueError(
                f"{name} has entries of size {reading.size:.4g}; its own initializer gives {reading.expected:.4g} at "
                f"width {plan.width}. Run the model's own initializer before initialize_ (after to_empty there is no "
                f"draw to keep{loaded}), or make the plan again if the initializer has changed"
            )
    own = [name for name, reading in readings.items() if reading.state is State.OWN]
    planned = [name for name, reading in readings.items() if reading.state is State.PLANNED]
    if own and planned:
        raise ValueError(
            f"{planned[0]} already has the plan's size and {own[0]} has not; initialize the whole model again, then "
            "call initialize_ once"
        )
    if own or planned:
        return bool(planned)
    return sum(reading.evidence for reading in readings.values()) > 0


def _read(plan: ScalingPlan, row: PlanRow, parameter: "Tensor") -> _Reading:
    """Which of its two possible sizes a tensor has."""
    fit = row.initializer
    if fit is None or fit.exponent is None:
        return _Reading(State.EITHER)
    expected = fit.scale_at(plan.width)
    sums = _sums(parameter, fit.draw)
    size = sums.size
    if expected == 0 or size == 0 or not isfinite(size):
        same = size == expected or parameter.numel() == 0
        return _Reading(State.EITHER if same else State.NEITHER, size, expected)
    if fit.draw is Draw.CONSTANT:  # entries of one sign and size have no sampling error
        tolerance = DEVIATES * ROUNDING
    else:
        tolerance = DEVIATES * sqrt(1 / (2 * sums.entries) + ROUNDING**2 + fit.scale_error**2) + UNEVEN
    own, planned = abs(log(size / expected)), abs(log(size / (expected * row.init)))
    if min(own, planned) > tolerance:
        return _Reading(State.NEITHER, size, expected)
    evidence = (own**2 - planned**2) * (DEVIATES / tolerance) ** 2
    if abs(log(row.init)) <= 2 * tolerance:
        return _Reading(State.EITHER, size, expected, evidence)
    return _Reading(State.OWN if own < planned else State.PLANNED, size, expected, evidence)


def _sums(parameter: "Tensor", draw: Draw) -> _Sums:
    """Of the entries that are not exactly 0 (padding rows); of all, zeros too, where the initializer is a pattern."""
    import torch

    values = parameter.detach()
    local = local_part(values)
    if local.is_complex():
        local = torch.view_as_real(local)
    wide = torch.float64 if local.dtype is torch.float64 else torch.float32
    entries = local.numel() if draw is Draw.PATTERN else int(torch.count_nonzero(local))
    squares = float(torch.linalg.vector_norm(local, dtype=wide)) ** 2  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    entries, squares = summed_over_shards(values, (entries, squares))
    return _Sums(round(entries), squares)
