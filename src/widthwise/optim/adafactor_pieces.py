"""Adafactor's step on one factored matrix, a few rows at a time: `adafactor_single` without memory of its own size.

Three passes over the gradient: its mean squares by row and by column, the size of the update that they give, and the
update. Sums over pieces are taken in float32 in the order of the rows, so the result is `adafactor_step`'s up to the
order of those sums.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from widthwise.optim.adafactor_single import AdafactorConstants


def adafactor_pieces(
    weight: Tensor,
    gradient: Tensor,
    state: Mapping[str, Tensor],
    *,
    constants: AdafactorConstants,
    rate: Tensor,
    step: int,
    decay: Tensor,
    rows: int,
) -> Iterator[tuple[slice, Tensor]]:
    """The flat elements of a few rows, and what they become, piece by piece; the state is updated first.

    Args:
        weight: theta [I, O]; not written to. A caller may write a piece as soon as it has it.
        gradient: [I, O], of any floating dtype.
        state: `v_row` [I] and `v_col` [O], updated in place.
        constants: without momentum.
        rate, decay: tensors of one element.
        step: which one this is, from 1.
        rows: of a piece.
    """
    count, columns = weight.shape
    parts = [slice(start, min(start + rows, count)) for start in range(0, count, rows)]
    total_O = torch.zeros_like(state["v_col"])
    w = constants.weight(step)
    for part in parts:
        square_RxO = gradient[part].float().square().add_(constants.eps)
        state["v_row"][part].mul_(1 - w).add_(w * square_RxO.mean(1))
        total_O += square_RxO.sum(0)
    state["v_col"].mul_(1 - w).add_(w * (total_O / count))
    by_row_I = (state["v_row"] / state["v_row"].mean()).rsqrt_()
    by_column_O = state["v_col"].rsqrt()
    factor_1 = rate
    if constants.clipping_threshold is not None:
        sizes = [_change(gradient[part], by_row_I[part], by_column_O).square_().sum() for part in parts]
        size = (torch.stack(sizes).sum() / weight.numel()).sqrt()
        factor_1 = factor_1 / (size / constants.clipping_threshold).clamp_min(1.0)
    if constants.parameter_scaling is not None:
        squares = torch.stack([weight[part].float().square().sum() for part in parts]).sum()
        factor_1 = factor_1 * (squares / weight.numel()).sqrt().clamp_min(constants.parameter_scaling.floor)
    for part in parts:
        theta_RxO = weight[part].float()
        change_RxO = _change(gradient[part], by_row_I[part], by_column_O).mul_(factor_1)
        moved_RxO = theta_RxO - (change_RxO + decay * theta_RxO)
        yield slice(part.start * columns, part.stop * columns), moved_RxO.view(-1)


def _change(gradient_RxO: Tensor, by_row_R: Tensor, by_column_O: Tensor) -> Tensor:
    """The gradient over the root of its running mean square, in float32."""
    return gradient_RxO.float() * by_row_R[:, None] * by_column_O
