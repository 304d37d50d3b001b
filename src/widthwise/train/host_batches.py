"""Batches of a text that a device has no room for: its tokens stay on the host, windows are sent some steps ahead.

The windows are those of `Batches`, bit for bit: the same draw of starts, cut out on the host. On the device they wait
in a buffer that stays where it is, so that a recorded step reads them as any other does. The host fills it between
steps, in the order of the device's work, which it is ahead of as long as nobody waits for the device.

Shape legend: K steps ahead, L steps, S data seeds, B sequences, T positions (the context).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from widthwise.train.batches import Batches, as_indexable, window_starts
from widthwise.train.corpus import Corpus
from widthwise.train.member import Recipe

TOKENS_SHARE = 1 / 64
"""Tokens that take a larger share of a device's memory stay on the host: above 2.2 GiB on an H200."""

AHEAD = 64
"""Steps whose windows are on the device at a time."""


def stays_on_host(size: int, device_bytes: int | None) -> bool:
    """Whether a text's tokens stay on the host.

    Args:
        size: of the tokens, in bytes.
        device_bytes: all the memory that the device has; None where the device is the host itself.

    Example:
        >>> stays_on_host(2 * 2**30, 139 * 2**30), stays_on_host(3 * 2**30, 139 * 2**30), stays_on_host(2**50, None)
        (False, True, False)
    """
    return device_bytes is not None and size > TOKENS_SHARE * device_bytes


class HostBatches:
    """`Batches` whose tokens stay on the host, in memory or in a file that is mapped into it.

    Args:
        corpus, data_seeds, steps, batch, context, device: as `Batches` takes them.
    """

    def __init__(
        self,
        corpus: Corpus,
        data_seeds: Sequence[int],
        *,
        steps: int,
        batch: int,
        context: int,
        device: torch.device,
    ) -> None:
        self._starts_LxSxB = window_starts(corpus, data_seeds, steps=steps, batch=batch, context=context)
        self._windows = sliding_window_view(corpus.train, context + 1)
        shape = (min(AHEAD, steps), len(data_seeds), batch, context + 1)
        empty, self._mask = as_indexable(np.empty(shape, corpus.train.dtype))
        self._staged = empty.pin_memory() if device.type == "cuda" else empty
        self._sent_KxSxBxT1 = torch.empty_like(empty, device=device)
        self._first = torch.zeros(1, dtype=torch.long, device=device)
        self._there = range(0)
        self._copied: torch.cuda.Event | None = None

    def prepare(self, step: int, count: int) -> None:
        """Have the windows of so many steps from this one on, counted from 1, on the device before they run."""
        last = min(step + count - 1, len(self._starts_LxSxB))
        if step not in self._there or last not in self._there:
            self._send(step)

    def at(self, step: int | Tensor) -> Tensor:
        """The tokens of a step that was prepared; see `Batches.at`."""
        if isinstance(step, Tensor):
            tokens = self._sent_KxSxBxT1.index_select(0, step - self._first)[0]
        else:
            tokens = self._sent_KxSxBxT1[self._there.index(step)]
        return tokens.long() & self._mask

    def _send(self, step: int) -> None:
        if self._copied is not None:
            self._copied.synchronize()  # what was staged last has left
        starts_KxSxB = self._starts_LxSxB[step - 1 : step - 1 + len(self._staged)]
        count = len(starts_KxSxB)
        windows, _ = as_indexable(self._windows[starts_KxSxB])
        self._staged[:count].copy_(windows)
        self._sent_KxSxBxT1[:count].copy_(self._staged[:count], non_blocking=True)
        self._first.fill_(step)
        self._there = range(step, step + count)
        if self._sent_KxSxBxT1.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record()


AnyBatches = Batches | HostBatches


def batches_for(
    recipe: Recipe,
    corpus: Corpus,
    data_seeds: Sequence[int],
    device: torch.device,
    *,
    device_bytes: int | None,
) -> AnyBatches:
    """The batches of every step of a recipe, on the device if there is room for the text.

    Args:
        device_bytes: see `stays_on_host`.
    """
    kind = HostBatches if stays_on_host(corpus.train.nbytes, device_bytes) else Batches
    return kind(
        corpus,
        data_seeds,
        steps=recipe.schedule.steps,
        batch=recipe.batch,
        context=recipe.model.context,
        device=device,
    )
