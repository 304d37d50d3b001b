"""Initial weights of one tensor at a time, in their own precision: no float32 model is ever whole."""

from enum import StrEnum

import torch
from torch import Tensor

from widthwise.models import ModelTensor
from widthwise.optim import has_triton
from widthwise.optim.compact_step import PIECE, pieces
from widthwise.train import Member
from widthwise.train.population import initial_tensor
from widthwise.wide.draws import fill_normal_, normal_draws


class InitialDraw(StrEnum):
    """Where normal draws come from."""

    POPULATION = "population"
    """The CPU's stream of `train.initial_parameters`, a whole tensor at a time."""
    COUNTER = "counter"
    """`normal_draws`, on the device and in pieces."""

    @classmethod
    def for_device(cls, device: torch.device) -> "InitialDraw":
        """The population's on a CPU, the device's own elsewhere."""
        return cls.POPULATION if device.type == "cpu" else cls.COUNTER


def initial_weight(
    member: Member,
    name: str,
    tensor: ModelTensor,
    draw: InitialDraw,
    *,
    dtype: torch.dtype,
    device: torch.device,
    fused: bool | None = None,
) -> Tensor:
    """One tensor at step 0, in the dtype: init * draw rounded to the nearest, or the constant init.

    On a meta device, its shape alone.

    Args:
        fused: run the kernel of the counter's draws; by default on CUDA devices if Triton is there.
    """
    init = member.numbers[name].init
    weight = torch.empty(tensor.shape, dtype=dtype, device=device)
    if not tensor.drawn or device.type == "meta":
        return weight.fill_(init)
    if draw is InitialDraw.POPULATION:
        return weight.copy_(initial_tensor(tensor, name, [member], torch.device("cpu"))[0])
    flat = weight.view(-1)
    if (weight.is_cuda and has_triton()) if fused is None else fused:
        fill_normal_(flat, member.init_seed, name, init=init)
        return weight
    for part in pieces(len(flat), PIECE):
        count = part.stop - part.start
        values = normal_draws(member.init_seed, name, first=part.start, count=count, device=device)
        flat[part] = values.mul_(init)
    return weight
