"""The weights W_0 that change is measured from: held by somebody, copied, or redrawn from their seed.

Whatever it is, a `Reference` ends in one mapping: parameter's or buffer's name -> this process's part of it.

* a mapping, such as a loaded `state_dict`, or another module: used as it is, no memory of its own;
* `Snapshot.of(model)`: a copy, on the model's devices or on the host. Taken right before a step, it makes a per-step
  measurement: this update instead of the change since initialization;
* `Redraw.of(model, build, seed=...)`: nothing is kept. W_0 is drawn again when it is needed, by the function that drew
  it, and a hash taken at the start proves it to be the same, to the bit.
"""

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from widthwise.measure.fingerprint import fingerprint
from widthwise.scaling.parameter_names import FLATTENING, plain_names, without_wrappers
from widthwise.scaling.seeding import seeded
from widthwise.scaling.shards import DTENSOR, local_part

SHOWN = 3


@dataclass(frozen=True)
class Snapshot:
    """A copy of a model's parameters and buffers.

    Args:
        tensors: name -> this process's part.
    """

    tensors: Mapping[str, Tensor]

    @staticmethod
    def of(model: nn.Module, *, device: torch.device | str | None = None) -> "Snapshot":
        """Copy a model's tensors, sharded ones shard by shard.

        Args:
            device: where to keep the copy, `"cpu"` to spare the accelerator's memory; left out, where the model is.
                A CUDA device's copy on the host is in page-locked memory, from where it comes back several times as
                fast; PyTorch rounds each such tensor's memory up to a power of two.
        """
        with torch.no_grad():
            return Snapshot(
                {name: _copy(local_part(tensor), device) for name, tensor in named_tensors(model).items()}
            )


def _copy(tensor: Tensor, device: torch.device | str | None) -> Tensor:
    target = torch.device(device) if device is not None else tensor.device
    if tensor.is_cuda and target.type == "cpu":
        try:
            return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor)
        except RuntimeError:  # the system lets this process lock no more pages
            pass
    return tensor.detach().to(target, copy=True)


@dataclass(frozen=True)
class Redraw:
    """Initial weights as a function of a seed, and the hash that proves them.

    Args:
        build: makes the model as it was at the start: its initializer's draw, and whatever changed that, such as a
            plan's `initialize_`.
        seed: what it was built under, by `widthwise.scaling.seeding.seeded`.
        digest: of the start's parameters.
    """

    build: Callable[[], nn.Module]
    seed: int
    digest: str

    @staticmethod
    def of(model: nn.Module, build: Callable[[], nn.Module], *, seed: int) -> "Redraw":
        """A redraw of a model's weights as they are now, proven by drawing them once.

        Raises:
            ValueError: `build` under this seed does not give these weights.

        Example:
            >>> def build():
            ...     return nn.Linear(3, 2)
            >>> with seeded(5):
            ...     model = build()
            >>> Redraw.of(model, build, seed=5).seed
            5
            >>> Redraw.of(model, build, seed=6)  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            ...
            ValueError: build() under seed 6 does not give the reference's weights: weight, bias differ; ...
        """
        redraw = Redraw(build, seed, digest_of(model))
        redraw.draw(model)
        return redraw

    def draw(self, model: nn.Module) -> nn.Module:
        """The initial model, drawn again and proven.

        Args:
            model: any model of the same shapes, to name what differs.

        Raises:
            ValueError: it is not the same as at the start.
        """
        with seeded(self.seed):
            drawn = self.build()
        if digest_of(drawn) != self.digest:
            raise ValueError(
                f"build() under seed {self.seed} does not give the reference's weights: {_differences(drawn, model)}; "
                "build them on the same device, under the same seed (widthwise.scaling.seeding.seeded), with all that "
                "set them, or keep a Snapshot instead"
            )
        return drawn


Reference = Mapping[str, Tensor] | nn.Module | Snapshot | Redraw


def plain_model(model: nn.Module) -> nn.Module:
    """The model inside `DistributedDataParallel` and `torch.compile`.

    Raises:
        ValueError: a model that `FullyShardedDataParallel` has flattened: its tensors have no shapes of their own.
    """
    while isinstance(model, nn.parallel.DistributedDataParallel) or hasattr(model, "_orig_mod"):
        model = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model._orig_mod  # pyright: ignore[reportAssignmentType]
    if any(FLATTENING in name.split(".") for name, _ in model.named_modules()):
        raise ValueError(
            "FullyShardedDataParallel hands out its tensors cut and flattened, so that no layer can be told; shard the "
            "model by torch.distributed.fsdp.fully_shard, or measure it before it is wrapped"
        )
    return model


