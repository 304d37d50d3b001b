"""How a recipe is run on a device, said before anything is allocated: what its memory and its time depend on."""

from dataclasses import dataclass

import torch

from widthwise.optim import PopulationStep
from widthwise.train.member import Precision, Recipe
from widthwise.train.micro_batch import WHOLE, ActivationPlan
from widthwise.train.population import layers_have_kernels, layers_suit_kernels
from widthwise.train.step_graph import CAPTURED_FROM, COMPILED_FROM, Engine

SIZES = {Precision.FLOAT32: 4, Precision.BFLOAT16: 2}
"""Bytes of a number in matrix products."""

PLAIN = Engine()
"""Steps run operation by operation."""


@dataclass(frozen=True)
class Execution:
    """What a population's memory depends on beside its recipe and P.

    Args:
        cuda: whether the device is one.
        fused: whether the optimizer's kernels run, which need no memory of their own.
        copies: whether these keep the matrices in the precision of products too.
        engine: recorded, compiled, or neither.
        activations: pieces of a batch, and whether blocks are recomputed.
        kernels: whether the layers' kernels run, which hold logits a piece at a time.
    """

    cuda: bool = False
    fused: bool = False
    copies: bool = False
    engine: Engine = PLAIN
    activations: ActivationPlan = WHOLE
    kernels: bool = False


def execution_for(
    recipe: Recipe, device: torch.device, *, activations: ActivationPlan = WHOLE, engine: Engine | None = None
) -> Execution:
    """What `Population` and `engine_for` will do, from shapes alone.

    Args:
        device: need not exist, but for whether Triton is there.
        engine: other than what suits the device and the horizon.

    Example:
        >>> from widthwise.models import Transformer
        >>> from widthwise.optim import SgdUpdate
        >>> from widthwise.train.schedule import WarmupCosine
        >>> model = Transformer(width=64, depth=2, head_dim=16, vocabulary=256, context=32)
        >>> recipe = Recipe(model, SgdUpdate(0.9), WarmupCosine(1000, 0), 4, Precision.BFLOAT16, 1, 1)
        >>> execution_for(recipe, torch.device("cpu")).engine
        Engine(captured=False, compiled=False)
    """
    shapes = {name: torch.empty(1, *t.shape, device="meta") for name, t in recipe.model.tensors().items()}
    cuda = device.type == "cuda"
    fused = cuda and PopulationStep.has_kernels(recipe.update, shapes)
    steps = recipe.schedule.steps
    kernels = cuda and layers_have_kernels(recipe, _capability(device))
    suited = Engine(
        captured=fused and steps >= CAPTURED_FROM,
        compiled=cuda and not kernels and steps >= COMPILED_FROM,
    )
    return Execution(
        cuda=cuda,
        fused=fused,
        copies=fused and SIZES[recipe.precision] < 4 and PopulationStep.writes_copies(recipe.update),
        kernels=kernels,
        engine=suited if engine is None else engine,
        activations=activations,
    )


def execution_on(recipe: Recipe, capability: tuple[int, int] | None) -> Execution:
    """What will be done on another machine, where Triton is installed: `execution_for` of a device that is not here.

    Args:
        capability: the CUDA device's; None for a CPU.

    Example:
        >>> from widthwise.models import Transformer
        >>> from widthwise.optim import SgdUpdate
        >>> from widthwise.train.schedule import WarmupCosine
        >>> model = Transformer(width=64, depth=2, head_dim=16, vocabulary=256, context=32)
        >>> recipe = Recipe(model, SgdUpdate(0.9), WarmupCosine(1000, 0), 4, Precision.BFLOAT16, 1, 1)
        >>> execution_on(recipe, (9, 0)).kernels, execution_on(recipe, (8, 0)).engine
        (True, Engine(captured=True, compiled=True))
    """
    if capability is None:
        return Execution()
    steps, kernels = recipe.schedule.steps, layers_suit_kernels(recipe, capability)
    return Execution(
        cuda=True,
        fused=True,
        copies=SIZES[recipe.precision] < 4 and PopulationStep.writes_copies(recipe.update),
        kernels=kernels,
        engine=Engine(captured=steps >= CAPTURED_FROM, compiled=not kernels and steps >= COMPILED_FROM),
    )


def _capability(device: torch.device) -> tuple[int, int]:
    """Of a CUDA device; of one that is not there, Hopper's."""
    return torch.cuda.get_device_capability(device) if torch.cuda.is_available() else (9, 0)
