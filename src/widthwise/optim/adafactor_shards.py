"""Which sharded tensors Adafactor can update: means over rows, columns and whole tensors must not cross processes."""

from torch import Tensor

from widthwise.optim.adafactor_single import AdafactorConstants
from widthwise.optim.local import ORDINARY


def refuse_shards(parameter: Tensor, constants: AdafactorConstants) -> None:
    """Complain of a tensor that is spread over processes and not updated element by element.

    A replicated tensor is whole on each process, and so is one that is sharded over a single one.

    Raises:
        ValueError: a mean of this tensor would need other processes' shards.
    """
    if type(parameter) in ORDINARY:
        return
    from torch.distributed.tensor import DTensor

    if not isinstance(parameter, DTensor):
        return
    mesh = parameter.device_mesh
    spread = [p for i, p in enumerate(parameter.placements) if not p.is_replicate() and mesh.size(i) > 1]
    whole = {
        "factored": constants.factored_dims(parameter.shape) is not None,
        "clipping_threshold": constants.clipping_threshold is not None,
        "parameter_scaling": constants.parameter_scaling is not None,
    }
    if spread and any(whole.values()):
        needing = " and ".join(name for name, needed in whole.items() if needed)
        raise ValueError(
            f"a parameter of shape {tuple(parameter.shape)} is spread over processes as {parameter.placements}, and "
            f"{needing} takes means over all of it: replicate it (DDP), or switch these off "
            "(factored=False, clipping_threshold=None, parameter_scaling=None)"
        )
