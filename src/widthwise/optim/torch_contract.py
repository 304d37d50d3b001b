"""What every optimizer here owes to PyTorch's contract of one."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer


def loss_of(closure: Callable[[], float] | None) -> float | None:
    """What a step's closure returns, with gradients on; None without one.

    Example:
        >>> loss_of(lambda: 0.5)
        0.5
    """
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


def refuse_distant_lr(optimizer: Optimizer) -> None:
    """Take the group that was added last out again if its rate is a tensor on another device than its parameters.

    Raises:
        ValueError: it is.
    """
    group = optimizer.param_groups[-1]
    lr = group["lr"]
    for i, parameter in enumerate(group["params"]):
        if isinstance(lr, Tensor) and lr.device.type != "cpu" and lr.device != parameter.device:
            optimizer.param_groups.pop()
            raise ValueError(f"lr is on {lr.device}, parameter {i} on {parameter.device}: move lr there")
