"""A factory's model at one width, as far as roles need it: names, shapes, owners and ties, without any numbers.

The model is built on the meta device, where tensors have shapes and no storage, so a width of any size costs nothing.
A factory that cannot be built there (it reads a tensor's value, say) is built for real on the CPU instead, at the small
widths that its caller has allowed for real builds, and the description says so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from widthwise.scaling.head_sizes import head_sizes
from widthwise.scaling.seeding import seeded

if TYPE_CHECKING:
    from torch import nn

Names = tuple[str, ...]

META = "meta"


@dataclass(frozen=True)
class Parameter:
    """One name of one parameter.

    Args:
        shape: in elements.
        owner: the module that holds it.
        local_name: its name in that module.
        trainable: False if it is frozen.
    """

    shape: tuple[int, ...]
    owner: object
    local_name: str
    trainable: bool


@dataclass(frozen=True)
class Skeleton:
    """One model at one width.

    Args:
        parameters: by every dotted name, tied ones under each.
        ties: the names of each tensor, in the model's order, the first first.
        heads: the size of an attention head in each module that states one, by the module's name.
    """

    width: int
    parameters: Mapping[str, Parameter]
    ties: tuple[Names, ...]
    heads: Mapping[str, int]


def read_skeletons(
    build: "Callable[[int], nn.Module]", widths: Sequence[int], *, real_widths: Sequence[int]
) -> tuple[tuple[Skeleton, ...], str]:
    """The skeletons at several widths, and how they were built: `meta`, or why a real build was needed.

    Args:
        build: makes the model of a width.
        widths: ascending, read on the meta device.
        real_widths: ascending, built on the CPU if the meta device refuses the smallest of `widths`.

    Raises:
        ValueError: a model in the place of the factory; the factory returns no module, a module without parameters, or
            one with a tensor that is created lazily. What the factory itself raises in a real build, or at a later
            width, passes through.

    Example:
        >>> from torch import nn
        >>> skeletons, built = read_skeletons(lambda n: nn.Linear(4, n), (8, 16), real_widths=(8,))
        >>> skeletons[1].parameters["weight"].shape, built
        ((16, 4), 'meta')
    """
    import torch
    from torch import nn

    if isinstance(build, nn.Module):
        kind = type(build).__name__
        raise ValueError(
            f"build is a {kind}, a model of one width; give the function of the width that makes it"
        )
    try:
        with torch.device(META):
            first = _build(build, widths[0])
    except (
        Exception
    ) as failure:  # anything may be raised there; a fault of the factory's own is raised again below
        with torch.device("cpu"):
            real = tuple(_read(_build(build, width), width) for width in real_widths)
        why = str(failure).partition("\n")[0]
        return real, f"cpu, since the meta device raised {type(failure).__name__}: {why}"
    with torch.device(META):
        smallest = _read(first, widths[0])
        return (smallest, *(_read(_build(build, width), width) for width in widths[1:])), META


def _build(build: "Callable[[int], nn.Module]", width: int) -> "nn.Module":
    with seeded(0):
        return build(width)


def _read(model: "nn.Module", width: int) -> Skeleton:
    check_model(model, width)
    parameters: dict[str, Parameter] = {}
    names_of: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner, _, local_name = name.rpartition(".")
        names_of.setdefault(id(parameter), []).append(name)
        parameters[name] = Parameter(
            shape=tuple(parameter.shape),
            owner=model.get_submodule(owner),
            local_name=local_name,
            trainable=parameter.requires_grad,
        )
    return Skeleton(width, parameters, tuple(map(tuple, names_of.values())), head_sizes(model))


def check_model(model: object, width: int) -> None:
    """That a factory made a module with parameters, all of which have shapes.

    Raises:
        ValueError: otherwise.
    """
    from torch import nn
    from torch.nn.parameter import is_lazy

    if not isinstance(model, nn.Module):
        raise ValueError(f"build({width}) returned {type(model).__name__}; it must return a torch.nn.Module")
    lazy = [name for name, parameter in model.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise ValueError(
            f"build({width}) left {', '.join(lazy)} without a shape until the first batch; run a batch in the factory, "
            "or use the module that is not lazy"
        )
    if next(model.parameters(), None) is None:
        raise ValueError(
            f"build({width}) made a {type(model).__name__} without parameters; there is nothing to scale"
        )
