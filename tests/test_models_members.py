"""Members side by side: no member touches another, and a multiplier is a factor of its layer."""

import numpy as np
import pytest
import torch

from populations import LETTERS, mlp, transformer
from widthwise.models import ReferenceModel, member_cross_entropy

MODELS = [transformer(8), mlp(8)]


def model_name(model: ReferenceModel) -> str:
    return type(model).__name__


def parameters_of(model: ReferenceModel, members: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(members, *tensor.shape, generator=generator) * 0.5
        for name, tensor in model.tensors().items()
    }


def tokens_of(members: int) -> torch.Tensor:
    return torch.randint(LETTERS, (members, 2, 8), generator=torch.Generator().manual_seed(2))


def losses_and_gradients(
    model: ReferenceModel, parameters: dict[str, torch.Tensor], tokens: torch.Tensor
) -> list[torch.Tensor]:
    """Losses [P], then every parameter's gradient [P, ...]."""
    leaves = {name: p.clone().requires_grad_() for name, p in parameters.items()}
    losses = member_cross_entropy(model.logits(leaves, tokens), tokens.flatten(1).roll(-1, 1))
    return [losses.detach(), *torch.autograd.grad(losses.sum(), list(leaves.values()))]


@pytest.mark.parametrize("value", [3.0, float("nan"), float("inf")])
@pytest.mark.parametrize("model", MODELS, ids=model_name)
def test_members_do_not_touch_each_other(model: ReferenceModel, value: float) -> None:
    parameters, tokens = parameters_of(model, 3), tokens_of(3)
    logits = model.logits(parameters, tokens)
    results = losses_and_gradients(model, parameters, tokens)
    for tensor in parameters.values():
        tensor[1] *= value
    tokens[1] = (tokens[1] + 5) % LETTERS
    changed_logits = model.logits(parameters, tokens)
    assert not torch.equal(changed_logits[1], logits[1])
    for p in (0, 2):
        assert torch.equal(changed_logits[p], logits[p])
        for changed, result in zip(losses_and_gradients(model, parameters, tokens), results, strict=True):
            assert torch.equal(changed[p], result[p])


DRAWN = [(model, name) for model in MODELS for name, tensor in model.tensors().items() if tensor.drawn]


@pytest.mark.parametrize(
    ("model", "name"), DRAWN, ids=lambda value: value if isinstance(value, str) else model_name(value)
)
def test_a_multiplier_is_a_factor_of_its_tensor(model: ReferenceModel, name: str) -> None:
    """Bit for bit, because the multipliers are powers of two, which round nothing."""
    parameters, tokens = parameters_of(model, 3), tokens_of(3)
    factors = torch.tensor([0.5, 4.0, 2.0**-7])
    multipliers = {other: torch.ones(3) for other in parameters} | {name: factors}
    explicit = model.logits(parameters, tokens, multipliers=multipliers)
    shape = (3, *[1] * (parameters[name].dim() - 1))
    folded = model.logits(parameters | {name: parameters[name] * factors.view(shape)}, tokens)
    assert torch.equal(explicit, folded)
    assert not torch.equal(explicit, model.logits(parameters, tokens))


@pytest.mark.parametrize("model", MODELS, ids=model_name)
def test_multipliers_of_one_change_nothing(model: ReferenceModel) -> None:
    parameters, tokens = parameters_of(model, 3), tokens_of(3)
    ones = {name: torch.ones(3) for name in parameters}
    assert torch.equal(model.logits(parameters, tokens, multipliers=ones), model.logits(parameters, tokens))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_member_cross_entropy_equals_numpy(dtype: torch.dtype) -> None:
    """Float32 throughout, bfloat16 logits included: 5 tokens of loss below 20 each, 20 half-ulps are 2e-6."""
    generator = torch.Generator().manual_seed(1)
    logits = (torch.randn(3, 5, 7, generator=generator) * 6).to(dtype)
    targets = torch.randint(7, (3, 5), generator=generator)
    losses = member_cross_entropy(logits, targets)
    assert losses.dtype == torch.float32
    for p in range(3):
        tokens = []
        for row, target in zip(logits[p].double().numpy(), targets[p], strict=True):
            tokens.append(np.log(np.exp(row).sum()) - row[target])
        assert losses[p].item() == pytest.approx(np.mean(tokens), abs=2e-6)
        assert np.mean(tokens) > 1


def test_cross_entropy_of_equal_logits_is_the_log_of_the_vocabulary() -> None:
    losses = member_cross_entropy(torch.zeros(2, 3, 7), torch.zeros(2, 3, dtype=torch.long))
    assert losses.tolist() == pytest.approx([np.log(7)] * 2, rel=2**-23)
