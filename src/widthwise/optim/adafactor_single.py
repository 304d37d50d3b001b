"""One step of Adafactor on one tensor: the reference that the other implementations must equal.

    w = (t + step_offset)^(-decay_rate)                                   1 - beta2 of step t
    R_i <- (1 - w) R_i + w mean_j(g_ij^2 + eps)                           factored: one number a row,
    C_j <- (1 - w) C_j + w mean_i(g_ij^2 + eps)                           one a column
    u_ij = g_ij / sqrt(R_i C_j / mean(R))                                 or g / sqrt(v), v kept for every element
    u    = u / max(1, RMS(u) / clipping_threshold)
    step = rate * max(floor, RMS(theta)) * u
    m    <- momentum m + (1 - momentum) step,   step = m                  with momentum
    theta <- theta - step - decay * theta

Each of clipping, parameter scaling (max(floor, RMS(theta))), momentum and factoring can be left out. The rate is what
the caller says at every step; nothing here follows a schedule of its own.

Leading dimensions can be separate tensors (`batch_dims`), such as the members of a population: nothing is reduced
across them, and the rate, the step and the decay may differ between them.

The algorithm is optax.adafactor's. v_row always is the mean over the later one of the two factored dimensions; optax's
is the mean over the larger one, which is the same update with the names exchanged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from widthwise.optim.parameter_scaling import PARAMETER_SCALING, ParameterScaling, root_mean_square

Number = float | Tensor
State = dict[str, Tensor]


@dataclass(frozen=True)
class AdafactorConstants:
    """What Adafactor keeps fixed, and the defaults of all of it.

    Args:
        decay_rate: how the memory of squared gradients grows: 1 - beta2 = t^(-decay_rate), from 0 (none) to 1 (all).
        step_offset: added to t; optax's `decay_offset` is its negative.
        eps: added to every squared gradient, so that gradients much smaller than its root give smaller steps.
        min_dim_size_to_factor: the two largest dimensions are factored if the smaller of them has this size.
        factored: whether anything is factored.
        clipping_threshold: the largest root mean square of an update before the rate; None: updates are not clipped.
        parameter_scaling: multiplies updates by the size of the weights; None: a rate is in units of the weights.
        momentum: how much of the running mean of steps is kept, the rate inside it; None: no mean.

    Raises:
        ValueError: a number is NaN or out of its range.

    Source: Shazeer and Stern 2018 (arXiv 1804.04235), algorithms 4 and 5, with a rate that is given.
    """

    decay_rate: float = 0.8
    step_offset: int = 0
    eps: float = 1e-30
    min_dim_size_to_factor: int = 128
    factored: bool = True
    clipping_threshold: float | None = 1.0
    parameter_scaling: ParameterScaling | None = PARAMETER_SCALING
    momentum: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.decay_rate <= 1:
            raise ValueError(f"decay_rate = {self.decay_rate}: give a number from 0 to 1")
        if not (isinstance(self.step_offset, int) and self.step_offset >= 0):
            raise ValueError(f"step_offset = {self.step_offset}: give a whole number that is not negative")
        if not (isfinite(self.eps) and self.eps > 0):
            raise ValueError(f"eps = {self.eps}: give a finite positive number; 0 divides zero by zero")
        if not (isinstance(self.min_dim_size_to_factor, int) and self.min_dim_size_to_factor >= 1):
            raise ValueError(f"min_dim_size_to_factor = {self.min_dim_size_to_factor}: give 1 or more")
        threshold = self.clipping_threshold
        if threshold is not None and not (isfinite(threshold) and threshold > 0):
            raise ValueError(
                f"clipping_threshold = {threshold}: give a finite positive number, or None for no clipping"
            )
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise ValueError(f"momentum = {self.momentum}: give a number from 0 to below 1, or None")
        scaling: object = self.parameter_scaling
        if not (scaling is None or isinstance(scaling, ParameterScaling)):
            raise ValueError(f"parameter_scaling = {scaling!r}: give ParameterScaling(floor=1e-3) or None")

    def weight(self, step: Number) -> Number:
        """1 - beta2 of step t, counted from 1.

        Example:
            >>> AdafactorConstants(decay_rate=0.5).weight(4)
            0.5
        """
        return (step + self.step_offset) ** -self.decay_rate

    def factored_dims(self, shape: Sequence[int]) -> tuple[int, int] | None:
        """The two largest dimensions in their order, the last ones among equals; None where nothing is factored.

        Example:
            >>> AdafactorConstants().factored_dims((300, 2, 128)), AdafactorConstants().factored_dims((300, 127))
            ((0, 2), None)
        """
        if not self.factored or len(shape) < 2:
            return None
        second, first = sorted(range(len(shape)), key=shape.__getitem__)[-2:]
        if shape[second] < self.min_dim_size_to_factor:
            return None
        return min(second, first), max(second, first)


ADAFACTOR_DEFAULTS = AdafactorConstants()


def initial_state(parameter: Tensor, *, constants: AdafactorConstants, batch_dims: int = 0) -> State:
    """Zeros: `v_row` and `v_col`, or `v`; and `exp_avg` with momentum. In float32, or float64 for float64.

    Example:
        >>> {name: tuple(x.shape) for name, x in initial_state(torch.ones(3, 200, 128),
        ...     constants=AdafactorConstants(), batch_dims=1).items()}
        {'v_row': (3, 200), 'v_col': (3, 128)}
    """
    dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32
    like = {"dtype": dtype, "device": parameter.device}
    batch, shape = tuple(parameter.shape[:batch_dims]), tuple(parameter.shape[batch_dims:])
    return {
        name: torch.zeros_like(parameter, dtype=dtype, memory_format=torch.preserve_format)
        if own == shape
        else torch.zeros(batch + own, **like)
        for name, own in state_shapes(shape, constants=constants).items()
    }


def state_shapes(shape: tuple[int, ...], *, constants: AdafactorConstants) -> Mapping[str, tuple[int, ...]]:
    """What `initial_state` keeps of one tensor.

    Example:
        >>> state_shapes((200, 128), constants=AdafactorConstants())
        {'v_row': (200,), 'v_col': (128,)}
    """
    dims = constants.factored_dims(shape)
    kept = {"v": shape}
    if dims is not None:
        kept = {
            name: shape[:gone] + shape[gone + 1 :] for name, gone in (("v_row", dims[1]), ("v_col", dims[0]))
        }
    return kept if constants.momentum is None else {**kept, "exp_avg": shape}


def over(value: Number, like: Tensor, *, batch_dims: int) -> Number:
    """A number of each separate tensor, [*batch], shaped to broadcast over [*batch, ...]; a single one as it is."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    return value.view(*value.shape, *[1] * (like.dim() - batch_dims))