def reshard(model: nn.Module) -> None:
    """Have `fully_shard` gather tensors anew: after a forward pass some still are, as they were, in low precision."""
    if (
        "torch.distributed.fsdp" in sys.modules
    ):  # two seconds to import, and nothing is sharded before that is
        from torch.distributed.fsdp import FSDPModule

        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer of a model by its first name, without wrappers' parts in it; sharded ones as such."""
    inner = plain_model(model)
    reshard(inner)
    found = (*inner.named_parameters(), *inner.named_buffers())
    return {without_wrappers(name): tensor for name, tensor in found}


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, gathered if it is sharded: then every process of its mesh must call this."""
    if DTENSOR not in sys.modules:
        return tensor
    from torch.distributed._functional_collectives import AsyncCollectiveTensor
    from torch.distributed.tensor import DTensor

    found = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return found.wait() if isinstance(found, AsyncCollectiveTensor) else found


def digest_of(model: nn.Module) -> str:
    """A hash of all parameters' names, types, shapes and bits, made where they are: see `fingerprint`."""
    parameters = {
        name: whole(parameter).detach()
        for name, parameter in named_tensors(model).items()
        if isinstance(parameter, nn.Parameter)
    }
    head = "".join(f"{name} {values.dtype} {tuple(values.shape)}\n" for name, values in parameters.items())
    prints = " ".join(str(number) for number in fingerprint(tuple(parameters.values())))
    return hashlib.sha256(f"{head}{prints}".encode()).hexdigest()


def _differences(drawn: nn.Module, model: nn.Module) -> str:
    """Which parameters differ: all of them where the model has moved on, so shapes and names first."""
    ours = {name: p for name, p in named_tensors(model).items() if isinstance(p, nn.Parameter)}
    theirs = {name: p for name, p in named_tensors(drawn).items() if isinstance(p, nn.Parameter)}
    odd = sorted(set(ours) ^ set(theirs)) or [
        name
        for name in ours
        if ours[name].shape != theirs[name].shape or ours[name].dtype != theirs[name].dtype
    ]
    if odd:
        return f"names, shapes or types differ, as {', '.join(odd[:SHOWN])}"
    moved = [name for name in ours if not torch.equal(whole(ours[name]).cpu(), whole(theirs[name]).cpu())]
    others = " and others" if len(moved) > SHOWN else ""
    return f"{', '.join(moved[:SHOWN])}{others} differ"


def reference_parts(reference: Reference, model: nn.Module) -> dict[str, Tensor]:
    """This process's part of every parameter of the reference, and of the buffers that it has, by name.

    Args:
        reference: what change is measured from.
        model: whose parameters they must match.

    Raises:
        ValueError: a reference that lacks a parameter, has another shape, or is the model itself.
    """
    match reference:
        case Redraw():
            given = named_tensors(reference.draw(model))
        case nn.Module():
            given = named_tensors(reference)
        case Snapshot():
            given = dict(reference.tensors)
        case _:
            given = _plain(reference, model)
    ours = named_tensors(model)
    parameters = {name: p for name, p in ours.items() if isinstance(p, nn.Parameter)}
    missing = [name for name in parameters if name not in given]
    if missing:
        raise ValueError(
            f"the reference lacks {', '.join(missing[:SHOWN])} ({len(missing)} of {len(parameters)} parameters); it "
            "must be of the same model"
        )
    found = {name: _part(name, given[name], ours[name]) for name in ours if name in given}
    moving = [name for name, parameter in parameters.items() if parameter.requires_grad and parameter.numel()]
    if moving and all(_same_memory(found[name], local_part(parameters[name])) for name in moving):
        raise ValueError(
            "the reference is the model's own memory, as model.state_dict() is: it changes with the model; take a copy "
            "with Snapshot.of(model) before training"
        )
    return found


def _plain(given: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A mapping by the model's first names; a state dict may know a tied tensor by another one."""
    known = named_tensors(model)
    names = plain_names(given, set(known))
    found = {names[name]: tensor for name, tensor in given.items()}
    first = {id(tensor): name for name, tensor in known.items()}
    for alias, tensor in plain_model(model).named_parameters(remove_duplicate=False):
        plain = without_wrappers(alias)
        if plain in found and id(tensor) in first:
            found.setdefault(first[id(tensor)], found[plain])
    return found


def _part(name: str, given: Tensor, ours: Tensor) -> Tensor:
    """This process's part of a reference's tensor, in our type."""
    here = local_part(ours)
    part = local_part(given)
    if part.shape != here.shape and part is given and given.shape == ours.shape:
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(ours, DTensor)
        part = distribute_tensor(given.to(here.device), ours.device_mesh, ours.placements).to_local()
    if part.shape != here.shape:
        raise ValueError(
            f"{name} has shape {list(part.shape)} in the reference and {list(here.shape)} in the model; the reference "
            "must be of the same model"
        )
    return part.detach() if part.dtype == here.dtype else part.detach().to(here.dtype)


def _same_memory(one: Tensor, two: Tensor) -> bool:
    return one.device == two.device and one.data_ptr() == two.data_ptr()
