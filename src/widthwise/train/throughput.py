"""How long a population's training takes, from its arithmetic and its traffic: an estimate, made before it runs.

    seconds a step = (FLOPs / device's FLOPs a second + bytes / device's bytes a second) / share

The two times are added: products and the operations between them follow one another. The share is what is left of a
step by launches, imperfect shapes and everything not counted. On an H200, recorded and compiled steps in bfloat16 of
widths 128, 256, 512 and 1024 (16 x 256 tokens a member) reach 0.83, 0.91, 0.92 and 0.93 of the sum.

Shape legend: D width, V vocabulary, N tokens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from widthwise.models import MLP
from widthwise.train.execution import SIZES, Execution
from widthwise.train.member import Precision, Recipe
from widthwise.train.state_size import model_state

BLOCK_TRAFFIC = 100
"""Numbers that a Transformer's block reads and writes a token, forward and backward, over D: 200 D bytes in bfloat16,
72 D of them forward."""

KERNEL_TRAFFIC = 60
"""The same where the layers' kernels run: 52 models of widths 128 and 256 then take 12.8 and 29.4 ms a step on an H200
(`benchmarks/results/population-h200.json`), which this meets within a tenth."""

LAYER_TRAFFIC = 12
"""The same for a layer of the MLP: a product and a ReLU, which read and write D numbers each, three times over."""

HEAD_TRAFFIC = 12
"""Bytes a token and logit: logits written and read, and their gradient written and read twice."""


@dataclass(frozen=True)
class Throughput:
    """What a device attains.

    Args:
        flops: of large matrix products, a second, by precision.
        bandwidth: bytes read and written by a copy, a second.
        share: of the sum of both times, see the module.
        filled_by: from how many tokens x width in flight its rate no longer grows.
    """

    flops: Mapping[Precision, float]
    bandwidth: float
    share: float
    filled_by: float


def _rates(bfloat16: float, float32: float) -> Mapping[Precision, float]:
    return {Precision.BFLOAT16: bfloat16, Precision.FLOAT32: float32}


FILLED_BY = 2.0**22
"""On an H200, 4096 tokens of width 1024 run at 97 % of the rate of 13 times as many; those of width 512, at 76 %."""

KNOWN_DEVICES: Mapping[str, Throughput] = {
    # Measured: products of 8192^3 in bfloat16, a copy. Its float32 is 3/4 of the maker's 67 TFLOP/s, assumed.
    "H200": Throughput(_rates(785e12, 50e12), 4.27e12, 0.85, FILLED_BY),
    # The same chip with slower memory, 3.35 instead of 4.8 TB/s.
    "H100": Throughput(_rates(785e12, 50e12), 2.98e12, 0.85, FILLED_BY),
    # The maker's 312 and 19.5 TFLOP/s and 2.04 TB/s in the H200's proportions, assumed.
    "A100": Throughput(_rates(250e12, 15e12), 1.8e12, 0.85, FILLED_BY),
}
"""By a part of the device's name."""

UNKNOWN_CUDA = Throughput(_rates(60e12, 10e12), 0.6e12, 0.85, FILLED_BY / 4)
"""Assumed of a device that is not known: a small one, so that populations are rather too short than too long."""

CPU = Throughput(_rates(10e9, 40e9), 10e9, 0.85, 2.0**12)
"""Assumed of a CPU: a few cores. Its bfloat16 is emulated."""


def throughput_of(name: str, *, cuda: bool) -> Throughput:
    """A device's rates, by its name as torch gives it.

    Example:
        >>> throughput_of("NVIDIA H200", cuda=True).bandwidth
        4270000000000.0
        >>> throughput_of("NVIDIA T1000", cuda=True) == UNKNOWN_CUDA, throughput_of("", cuda=False) == CPU
        (True, True)
    """
    if not cuda:
        return CPU
    return next((rate for part, rate in KNOWN_DEVICES.items() if part in name), UNKNOWN_CUDA)


def step_flops(recipe: Recipe, *, recompute: bool = False) -> float:
    """Floating-point operations of one member's step: 6 a token and parameter that is multiplied, 6 L D of attention.

    Example:
        >>> from widthwise.models import Transformer
        >>> from widthwise.optim import SgdUpdate
        >>> from widthwise.train.schedule import WarmupCosine
        >>> model = Transformer(width=128, depth=8, head_dim=128, vocabulary=256, context=256)
        >>> recipe = Recipe(model, SgdUpdate(0.9), WarmupCosine(100, 0), 16, Precision.BFLOAT16, 1, 1)
        >>> step_flops(recipe) / (16 * 256) == 6 * (12 * 8 * 128**2 + 256 * 128) + 6 * 8 * 256 * 128
        True
    """
    model = recipe.model
    tensors = model.tensors()
    head = math.prod(tensors["readout"].shape)
    blocks = sum(math.prod(t.shape) for t in tensors.values() if t.multiplied) - head
    a_token = 6 * blocks + (0 if isinstance(model, MLP) else 6 * model.depth * model.context * model.width)
    if recompute:
        a_token *= 4 / 3  # forward, forward again, and backward, which is twice as much
    return (a_token + 6 * head) * recipe.batch * model.context


def step_traffic(recipe: Recipe, execution: Execution) -> float:
    """Bytes that one member's step reads and writes: blocks, head, and the optimizer's once over everything."""
    model, size = recipe.model, SIZES[recipe.precision]
    transformer = KERNEL_TRAFFIC if execution.kernels else BLOCK_TRAFFIC
    layer = LAYER_TRAFFIC if isinstance(model, MLP) else transformer
    blocks = layer * model.width * size * model.depth
    if execution.activations.recompute:
        blocks *= 1.36  # 72 of 200 D once more
    tokens = recipe.batch * model.context * (blocks + HEAD_TRAFFIC * model.vocabulary)
    return tokens + _update_traffic(recipe, execution)


def _update_traffic(recipe: Recipe, execution: Execution) -> float:
    """Weights and state read and written, gradients written and read, and added up for each piece of the batch."""
    numbers, state = recipe.model.parameter_count, model_state(recipe.update, recipe.model).numbers
    pieces = execution.activations.micro_batches
    sums = 0 if pieces == 1 else 3 * pieces
    return 4 * (2 * numbers + 2 * state + (2 + sums) * numbers)


def step_seconds(recipe: Recipe, execution: Execution, rate: Throughput) -> float:
    """The estimate of one member's share of a step, on a device that is filled."""
    arithmetic = step_flops(recipe, recompute=execution.activations.recompute) / rate.flops[recipe.precision]
    traffic = step_traffic(recipe, execution) / rate.bandwidth
    return (arithmetic + traffic) / rate.share
