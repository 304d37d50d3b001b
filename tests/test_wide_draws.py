"""Draws that are a function of seed, tensor and element: normal, independent, the same in pieces."""

import math

import pytest
import torch

from optim_cases import interpreted_kernels
from populations import ADAM_UPDATE, CPU, make_recipe, numbers, transformer
from widthwise.train import Member, initial_parameters
from widthwise.wide.draws import fill_normal_, normal_draws
from widthwise.wide.initial import InitialDraw, initial_weight

COUNT = 2**20


@pytest.fixture(scope="module")
def draws() -> torch.Tensor:
    return normal_draws(7, "readout", first=0, count=COUNT, device=CPU).double()


def test_moments(draws: torch.Tensor) -> None:
    """Mean, variance, skewness and kurtosis of N(0, 1) to five standard errors of a sample of this size."""
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(draws.pow(power).mean() - moment) < 5 * math.sqrt(variance / COUNT)


def test_distribution(draws: torch.Tensor) -> None:
    """Kolmogorov and Smirnov's distance, below its value at a chance of 1 in 10^5: sqrt(ln(2e5) / 2 / n)."""
    uniform = (0.5 * (1 + torch.erf(draws.sort().values / math.sqrt(2)))).numpy()
    ranks = (torch.arange(COUNT, dtype=torch.float64) + 0.5).numpy() / COUNT
    assert abs(uniform - ranks).max() < math.sqrt(math.log(2e5) / 2 / COUNT)
    assert 4.2 < draws.abs().max() < 6.8


@pytest.mark.parametrize("lag", [1, 2, 256, 4096])
def test_no_correlation_along_the_tensor(draws: torch.Tensor, lag: int) -> None:
    products = draws[lag:] * draws[:-lag]
    assert abs(products.mean()) < 5 / math.sqrt(COUNT)
    squares = (draws[lag:].square() - 1) * (draws[:-lag].square() - 1)
    assert abs(squares.mean()) < 5 * 2 / math.sqrt(COUNT)


@pytest.mark.parametrize(
    ("seed", "name", "first"), [(8, "readout", 0), (7, "blocks.0.mlp.up", 0), (7, "readout", 2**32)]
)
def test_no_correlation_between_streams(draws: torch.Tensor, seed: int, name: str, first: int) -> None:
    """Seeds, tensors, and elements 2^32 apart."""
    other = normal_draws(seed, name, first=first, count=COUNT, device=CPU).double()
    assert abs((draws * other).mean()) < 5 / math.sqrt(COUNT)


def test_pieces() -> None:
    """Bit for bit, also across 2^32."""
    first = 2**32 - 3
    whole = normal_draws(1, "a", first=first, count=7, device=CPU)
    parts = [normal_draws(1, "a", first=first + i, count=1, device=CPU) for i in range(7)]
    assert torch.equal(whole, torch.cat(parts))


def test_on_a_cpu_it_is_the_populations_draw() -> None:
    """Bit for bit in float32, rounded to nearest in bfloat16; the counter's has the same size."""
    model = transformer(32)
    member = Member(numbers(model, learning_rate=0.1), init_seed=3, data_seed=0)
    expected = initial_parameters(make_recipe(model, ADAM_UPDATE, steps=4), [member], CPU)
    for name, tensor in model.tensors().items():
        exact, rounded = (
            initial_weight(member, name, tensor, InitialDraw.POPULATION, dtype=dtype, device=CPU)
            for dtype in (torch.float32, torch.bfloat16)
        )
        assert torch.equal(exact, expected[name][0])
        assert torch.equal(rounded, expected[name][0].bfloat16())
        counted = initial_weight(member, name, tensor, InitialDraw.COUNTER, dtype=torch.float32, device=CPU)
        deviation = member.numbers[name].init
        if tensor.drawn:
            assert abs(counted.square().mean().sqrt() / deviation - 1) < 5 / math.sqrt(2 * counted.numel())
        else:
            assert (counted == deviation).all()
    assert InitialDraw.for_device(CPU) is InitialDraw.POPULATION


def test_the_kernel_numbers_elements_beyond_32_bits() -> None:
    first = 2**32 - 3
    filled = torch.empty(7)
    with interpreted_kernels():
        fill_normal_(filled, 1, "a", init=1.0, first=first)
    torch.testing.assert_close(
        filled, normal_draws(1, "a", first=first, count=7, device=CPU), rtol=2e-7, atol=2e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_draws_the_same(dtype: torch.dtype) -> None:
    """To four units in the last place, of a logarithm, a root and a cosine; or of bfloat16, rounded to another side."""
    model = transformer(36)
    member = Member(numbers(model, learning_rate=0.1), init_seed=3, data_seed=0)
    name = "blocks.0.mlp.up"
    with interpreted_kernels():
        plain, fused = (
            initial_weight(
                member,
                name,
                model.tensors()[name],
                InitialDraw.COUNTER,
                dtype=dtype,
                device=CPU,
                fused=fused,
            )
            for fused in (False, True)
        )
    assert plain.numel() % 2048, "the last program is partly masked"
    step = 2.0**-24 if dtype is torch.float32 else 2.0**-8
    torch.testing.assert_close(fused, plain, rtol=4 * step, atol=2.0**-22 * member.numbers[name].init)
