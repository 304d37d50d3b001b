"""A tensor's own initializer: its law from draws, what counts as drawn, and what is refused."""

import math
import random
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import nn

from widthwise.scaling import Draw, InitializerFit, Rule, describe
from widthwise.scaling.draws import CHUNK, draw_pair
from widthwise.scaling.seeding import seeded
from widthwise.theory import Role

HALF, QUARTER, ZERO = Fraction(1, 2), Fraction(1, 4), Fraction(0)
WIDTHS = (32, 64, 128)


class Bare(nn.Module):
    """One bare parameter."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(value)


def fitted(value: Callable[[int], torch.Tensor], **options: object) -> InitializerFit:
    """The initializer of a bare parameter that a factory fills with a value."""
    (tensor,) = describe(lambda n: Bare(value(n)), widths=WIDTHS, **options).tensors.values()
    assert tensor.initializer is not None
    return tensor.initializer


def drawn(init: Callable[[torch.Tensor], object], shape: Callable[[int], tuple[int, ...]]) -> InitializerFit:
    """The initializer of a matrix that `torch.nn.init` fills."""

    def value(n: int) -> torch.Tensor:
        tensor = torch.empty(shape(n))
        init(tensor)
        return tensor

    return fitted(value)


def square(n: int) -> tuple[int, int]:
    return (n, n)


# The published formulas: https://docs.pytorch.org/docs/stable/nn.init.html. He's variance is 2 / fan, Xavier's
# 2 / (fan_in + fan_out), an orthogonal matrix of r rows and c columns has entries of variance 1 / max(r, c).
INITS = {
    "normal": (lambda t: nn.init.normal_(t, std=0.02), square, ZERO, lambda n: 0.02),
    "truncated normal": (lambda t: nn.init.trunc_normal_(t, std=0.02), square, ZERO, lambda n: 0.02),
    # Three quarters are zero, and count for nothing.
    "sparse": (lambda t: nn.init.sparse_(t, 0.75, std=0.1), square, ZERO, lambda n: 0.1),
    "uniform": (lambda t: nn.init.uniform_(t, -0.3, 0.3), square, ZERO, lambda n: 0.3 / math.sqrt(3)),
    "He, fan in": (nn.init.kaiming_normal_, lambda n: (2 * n, n), HALF, lambda n: math.sqrt(2 / n)),
    "He, fan out": (
        lambda t: nn.init.kaiming_uniform_(t, mode="fan_out"),
        lambda n: (n, 3 * n, 3, 3),
        HALF,
        lambda n: math.sqrt(2 / (9 * n)),
    ),
    "Xavier": (nn.init.xavier_normal_, lambda n: (3 * n, n), HALF, lambda n: math.sqrt(2 / (4 * n))),
    "orthogonal": (nn.init.orthogonal_, lambda n: (3 * n, n), HALF, lambda n: 1 / math.sqrt(3 * n)),
    "readout of muP": (lambda t: nn.init.normal_(t, std=1 / len(t)), square, Fraction(1), lambda n: 1 / n),
    "growing": (lambda t: nn.init.normal_(t, std=len(t) ** 0.5), square, -HALF, lambda n: n**0.5),
    "one factor of a pair": (
        lambda t: nn.init.normal_(t, std=len(t) ** -0.25),
        square,
        QUARTER,
        lambda n: n**-0.25,
    ),
}


@pytest.mark.parametrize(("init", "shape", "exponent", "formula"), INITS.values(), ids=INITS)
def test_known_initializers(
    init: Callable[[torch.Tensor], object],
    shape: Callable[[int], tuple[int, ...]],
    exponent: Fraction,
    formula: Callable[[int], float],
) -> None:
    fit = drawn(init, shape)
    assert (fit.draw, fit.exponent, fit.base) == (Draw.RANDOM, exponent, "n")
    for width, scale in zip(fit.widths, fit.scales, strict=True):
        # One pair of draws: relative error 1 / sqrt(2 entries), five of them; a truncated normal at two standard
        # deviations (torch's default, in absolute units of 0.02, is a hundred) keeps its own.
        assert scale == pytest.approx(formula(width), rel=5 / math.sqrt(2 * math.prod(shape(width))))
    assert fit.scale_ratio(4096, 256) == pytest.approx(16.0 ** -float(exponent), rel=1e-12)


@pytest.mark.parametrize(
    ("make", "base", "ratio"),
    [
        # Uniform within 1 / sqrt(fan_in), fan_in = n + 60: from 64 to 4096 the scale falls by sqrt(124 / 4156).
        (lambda n: nn.Linear(n + 60, n, bias=False), "fan in", math.sqrt(124 / 4156)),
        (lambda n: nn.Conv2d(n + 12, n, 3, bias=False), "fan in", math.sqrt(76 / 4108)),
    ],
    ids=["linear", "convolution"],
)
def test_an_affine_fan(make: Callable[[int], nn.Module], base: str, ratio: float) -> None:
    (tensor,) = describe(make, widths=WIDTHS).tensors.values()
    assert tensor.initializer is not None
    assert (tensor.initializer.exponent, tensor.initializer.base) == (HALF, base)
    assert tensor.initializer.scale_ratio(4096, 64) == pytest.approx(ratio, rel=1e-12)


def test_a_vocabulary_in_xaviers_fan() -> None:
    """A readout of 1000 words: variance 2 / (n + 1000), flat at small widths and falling later."""

    def build(n: int) -> nn.Module:
        layer = nn.Linear(n, 1000, bias=False)
        nn.init.xavier_uniform_(layer.weight)
        return layer

    (tensor,) = describe(build, widths=(128, 256, 512)).tensors.values()
    assert tensor.role is Role.READOUT
    assert str(tensor.initializer) == "random (fan in + fan out)^(-1/2)"
    assert tensor.initializer is not None
    assert tensor.initializer.scale_ratio(8000, 512) == pytest.approx(math.sqrt(1512 / 9000), rel=1e-12)


CONSTANTS = {
    "zeros": (lambda n: torch.zeros(n, n), Draw.CONSTANT, ZERO, "constant 0"),
    "ones": (lambda n: torch.ones(n), Draw.CONSTANT, ZERO, "constant 1"),
    "layer scale": (lambda n: torch.full((n,), 1e-5), Draw.CONSTANT, ZERO, "constant 1e-05"),
    "negative": (lambda n: torch.full((n,), -2.0), Draw.CONSTANT, ZERO, "constant -2"),
    "falling": (lambda n: torch.full((n,), n**-0.5), Draw.CONSTANT, HALF, "constant n^(-1/2)"),
    "identity": (torch.eye, Draw.PATTERN, HALF, "pattern n^(-1/2)"),
    "ramp of the state": (
        lambda n: torch.arange(1, 5).log().expand(n, 4).clone(),
        Draw.PATTERN,
        ZERO,
        "pattern n^0",
    ),
    "noisy gains": (lambda n: 1 + 0.02 * torch.randn(n), Draw.SHIFTED, ZERO, "shifted n^0"),
    # What is multiplied is the whole tensor: gains of size 1 stay, however their noise falls.
    "gains with falling noise": (lambda n: 1 + torch.randn(n, n) / n, Draw.SHIFTED, ZERO, "shifted n^0"),
    "falling gains": (lambda n: (1 + torch.randn(n, n) / n) / n**0.5, Draw.SHIFTED, HALF, "shifted n^(-1/2)"),
    # Row norms of torch's own Linear, as weight_norm keeps them: root(n) times entries of size 1 / root(3 n).
    "row norms": (
        lambda n: nn.Linear(n, 4 * n, bias=False).weight.detach().norm(dim=1),
        Draw.SHIFTED,
        ZERO,
        "shifted n^0",
    ),
}


@pytest.mark.parametrize(("value", "draw", "exponent", "text"), CONSTANTS.values(), ids=CONSTANTS)
def test_what_is_not_centred_noise(
    value: Callable[[int], torch.Tensor], draw: Draw, exponent: Fraction, text: str
) -> None:
    rules = (Rule("weight", role=Role.VECTOR),) if text == "pattern n^0" else ()
    fit = fitted(value, rules=rules)
    assert (fit.draw, fit.exponent, str(fit)) == (draw, exponent, text)


def test_a_vector_whose_pattern_follows_no_power_stays_as_it_is() -> None:
    """log(1..heads), as in later state-space models, grows as log n. A matrix without a law is refused."""
    fit = fitted(lambda n: torch.arange(1, 64 * n + 1).log())
    assert (fit.draw, fit.exponent, fit.candidates) == (Draw.PATTERN, None, ())
    with pytest.raises(
        ValueError, match=r"exponent is undetermined: pattern, scales .*: no law fits; declare it"
    ):
        fit.scale_ratio(256, 128)
    with pytest.raises(
        ValueError, match=r"weight \(hidden\): pattern, scales .* slope -0\.4\d+ \+- .*: no law fits"
    ):
        fitted(lambda n: n**-0.4 * torch.linspace(-1, 1, n * n).reshape(n, n))


def test_a_zero_row_for_padding_changes_nothing() -> None:
    def build(n: int) -> nn.Module:
        return nn.Embedding(5, n, padding_idx=0)

    (tensor,) = describe(build, widths=WIDTHS).tensors.values()
    fit = tensor.initializer
    assert fit is not None
    assert (fit.draw, fit.exponent) == (Draw.RANDOM, ZERO)
    # 4 rows of n drawn from N(0, 1); with the zero row counted the scale would be 0.894.
    assert fit.scales[-1] == pytest.approx(1, abs=5 / math.sqrt(2 * 4 * 128))


def test_a_factory_that_seeds_itself_is_measured_all_the_same() -> None:
    def build(n: int) -> nn.Module:
        torch.manual_seed(0)
        return nn.Linear(n, n, bias=False)

    (tensor,) = describe(build, widths=WIDTHS).tensors.values()
    assert str(tensor.initializer) == "pattern n^(-1/2)"


def test_complex_entries_count_both_parts() -> None:
    fit = fitted(lambda n: torch.randn(n, n, dtype=torch.complex64) / n**0.5)
    assert str(fit) == "random n^(-1/2)"
    # A standard complex normal has variance 1/2 in each part.
    assert fit.scales[0] == pytest.approx(math.sqrt(1 / 2 / 32), rel=5 / math.sqrt(4 * 32**2))


def test_sums_by_chunks_are_the_whole_tensors() -> None:
    """Half a million entries, more than one chunk, a part of them the same under every seed."""

    def build(width: int) -> nn.Module:
        weight = torch.randn(width, 8 * width)
        weight[3] = 7.0
        weight[:, 1] = weight[:, 1].relu()  # zeros at other places under every seed, and in common
        return Bare(weight.T)

    width = CHUNK // 8**3 // 2 + 5
    with seeded(2):
        x = build(width).weight.detach().double()
    with seeded(3):
        y = build(width).weight.detach().double()
    varies = x != y
    assert not varies[:, 3].any()
    x, y = x[varies], y[varies]
    pair = draw_pair(build, width, 1)["weight"]
    found = (pair.differing, pair.differences, pair.fourths, pair.squares, pair.zeros)
    zeros = (x == 0).sum() + (y == 0).sum()
    expected = (x.numel(), ((x - y) ** 2).sum(), ((x - y) ** 4).sum(), ((x**2 + y**2) / 2).sum(), zeros)
    assert zeros > 0
    assert width * 8 * width > CHUNK
    # Sums of positive terms in float64, in another order.
    assert found == pytest.approx(tuple(map(float, expected)), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    (tensor,) = describe(
        lambda n: nn.Linear(n, 4 * n, bias=False, dtype=dtype), widths=WIDTHS
    ).tensors.values()
    assert str(tensor.initializer) == "random n^(-1/2)"


def test_a_small_tensor_takes_more_seeds_and_a_large_one_two() -> None:
    calls: list[int] = []

    def build(n: int, *, bias: bool) -> nn.Module:
        calls.append(n)
        return nn.Linear(n, n, bias=bias)

    describe(lambda n: build(n, bias=False), widths=WIDTHS)
    large = calls.count(32)
    calls.clear()
    tensors = describe(lambda n: build(n, bias=True), widths=(16, 32, 64)).tensors
    assert large == 1 + 2  # the skeleton and a pair
    assert calls.count(16) > 1 + 2
    assert str(tensors["bias"].initializer) == "random n^(-1/2)"


def test_entries_of_which_nothing_grows_may_stay_undetermined() -> None:
    tensors = describe(lambda n: nn.Linear(n, 1), widths=WIDTHS, most_seeds=4).tensors
    fit = tensors["bias"].initializer
    assert fit is not None
    assert fit.exponent is None
    assert len(fit.candidates) > 1
    assert str(tensors["weight"].initializer) == "random n^(-1/2)"


@pytest.mark.parametrize(
    "build",
    [lambda n: nn.Linear(n, 20), lambda n: Bare(torch.arange(1, n + 1).log())],
    ids=["nothing grows", "the same under every seed"],
)
def test_seeds_are_not_spent_where_they_settle_nothing(build: Callable[[int], nn.Module]) -> None:
    calls: list[int] = []

    def counted(n: int) -> nn.Module:
        calls.append(n)
        return build(n)

    fits = [tensor.initializer for tensor in describe(counted, widths=WIDTHS).tensors.values()]
    assert any(fit is not None and len(fit.candidates) > 1 for fit in fits)
    assert calls.count(32) == 1 + 2


@pytest.mark.parametrize(("classes", "exponent"), [(50, None), (300, HALF)])
def test_a_heads_bias_is_judged_by_its_own_size(classes: int, exponent: Fraction | None) -> None:
    """50 numbers twice are too few to tell n^(-1/2), 300 are enough, whatever seeds the other tensors take."""
    for bias in (False, True):  # of 16 entries at the smallest width, for which more seeds are drawn
        calls: list[int] = []

        def build(n: int, bias: bool = bias, calls: list[int] = calls) -> nn.Module:
            calls.append(n)
            return nn.Sequential(nn.Linear(5, n, bias=bias), nn.Linear(n, classes))

        head = describe(build, widths=(16, 32, 64)).tensors["1.bias"]
        assert (calls.count(16) > 1 + 2) == bias
        assert head.initializer is not None
        assert (head.role, head.initializer.exponent) == (Role.FIXED, exponent)


def test_a_vector_that_is_drawn_by_no_law_is_refused() -> None:
    """Ten thousand entries tell that it falls as n^(-0.4); a vector too small to tell would stay as it is."""
    with pytest.raises(ValueError, match=r"weight \(vector\): random, .* no law fits"):
        fitted(lambda n: torch.randn(300 * n) * n**-0.4)
    small = fitted(lambda n: torch.randn(n // 16), most_seeds=2)
    assert small.exponent is None
    assert len(small.candidates) > 1


@pytest.mark.parametrize(("offset", "draw"), [(0.0, Draw.RANDOM), (0.05, Draw.RANDOM), (1.0, Draw.SHIFTED)])
def test_an_offset_counts_from_five_sampling_errors(offset: float, draw: Draw) -> None:
    """16384 entries: the squared size exceeds the squared spread by 5 sqrt(3 / 16384) = 0.068, an offset of 0.26."""
    assert fitted(lambda n: offset + torch.randn(n, n)).draw is draw


def test_an_error_shows_the_fit_and_the_line_to_add() -> None:
    def value(n: int) -> torch.Tensor:
        return torch.randn(n, n) * n**-0.4

    with pytest.raises(ValueError, match="not settled by") as refused:
        fitted(value)
    text = str(refused.value)
    assert "weight (hidden): random, scales 0.2" in text
    assert "at widths 32, 64, 128, slope -0.4" in text
    line = "Rule('weight', initializer_exponent=Fraction(1, 2)),  # the nearest quarter"
    assert line in text
    fit = fitted(value, rules=(Rule("weight", initializer_exponent=Fraction(2, 5)),))
    assert fit.exponent == Fraction(2, 5)
    assert fit.slope == pytest.approx(-0.4, abs=5 * (fit.standard_error or 0))


def test_a_layer_that_is_drawn_at_some_widths_only() -> None:
    with pytest.raises(ValueError, match="tensor 'weight': constant at some widths and drawn at others"):
        fitted(lambda n: torch.randn(n, n) if n > 64 else torch.ones(n, n))


def test_two_widths_and_two_seeds_are_the_least() -> None:
    with pytest.raises(ValueError, match="most_seeds is 1"):
        fitted(lambda n: torch.ones(n), most_seeds=1)
    assert fitted(lambda n: torch.randn(n, n), initializer_widths=(16, 256)).exponent == 0


def test_the_callers_random_state_is_untouched() -> None:
    torch.manual_seed(3)
    random.seed(3)
    before = (torch.random.get_rng_state(), random.getstate())

    def build(n: int) -> nn.Module:
        layer = nn.Linear(n, n)
        return layer.requires_grad_(False).apply(lambda one: one.weight.mul_(1 + random.random() / 100))

    one = describe(build, widths=WIDTHS)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    torch.manual_seed(4)
    random.seed(4)
    assert describe(build, widths=WIDTHS) == one


def test_gradients_and_training_state_are_left_alone() -> None:
    with torch.no_grad():
        describe(lambda n: nn.Linear(n, n), widths=WIDTHS)
        assert not torch.is_grad_enabled()
    assert torch.get_default_dtype() is torch.float32
