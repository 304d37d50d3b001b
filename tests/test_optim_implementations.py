"""Adam-atan2's three implementations are one: over dtypes, shapes and layouts, and under powers of two bit for bit."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from optim_cases import IMPLEMENTATIONS, draw, interpreted_kernels, moments, trained
from widthwise.optim import NEAREST, ROOT, SQUARED, AdamAtan2, StochasticRounding, WeightDecay
from widthwise.optim.rounding import Rounding
from widthwise.optim.second_moment import SecondMoment

FORMS = [SQUARED, ROOT]


def form_name(form: SecondMoment) -> str:
    return form.key


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels():
        yield


@pytest.fixture(params=["foreach", "fused"])
def fast(request: pytest.FixtureRequest) -> dict[str, bool]:
    if request.param == "fused":
        pytest.importorskip("triton")
    return IMPLEMENTATIONS[request.param]


SHAPES: list[tuple[int, ...]] = [(), (1,), (0,), (3, 0), (1025,), (5, 7), (2, 3, 4, 5)]


def starts_and_gradients(dtype: torch.dtype, steps: int) -> tuple[list[Tensor], list[list[Tensor]]]:
    starts = [draw(*shape, seed=i, dtype=dtype) for i, shape in enumerate(SHAPES)]
    gradients = [
        [draw(*shape, seed=100 * t + i, dtype=dtype) for i, shape in enumerate(SHAPES)]
        for t in range(1, steps + 1)
    ]
    return starts, gradients


def assert_same(
    ours: tuple[Sequence[Tensor], AdamAtan2], reference: tuple[Sequence[Tensor], AdamAtan2], *, steps: int
) -> None:
    """float32: each step rounds a weight (below 8) differently once, by 2^-22, and its angle by a few 2^-22.

    bfloat16 weights agree unless a float32 beside the middle of two of them is rounded to the other one: by 2^-6 of
    weights below 4, in few of them. The moments are float32 in either case.
    """
    for theta, expected in zip(ours[0], reference[0], strict=True):
        assert theta.dtype == expected.dtype
        if theta.dtype in (torch.bfloat16, torch.float16):
            assert (theta != expected).float().mean() < 0.02 or theta.numel() == 0
        torch.testing.assert_close(
            theta, expected, rtol=2**-7 if theta.dtype.itemsize == 2 else 0, atol=steps * 2**-21
        )
    for state, expected_state in zip(moments(ours[1]), moments(reference[1]), strict=True):
        assert set(state) == set(expected_state)
        for name, value in state.items():
            assert value.dtype == expected_state[name].dtype
            torch.testing.assert_close(
                value, expected_state[name], rtol=steps * 2**-22, atol=2**-22, check_device=False
            )


@pytest.mark.parametrize("form", FORMS, ids=form_name)
@pytest.mark.parametrize(
    ("dtype", "rounding"),
    [
        (torch.float32, NEAREST),
        (torch.bfloat16, NEAREST),
        (torch.bfloat16, StochasticRounding(seed=11)),
        (torch.float16, NEAREST),
        (torch.float64, NEAREST),
    ],
    ids=str,
)
def test_agree(
    fast: dict[str, bool],
    form: SecondMoment,
    dtype: torch.dtype,
    rounding: Rounding,
) -> None:
    """Every shape in one optimizer. (Step 1 alone has hand values.)"""
    steps = 3
    starts, gradients = starts_and_gradients(dtype, steps)
    options: dict[str, Any] = {
        "lr": 0.05,
        "b": 2.0,
        "second_moment": form,
        "rounding": rounding,
        "weight_decay": WeightDecay(0.1, 1e-3),
    }
    ours = trained(starts, gradients, **options, **fast)
    reference = trained(starts, gradients, **options, **IMPLEMENTATIONS["single"])
    assert_same(ours, reference, steps=steps)


def test_bfloat16_ties_go_to_even(fast: dict[str, bool]) -> None:
    """A decay that takes 1 + 65/128 exactly half way to 1 + 64/128, and 1 + 66/128 half way to 1 + 65/128."""
    for start, end in ((65, 64), (66, 66)):
        weight = torch.tensor([1 + start / 128])
        decay = WeightDecay.independent((2.0**-8 / weight).item())
        assert weight - decay.per_step * weight == 1 + (start - 0.5) / 128
        (theta,), _ = trained([weight.bfloat16()], [[torch.zeros(1).bfloat16()]], weight_decay=decay, **fast)
        assert theta.item() == 1 + end / 128


def test_equal_tensors_are_rounded_by_bits_of_their_own(fast: dict[str, bool]) -> None:
    """In one group, in another group, and at another step; a step of a third of a unit, so that bits decide."""
    leaves = [torch.nn.Parameter(torch.ones(200, dtype=torch.bfloat16)) for _ in range(3)]
    optimizer = AdamAtan2(
        [{"params": leaves[:2]}, {"params": leaves[2:]}],
        lr=4 / torch.pi * 2.0**-8 / 3,
        rounding=StochasticRounding(seed=1),
        **fast,
    )
    moved = []
    for _ in range(2):
        for leaf in leaves:
            leaf.data.fill_(1)
            leaf.grad = torch.ones_like(leaf)
        optimizer.step()
        moved += [(leaf.detach() < 1).tolist() for leaf in leaves]
    assert all(30 < sum(row) < 110 for row in moved)  # 67 expected, 6.7 the standard deviation
    assert len({tuple(row) for row in moved}) == 6


def test_agree_after_many_steps() -> None:
    """1,000 steps of the two that are fast on a CPU; differences of rounding add up at most one by one."""
    starts, gradients = [draw(9, seed=0)], [[draw(9, seed=t)] for t in range(1, 1001)]
    results = [
        trained(starts, gradients, lr=1e-3, second_moment=ROOT, **IMPLEMENTATIONS[name])[0][0]
        for name in ("single", "foreach")
    ]
    torch.testing.assert_close(*results, rtol=0, atol=1000 * 2**-22)


def laid_out(name: str) -> tuple[Tensor, Tensor]:
    """A weight and a gradient of one layout, or of two."""
    weight, gradient = draw(4, 6, 5, 3, seed=1), draw(4, 6, 5, 3, seed=2)
    last = torch.channels_last
    return {
        "channels last": (weight.to(memory_format=last), gradient.to(memory_format=last)),
        "channels last weight": (weight.to(memory_format=last), gradient),
        "transposed": (weight.transpose(0, 2), gradient.transpose(0, 2)),
        "every other": (draw(8, 6, 5, 3, seed=1)[::2], gradient),
        "expanded gradient": (weight, gradient[:1].expand(4, 6, 5, 3)),
    }[name]


@pytest.mark.parametrize(
    "name", ["channels last", "channels last weight", "transposed", "every other", "expanded gradient"]
)
def test_any_layout(fast: dict[str, bool], name: str) -> None:
    """As if everything were contiguous: the layout decides the order of the work, nothing else."""
    results = []
    for contiguous in (False, True):
        weight, gradient = laid_out(name)
        parameter = torch.nn.Parameter(weight.contiguous() if contiguous else weight)
        optimizer = AdamAtan2([parameter], lr=0.1, second_moment=ROOT, **fast)
        for _ in range(2):
            parameter.grad = gradient.contiguous() if contiguous else gradient
            optimizer.step()
        assert parameter.stride() == (weight.contiguous() if contiguous else weight).stride()
        results.append(parameter.detach())
    torch.testing.assert_close(*results, rtol=0, atol=2**-21)


def test_any_alignment(fast: dict[str, bool]) -> None:
    """A weight that begins one element into its memory, with more than one block behind it."""
    memory = draw(1601, seed=1)
    gradient = draw(1600, seed=2)
    results = []
    for start in (memory[1:], memory[1:].clone()):
        parameter = torch.nn.Parameter(start)
        assert (parameter.data_ptr() % 16 == 0) == (start._base is None)
        optimizer = AdamAtan2([parameter], lr=0.1, **fast)
        parameter.grad = gradient.clone()
        optimizer.step()
        results.append(parameter.detach().clone())
    torch.testing.assert_close(*results, rtol=0, atol=2**-22)
    assert memory[0] == draw(1601, seed=1)[0]


def scaled(power: int, *, steps: int, **arguments: Any) -> Tensor:
    """Where the steps end when every gradient is scaled by 2^power; its entries lie in [1/4, 4]."""
    gradients = [[draw(4, 8, seed=t) * 2.0**power] for t in range(1, steps + 1)]
    (theta,), optimizer = trained([draw(4, 8, seed=0)], gradients, lr=0.02, **arguments)
    assert optimizer.non_finite() == ()
    return theta


@pytest.mark.parametrize("name", sorted(IMPLEMENTATIONS))
@pytest.mark.parametrize(
    ("form", "powers"),
    [
        # g and u are normal from 2^-126 on; (1 - beta2)^(1/2) 2^-2 and 2^2 leave room for -115 to 125
        (ROOT, [-115, -100, -40, 1, 100, 124]),
        # v = (1 - beta2) g^2 is normal for g = 2^-2 2^k from k = -55 on, and g^2 finite up to k = 61
        (SQUARED, [-55, -40, 1, 50, 61]),
    ],
    ids=["root", "squared"],
)
def test_powers_of_two_change_no_bit(name: str, form: SecondMoment, powers: list[int]) -> None:
    """What the optimizer exists for. A large b would make numbers denormal if it were divided by before the root."""
    if name == "fused":
        pytest.importorskip("triton")
    arguments: dict[str, Any] = {"second_moment": form, "a": 64.0, "b": 64.0, **IMPLEMENTATIONS[name]}
    steps = 2 if name == "fused" else 12
    unscaled = scaled(0, steps=steps, **arguments)
    for power in powers:
        assert torch.equal(scaled(power, steps=steps, **arguments), unscaled), power


@pytest.mark.slow
@pytest.mark.parametrize("name", ["single", "foreach"])
@pytest.mark.parametrize(("form", "powers"), [(ROOT, range(-115, 125)), (SQUARED, range(-55, 62))])
def test_every_power_of_two(name: str, form: SecondMoment, powers: range) -> None:
    test_powers_of_two_change_no_bit(name, form, list(powers))


def test_adam_sees_the_scale_and_the_squared_form_ends() -> None:
    """The other side: AdamW with epsilon 1e-12 differs at 2^-40; the squared form is wrong where v underflows.

    The root form's first step at 2^-100 is pi/4 of the rate; the squared form's is pi/2 of it, since v is 0.
    """
    results = []
    for power in (0, -40):
        leaf = torch.nn.Parameter(draw(4, 8, seed=0))
        adamw = torch.optim.AdamW([leaf], lr=0.02, eps=1e-12, weight_decay=0.0)
        for t in range(1, 6):
            leaf.grad = draw(4, 8, seed=t) * 2.0**power
            adamw.step()
        results.append(leaf.detach())
    assert (results[0] - results[1]).abs().max() > 0.01
    for form, quarter_turns in ((ROOT, 1), (SQUARED, 2)):
        (theta,), _ = trained(
            [torch.zeros(3)], [[torch.full((3,), -(2.0**-100))]], lr=1.0, second_moment=form
        )
        torch.testing.assert_close(theta, torch.full((3,), quarter_turns * torch.pi / 4), rtol=2**-21, atol=0)


@pytest.mark.parametrize("name", sorted(IMPLEMENTATIONS))
def test_denormal_gradients_take_no_longer_steps(name: str) -> None:
    """Below the normal numbers the digits go, and the angle shrinks; it never grows, and is never NaN."""
    if name == "fused":
        pytest.importorskip("triton")
    gradient = torch.tensor([2.0**-126, 2.0**-130, 2.0**-140, 2.0**-149, 0.0])
    (theta,), _ = trained(
        [torch.zeros(5)], [[gradient], [gradient]], lr=1.0, second_moment=ROOT, **IMPLEMENTATIONS[name]
    )
    assert theta.isfinite().all()
    assert (theta <= 0).all()
    assert theta.abs().max() < 2 * (torch.pi / 4) * (1 + 1e-3)
    assert theta[4] == 0
