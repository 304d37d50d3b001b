"""Train one model layer by layer to its end: batches, losses, divergence, what is measured, the held-out loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from widthwise.records import AlignmentPoint, SizePoint, Spread
from widthwise.train import Corpus, Divergence, Member, Recipe
from widthwise.train.available import total_bytes
from widthwise.train.batches import validation_windows
from widthwise.train.host_batches import batches_for
from widthwise.wide.initial import InitialDraw
from widthwise.wide.layer_major import BLIND, LayerMajor
from widthwise.wide.measuring import Measuring
from widthwise.wide.storage import Storage


@dataclass(frozen=True)
class WideOutcome:
    """How it ended, and what was measured on the way; see `train.Outcome`."""

    validation_loss: float | None
    divergence: Divergence | None
    alignment: tuple[AlignmentPoint, ...]
    sizes: tuple[SizePoint, ...]
    spreads: tuple[Spread, ...]


def train_layer_major(
    recipe: Recipe,
    member: Member,
    corpus: Corpus,
    *,
    device: torch.device,
    storage: Storage,
    draw: InitialDraw = InitialDraw.COUNTER,
    sizes: bool = False,
    report: Callable[[int, float], None],
) -> WideOutcome:
    """Train a member from its beginning to its end, one step after the other.

    A step's loss that is not finite is divergence, and so are losses above the recipe's limit; a gradient that is not
    finite shows in the next loss.

    Args:
        recipe: with what is measured of alignment, if anything.
        storage: what is kept how.
        draw: of the initial weights; the counter's is the same on every device, to rounding.
        sizes: whether sizes and spreads are measured too, at the same steps.
        report: called with every step, from 1, and its loss, which is finite.

    Raises:
        ValueError: the text is too short, or what `LayerMajor` and `Measuring` refuse.
    """
    context = recipe.model.context
    corpus.require(batch=recipe.batch, context=context)
    training = LayerMajor(recipe, member, device, storage, draw=draw)
    steps = recipe.schedule.steps
    batches = batches_for(recipe, corpus, [member.data_seed], device, device_bytes=total_bytes(device))
    measuring = None
    if recipe.alignment is not None:
        windows = recipe.alignment.windows(context)
        probe = validation_windows(corpus, windows=windows, context=context, device=device)[:, :-1]
        measuring = Measuring(training, recipe.alignment, probe, sizes=sizes)
    health = _Losses(recipe)
    divergence = None
    for step in range(1, steps + 1):
        watch = BLIND if measuring is None else measuring.watch(step)
        batches.prepare(step, 1)
        loss = float(training.step(batches.at(step)[0], watch=watch))
        divergence = health.divergence(step, loss)
        if not math.isfinite(loss):
            break
        report(step, loss)
        if divergence is not None:
            break
        if measuring is not None:
            measuring.after(step)
    held_out = None
    if divergence is None:
        windows_NxT1 = validation_windows(
            corpus, windows=recipe.validation_windows, context=context, device=device
        )
        held_out = float(training.loss(windows_NxT1))
        if not math.isfinite(held_out):
            held_out, divergence = None, Divergence(steps, f"held-out loss is {held_out}")
    return WideOutcome(
        validation_loss=held_out,
        divergence=divergence,
        alignment=() if measuring is None else tuple(measuring.alignment),
        sizes=() if measuring is None else tuple(measuring.sizes),
        spreads=() if measuring is None else tuple(measuring.spreads),
    )


class _Losses:
    """Which losses are divergence: what `train.Health` says of them, for one member and numbers on the host."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe, self._high = recipe, 0

    def divergence(self, step: int, loss: float) -> Divergence | None:
        """What a step's loss says."""
        if not math.isfinite(loss):
            return Divergence(step, "non-finite loss")
        limit = self._recipe.loss_limit
        if limit is None or step <= self._recipe.schedule.warmup:
            return None
        above = loss > limit.loss(vocabulary=self._recipe.model.vocabulary)
        self._high = self._high + 1 if above else 0
        return Divergence(step, limit.reason) if self._high >= limit.steps else None
