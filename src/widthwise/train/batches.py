"""Batches as windows into a token stream that stays on the device.

Shape legend: L steps, S data seeds, B sequences, T positions (the context), N validation windows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from widthwise.train.corpus import Corpus


class Batches:
    """Training batches of several data seeds at once: each seed is one stream of random windows.

    The windows of a step depend on the data seed, the step and the sizes alone, never on the model: runs of one data
    seed see the same batches at every width.

    Args:
        corpus: its training tokens are copied to the device once.
        data_seeds: S distinct seeds.
        steps, batch, context: how many steps, sequences per step, and tokens per sequence.
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
        starts_LxSxB = window_starts(corpus, data_seeds, steps=steps, batch=batch, context=context)
        self._starts_LxSxB = torch.from_numpy(starts_LxSxB).to(device)
        tokens, self._mask = as_indexable(np.array(corpus.train))
        self._tokens = tokens.to(device)
        self._window = torch.arange(context + 1, device=device)

    def prepare(self, step: int, count: int) -> None:
        """Nothing: the windows of all steps are there."""

    def at(self, step: int | Tensor) -> Tensor:
        """The tokens of one step, counted from 1: [S, B, T + 1], inputs and targets in one.

        Args:
            step: a number, or an int64 tensor [1] on the device, which the host then need not know.
        """
        if isinstance(step, Tensor):
            starts_SxB = self._starts_LxSxB.index_select(0, step - 1)[0]
        else:
            starts_SxB = self._starts_LxSxB[step - 1]
        return self._tokens[starts_SxB[..., None] + self._window].long() & self._mask


def window_starts(
    corpus: Corpus, data_seeds: Sequence[int], *, steps: int, batch: int, context: int
) -> NDArray[np.int64]:
    """Where the windows of every step begin, [L, S, B]."""
    last_start = len(corpus.train) - context
    starts = [np.random.default_rng(s).integers(last_start, size=(steps, batch)) for s in data_seeds]
    return np.stack(starts, axis=1)


def as_indexable(tokens: NDArray[Any]) -> tuple[Tensor, int]:
    """Tokens as a tensor, and what makes their numbers positive: torch indexes no unsigned 16-bit numbers."""
    if tokens.dtype == np.uint8:
        return torch.from_numpy(tokens), 0xFF
    return torch.from_numpy(tokens.view(np.int16)), 0xFFFF


def validation_windows(corpus: Corpus, *, windows: int, context: int, device: torch.device) -> Tensor:
    """N windows spread evenly over the validation stream, [N, T + 1]; fewer if the stream holds fewer."""
    last_start = len(corpus.validation) - context - 1
    count = min(windows, last_start // context + 1)
    starts = np.linspace(0, last_start, count).astype(np.int64)
    windows_NxT1 = corpus.validation[starts[:, None] + np.arange(context + 1)]
    return torch.from_numpy(windows_NxT1.astype(np.int64)).to(device)
