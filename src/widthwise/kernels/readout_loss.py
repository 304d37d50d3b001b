"""The readout and its cross-entropy without all logits at once: their gradients are taken piece by piece, at once.

A piece is as many members as LOGITS_BYTES hold, or a part of one member's tokens. Its logits are written once, become
their own gradients in place, and are read by the two products of the backward pass before the next piece begins. So
the backward pass proper only scales what is there.

Shape legend: P members, N tokens, D width, V vocabulary.
"""

# A launch takes options that no kernel declares.
# pyright: reportCallIssue=false

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from widthwise.models.layers import product

LOGITS_BYTES = 2**30
"""The most memory for logits at a time."""

PADDED = 64
"""Logits' rows start at multiples of so many elements: cuBLAS is several times slower on others."""

COLUMNS, WARPS = 4096, 16
"""The most columns of a tile of logits, and its warps: eight logits, or 16 bytes, a thread."""

FEW, WARPS_OF_FEW = 2048, 4
"""Elements and warps of a tile of several rows, where a vocabulary is smaller."""


def _cross_entropy(
    logits_PxNxV: Tensor,
    targets_PxN: Tensor,
    scales_P: Tensor,
    *,
    vocabulary: int,
    weight: float,
    gradient: bool,
) -> Tensor:
    """The loss of every token, [P, N] float32; the logits become weight times their gradients if asked."""
    from widthwise.kernels.loss_kernel import cross_entropy

    members, tokens, stride = logits_PxNxV.shape
    losses_PxN = torch.empty(members, tokens, device=logits_PxNxV.device)
    count = members * tokens
    columns = min(COLUMNS, 1 << (stride - 1).bit_length())
    rows, warps = (max(1, FEW // columns), WARPS_OF_FEW) if columns < COLUMNS else (1, WARPS)
    cross_entropy[(-(-count // rows),)](
        logits_PxNxV, targets_PxN.contiguous(), scales_P, losses_PxN, count, tokens, vocabulary, stride, weight,
        GRADIENT=gradient, ROWS=rows, COLUMNS=columns, num_warps=warps,
    )  # fmt: skip
    return losses_PxN


def _pieces(members: int, tokens: int, row_bytes: int) -> tuple[int, int]:
    """Members and tokens of a piece.

    Example:
        >>> _pieces(52, 4096, 512), _pieces(4, 32768, 64256), _pieces(1, 131072, 64256)
        ((52, 4096), (1, 16384), (1, 16384))
    """
    fit = max(1, LOGITS_BYTES // row_bytes)
    if fit >= tokens:
        return min(members, fit // tokens), tokens
    parts = -(-tokens // fit)
    return 1, -(-tokens // parts)


def losses_and_gradients(
    x: Tensor, w: Tensor, targets: Tensor, scales: Tensor, *, gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Each member's loss, and its gradients by x and W; these are empty if not asked for."""
    members, tokens, _ = x.shape
    vocabulary = w.shape[2]
    padded = -(-vocabulary // PADDED) * PADDED
    together, some = _pieces(members, tokens, padded * x.element_size())
    losses = torch.empty(members, tokens, device=x.device)
    dx = torch.empty_like(x) if gradient else x.new_empty(0)
    dw = torch.empty_like(w) if gradient else w.new_empty(0)
    for first in range(0, members, together):
        here = slice(first, first + together)
        wide = w[here] if padded == vocabulary else F.pad(w[here], (0, padded - vocabulary))
        gathered: Tensor | None = None
        for start in range(0, tokens, some):
            part = (here, slice(start, start + some))
            logits = product(x[part], wide)
            losses[part] = _cross_entropy(
                logits, targets[part], scales[here],
                vocabulary=vocabulary, weight=1 / tokens, gradient=gradient,
            )  # fmt: skip
            if gradient:
                dx[part] = product(logits, wide.mT)
                gathered = _gather(gathered, product(x[part].mT, logits), several=some < tokens)
            del logits
        if gathered is not None:
            dw[here] = gathered[..., :vocabulary]
    return losses.mean(1), dx, dw


def _gather(sum_: Tensor | None, part: Tensor, *, several: bool) -> Tensor:
    """Parts added in float32; a single part as it is."""
    if not several:
        return part
    return part.float() if sum_ is None else sum_.add_(part)


class _ReadoutLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, targets: Tensor, scales: Tensor, gradient: bool) -> Tensor:
        losses, dx, dw = losses_and_gradients(x, w, targets, scales, gradient=gradient)
        ctx.save_for_backward(dx, dw)
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        dx, dw = ctx.saved_tensors
        scale = gradients[0][:, None, None].to(dx.dtype)
        return dx * scale, dw * scale, None, None, None


def readout_loss(x_PxNxD: Tensor, w_PxDxV: Tensor, targets_PxN: Tensor, scales_P: Tensor | None) -> Tensor:
    """The mean cross-entropy of each member's softmax(scale x W) over its tokens, [P], float32 nats.

    Args:
        x_PxNxD, w_PxDxV: contiguous, of one dtype; logits and their gradients are of it, sums are float32.
        targets_PxN: int64, in [0, V).
        scales_P: float32, the members' multipliers; None for 1.
    """
    if scales_P is None:
        scales_P = torch.ones(len(x_PxNxD), device=x_PxNxD.device)
    gradient = torch.is_grad_enabled() and (x_PxNxD.requires_grad or w_PxDxV.requires_grad)
    return _ReadoutLoss.apply(x_PxNxD, w_PxDxV, targets_PxN, scales_P, gradient)
