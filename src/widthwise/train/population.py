"""Train a population: P members of one shape in one program.

Members differ in their numbers ([P] per tensor: init, multiplier, rate, epsilon), the seed of their draw and the seed
of their data. Nothing reduces across members: a member trains as it would alone, up to rounding that depends on an
array's size, and one that diverges leaves the others' bits unchanged (CPU). P = 1 is the ordinary trainer.

Shape legend: P members, S data seeds, B sequences, T positions.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from widthwise.models import member_cross_entropy
from widthwise.optim import PopulationStep
from widthwise.train.batches import Batches, validation_windows
from widthwise.train.corpus import Corpus
from widthwise.train.health import Health
from widthwise.train.member import Divergence, Member, Outcome, Precision, Recipe

_DTYPES = {Precision.FLOAT32: torch.float32, Precision.BFLOAT16: torch.bfloat16}
_POLL = 20
"""Steps between looks at which members are alive; each look waits for the device."""

Progress = Callable[[int], None]
"""Called with the number of steps done."""


def initial_parameters(recipe: Recipe, members: Sequence[Member], device: torch.device) -> dict[str, Tensor]:
    """Every tensor at step 0, [P, ...]: init * draw, or the constant init for gains.

    The draw depends on the member's seed and the tensor's name and shape alone. It is made on the CPU, so that it is
    the same on every device.
    """
    parameters: dict[str, Tensor] = {}
    for name, tensor in recipe.model.tensors().items():
        init_P = _per_member(members, name, "init", torch.device("cpu"))
        if tensor.drawn:
            drawn = {m.init_seed: _draw(m.init_seed, name, tensor.shape) for m in members}
            start = torch.stack([drawn[m.init_seed] for m in members])
        else:
            start = torch.ones(len(members), *tensor.shape)
        start *= init_P.view(-1, *[1] * len(tensor.shape))
        parameters[name] = start.to(device)
    return parameters


def _draw(seed: int, name: str, shape: tuple[int, ...]) -> Tensor:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(shape, generator=generator)


def _per_member(members: Sequence[Member], name: str, field: str, device: torch.device) -> Tensor:
    return torch.tensor(
        [getattr(m.numbers[name], field) for m in members], dtype=torch.float32, device=device
    )


class Population:
    """The state of P members between steps: parameters, optimizer state, and their [P] hyperparameters."""

    def __init__(self, recipe: Recipe, members: Sequence[Member], device: torch.device) -> None:
        self.recipe = recipe
        names = list(recipe.model.tensors())
        self.optimizer = PopulationStep(
            recipe.update,
            initial_parameters(recipe, members, device),
            rates={name: _per_member(members, name, "rate", device) for name in names},
            epsilons={name: _per_member(members, name, "epsilon", device) for name in names},
        )
        self._multipliers = {name: _per_member(members, name, "multiplier", device) for name in names}
        self._folded = all(n.multiplier == 1 for m in members for n in m.numbers.values())

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Every tensor as it is now, [P, ...]."""
        return self.optimizer.parameters

    def losses(self, parameters: Mapping[str, Tensor], tokens_PxBxT1: Tensor) -> Tensor:
        """The mean next-token cross-entropy of each member, [P]."""
        logits_PxNxV = self.recipe.model.logits(
            parameters,
            tokens_PxBxT1[..., :-1],
            multipliers=None if self._folded else self._multipliers,
            dtype=_DTYPES[self.recipe.precision],
        )
        return member_cross_entropy(logits_PxNxV, tokens_PxBxT1[..., 1:].flatten(1))

    def step(self, step: int, tokens_PxBxT1: Tensor, health: Health) -> Tensor:
        """One forward, backward and update of all members; returns the losses [P] before the update."""
        leaves = {name: p.detach().requires_grad_() for name, p in self.parameters.items()}
        losses_P = self.losses(leaves, tokens_PxBxT1)
        gradients = torch.autograd.grad(losses_P.sum(), list(leaves.values()))
        named = dict(zip(leaves, gradients, strict=True))
        self.optimizer.step_(named, factor=self.recipe.schedule.factor(step))
        health.observe(step, losses_P.detach())
        return losses_P.detach()

    @torch.no_grad()
    def validation_losses(self, windows_NxT1: Tensor) -> Tensor:
        """The mean loss of each member over held-out windows, [P], in pieces of one batch."""
        members = next(iter(self.parameters.values())).shape[0]
        total_P = torch.zeros(members, dtype=torch.float64, device=windows_NxT1.device)
        for piece in windows_NxT1.split(self.recipe.batch):
            losses_P = self.losses(self.parameters, piece.expand(members, *piece.shape))
            total_P += losses_P.double() * len(piece)
        return total_P / len(windows_NxT1)


