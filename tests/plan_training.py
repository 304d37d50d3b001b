"""Small models of a user's, and a few steps of training them, for the tests of plans."""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor, nn

from widthwise.scaling import Rule, ScalingPlan, make_plan
from widthwise.theory import ADAM, FULL, STANDARD, Alignment, OptimizerRule, Parameterization

WORDS = 11
Build = Callable[[int], nn.Module]


def mlp(width: int) -> nn.Module:
    """Every role: embedding, hidden, readout, vectors, and a fixed bias of three classes."""
    return nn.Sequential(
        nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
    )


class Tied(nn.Module):
    """Words in, a hidden layer, a norm, and the same words out."""

    def __init__(self, width: int, *, norm: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.hidden = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.head = nn.Linear(width, WORDS, bias=False)
        self.head.weight = self.embed.weight

    def features(self, tokens: Tensor) -> Tensor:
        embedded = self.embed(tokens)
        return self.norm(embedded + self.hidden(embedded).relu())

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.features(tokens))


@cache
def plan_of(
    build: Build,
    *,
    width: int = 64,
    base_width: int = 16,
    parameterization: Parameterization = STANDARD,
    optimizer: OptimizerRule = ADAM,
    alignment: Alignment = FULL,
    rules: tuple[Rule, ...] = (),
    norm: str | None = None,
) -> ScalingPlan:
    """A plan from the base width 16 to 64, unless said otherwise; made once for all tests that ask for it."""
    return make_plan(
        build,
        width=width,
        base_width=base_width,
        parameterization=parameterization,
        optimizer=optimizer,
        alignment=alignment,
        rules=rules,
        norm=norm,
    )


def fresh(build: Build, width: int, seed: int = 0) -> nn.Module:
    """The factory's own draw under a seed."""
    torch.manual_seed(seed)
    return build(width)


def planned(plan: ScalingPlan, build: Build, seed: int = 0) -> nn.Module:
    """The factory's draw under a seed, with the plan's factors."""
    model = fresh(build, plan.width, seed)
    plan.initialize_(model)
    return model


def batch_of(step: int) -> tuple[Tensor, Tensor]:
    """Inputs of five numbers and three classes, by step."""
    generator = torch.Generator().manual_seed(100 + step)
    return torch.randn(8, 5, generator=generator), torch.randint(3, (8,), generator=generator)


def words_of(step: int) -> Tensor:
    """A batch of token sequences, [4, 6], by step."""
    return torch.randint(WORDS, (4, 6), generator=torch.Generator().manual_seed(200 + step))


def class_loss(model: nn.Module, step: int) -> Tensor:
    inputs, classes = batch_of(step)
    return nn.functional.cross_entropy(model(inputs), classes)


def word_loss(model: nn.Module, step: int) -> Tensor:
    """Cross entropy of the next word."""
    tokens = words_of(step)
    logits = model(tokens)
    logits = getattr(logits, "logits", logits)
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: range,
    loss: Callable[[nn.Module, int], Tensor] = class_loss,
) -> list[float]:
    """The losses of some steps."""
    losses: list[float] = []
    for step in steps:
        optimizer.zero_grad()
        value = loss(model, step)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def adamw(plan: ScalingPlan, model: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(plan.param_groups(model, learning_rate=1e-2, weight_decay=0.1))


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters by name."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


TIED: Build = Tied
