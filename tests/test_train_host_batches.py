"""A text that stays on the host: windows and training as with the text on the device, to the bit; and its memory."""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from populations import ADAM_UPDATE, CPU, letter_corpus, make_recipe, numbers, transformer
from widthwise.models import Transformer
from widthwise.train import Corpus, Engine, Execution, Member, Outcome, program_memory, train_population
from widthwise.train import host_batches as module
from widthwise.train.batches import Batches
from widthwise.train.host_batches import AHEAD, TOKENS_SHARE, HostBatches, batches_for, stays_on_host

STEPS = 23
SIZES: dict[str, Any] = {"steps": STEPS, "batch": 3, "context": 6}


def corpus(dtype: type[np.uint8] | type[np.uint16]) -> Corpus:
    """Tokens from the whole range of their type."""
    tokens = np.random.default_rng(0).integers(np.iinfo(dtype).max + 1, size=5000).astype(dtype)
    return Corpus("noise", tokens[:4500], tokens[4500:], "")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """So few steps ahead that a training goes through several lots."""
    monkeypatch.setattr(module, "AHEAD", 7)
    return 7


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("as_tensor", [True, False])
def test_windows_are_those_of_the_device(
    dtype: type[np.uint8] | type[np.uint16], as_tensor: bool, short: int
) -> None:
    text = corpus(dtype)
    device, host = (kind(text, [5, 2], device=CPU, **SIZES) for kind in (Batches, HostBatches))
    for step in [*range(1, STEPS + 1), 1, STEPS, 9, 8, 3]:  # on to the end, and back
        host.prepare(step, 4)
        for prepared in range(step, min(step + 4, STEPS + 1)):
            found = host.at(torch.tensor([prepared]) if as_tensor else prepared)
            assert found.dtype == torch.int64
            assert torch.equal(found, device.at(prepared))


def test_windows_are_sent_a_lot_at_a_time_into_the_same_place(short: int) -> None:
    host = HostBatches(corpus(np.uint8), [0], device=CPU, **SIZES)
    sent: list[int] = []
    original = host._send
    host._send = lambda step: (sent.append(step), original(step))[1]  # type: ignore[method-assign]
    place = host._sent_KxSxBxT1.data_ptr()
    for step in range(1, STEPS + 1):
        host.prepare(step, 4)
    assert sent == [1, 5, 9, 13, 17]  # of 7 each, the last 3 of which are wanted again with the fourth
    assert host._sent_KxSxBxT1.data_ptr() == place
    assert len(host._sent_KxSxBxT1) == short


def test_a_step_that_was_not_prepared_is_refused(short: int) -> None:
    host = HostBatches(corpus(np.uint8), [0], device=CPU, **SIZES)
    host.prepare(3, 1)
    for step in (2, 3 + short):
        with pytest.raises((ValueError, IndexError)):
            host.at(step)
        with pytest.raises((IndexError, RuntimeError)):
            host.at(torch.tensor([step]))


def members(model: Transformer) -> list[Member]:
    rates = [1e-2, 1e30, 1e-3, 1e30]  # two diverge, so that the living go on alone
    return [Member(numbers(model, learning_rate=rate), i, i % 2) for i, rate in enumerate(rates)]


def train(monkeypatch: pytest.MonkeyPatch, device_bytes: int | None) -> tuple[Outcome, ...]:
    model = transformer(32)
    made: list[type] = []

    def batches(*args: Any, **options: Any) -> Any:
        found = batches_for(*args, **{**options, "device_bytes": device_bytes})
        made.append(type(found))
        return found

    monkeypatch.setattr(sys.modules["widthwise.train.train_population"], "batches_for", batches)
    recipe = replace(make_recipe(model, ADAM_UPDATE, steps=45), curve_points=45)
    outcomes = train_population(recipe, members(model), letter_corpus(), device=CPU, engine=Engine())
    assert made == [Batches if device_bytes is None else HostBatches]
    return outcomes


def test_training_is_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch, short: int) -> None:
    host, device = train(monkeypatch, 64), train(monkeypatch, None)
    assert host == device
    assert [outcome.divergence is None for outcome in host] == [True, False, True, False]


def test_the_share_of_a_device_that_tokens_may_take() -> None:
    limit = 64 * 2**30 * TOKENS_SHARE
    assert not stays_on_host(int(limit), 64 * 2**30)
    assert stays_on_host(int(limit) + 1, 64 * 2**30)


def test_memory_by_hand() -> None:
    """Of a longer text, the windows of 64 steps stand in the place of tokens and starts."""
    recipe = make_recipe(transformer(32, context=8), ADAM_UPDATE, steps=1000)
    sizes = {"corpus_bytes": 2**20, "data_seeds": 3}
    there, not_there = (
        program_memory(recipe, Execution(), device_bytes=size, **sizes).bytes for size in (2**26, 2**26 - 1)
    )
    starts, windows = 8 * 1000 * 3 * recipe.batch, AHEAD * 3 * recipe.batch * 9
    assert there - not_there == 2**20 + starts - windows
    words = replace(recipe, model=replace(recipe.model, vocabulary=1000))
    texts = [program_memory(r, Execution(), device_bytes=0, **sizes).terms[0].bytes for r in (recipe, words)]
    assert texts == [windows, 2 * windows]


@pytest.mark.cuda
def test_a_recorded_step_reads_what_was_sent_since() -> None:
    device, text = torch.device("cuda"), corpus(np.uint16)
    resident, host = (kind(text, [5, 2], device=device, **SIZES) for kind in (Batches, HostBatches))
    step = torch.ones(1, dtype=torch.long, device=device)
    host.prepare(1, 4)
    host.at(step)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = host.at(step)
        step += 1
    step.fill_(1)
    for number in range(1, STEPS + 1):
        host.prepare(number, 4)
        graph.replay()
        assert torch.equal(found, resident.at(number))
