"""Steps in pieces, with 8-bit state and weights rounded at random: equal to the plain update where nothing is rounded,
right in the mean where something is."""

from math import log2, sqrt

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
    SgdUpdate,
    StochasticRounding,
)
from widthwise.optim.block_scaled import FIRST, ROOT, LogCode
from widthwise.optim.compact_step import CompactUpdate, StateFormat
from widthwise.optim.rounding import NEAREST, random_bits

SCALING = ParameterScaling(floor=0.5)
ELEMENTWISE: dict[str, MemberUpdate] = {
    "sgd": SgdUpdate(momentum=0.9),
    "stateless sgd": SgdUpdate(momentum=0.0),
    "adam": AdamUpdate(0.9, 0.98),
    "atan2": AdamAtan2Update(0.9, 0.98, a=1.3, b=0.7),
    "scaled adam": AdamUpdate(0.9, 0.98, SCALING),
}
FACTORED = {
    "adafactor": AdafactorUpdate(AdafactorConstants(min_dim_size_to_factor=8)),
    "bare": AdafactorUpdate(
        AdafactorConstants(min_dim_size_to_factor=8, clipping_threshold=None, parameter_scaling=None)
    ),
    "unfactored": AdafactorUpdate(AdafactorConstants(factored=False)),
    "momentum": AdafactorUpdate(AdafactorConstants(min_dim_size_to_factor=8, momentum=0.5)),
}
RATE, EPSILON = 0.01, 1e-3


def plain(update: MemberUpdate, weight: Tensor, gradients: list[Tensor]) -> Tensor:
    """The update by itself, in float32."""
    theta, state = weight[None], update.initial_state(weight[None])
    numbers = {"rate": torch.tensor([RATE]), "epsilon": torch.tensor([EPSILON])}
    for step, gradient in enumerate(gradients, start=1):
        theta, state = update.step(theta, gradient[None], state, step=torch.tensor([float(step)]), **numbers)
    return theta[0]


