"""What one tensor's change does to its module's output: dW z, measured exactly for any module.

    dW z = f(z; W + dW) - f(z; W)        z: the module's input at step 0, every other tensor as it was

For a linear layer that is the matrix product. For gains, biases, convolutions and stacks of experts it is the same
question without a formula of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from widthwise.measure.recorder import first_floating, map_tensors

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Site:
    """Where a tensor acts.

    Args:
        module: the name of the called module that holds it, or of its nearest called ancestor.
        parameter: the tensor's name in that module.
        local: whether no other called module with parameters lies inside, so that the module's output is the tensor's.
    """

    module: str
    parameter: str
    local: bool


def find_sites(model: nn.Module, called: frozenset[str]) -> dict[str, Site | None]:
    """Where every parameter acts, by every name that it has; None where no called module holds it."""
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    owners = {name.rpartition(".")[0] for name in names}
    found: dict[str, Site | None] = {}
    for name in names:
        module = name.rpartition(".")[0]
        while module and module not in called:
            module = module.rpartition(".")[0]
        if module not in called:
            found[name] = None
            continue
        prefix = f"{module}." if module else ""
        others = any(owner != module and owner.startswith(prefix) and owner in called for owner in owners)
        found[name] = Site(module, name.removeprefix(prefix), local=not others)
    return found


def module_output(module: nn.Module, arguments: Arguments, parameters: Mapping[str, Tensor]) -> Tensor:
    """A module's output for given inputs and tensors, in float64, so that a small change of it is not lost.

    A module that cannot compute in float64 (a kernel of its own) computes in its own precision.

    Args:
        module: its own parameters and buffers are not touched.
        parameters: by their names in the module.

    Raises:
        TypeError: a module that returns no floating-point tensor.

    Example:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> z = ((torch.tensor([[1.0, 2.0]]),), {})
        >>> module_output(layer, z, {"weight": torch.ones(2, 2)})
        tensor([[3., 3.]], dtype=torch.float64)
    """
    try:
        return _output(module, arguments, parameters, torch.float64)
    except (RuntimeError, TypeError, NotImplementedError):
        return _output(module, arguments, parameters, next(iter(parameters.values())).dtype)


def _output(
    module: nn.Module, arguments: Arguments, parameters: Mapping[str, Tensor], dtype: torch.dtype
) -> Tensor:
    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    args, kwargs = map_tensors(cast, arguments)
    buffers = {
        name: cast(buffer.clone()) for name, buffer in module.named_buffers()
    }  # batch norm changes its own
    state = {**buffers, **{name: cast(tensor) for name, tensor in parameters.items()}}
    with torch.no_grad():
        found = first_floating(functional_call(module, state, args, kwargs))
    if found is None:
        raise TypeError(f"{type(module).__name__} returns no floating-point tensor")
    return found
