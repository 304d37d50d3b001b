"""A population's step: the kernels equal the plain updates, members do not touch each other, and what is noted."""

import gc
import weakref
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from optim_cases import draw, interpreted_kernels
from widthwise.optim import (
    AdafactorConstants,
    AdafactorUpdate,
    AdamAtan2Update,
    AdamUpdate,
    MemberUpdate,
    ParameterScaling,
    PopulationStep,
    SgdUpdate,
    adafactor_fused,
    device_tables,
    population_kernel,
)

SCALING = ParameterScaling(floor=0.5)
UPDATES: dict[str, MemberUpdate] = {
    "sgd": SgdUpdate(momentum=0.9),
    "adam": AdamUpdate(0.9, 0.99),
    "atan2": AdamAtan2Update(0.9, 0.99, a=1.3, b=0.7),
    "scaled adam": AdamUpdate(0.9, 0.99, SCALING),
    "scaled atan2": AdamAtan2Update(0.9, 0.99, a=1.3, b=0.7, parameter_scaling=SCALING),
    "adafactor": AdafactorUpdate(AdafactorConstants(min_dim_size_to_factor=8, parameter_scaling=SCALING)),
}
SHAPES: dict[str, tuple[int, ...]] = {"gain": (7,), "matrix": (16, 40), "table": (3, 4, 5)}
RATES = [1e-3, 0.02, 0.3]


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels():
        yield


def of_members(members: list[int], seed: int) -> dict[str, Tensor]:
    """A tensor of each shape for these members, whoever else is there."""
    return {
        name: torch.stack([draw(*shape, seed=1000 * seed + 10 * member + i) for member in members])
        for i, (name, shape) in enumerate(SHAPES.items())
    }


def numbers(values: list[float]) -> dict[str, Tensor]:
    """[P] for each tensor, other ones for each."""
    return {name: torch.tensor(values) * (i + 1) for i, name in enumerate(SHAPES)}


def run(
    update: MemberUpdate,
    *,
    fused: bool,
    members: list[int] | None = None,
    steps: int = 2,
    power: int = 0,
    **options: Any,
) -> PopulationStep:
    """Two steps, one whose factor is a tensor and one whose factor is a number, or another number of them."""
    members = [0, 1, 2] if members is None else members
    step = PopulationStep(
        update,
        of_members(members, 0),
        rates=numbers([RATES[m] for m in members]),
        epsilons=numbers([[1e-8, 1e-2, 0.5][m] for m in members]),
        fused=fused,
        **options,
    )
    for t in range(1, steps + 1):
        gradients = {name: g * 2.0**power for name, g in of_members(members, t).items()}
        step.step_(gradients, factor=torch.tensor(1 / t) if t % 2 else 1 / t)
    return step


@cache
def fused_run(update: MemberUpdate) -> PopulationStep:
    """The run that others are compared with: read, never written."""
    return run(update, fused=True)


@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
def test_the_kernels_equal_the_plain_updates(update: MemberUpdate) -> None:
    """Parameters and state. A step rounds the weight (below 8) by 2^-22 and moves it by at most 0.3 * 4 * 4 * 4."""
    found, expected = fused_run(update), run(update, fused=False)
    for name in SHAPES:
        torch.testing.assert_close(found.parameters[name], expected.parameters[name], rtol=0, atol=2**-15)
        moved = (expected.parameters[name] - of_members([0, 1, 2], 0)[name]).abs().amax()
        assert moved > 1000 * 2**-15
        for moment in expected.state[name]:
            torch.testing.assert_close(
                found.state[name][moment], expected.state[name][moment], rtol=2**-20, atol=2**-20
            )
    assert found.steps_P.tolist() == expected.steps_P.tolist() == [2.0] * 3


@pytest.mark.parametrize("update", [UPDATES["sgd"], UPDATES["scaled adam"]], ids=["sgd", "scaled adam"])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_a_member_moves_as_it_would_alone(update: MemberUpdate, fused: bool) -> None:
    """Bit for bit through the kernels. (torch's own arctangent rounds an array's last elements differently.)"""
    together = fused_run(update) if fused else run(update, fused=False)
    for member in range(3):
        alone = run(update, fused=fused, members=[member])
        for name in SHAPES:
            torch.testing.assert_close(
                together.parameters[name][member],
                alone.parameters[name][0],
                rtol=0,
                atol=0 if fused else 2**-18,
            )


