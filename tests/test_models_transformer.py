"""The Transformer against published parameter counts, against float64 NumPy loops, and against causality."""

from math import erf, sqrt

import numpy as np
import pytest
import torch

from populations import LETTERS, transformer
from widthwise.models import Transformer

COUNTS = {
    128: 9_858_432,
    256: 22_862_592,
    512: 58_308_096,
    768: 106_336_512,
    1024: 166_947_840,
    1536: 325_919_232,
    2048: 535_222_272,
    2560: 794_856_960,
    3072: 1_104_823_296,
    4096: 1_875_750_912,
    6144: 4_021_585_920,
    8192: 6_972_727_296,
    12288: 15_290_929_152,
    16384: 26_830_356_480,
}
"""Width -> parameters of the models that Everett et al. 2024 (arXiv 2407.05872) trained: 8 blocks, heads of 128,
32101 tokens, a context of 512."""


@pytest.mark.parametrize(("width", "count"), COUNTS.items())
def test_published_parameter_counts(width: int, count: int) -> None:
    model = Transformer(width=width, depth=8, head_dim=128, vocabulary=32_101, context=512)
    assert model.parameter_count == count


Arrays = dict[str, np.ndarray]


def numpy_norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Layer norm of one vector, epsilon 1e-6 under the root."""
    return gain * (x - x.mean()) / sqrt(((x - x.mean()) ** 2).mean() + 1e-6)


def numpy_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(erf)(x / sqrt(2)))


def numpy_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One head over one sequence, [T, K]: position t averages the values of 0 ... t."""
    out = np.empty_like(v)
    for t in range(len(q)):
        scores = np.array([q[t] @ k[s] / sqrt(q.shape[1]) for s in range(t + 1)])
        weights = np.exp(scores - scores.max())
        out[t] = weights @ v[: t + 1] / weights.sum()
    return out


def numpy_transformer(model: Transformer, w: Arrays, m: dict[str, float], tokens: np.ndarray) -> np.ndarray:
    """The logits of one member over one sequence, [T, V], one position and one head at a time."""
    D, K = model.width, model.head_dim
    x = m["token_embedding"] * w["token_embedding"][tokens]
    x = x + m["position_embedding"] * w["position_embedding"][: len(tokens)]
    for block in range(model.depth):
        at, mlp = f"blocks.{block}.attention", f"blocks.{block}.mlp"
        h = np.stack([numpy_norm(row, w[f"{at}.norm"]) for row in x])
        qkv = m[f"{at}.qkv"] * h @ w[f"{at}.qkv"]
        q, k, v = qkv[:, :D], qkv[:, D : 2 * D], qkv[:, 2 * D :]
        heads = [slice(first, first + K) for first in range(0, D, K)]
        a = np.concatenate([numpy_attention(q[:, h], k[:, h], v[:, h]) for h in heads], axis=1)
        x = x + m[f"{at}.output"] * a @ w[f"{at}.output"]
        h = np.stack([numpy_norm(row, w[f"{mlp}.norm"]) for row in x])
        x = x + m[f"{mlp}.down"] * numpy_gelu(m[f"{mlp}.up"] * h @ w[f"{mlp}.up"]) @ w[f"{mlp}.down"]
    x = np.stack([numpy_norm(row, w["final_norm"]) for row in x])
    return m["readout"] * x @ w["readout"]