def _mean_square(
    gradient: Tensor,
    state: Mapping[str, Tensor],
    weight: Number,
    constants: AdafactorConstants,
    batch_dims: int,
) -> tuple[State, Tensor]:
    """The running mean squares with the gradient taken in, and the gradient over their root."""
    square = gradient.square() + constants.eps

    def taken_in(v: Tensor, new: Tensor) -> Tensor:
        w = over(weight, v, batch_dims=batch_dims)
        return (1 - w) * v + w * new

    dims = constants.factored_dims(gradient.shape[batch_dims:])
    if dims is None:
        v = taken_in(state["v"], square)
        return {"v": v}, gradient * v.rsqrt()
    row, column = (dim + batch_dims for dim in dims)
    v_row = taken_in(state["v_row"], square.mean(dim=column))
    v_col = taken_in(state["v_col"], square.mean(dim=row))
    # row is before column, so that it is the same dimension of v_row.
    row_factor = (v_row / v_row.mean(dim=row, keepdim=True)).rsqrt().unsqueeze(column)
    return {"v_row": v_row, "v_col": v_col}, gradient * row_factor * v_col.rsqrt().unsqueeze(row)


def adafactor_step(
    parameter: Tensor,
    gradient: Tensor,
    state: Mapping[str, Tensor],
    *,
    constants: AdafactorConstants,
    rate: Number,
    step: Number,
    decay: Number = 0.0,
    batch_dims: int = 0,
) -> tuple[Tensor, State]:
    """The parameter after one step, in the state's dtype, and the new state; nothing is written to.

    Args:
        parameter: theta, [*batch, ...], of any floating-point dtype.
        gradient: of the parameter's shape.
        state: as `initial_state` makes it; float32 or float64, which is what is computed in.
        constants: see there.
        rate: the learning rate: relative to the weights' size with parameter scaling; a number, or a tensor [*batch].
        step: which step this is, from 1; a number, or a floating-point tensor [*batch].
        decay: the fraction of theta that the step removes; like the rate.
        batch_dims: how many leading dimensions are separate tensors.

    Example:
        >>> theta, g = torch.tensor([3.0, -3.0]), torch.tensor([1e-3, 5.0])
        >>> constants = AdafactorConstants()
        >>> state = initial_state(theta, constants=constants)
        >>> adafactor_step(theta, g, state, constants=constants, rate=0.5, step=1)[0]
        tensor([ 1.5000, -4.5000])

    Source: Shazeer and Stern 2018 (arXiv 1804.04235); the same as optax.adafactor.
    """
    any_state = next(iter(state.values()))
    theta, gradient = parameter.to(any_state.dtype), gradient.to(any_state.dtype)
    new_state, change = _mean_square(gradient, state, constants.weight(step), constants, batch_dims)
    if constants.clipping_threshold is not None:
        size = root_mean_square(change, batch_dims=batch_dims)
        change = change / (size / constants.clipping_threshold).clamp_min(1.0)
    change = change * over(rate, change, batch_dims=batch_dims)
    if constants.parameter_scaling is not None:
        change = change * constants.parameter_scaling.scale(theta, batch_dims)
    if constants.momentum is not None:
        change = constants.momentum * state["exp_avg"] + (1 - constants.momentum) * change
        new_state["exp_avg"] = change
    return theta - (change + over(decay, theta, batch_dims=batch_dims) * theta), new_state
