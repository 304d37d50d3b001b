"""Windows into the token streams: within bounds to the last start, reproducible, spread over the validation stream."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from populations import CPU
from widthwise.train import Corpus
from widthwise.train.batches import Batches, validation_windows


def counting_corpus(train: int, validation: int = 50) -> Corpus:
    """Token i is i: a window says where it began. Validation tokens count down from 255."""
    tokens = np.arange(256, dtype=np.uint8)
    return Corpus(name="counting", train=tokens[:train], validation=tokens[::-1][:validation], digest="")


def batches(length: int, seeds: list[int], *, steps: int = 50, batch: int = 8, context: int = 6) -> Batches:
    return Batches(counting_corpus(length), seeds, steps=steps, batch=batch, context=context, device=CPU)


def all_of(stream: Batches, steps: int = 50) -> torch.Tensor:
    return torch.stack([stream.at(step) for step in range(1, steps + 1)])


def test_windows_are_consecutive_tokens() -> None:
    tokens = all_of(batches(200, [0, 1]))
    assert tokens.shape == (50, 2, 8, 7)
    assert tokens.dtype == torch.int64
    assert (tokens.diff(dim=-1) == 1).all()


def test_starts_reach_from_the_first_to_the_last() -> None:
    """10 tokens hold windows of 7 at 0, 1, 2 and 3; the last one ends with the last token."""
    tokens = all_of(batches(10, [0]))
    assert set(tokens[..., 0].flatten().tolist()) == {0, 1, 2, 3}
    assert tokens.max() == 9


def test_a_stream_of_one_window() -> None:
    assert set(all_of(batches(7, [0]))[..., 0].flatten().tolist()) == {0}


def test_starts_are_uniform() -> None:
    """50 x 8 starts in 100 places: their mean is 49.5 to within 5 standard errors of 28.9 / sqrt(400)."""
    starts = all_of(batches(106, [3]))[..., 0].double()
    assert starts.mean().item() == pytest.approx(49.5, abs=5 * 28.9 / 20)


def test_a_seed_is_a_stream_of_its_own() -> None:
    """The same alone or beside others, in any order; different from the others; different from step to step."""
    three, two, one = (all_of(batches(200, seeds)) for seeds in ([5, 2, 9, 7], [9, 5], [2]))
    assert torch.equal(three[:, 0], two[:, 1])
    assert torch.equal(three[:, 1], one[:, 0])
    assert torch.equal(three[:, 2], two[:, 0])
    assert not torch.equal(three[:, 0], three[:, 1])
    assert len({step.numpy().tobytes() for step in one}) == 50


def test_a_step_is_counted_from_one() -> None:
    stream = batches(200, [0], steps=3)
    rng = np.random.default_rng(0)
    starts = rng.integers(200 - 6, size=(3, 8))
    for step in (1, 2, 3):
        assert stream.at(step)[0, :, 0].tolist() == starts[step - 1].tolist()
        assert torch.equal(stream.at(torch.tensor([step])), stream.at(step))


@given(st.integers(2, 256), st.data())
def test_validation_windows_cover_the_stream(length: int, data: st.DataObject) -> None:
    """From the first token to the last; no token is predicted twice, and none skipped but by spreading.

    With room for k + 1 windows, their starts are less than (1 + 1/k) contexts apart, and a start is rounded down.
    """
    context = data.draw(st.integers(1, length - 1))
    corpus = counting_corpus(10, length)
    windows = validation_windows(corpus, windows=10_000, context=context, device=CPU)
    positions = 255 - windows
    assert windows.shape[1] == context + 1
    assert (positions.diff(dim=1) == 1).all()
    starts = positions[:, 0]
    assert starts[0] == 0
    gaps = starts.diff()
    assert (gaps >= context).all()
    room = (length - context - 1) // context
    assert len(windows) == room + 1
    if room:
        assert positions.max() == length - 1
        assert gaps.max() <= np.ceil(context * (1 + 1 / room))


def test_fewer_windows_are_spread_evenly() -> None:
    windows = validation_windows(counting_corpus(10, 107), windows=5, context=6, device=CPU)
    assert (255 - windows[:, 0]).tolist() == [0, 25, 50, 75, 100]
    assert windows.dtype == torch.int64


def test_one_window_is_the_first() -> None:
    windows = validation_windows(counting_corpus(10, 50), windows=1, context=6, device=CPU)
    assert (255 - windows[:, 0]).tolist() == [0]


def test_validation_windows_come_from_the_validation_stream() -> None:
    corpus = counting_corpus(100, 20)
    windows = validation_windows(corpus, windows=4, context=4, device=CPU)
    assert windows.min() > 100
