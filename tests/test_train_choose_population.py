"""The largest population that fits and ends in time, and what is given up for it, in order."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from populations import ADAM_UPDATE, SGD_MOMENTUM
from widthwise.models import MLP, Transformer
from widthwise.train import (
    WHOLE,
    ActivationPlan,
    Engine,
    Execution,
    Precision,
    Recipe,
    WarmupCosine,
    choose_population,
    member_memory,
    population_for,
    program_memory,
    proof_copy,
    throughput_of,
)
from widthwise.train.available import free_bytes, host_bytes
from widthwise.train.memory_sums import ProgramMemory, Term
from widthwise.train.micro_batch import divisors
from widthwise.train.proof_copy import copy_device
from widthwise.train.throughput import CPU, KNOWN_DEVICES, UNKNOWN_CUDA, step_flops, step_seconds

H200 = throughput_of("NVIDIA H200", cuda=True)
RECORDED = Execution(cuda=True, fused=True, copies=True, engine=Engine(captured=True, compiled=True))
FOREVER = float("inf")


def recipe(
    width: int = 128, *, batch: int = 16, context: int = 256, steps: int = 400, vocabulary: int = 256
) -> Recipe:
    model = Transformer(width=width, depth=8, head_dim=128, vocabulary=vocabulary, context=context)
    return Recipe(model, ADAM_UPDATE, WarmupCosine(steps, 1), batch, Precision.BFLOAT16, 16, 50)


def need(of: Recipe, plan: ActivationPlan = WHOLE) -> int:
    return member_memory(of, replace(RECORDED, activations=plan)).bytes


def choose(of: Recipe, available: float, **options: Any) -> Any:
    options = {"rate": H200, "execution": RECORDED, "margin": 0.0, "seconds_limit": FOREVER, **options}
    return choose_population(of, available_bytes=int(available), **options)


@settings(max_examples=25)
@given(st.integers(1, 300), st.integers(-1, 1))
def test_the_largest_that_fits(members: int, off: int) -> None:
    """To the byte: one byte less, and it is one member less."""
    of = recipe()
    chosen = choose(of, members * need(of) + off if members > 1 or off >= 0 else need(of))
    assert chosen.members == (members - 1 if off < 0 and members > 1 else members)
    assert chosen.bytes == chosen.members * need(of)
    assert chosen.activations == WHOLE


def test_the_margin_and_the_program_come_off_first() -> None:
    of = recipe()
    program = ProgramMemory((Term("tokens", 12345, "as it is"),))
    exactly = (7 * need(of) + 12345) / 0.75
    assert choose(of, exactly + 2, margin=0.25, program=program).members == 7
    fewer = choose(of, exactly - 2, margin=0.25, program=program)
    assert fewer.members == 6
    assert fewer.bytes == 6 * need(of) + 12345
    with pytest.raises(ValueError, match=r"margin is 1.0; it must be at least 0 and below 1"):
        choose(of, 2**40, margin=1.0)


def test_a_population_ends_in_time() -> None:
    """By the estimate; one member is trained however long it takes."""
    of = recipe()
    each = 400 * step_seconds(of, RECORDED, H200)
    chosen = choose(of, 2**40, seconds_limit=10.5 * each)
    assert chosen.members == 10
    assert chosen.seconds == pytest.approx(10 * each)
    assert choose(of, 2**40, seconds_limit=each / 2).members == 1
    assert choose(of, 2**40, at_most=3).members == 3


def test_a_batch_is_cut_before_blocks_are_recomputed() -> None:
    """D = 1024 and 131,072 tokens: whole, then in the fewest pieces that fit, while a piece fills the device."""
    of = recipe(1024, batch=256, context=512)
    assert choose(of, need(of)).activations == WHOLE
    for count, more in zip(divisors(256), divisors(256)[1:6], strict=False):
        assert choose(of, need(of, ActivationPlan(count)) - 1).activations == ActivationPlan(more)


def test_blocks_are_recomputed_before_pieces_become_too_small() -> None:
    """D = 256: 2^14 tokens fill the device, so 256 x 512 is cut into 8 pieces at most."""
    of = recipe(256, batch=256, context=512)
    assert choose(of, need(of, ActivationPlan(8))).activations == ActivationPlan(8)
    chosen = choose(of, need(of, ActivationPlan(8)) - 1)
    assert chosen.activations.recompute
    assert chosen.activations.micro_batches < 16
    again = ActivationPlan(8, recompute=True)
    last = choose(of, need(of, again) - 1)
    assert last.activations.recompute
    assert last.activations.micro_batches > 8


def test_what_cannot_fit_says_how_much_it_needs() -> None:
    of = recipe(1024)
    with pytest.raises(
        ValueError,
        match=r"a model of width 1024 and 101,467,136 parameters, batch 16 x 256, needs .* GiB "
        r"however the batch is cut; of 954 MiB available, 0% is left free: choose a smaller width",
    ):
        choose(of, 10**9)
    with pytest.raises(ValueError, match=r"100 models of width 1024 .* choose a smaller population size"):
        choose(of, 10**11, at_least=100)


def test_an_mlp_recomputes_nothing() -> None:
    model = MLP(width=256, depth=4, window=4, vocabulary=256, context=64)
    of = Recipe(model, SGD_MOMENTUM, WarmupCosine(10, 1), 64, Precision.FLOAT32, 4, 1)
    small = member_memory(of, Execution(activations=ActivationPlan(64))).bytes
    chosen = choose(of, small, execution=Execution())
    assert not chosen.activations.recompute
    assert chosen.activations.micro_batches > 1


@settings(max_examples=25)
@given(st.sampled_from([128, 256, 512, 1024, 2048]), st.floats(9, 12), st.floats(0, 0.5))
def test_what_is_chosen_fits(width: int, magnitude: float, margin: float) -> None:
    """Whatever is available: within the margin, consistent with the sum, and more memory is never fewer members."""
    of, available = recipe(width, batch=64, context=512), int(10**magnitude)
    try:
        chosen = choose(of, available, margin=margin)
    except ValueError:
        plan = ActivationPlan(64, recompute=True)
        assert need(of, plan) > available * (1 - margin)
        return
    assert chosen.members >= 1
    assert chosen.bytes == chosen.members * need(of, chosen.activations) <= available * (1 - margin)
    whole = need(of)
    if chosen.activations == WHOLE:
        assert (chosen.members + 1) * whole > int(available * (1 - margin))


@pytest.mark.parametrize("width", [1024, 4096])
def test_a_copy_for_the_proof_that_has_no_room_is_on_the_host(width: int) -> None:
    """Sooner than that a batch is cut; to the byte, of the device and of the host."""
    of = recipe(width)
    memory = member_memory(of, RECORDED)
    state = sum(term.bytes for term in memory.standing if term.name != "numbers of its own")
    assert memory.copied == state  # weights, moments, copies of lower precision, losses
    # What is left: the step, and what validation holds beside it.
    own = 10 * 4 * len(of.model.tensors())
    assert memory.without_copy == state + own + memory.peak.bytes + memory.between[0].bytes
    assert memory.without_copy < memory.bytes
    least, copied = memory.without_copy, memory.copied
    chosen = choose(of, least, host_bytes=copied)
    assert (chosen.members, chosen.activations, chosen.bytes) == (1, WHOLE, least)
    assert choose(of, least - 1, host_bytes=copied).activations != WHOLE
    with pytest.raises(ValueError, match="needs"):
        choose(of, least, host_bytes=copied - 1)
    three = choose(of, 3 * least, at_least=3, host_bytes=3 * copied)
    assert (three.members, three.activations, three.bytes) == (3, WHOLE, 3 * least)
    plain = member_memory(of, Execution())  # nothing is recorded, and nothing copied
    assert (plain.copied, plain.without_copy) == (0, plain.bytes)
    # As long as one fits with its copy, nothing is what it was not.
    assert choose(of, need(of), host_bytes=copied) == choose(of, need(of))


@settings(max_examples=25)
@given(st.sampled_from([128, 1024, 4096]), st.floats(10, 12), st.booleans())
def test_what_was_chosen_with_room_for_the_copy_has_it(width: int, magnitude: float, host: bool) -> None:
    """When weights and text are on the device, and the rest of a program is not yet."""
    of, available = recipe(width), int(10**magnitude)
    program = program_memory(of, RECORDED, corpus_bytes=10**8, data_seeds=2)
    options = {"margin": 0.1, "program": program, "host_bytes": 10**12 if host else 0}
    try:
        chosen = choose(of, available, **options)
    except ValueError:
        return
    execution = replace(RECORDED, activations=chosen.activations)
    memory = member_memory(of, execution)
    there = chosen.members * sum(term.bytes for term in memory.standing)
    there += sum(
        term.bytes for term in program.terms if term.name in ("training tokens", "starts of sequences")
    )
    copied = chosen.members * memory.copied
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(proof_copy, "free_bytes", lambda device: available - there)
        where = copy_device(of, execution, torch.device("cuda"), members=chosen.members, copied=copied)
        fits = chosen.bytes == program.bytes + chosen.members * memory.bytes
        if fits:
            assert where.type == "cuda"
        patched.setattr(proof_copy, "free_bytes", lambda device: copied + chosen.members * memory.peak.bytes)
        where = copy_device(of, execution, torch.device("cuda"), members=chosen.members, copied=copied)
        assert where.type == "cpu"


def test_a_population_of_a_given_size() -> None:
    """Exactly so many, whatever time it takes, but no more than there are."""
    of = Recipe(MLP(32, 1, 2, 64, 16), SGD_MOMENTUM, WarmupCosine(10**6, 1), 4, Precision.FLOAT32, 4, 1)
    options = {"rate": CPU, "corpus_bytes": 1000, "data_seeds": 1}
    device = torch.device("cpu")
    assert population_for(of, device, at_most=100, members=20, **options).members == 20
    assert population_for(of, device, at_most=7, members=20, **options).members == 7
    assert population_for(of, device, at_most=100, seconds_limit=1e-3, **options).members == 1


def test_seconds_are_those_that_were_measured() -> None:
    """Milliseconds a step on one H200, benchmarks/results/population_engine.json: within 12 % at every width."""
    measured = {128: (52, 16.886), 256: (52, 37.681), 512: (26, 51.234), 1024: (13, 77.403)}
    for width, (members, milliseconds) in measured.items():
        found = 1e3 * members * step_seconds(recipe(width), RECORDED, H200)
        assert found == pytest.approx(milliseconds, rel=0.12)


def test_recomputing_and_pieces_cost_time() -> None:
    of = recipe(1024)
    plain = step_seconds(of, RECORDED, H200)
    again = step_seconds(of, replace(RECORDED, activations=ActivationPlan(recompute=True)), H200)
    assert 1.2 < again / plain < 4 / 3
    assert step_seconds(of, replace(RECORDED, activations=ActivationPlan(2)), H200) > plain
    head = 6 * 256 * 1024 * 16 * 256
    assert step_flops(of, recompute=True) - head == pytest.approx(4 / 3 * (step_flops(of) - head))


def test_devices_by_name() -> None:
    assert throughput_of("NVIDIA H200", cuda=True) is KNOWN_DEVICES["H200"]
    assert throughput_of("NVIDIA A100-SXM4-80GB", cuda=True) is KNOWN_DEVICES["A100"]
    assert throughput_of("NVIDIA GeForce", cuda=True) is UNKNOWN_CUDA
    assert throughput_of("NVIDIA H200", cuda=False) is CPU


def test_free_memory_of_a_machine_and_of_its_container(tmp_path: Path) -> None:
    account, group = tmp_path / "meminfo", tmp_path / "group"
    group.mkdir()
    account.write_text("MemTotal:  4000 kB\nMemAvailable:   3000 kB\nBuffers: 5 kB\n")
    assert host_bytes(account, group) == 3000 * 1024
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000\n")
    assert host_bytes(account, group) == 3000 * 1024
    (group / "memory.max").write_text("50000\n")
    assert host_bytes(account, group) == 49000
    (group / "memory.max").write_text("500\n")
    assert host_bytes(account, group) == 0
    assert host_bytes(tmp_path / "none", tmp_path) > 2**20
    assert free_bytes(torch.device("cpu")) > 2**20