def compact(how: CompactUpdate, weight: Tensor, gradients: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    weight, state = weight.clone(), how.initial_state(weight)
    for step, gradient in enumerate(gradients, start=1):
        how.step_(weight, gradient, state, index=3, step=step, rate=RATE, epsilon=EPSILON)
    return weight, state


def some(*shape: int, steps: int = 3) -> tuple[Tensor, list[Tensor]]:
    return draw(*shape, seed=0), [draw(*shape, seed=1 + i) for i in range(steps)]


@pytest.mark.parametrize("name", [*ELEMENTWISE, *FACTORED])
def test_in_float32_pieces_are_the_update(name: str) -> None:
    """Elementwise updates bit for bit; Adafactor's sums, and the parameters' size, in another order of addition."""
    update = {**ELEMENTWISE, **FACTORED}[name]
    weight, gradients = some(16, 40)
    found, _ = compact(CompactUpdate(update, piece=256), weight, gradients)
    tolerance = {} if name in FACTORED or "scaled" in name else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(found, plain(update, weight, gradients), **tolerance)


@pytest.mark.parametrize("code", [FIRST, ROOT])
def test_levels_by_hand(code: LogCode) -> None:
    """Every level is its own code, whatever the bits: the distance to both neighbours is 2^(1/steps)."""
    levels = 2.0 ** (-torch.arange(code.levels).double() / code.steps).float()
    value = torch.zeros(1, 256)
    value[0, : code.levels] = levels
    for bits in (0, 30_000):
        codes, scales = code.encode(value, torch.full((1, 256), bits))
        assert scales.tolist() == [1.0]
        torch.testing.assert_close(code.decode(codes, scales), value)
    assert log2(float(levels[-1])) < -15.7


@pytest.mark.parametrize("code", [FIRST, ROOT])
def test_the_mean_is_kept(code: LogCode) -> None:
    """Of the value for gradients' averages, of its square for roots: five standard errors of the two-point law."""
    draws, blocks = 4000, torch.linspace(0.003, 1, 256)[None]
    value = blocks if code is ROOT else torch.where(torch.arange(256) % 2 == 0, blocks, -blocks)
    noise = random_bits(draws * 256, seed=1, index=0, step=1.0, device=value.device).view(draws, 256)
    codes, scales = code.encode(value.expand(draws, -1).contiguous(), noise)
    found = (code.decode(codes, scales).double() ** code.power).mean(0)
    wanted = value[0].double() ** code.power
    spacing = 2 ** (code.power / code.steps) - 1
    assert ((found - wanted).abs() <= 5 * spacing / 2 * wanted.abs() / sqrt(draws) + 1e-6).all()


def test_below_the_lowest_level() -> None:
    """A gradient's average may become zero, a root never does; zero stays zero."""
    value = torch.zeros(1, 256)
    value[0, :2] = torch.tensor([1.0, 1e-30])
    for bits in (0, 65_535):
        root = ROOT.decode(*ROOT.encode(value, torch.full((1, 256), bits)))
        assert root[0, 1:3].tolist() == pytest.approx([2 ** (-254 / 16), 0], rel=1e-6)
    assert FIRST.decode(*FIRST.encode(value, torch.full((1, 256), 65_535)))[0, 1] == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("code", [FIRST, ROOT])
def test_what_is_not_finite_stays_so(code: LogCode, bad: float) -> None:
    value = torch.ones(2, 256)
    value[0, 5] = bad
    found = code.decode(*code.encode(value, torch.zeros(2, 256, dtype=torch.int64)))
    assert found[0].isnan().all()
    assert (found[1] == 1).all()


@pytest.mark.parametrize(("noisy", "m_bounds", "v_bounds"), [
    (False, (0.033, 0.041), (0.033, 0.041)),
    (True, (0.06, 0.0855), (0.12, 0.187)),
])  # fmt: skip
def test_the_error_of_eight_bits_is_what_the_module_derives(
    noisy: bool, m_bounds: tuple[float, float], v_bounds: tuple[float, float]
) -> None:
    """s / sqrt(6) = 3.7 % where the gradient repeats; below s / sqrt(6 (1 - beta^2)) where it is noise; means kept."""
    generator = torch.Generator().manual_seed(0)
    how = CompactUpdate(AdamUpdate(0.9, 0.98), StateFormat.EIGHT_BIT, StochasticRounding(2))
    gradient = torch.exp2(-torch.rand(60, 256, generator=generator) * 3)
    weight, state = torch.zeros_like(gradient), how.initial_state(gradient)
    m, v = torch.zeros(2, gradient.numel(), dtype=torch.float64)
    for step in range(1, 151):
        g = gradient * torch.randn(gradient.shape, generator=generator) if noisy else gradient
        how.step_(weight, g, state, index=0, step=step, rate=0.0, epsilon=EPSILON)
        m, v = 0.9 * m + 0.1 * g.view(-1), 0.98 * v + 0.02 * g.view(-1).double() ** 2
    everything = slice(0, weight.numel())
    first, root = how.first_moment(state, everything), how.root_mean_square(state, everything)
    assert first is not None
    assert root is not None
    m_error = (first - m) / (gradient.view(-1) * (0.1 / 1.9) ** 0.5 if noisy else gradient.view(-1))
    v_error = root.double().square() / v - 1
    for error, (low, high) in ((m_error, m_bounds), (v_error, v_bounds)):
        assert abs(error.mean()) < 5 * error.std() / sqrt(len(error))
        assert low < error.square().mean().sqrt() < high


def test_rounded_to_nearest_a_moment_would_not_fall() -> None:
    """Why the code is stochastic: v falls by 2 % a step, half a level is 4.5 %."""
    value = torch.ones(1, 256)
    value[0, 1:] = 0.5 * 0.98**0.5
    fallen = [
        ROOT.decode(
            *ROOT.encode(value, random_bits(256, seed=0, index=i, step=1.0, device=value.device)[None])
        )
        for i in range(200)
    ]
    mean = torch.stack(fallen)[:, 0, 1:].double().square().mean()
    assert mean == pytest.approx(0.25 * 0.98, rel=5 * 0.0905 / 2 / sqrt(200 * 255))


def test_weights_move_by_the_right_mean() -> None:
    """Steps of 1/64 of a bfloat16 unit: rounding to nearest loses them all, this keeps their sum."""
    weight = torch.ones(64, 1024, dtype=torch.bfloat16)
    unit = 2.0**-7
    gradient = torch.full((64, 1024), -unit / 64)
    sgd = SgdUpdate(momentum=0.0)
    ends = {}
    for name, rounding in (("nearest", NEAREST), ("stochastic", StochasticRounding(7))):
        how, theta = CompactUpdate(sgd, rounding=rounding), weight.clone()
        for step in range(1, 33):
            how.step_(theta, gradient, {}, index=0, step=step, rate=1.0, epsilon=0.0)
        ends[name] = theta.double().mean() - 1
    assert ends["nearest"] == 0
    assert ends["stochastic"] == pytest.approx(unit / 2, abs=5 * unit / 2 / sqrt(weight.numel()))


@pytest.mark.parametrize("name", list(ELEMENTWISE))
def test_pieces_do_not_matter(name: str) -> None:
    """Bit for bit, weights and state: random bits are numbered by element. And a run repeats."""
    weight, gradients = some(8, 100)
    weight = weight.bfloat16()
    rounding = StochasticRounding(5)
    whole = compact(CompactUpdate(ELEMENTWISE[name], StateFormat.EIGHT_BIT, rounding), weight, gradients)
    cut = compact(
        CompactUpdate(ELEMENTWISE[name], StateFormat.EIGHT_BIT, rounding, piece=256), weight, gradients
    )
    if "scaled" not in name:  # the size of the weights is a sum over pieces
        assert torch.equal(whole[0], cut[0])
        assert all(torch.equal(value, cut[1][key]) for key, value in whole[1].items())
    again = compact(CompactUpdate(ELEMENTWISE[name], StateFormat.EIGHT_BIT, rounding), weight, gradients)
    assert torch.equal(whole[0], again[0])


@pytest.mark.parametrize(("dtype", "shape"), [(torch.float32, (4, 256)), (torch.bfloat16, (7, 150))])
@pytest.mark.parametrize("name", list(ELEMENTWISE))
def test_the_kernel_is_the_plain_step(name: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
    """One step on equal states: codes may differ by one where a chance and its bits agree to float32, one in 10^4."""
    weight, gradients = some(*shape)
    weight = weight.to(dtype)
    rounding = StochasticRounding(5)
    slow = CompactUpdate(ELEMENTWISE[name], StateFormat.EIGHT_BIT, rounding, fused=False)
    fast = CompactUpdate(ELEMENTWISE[name], StateFormat.EIGHT_BIT, rounding, fused=True)
    expected, state = compact(slow, weight, gradients)
    found, states = expected.clone(), {key: value.clone() for key, value in state.items()}
    last = draw(*shape, seed=9)
    numbers = {"index": 3, "step": 4, "rate": RATE, "epsilon": EPSILON}
    slow.step_(expected, last, state, **numbers)
    with interpreted_kernels():
        fast.step_(found, last, states, **numbers)
    for key, value in state.items():
        if key.endswith("scales"):
            torch.testing.assert_close(states[key], value, rtol=1e-6, atol=0)
        else:
            apart = (states[key].int() & 127) - (value.int() & 127)
            if key.startswith(("v", "u")):
                apart = states[key].int() - value.int()
            assert apart.abs().max() <= 1, key
            assert (apart != 0).float().mean() < 2e-3, key
    if dtype == torch.float32:
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    else:
        assert (found != expected).float().mean() < 2e-3  # as codes


def test_the_kernel_that_rounds() -> None:
    """Bit for bit, in pieces that do not begin at 0."""
    weight, gradients = some(5, 256, steps=1)
    weight = weight.bfloat16()
    rounding = StochasticRounding(11)
    update = FACTORED["bare"]
    expected, _ = compact(CompactUpdate(update, rounding=rounding, piece=256, fused=False), weight, gradients)
    with interpreted_kernels():
        found, _ = compact(CompactUpdate(update, rounding=rounding, piece=256, fused=True), weight, gradients)
    assert torch.equal(found, expected)


def test_the_kernel_keeps_what_is_not_finite() -> None:
    weight, (gradient,) = some(2, 256, steps=1)
    gradient[0, 3] = float("inf")
    how = CompactUpdate(ELEMENTWISE["atan2"], StateFormat.EIGHT_BIT, StochasticRounding(0), fused=True)
    with interpreted_kernels():
        _, state = compact(how, weight, [gradient])
    assert state["m.scales"].isfinite().tolist() == [False, True]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["adam", "atan2"])
def test_what_had_no_gradient_stays_zero(name: str, fused: bool) -> None:
    """Beside elements that had one, in the same block of 256, and in blocks of their own."""
    weight, gradients = some(4, 128)
    for gradient in gradients:
        gradient[1:] = 0.0
    how = CompactUpdate(ELEMENTWISE[name], StateFormat.EIGHT_BIT, StochasticRounding(0), fused=fused)
    with interpreted_kernels():
        _, state = compact(how, weight, gradients)
    size = how.root_mean_square(state, slice(0, 512))
    assert size is not None
    assert (size.view(4, 128) > 0).all(1).tolist() == [True, False, False, False]
    assert (size[128:] == 0).all()


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="a piece of 100 elements is not a multiple of a block of 256"):
        CompactUpdate(ELEMENTWISE["adam"], piece=100)
    with pytest.raises(ValueError, match=r"Adafactor with momentum 0\.5 keeps a float32 number for every"):
        CompactUpdate(FACTORED["momentum"], StateFormat.EIGHT_BIT)
