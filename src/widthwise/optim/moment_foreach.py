"""One step of Adam-atan2 or AdamW on lists of tensors, through PyTorch's foreach operations.

The same operations in the same order as `moment_step`, each of them on every tensor of one device and dtype at once. It
needs room for two more copies of the weights while it runs (three with the root form, four when they are of low
precision).
"""

# PyTorch's foreach operations have no public names.
# pyright: reportPrivateImportUsage=false

from collections import defaultdict
from math import inf

import torch
from torch import Tensor

from widthwise.optim.direction import Number
from widthwise.optim.moment_step import MomentConstants
from widthwise.optim.rounding import Rounding


def mark_each_non_finite(
    flags: list[Tensor], ms: list[Tensor], moments: list[Tensor], steps: list[Number]
) -> None:
    """`mark_non_finite` for lists: one vector of largest entries, one comparison."""
    norms = (torch.stack(list(torch._foreach_norm(tensors, inf))) for tensors in (ms, moments))
    largest = torch.maximum(*norms)
    noted = torch.stack(flags)
    now = (
        torch.stack([step for step in steps if isinstance(step, Tensor)])
        if isinstance(steps[0], Tensor)
        else torch.tensor(steps)
    ).to(noted, non_blocking=True)
    marked = torch.where(~largest.isfinite() & (noted == 0), now, noted)
    torch._foreach_copy_(flags, list(marked.unbind()))


def update_foreach(
    parameters: list[Tensor],
    gradients: list[Tensor],
    ms: list[Tensor],
    moments: list[Tensor],
    flags: list[Tensor],
    steps: list[Number],
    indices: list[int],
    *,
    constants: MomentConstants,
    rate: Number,
    decay: Number,
    rounding: Rounding,
) -> None:
    """One step of every tensor, in place; tensors of unlike device or dtype go in lists of their own."""
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, (parameter, gradient, m) in enumerate(zip(parameters, gradients, ms, strict=True)):
        alike[parameter.device, parameter.dtype, gradient.dtype, m.dtype].append(i)
    for chosen in alike.values():
        columns = (parameters, gradients, ms, moments, flags, steps, indices)
        _update(
            *([column[i] for i in chosen] for column in columns),  # pyright: ignore[reportArgumentType]
            constants=constants,
            rate=rate,
            decay=decay,
            rounding=rounding,
        )


def _update(
    parameters: list[Tensor],
    gradients: list[Tensor],
    ms: list[Tensor],
    moments: list[Tensor],
    flags: list[Tensor],
    steps: list[Number],
    indices: list[int],
    *,
    constants: MomentConstants,
    rate: Number,
    decay: Number,
    rounding: Rounding,
) -> None:
    """One step of tensors that are alike."""
    dtype = ms[0].dtype
    gradients = [gradient.to(dtype) for gradient in gradients]
    thetas = [parameter.to(dtype) for parameter in parameters]
    weight1, weight2 = constants.weights
    torch._foreach_lerp_(ms, gradients, weight1)
    constants.second_moment.update_each_(moments, gradients, weight2)
    corrections = [constants.correction(step) for step in steps]
    changes = constants.direction.each(ms, constants.second_moment.roots(moments), corrections)
    if constants.parameter_scaling is None:
        torch._foreach_mul_(changes, constants.rate(rate, thetas[0]))
    else:
        rates = [constants.rate(rate, theta) for theta in thetas]
        torch._foreach_mul_(changes, rates)  # pyright: ignore[reportCallIssue, reportArgumentType]
    if isinstance(decay, Tensor):
        torch._foreach_add_(changes, torch._foreach_mul(thetas, decay))
    elif decay:
        torch._foreach_add_(changes, thetas, alpha=decay)
    torch._foreach_sub_(thetas, changes)
    if parameters[0].dtype != dtype:
        dtype = parameters[0].dtype
        rounded = [
            rounding.round(theta, dtype, index=index, step=step)
            for theta, index, step in zip(thetas, indices, steps, strict=True)
        ]
        torch._foreach_copy_(parameters, rounded)
    mark_each_non_finite(flags, ms, moments, steps)