def train_population(
    recipe: Recipe,
    members: Sequence[Member],
    corpus: Corpus,
    *,
    device: torch.device,
    progress: Progress | None = None,
) -> tuple[Outcome, ...]:
    """Train all members to the horizon and return how each ended, in the order given.

    Args:
        recipe: what the members share.
        members: at least one, each with numbers for every tensor of the model.
        corpus: must hold a batch (`Corpus.require`).
        progress: called now and then with the number of steps done.

    Raises:
        ValueError: no members, numbers that are not those of the model's tensors, or too short a corpus.
    """
    _require(recipe, members)
    corpus.require(batch=recipe.batch, context=recipe.model.context)
    steps, context = recipe.schedule.steps, recipe.model.context
    data_seeds = sorted({m.data_seed for m in members})
    stream_P = torch.tensor([data_seeds.index(m.data_seed) for m in members], device=device)
    batches = Batches(corpus, data_seeds, steps=steps, batch=recipe.batch, context=context, device=device)
    population = Population(recipe, members, device)
    health = Health(len(members), device)
    losses_LxP = torch.full((steps, len(members)), float("nan"), device=device)
    for step in range(1, steps + 1):
        losses_LxP[step - 1] = population.step(step, batches.at(step)[stream_P], health)
        if step % _POLL == 0 or step == steps:
            if progress is not None:
                progress(step)
            if health.all_dead(population.optimizer):
                break
    windows = validation_windows(corpus, windows=recipe.validation_windows, context=context, device=device)
    validation = population.validation_losses(windows).tolist()
    curves = _curves(losses_LxP, recipe.curve_points)
    return tuple(
        _outcome(*ending, steps=steps)
        for ending in zip(health.findings(population.optimizer), validation, curves, strict=True)
    )


def _require(recipe: Recipe, members: Sequence[Member]) -> None:
    if not members:
        raise ValueError("a population needs at least one member; none were given")
    names = set(recipe.model.tensors())
    for position, member in enumerate(members):
        if set(member.numbers) != names:
            wrong = sorted(names ^ set(member.numbers))
            raise ValueError(f"member {position} and the model disagree about the tensors {wrong}")


def _outcome(
    finding: tuple[int, str] | None, validation: float, curve: list[tuple[int, float]], *, steps: int
) -> Outcome:
    finite = tuple(point for point in curve if abs(point[1]) < float("inf"))
    if finding is not None:
        return Outcome(None, Divergence(*finding), finite)
    if not abs(validation) < float("inf"):
        return Outcome(None, Divergence(steps, "non-finite validation loss"), finite)
    return Outcome(validation, None, finite)


def _curves(losses_LxP: Tensor, points: int) -> list[list[tuple[int, float]]]:
    """Per member: (last step, mean loss) of each of `points` equal stretches of the training curve."""
    steps, members = losses_LxP.shape
    ends = sorted({round(steps * (i + 1) / points) for i in range(points)} - {0})
    curves: list[list[tuple[int, float]]] = [[] for _ in range(members)]
    start = 0
    for end in ends:
        for curve, mean in zip(curves, losses_LxP[start:end].double().mean(0).tolist(), strict=True):
            curve.append((end, mean))
        start = end
    return curves