@pytest.mark.parametrize("update", [UPDATES["atan2"], UPDATES["scaled atan2"]], ids=["atan2", "scaled"])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_the_gradients_scale_changes_no_bit(update: MemberUpdate, fused: bool) -> None:
    plain = fused_run(update) if fused else run(update, fused=False)
    scaled = run(update, fused=fused, power=-100)
    assert all(torch.equal(scaled.parameters[name], plain.parameters[name]) for name in SHAPES)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_what_is_not_finite_is_noted_with_its_member_step_and_place(fused: bool) -> None:
    """Member 1 gets a NaN gradient in step 2; member 2 a gradient whose square overflows in step 3, then a NaN."""
    zeros = {name: torch.zeros(3) for name in SHAPES}
    step = PopulationStep(UPDATES["adam"], of_members([0, 1, 2], 0), rates=zeros, epsilons=zeros, fused=fused)
    for t in range(1, 5):
        gradients = of_members([0, 1, 2], t)
        if t == 2:
            gradients["gain"][1, 6] = float("nan")
        if t == 3:
            gradients["matrix"][2, 15, 39] = -1e30
        if t == 4:
            gradients["table"][2] = float("inf")
        step.step_(gradients, factor=1.0)
    first, second = step.non_finite_steps()
    assert first.tolist() == [0.0, 2.0, 4.0]
    assert second.tolist() == [0.0, 2.0, 3.0]


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
def test_adafactor_notes_a_member_too(fused: bool) -> None:
    """It averages no gradients, so that all it can say is that its state is not finite."""
    zeros = {name: torch.zeros(3) for name in SHAPES}
    step = PopulationStep(
        UPDATES["adafactor"], of_members([0, 1, 2], 0), rates=zeros, epsilons=zeros, fused=fused
    )
    for t in (1, 2):
        gradients = of_members([0, 1, 2], t)
        if t == 2:
            gradients["matrix"][1, 3, 4] = float("inf")
        step.step_(gradients, factor=1.0)
    first, second = step.non_finite_steps()
    assert first.tolist() == [0.0] * 3
    assert second.tolist() == [0.0, 2.0, 0.0]
    with pytest.raises(ValueError, match="write no copies"):
        PopulationStep(
            UPDATES["adafactor"], step.parameters, rates=zeros, epsilons=zeros, fused=True,
            copies=step.parameters,
        )  # fmt: skip


def test_a_broken_member_leaves_the_others_bits() -> None:
    """Through the kernels."""
    for update in (UPDATES["sgd"], UPDATES["scaled atan2"]):
        healthy = fused_run(update)
        step = PopulationStep(
            update,
            of_members([0, 1, 2], 0),
            rates=numbers(RATES),
            epsilons=numbers([1e-8, 1e-2, 0.5]),
            fused=True,
        )
        for t in (1, 2):
            gradients = of_members([0, 1, 2], t)
            for g in gradients.values():
                g[1] = float("nan")
            step.step_(gradients, factor=torch.tensor(1 / t) if t % 2 else 1 / t)
        for name in SHAPES:
            assert torch.equal(step.parameters[name][0], healthy.parameters[name][0])
            assert torch.equal(step.parameters[name][2], healthy.parameters[name][2])


def test_blocks_of_a_large_member() -> None:
    """More than a block of four tiles, so that a member has several."""
    start = {"w": torch.stack([draw(2500, seed=m) for m in range(2)])}
    rates, zeros = {"w": torch.tensor([0.1, 0.2])}, {"w": torch.zeros(2)}
    ends = []
    for fused in (True, False):
        step = PopulationStep(UPDATES["atan2"], start, rates=rates, epsilons=zeros, fused=fused)
        start = {"w": torch.stack([draw(2500, seed=m) for m in range(2)])}
        step.step_({"w": torch.stack([draw(2500, seed=10 + m) for m in range(2)])}, factor=1.0)
        ends.append(step.parameters["w"])
    torch.testing.assert_close(*ends, rtol=0, atol=2**-20)


def test_the_copy_is_the_weights_in_low_precision() -> None:
    copies = {name: torch.empty(3, *shape, dtype=torch.bfloat16) for name, shape in SHAPES.items()}
    step = run(UPDATES["adam"], fused=True, copies=copies)
    for name in SHAPES:
        assert torch.equal(copies[name], step.parameters[name].bfloat16())


def test_what_the_kernels_do_not_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = {"w": torch.zeros(2)}
    transposed = {"w": torch.zeros(3, 4, 2).permute(2, 0, 1)}
    with pytest.raises(ValueError, match="contiguous float32"):
        PopulationStep(UPDATES["sgd"], transposed, rates=zeros, epsilons=zeros, fused=True)
    with pytest.raises(ValueError, match="fused kernels only"):
        PopulationStep(UPDATES["sgd"], transposed, rates=zeros, epsilons=zeros, copies=transposed)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match="need CUDA"):
        PopulationStep(UPDATES["sgd"], {"w": torch.zeros(2, 3)}, rates=zeros, epsilons=zeros, fused=True)


