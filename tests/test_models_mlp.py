"""The MLP over a window of tokens, against NumPy loops."""

import numpy as np
import pytest
import torch

from populations import LETTERS, mlp
from widthwise.models import MLP


def numpy_mlp(model: MLP, w: dict[str, np.ndarray], m: dict[str, float], tokens: np.ndarray) -> np.ndarray:
    """The logits of one member over one sequence, [T, V]: a one-hot input of window * V entries."""
    logits = []
    for t in range(len(tokens)):
        one_hot = np.zeros(model.window * model.vocabulary)
        for lag in range(min(model.window, t + 1)):
            one_hot[lag * model.vocabulary + tokens[t - lag]] = 1
        z = np.maximum(m["first_layer"] * one_hot @ w["first_layer"], 0)
        for layer in range(model.depth):
            z = np.maximum(m[f"hidden.{layer}"] * z @ w[f"hidden.{layer}"], 0)
        logits.append(m["readout"] * z @ w["readout"])
    return np.stack(logits)


def random_parameters(model: MLP, members: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(members, *tensor.shape, generator=generator, dtype=torch.float64).mul(0.7).to(dtype)
        for name, tensor in model.tensors().items()
    }


def random_tokens(members: int, *, length: int = 8) -> torch.Tensor:
    return torch.randint(LETTERS, (members, 2, length), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("explicit", [True, False], ids=["multipliers", "no multipliers"])
@pytest.mark.parametrize(
    # Four contractions of at most 8 terms and logits up to 500: 4 * 8 * 500 half-ulps, about 2e-12 and 1e-3.
    ("dtype", "tolerance"),
    [(torch.float64, 2e-12), (torch.float32, 1e-3)],
)
@pytest.mark.parametrize("length", [8, 2], ids=["context", "shorter than the window"])
def test_equals_numpy(dtype: torch.dtype, tolerance: float, length: int, *, explicit: bool) -> None:
    model = mlp(8, depth=2)
    parameters, tokens = random_parameters(model, 3, dtype), random_tokens(3, length=length)
    multipliers = {
        name: torch.tensor([0.7, 1.0, 1.9], dtype=dtype) + position / 7
        for position, name in enumerate(parameters)
    }
    logits = model.logits(parameters, tokens, multipliers=multipliers if explicit else None, dtype=dtype)
    assert logits.dtype == dtype
    for p in range(3):
        w = {name: tensor[p].double().numpy() for name, tensor in parameters.items()}
        m = {name: float(multipliers[name][p]) if explicit else 1.0 for name in parameters}
        expected = np.concatenate([numpy_mlp(model, w, m, sequence.numpy()) for sequence in tokens[p]])
        np.testing.assert_allclose(logits[p].double(), expected, rtol=0, atol=tolerance)
        assert 1 < np.abs(expected).max() < 500


@pytest.mark.parametrize("changed", [0, 4, 7])
def test_a_token_reaches_its_window_and_no_further(changed: int) -> None:
    model = mlp(8, depth=1)
    parameters, tokens = random_parameters(model, 1, torch.float32), random_tokens(1)
    before = model.logits(parameters, tokens).view(2, 8, LETTERS)
    tokens[0, 1, changed] = (tokens[0, 1, changed] + 1) % LETTERS
    after = model.logits(parameters, tokens).view(2, 8, LETTERS)
    assert torch.equal(after[0], before[0])
    reached = (after[1] != before[1]).any(1)
    assert reached.tolist() == [changed <= t < changed + model.window for t in range(8)]


def test_parameter_count_by_hand() -> None:
    """Window 3, V 32, D 8, depth 2: 3 * 32 * 8 + 2 * 8 * 8 + 8 * 32."""
    assert mlp(8, depth=2).parameter_count == 768 + 128 + 256


@pytest.mark.parametrize("field", ["width", "depth", "window", "vocabulary", "context"])
def test_a_size_below_one_is_refused(field: str) -> None:
    sizes = {"width": 8, "depth": 1, "window": 3, "vocabulary": 32, "context": 8, field: -1}
    with pytest.raises(ValueError, match=f"^{field} is -1; it must be at least 1$"):
        MLP(**sizes)
