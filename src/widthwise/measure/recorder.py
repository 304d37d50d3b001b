"""What a forward pass computes in every module: recorded by hooks that exist only while it runs."""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

PARAMETRIZED = "parametrizations"
"""What `torch.nn.utils.parametrize` puts into the name of a tensor that it took the place of."""

INPUT = " input"
"""What is appended to a module's name for a tensor that enters it."""


@dataclass
class Recording:
    """One forward pass.

    Args:
        features: the first floating-point tensor that each module returned, by the module's name (`""` is the model),
            and what entered a module without being another's output, as `NAME input`. A tensor that several modules
            hand on is listed under the first, the one that made it.
        inputs: positional and named arguments of the modules that were asked for, at their first call.
    """

    features: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)


def rms(tensor: Tensor) -> float:
    """The root mean square of a tensor's entries, summed in float64; NaN for one without entries.

    Example:
        >>> rms(torch.tensor([3.0, -4.0, 0.0, 0.0]))
        2.5
    """
    if not tensor.numel():
        return float("nan")
    square = torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64).item() ** 2
    return (square / tensor.numel()) ** 0.5


def acting_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that make activations: those of a parametrization make weights of tensors, whatever the data.

    Example:
        >>> model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))
        >>> [name for name, _ in acting_modules(model)], len(list(model.named_modules()))
        (['', '0'], 5)
    """
    modules = cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
    return ((name, module) for name, module in modules if PARAMETRIZED not in name.split("."))


def called_modules(model: nn.Module, forward: Callable[[], object]) -> frozenset[str]:
    """The names of the modules that a forward pass calls."""
    found: set[str] = set()

    def note(name: str) -> Callable[..., None]:
        return lambda *_: found.add(name)

    handles = [module.register_forward_pre_hook(note(name)) for name, module in acting_modules(model)]
    try:
        with torch.no_grad():
            forward()
    finally:
        for handle in handles:
            handle.remove()
    return frozenset(found)


def record(model: nn.Module, forward: Callable[[], object], *, inputs_of: Collection[str] = ()) -> Recording:
    """Run a forward pass without gradients and keep what it computed.

    Args:
        forward: runs the model; what it returns is not looked at.
        inputs_of: names of the modules whose arguments are kept.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Identity())
        >>> list(record(model, lambda: model(torch.ones(1, 2))).features)
        ['0']
    """
    with _recording(model, frozenset(inputs_of)) as recording, torch.no_grad():
        forward()
    return recording


@contextmanager
def _recording(model: nn.Module, inputs_of: frozenset[str]) -> Generator[Recording]:
    recording = Recording()
    # the tensors themselves are kept, so that an address means one tensor; changed in place, it counts as another
    seen: dict[tuple[int, int, int], Tensor] = {}

    def keep(name: str, value: object) -> None:
        tensor = first_floating(value)
        if tensor is None or name in recording.features:
            return
        key = (tensor.data_ptr(), tensor.numel(), tensor._version)
        if key not in seen:
            seen[key] = tensor
            recording.features[name] = _copy(tensor)

    def before(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name not in recording.inputs:
                recording.inputs[name] = (map_tensors(_copy, args), map_tensors(_copy, kwargs))
                if name:
                    keep(name + INPUT, (args, kwargs))

        return hook

    def after(name: str) -> Callable[..., None]:
        return lambda module, args, output: keep(name, output)

    handles = []
    try:
        for name, module in acting_modules(model):
            if name in inputs_of:
                handles.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
            handles.append(module.register_forward_hook(after(name)))
        yield recording
    finally:
        for handle in handles:
            handle.remove()


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()  # the model may go on to change it in place


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A copy of nested tuples, lists and dictionaries with the function applied to every tensor in them."""
    match value:
        case Tensor():
            return function(value)
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*(map_tensors(function, item) for item in value))
        case tuple() | list():
            return type(value)(map_tensors(function, item) for item in value)
        case dict():
            return {key: map_tensors(function, item) for key, item in value.items()}
        case _:
            return value


def tensors_of(value: object) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and mappings, `transformers` outputs included."""
    match value:
        case Tensor():
            yield value
        case tuple() | list():
            for item in value:
                yield from tensors_of(item)
        case Mapping():
            for item in value.values():
                yield from tensors_of(item)
        case _:
            return


def first_floating(value: object) -> Tensor | None:
    """The first floating-point tensor of a module's output: its activations, by convention."""
    return next((tensor for tensor in tensors_of(value) if tensor.is_floating_point()), None)