@pytest.mark.parametrize("name", ["adam", "scaled atan2", "adafactor"])
def test_what_a_record_reads_lives_as_long_as_the_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded step goes on reading and writing the tables that it was recorded with: nobody else may get them."""
    first, recorded, last = (of_members([0, 1, 2], t) for t in (1, 2, 3))
    read: list[weakref.ref[Tensor]] = []
    recording = False

    def watched(launch: Any, *arguments: Any, **options: Any) -> None:
        if recording:
            written = launch.place.numbers if name == "adafactor" else launch.numbers
            read.extend(map(weakref.ref, (launch.table, written)))
        original(launch, *arguments, **options)

    module, function = (adafactor_fused, "run") if name == "adafactor" else (population_kernel, "run_update")
    original = getattr(module, function)
    monkeypatch.setattr(module, function, watched)
    for place in (population_kernel, device_tables):
        monkeypatch.setattr(place, "capturing", lambda device: recording)
    monkeypatch.setattr(device_tables, "sets_aside", lambda device: True)
    step = PopulationStep(
        UPDATES[name],
        of_members([0, 1, 2], 0),
        rates=numbers(RATES),
        epsilons=numbers([1e-8] * 3),
        fused=True,
    )
    step.step_(first, factor=1.0)
    recording = True
    step.step_(recorded, factor=1.0)
    recording = False
    step.finish_capture()
    step.step_(last, factor=1.0)
    gc.collect()
    assert read
    assert all(reference() is not None for reference in read)


DECAYED = {name: update for name, update in UPDATES.items() if name != "adafactor"}
DECAYS = [0.0, 0.01, 0.25]


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("update", DECAYED.values(), ids=DECAYED)
def test_decay_takes_its_share_whatever_the_rate(update: MemberUpdate, fused: bool) -> None:
    """Without a gradient a step is the decay alone: theta (1 - factor * decay), each member by its own.

    The first step has no momentum: theta - fma(rate, 0, decay theta) is rounded twice, by 2^-24 of a weight below 8.
    """
    start = of_members([0, 1, 2], 0)
    step = PopulationStep(
        update,
        start,
        rates=numbers(RATES),
        epsilons=numbers([1e-8, 1e-2, 0.5]),
        decays=numbers(DECAYS),
        fused=fused,
    )
    before = {name: tensor.clone() for name, tensor in start.items()}
    step.step_({name: torch.zeros_like(tensor) for name, tensor in before.items()}, factor=0.5)
    for name, decay_P in numbers(DECAYS).items():
        share = 1 - 0.5 * decay_P.view(-1, *[1] * (before[name].dim() - 1))
        torch.testing.assert_close(step.parameters[name], before[name] * share, rtol=0, atol=2**-20)
        assert torch.equal(step.parameters[name][0], before[name][0])


@pytest.mark.parametrize("update", DECAYED.values(), ids=DECAYED)
def test_the_kernels_decay_as_the_plain_updates_do(update: MemberUpdate) -> None:
    """As without decay; and a decay of zero changes no bit of a member's run."""
    found, expected = (run(update, fused=fused, decays=numbers(DECAYS)) for fused in (True, False))
    plain = fused_run(update)
    for name in SHAPES:
        torch.testing.assert_close(found.parameters[name], expected.parameters[name], rtol=0, atol=2**-15)
        assert torch.equal(found.parameters[name][0], plain.parameters[name][0])
        assert (found.parameters[name][2] - plain.parameters[name][2]).abs().amax() > 1000 * 2**-15


@pytest.mark.parametrize("update", DECAYED.values(), ids=DECAYED)
def test_decay_is_of_the_weights_before_the_step(update: MemberUpdate) -> None:
    """Decoupled: one step with decay is the step without it, less the share of the old weights."""
    plain = run(update, fused=False, steps=1)
    decayed = run(update, fused=False, steps=1, decays=numbers(DECAYS))
    for name, decay_P in numbers(DECAYS).items():
        before = of_members([0, 1, 2], 0)[name]
        share = decay_P.view(-1, *[1] * (before.dim() - 1))
        torch.testing.assert_close(decayed.parameters[name], plain.parameters[name] - share * before)


def test_adafactors_members_have_no_decay_of_their_own() -> None:
    with pytest.raises(ValueError, match="a member's own weight decay is not Adafactor's"):
        run(UPDATES["adafactor"], fused=False, decays=numbers(DECAYS))
