"""A population: P members of one shape in one program.

Members differ in their numbers ([P] per tensor: init, multiplier, rate, epsilon, decay), the seed of their draw and the
seed of their data. Nothing reduces across members: a member trains as it would alone, up to rounding that depends on an
array's size, and one that diverges leaves the others' bits unchanged (CPU). P = 1 is the ordinary trainer.

Shape legend: P members, S data seeds, B sequences, T positions.
"""

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from widthwise.models import PLAIN, LayerFunctions, ModelTensor, Weights
from widthwise.optim import PopulationStep, has_triton
from widthwise.train.member import Member, Precision, Recipe
from widthwise.train.micro_batch import WHOLE, ActivationPlan, Losses, MicroBatches
from widthwise.train.placement import UNDIVIDED

DTYPES = {Precision.FLOAT32: torch.float32, Precision.BFLOAT16: torch.bfloat16}
"""Of numbers in matrix products."""


def initial_parameters(recipe: Recipe, members: Sequence[Member], device: torch.device) -> dict[str, Tensor]:
    """Every tensor at step 0, [P, ...]: init * draw, or the constant init for gains.

    The draw depends on the member's seed and the tensor's name and shape alone. It is made on the CPU, so that it is
    the same on every device, once for all members of a seed.
    """
    return {
        name: initial_tensor(tensor, name, members, device) for name, tensor in recipe.model.tensors().items()
    }


def initial_tensor(tensor: ModelTensor, name: str, members: Sequence[Member], device: torch.device) -> Tensor:
    """One tensor of every member at step 0, [P, ...]."""
    init_P = _per_member(members, name, "init", device)
    if not tensor.drawn:
        start = torch.ones(len(members), *tensor.shape, device=device)
    else:
        seeds = list(dict.fromkeys(member.init_seed for member in members))
        start = torch.stack([_draw(seed, name, tensor.shape) for seed in seeds]).to(device)
        if len(seeds) < len(members):
            rows_P = torch.tensor([seeds.index(member.init_seed) for member in members], device=device)
            start = start.index_select(0, rows_P)
    return start.mul_(init_P.view(-1, *[1] * len(tensor.shape)))


def _draw(seed: int, name: str, shape: tuple[int, ...]) -> Tensor:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(shape, generator=generator)


def _per_member(members: Sequence[Member], name: str, field: str, device: torch.device) -> Tensor:
    return torch.tensor(
        [getattr(m.numbers[name], field) for m in members], dtype=torch.float32, device=device
    )


def layers_suit_kernels(recipe: Recipe, capability: tuple[int, int]) -> bool:
    """Whether the layers' kernels are for a recipe on a CUDA device: bfloat16, and tiles that move by descriptors."""
    return recipe.precision is Precision.BFLOAT16 and recipe.model.width % 8 == 0 and capability >= (9, 0)


def layers_have_kernels(recipe: Recipe, capability: tuple[int, int]) -> bool:
    """Whether the layers' kernels suit a recipe on a CUDA device, and can be run here."""
    return layers_suit_kernels(recipe, capability) and has_triton()


def layer_functions(recipe: Recipe, device: torch.device) -> LayerFunctions:
    """The fastest layers for a recipe on a device: the kernels where there are any."""
    if device.type != "cuda" or not layers_have_kernels(recipe, torch.cuda.get_device_capability(device)):
        return PLAIN
    from widthwise.kernels import FUSED

    return FUSED


class Population:
    """The state of P members between steps: parameters, optimizer state, and their [P] hyperparameters.

    Where matrix products are of low precision and the optimizer's kernels run, the kernels keep the matrices in that
    precision too, beside the float32 ones, so that no step has to convert them.

    Args:
        activations: in how many pieces a step's batch runs, and whether blocks are recomputed.
        functions: the implementation of the layers; by default the fastest that the device has.

    `multipliers` are the forward multipliers by name, [P], or None where all are 1.
    """

    placement = UNDIVIDED

    def __init__(
        self,
        recipe: Recipe,
        members: Sequence[Member],
        device: torch.device,
        *,
        activations: ActivationPlan = WHOLE,
        functions: LayerFunctions | None = None,
    ) -> None:
        self.recipe, self.activations = recipe, activations
        self.functions = layer_functions(recipe, device) if functions is None else functions
        tensors = recipe.model.tensors()
        start = initial_parameters(recipe, members, device)
        dtype = DTYPES[recipe.precision]
        low = (
            device.type == "cuda"
            and dtype != torch.float32
            and PopulationStep.copies_allowed(recipe.update, start)
        )
        self._copies = {name: start[name].to(dtype) for name, t in tensors.items() if low and t.multiplied}
        decayed = any(n.decay for m in members for n in m.numbers.values())
        self.optimizer = PopulationStep(
            recipe.update,
            start,
            rates={name: _per_member(members, name, "rate", device) for name in tensors},
            epsilons={name: _per_member(members, name, "epsilon", device) for name in tensors},
            decays={name: _per_member(members, name, "decay", device) for name in tensors}
            if decayed
            else None,
            copies=self._copies or None,
        )
        folded = all(n.multiplier == 1 for m in members for n in m.numbers.values())
        self.multipliers: Mapping[str, Tensor] | None = (
            None if folded else {name: _per_member(members, name, "multiplier", device) for name in tensors}
        )

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Every tensor as it is now, [P, ...], float32."""
        return self.optimizer.parameters

    def leaves(self) -> dict[str, Tensor]:
        """What a forward pass reads and a gradient is taken of: the matrices in the precision of products."""
        read = {**self.parameters, **self._copies}
        return {name: tensor.detach().requires_grad_() for name, tensor in read.items()}

    def passes(self, losses: Losses | None = None) -> MicroBatches:
        """The passes of a step, by its own losses or a compiled form of them."""
        chosen = self.losses if losses is None else losses
        return MicroBatches(chosen, self.leaves(), self.activations.micro_batches)

    def tensors(self) -> list[Tensor]:
        """Everything that a step changes, in a fixed order."""
        return [*self.optimizer.tensors(), *self._copies.values()]

    def restore_(self, values: Mapping[str, Tensor]) -> None:
        """Take on what the optimizer's `snapshot` gave; copies of lower precision are made anew, to the same bits."""
        self.optimizer.restore_(values)
        for name, copy in self._copies.items():
            copy.copy_(self.parameters[name])

    def losses(self, parameters: Mapping[str, Tensor], tokens_PxBxT1: Tensor) -> Tensor:
        """The mean next-token cross-entropy of each member, [P]."""
        weights = Weights(
            parameters,
            self.multipliers,
            DTYPES[self.recipe.precision],
            self.functions,
        )
        return self.recipe.model.losses(weights, tokens_PxBxT1, recompute=self.activations.recompute)

    @torch.no_grad()
    def validation_losses(self, windows_NxT1: Tensor) -> Tensor:
        """The mean loss of each member over held-out windows, [P], in pieces of one micro-batch."""
        members = next(iter(self.parameters.values())).shape[0]
        total_P = torch.zeros(members, dtype=torch.float64, device=windows_NxT1.device)
        for piece in windows_NxT1.split(self.activations.sequences(self.recipe.batch)):
            losses_P = self.losses(self.parameters, piece.expand(members, *piece.shape))
            total_P += losses_P.double() * len(piece)
        return total_P / len(windows_NxT1)
