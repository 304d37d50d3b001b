"""The names of a plan and the names of a model: the same, but for what wrappers put in between.

`torch.compile`, DDP, FSDP and activation checkpointing add a part of their own to every dotted name. Exactly these
parts are removed, each as a whole, and `module` only in front and only where the plan does not know it.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

WRAPPERS = frozenset({"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"})
"""`torch.compile`, `checkpoint_wrapper`, `FullyShardedDataParallel`."""

DATA_PARALLEL = "module."
"""What DDP puts in front of every name."""

FLATTENING = "_fsdp_wrapped_module"
"""The wrapper that cuts tensors out of one flat tensor."""

SEPARATED = (
    "Where one of them was tied to another tensor, tie it again: to_empty and load_state_dict(assign=True) "
    "make two of one"
)
"""What a model has more tensors for than its plan, if it is the right one."""

Row = TypeVar("Row")
SHOWN = 5


def unwrapped(name: str, known: Collection[str]) -> str:
    """A parameter's name without the wrappers' parts.

    Example:
        >>> unwrapped("module._orig_mod.module.embed.weight", {"module.embed.weight"})
        'module.embed.weight'
        >>> unwrapped("module.embed.weight", {"embed.weight"})
        'embed.weight'
    """
    found = without_wrappers(name)
    while found not in known and found.startswith(DATA_PARALLEL):
        found = found.removeprefix(DATA_PARALLEL)
    return found


def without_wrappers(name: str) -> str:
    """A name without the parts that no user's module has; `module`, which one may have, stays.

    Example:
        >>> without_wrappers("_orig_mod.layers.0._checkpoint_wrapped_module.weight")
        'layers.0.weight'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def plain_names(names: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Every name of a model without its wrappers' parts; what stands in front is removed from all or from none.

    Example:
        >>> plain_names(["module.weight", "module.module.weight"], {"weight", "module.weight"})
        {'module.weight': 'weight', 'module.module.weight': 'module.weight'}
    """
    wrapped = list(names)
    found = [without_wrappers(name) for name in wrapped]
    while set(found) != set(known) and all(name.startswith(DATA_PARALLEL) for name in found) and found:
        found = [name.removeprefix(DATA_PARALLEL) for name in found]
    if set(found) != set(known):  # a part of the model is wrapped, or it is another model
        found = [unwrapped(name, known) for name in wrapped]
    return dict(zip(wrapped, found, strict=True))


def rows_of(rows: Mapping[str, Row], model: "nn.Module") -> dict[str, Row]:
    """The plan's row of every parameter, by the parameter's name in the model.

    Raises:
        ValueError: parameters without a row, or rows without a parameter: the plan is for another model.
    """
    names = plain_names([name for name, _ in model.named_parameters()], rows)
    missing = sorted(set(rows) - set(names.values()))
    unknown = sorted(name for name, plain in names.items() if plain not in rows)
    if missing or unknown:
        raise ValueError(
            "this plan is for another model: "
            + "; ".join(
                f"{what} {', '.join(some[:SHOWN])}"
                + (f" and {len(some) - SHOWN} more" if len(some) > SHOWN else "")
                for what, some in (("the plan alone has", missing), ("the model alone has", unknown))
                if some
            )
            + (f". {SEPARATED}" if unknown and not missing else "")
        )
    return {name: rows[plain] for name, plain in names.items()}


class Shaped(Protocol):
    """A row that says its tensor's shape, as far as it is known."""

    @property
    def shape(self) -> tuple[int | None, ...]: ...


def check_shapes(parameters: "Mapping[str, Tensor]", rows: Mapping[str, Shaped], width: int) -> None:
    """Check that a model has the plan's width.

    Parameters that `FullyShardedDataParallel` has flattened have no shape to compare and are passed over.

    Raises:
        ValueError: a tensor of another shape.
    """
    for name, parameter in parameters.items():
        shape, found = rows[name].shape, tuple(parameter.shape)
        if FLATTENING in name.split("."):
            continue
        if len(shape) != len(found) or any(
            size not in (None, other) for size, other in zip(shape, found, strict=True)
        ):
            expected = ", ".join("?" if size is None else str(size) for size in shape)
            raise ValueError(
                f"{name} has shape {list(found)}; at the plan's width {width} it is [{expected}]: "
                f"build the model at width {width}, or make a plan for its own"
            )