def random_parameters(model: Transformer, members: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Gains included: a gain of 1 would hide that it is applied. 0.05 makes the norm's epsilon visible."""
    generator = torch.Generator().manual_seed(1)
    scale = {"token_embedding": 0.05, "position_embedding": 0.05}
    return {
        name: torch.randn(members, *tensor.shape, generator=generator, dtype=torch.float64)
        .mul(scale.get(name, 0.5))
        .to(dtype)
        for name, tensor in model.tensors().items()
    }


def random_multipliers(model: Transformer, members: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        name: 0.5 + torch.rand(members, generator=generator, dtype=torch.float64).to(dtype)
        if tensor.drawn
        else torch.ones(members, dtype=dtype)
        for name, tensor in model.tensors().items()
    }


def random_tokens(members: int, *, sequences: int = 2, length: int = 8) -> torch.Tensor:
    return torch.randint(LETTERS, (members, sequences, length), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("explicit", [True, False], ids=["multipliers", "no multipliers"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        # A logit passes some 15 roundings in sequence, each over a contraction of at most 4 D = 32 terms, and the norm
        # divides by a spread near 0.05: 15 * 32 * 20 ~ 1e4 half-ulps at worst, about 1e-12 and 6e-4. The float32 bound
        # is the typical case, which grows with the root of each count.
        (torch.float64, 1e-12),
        (torch.float32, 2e-5),
    ],
)
def test_equals_numpy(dtype: torch.dtype, tolerance: float, *, explicit: bool) -> None:
    model = transformer(8, depth=2)
    parameters = random_parameters(model, 3, dtype)
    multipliers = random_multipliers(model, 3, dtype) if explicit else None
    tokens = random_tokens(3)
    logits = model.logits(parameters, tokens, multipliers=multipliers, dtype=dtype)
    assert logits.dtype == dtype
    assert logits.shape == (3, 2 * 8, LETTERS)
    for p in range(3):
        w = {name: tensor[p].double().numpy() for name, tensor in parameters.items()}
        m = {name: float(multipliers[name][p]) if multipliers else 1.0 for name in parameters}
        expected = [numpy_transformer(model, w, m, sequence.numpy()) for sequence in tokens[p]]
        np.testing.assert_allclose(logits[p].double(), np.concatenate(expected), rtol=0, atol=tolerance)
        assert np.std(expected) > 0.1  # far above the tolerance


@pytest.mark.parametrize("changed", [0, 3, 7])
def test_a_token_changes_nothing_before_it(changed: int) -> None:
    model = transformer(8, depth=2)
    parameters, tokens = random_parameters(model, 1, torch.float32), random_tokens(1)
    before = model.logits(parameters, tokens).view(2, 8, LETTERS)
    tokens[0, 1, changed] = (tokens[0, 1, changed] + 1) % LETTERS
    after = model.logits(parameters, tokens).view(2, 8, LETTERS)
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[1, :changed], before[1, :changed])
    assert (after[1, changed:] != before[1, changed:]).any(1).all()


@pytest.mark.parametrize("length", [1, 5])
def test_a_sequence_may_be_shorter_than_the_context(length: int) -> None:
    """By causality the logits are those of the longer sequence's beginning (to rounding: other matrix shapes)."""
    model = transformer(8)
    parameters, tokens = random_parameters(model, 2, torch.float64), random_tokens(2)
    full = model.logits(parameters, tokens, dtype=torch.float64).view(2, 2, 8, LETTERS)
    short = model.logits(parameters, tokens[..., :length], dtype=torch.float64).view(2, 2, length, LETTERS)
    torch.testing.assert_close(short, full[:, :, :length], rtol=0, atol=1e-12)


def test_tensors_are_the_published_ones() -> None:
    """Matrices are [inputs, outputs]; only gains are constant."""
    tensors = transformer(8, depth=2).tensors()
    assert len(tensors) == 2 + 2 * 6 + 2
    assert {name: tensor.shape for name, tensor in tensors.items() if "blocks.1." in name} == {
        "blocks.1.attention.norm": (8,),
        "blocks.1.attention.qkv": (8, 24),
        "blocks.1.attention.output": (8, 8),
        "blocks.1.mlp.norm": (8,),
        "blocks.1.mlp.up": (8, 32),
        "blocks.1.mlp.down": (32, 8),
    }
    assert {name for name, tensor in tensors.items() if not tensor.drawn} == {
        name for name in tensors if "norm" in name
    }


@pytest.mark.parametrize("field", ["width", "depth", "head_dim", "vocabulary", "context"])
def test_a_size_below_one_is_refused(field: str) -> None:
    sizes = {"width": 8, "depth": 1, "head_dim": 4, "vocabulary": 32, "context": 8, field: 0}
    with pytest.raises(ValueError, match=f"^{field} is 0; it must be at least 1$"):
        Transformer(**sizes)


@pytest.mark.parametrize(
    ("width", "nearest"), [(100, "96 and 128"), (20, "32"), (33, "32 and 64"), (127, "96 and 128")]
)
def test_a_width_that_heads_do_not_fill_is_refused(width: int, nearest: str) -> None:
    message = f"width {width} is not a multiple of head_dim 32; the nearest widths that are: {nearest}$"
    with pytest.raises(ValueError, match=message):
        Transformer(width=width, depth=1, head_dim=32, vocabulary=32, context=8)
