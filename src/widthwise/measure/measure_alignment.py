"""`measure_alignment`: how a model's weights, their change and their inputs are aligned, layer by layer.

    reference  ->  two passes over one probe  ->  sums, added up over processes  ->  a report

With W_0, z_0 the reference's weights and inputs, dW = W - W_0 and dz = z - z_0,

    W z - W_0 z_0 = dW z_0 + W_0 dz + dW dz

and each of the three, and W z itself, has its log gain ln( rms(A x) / (rms(A) rms(x)) ): `alignment_sizes`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from widthwise.measure.alignment_passes import two_passes
from widthwise.measure.alignment_processes import groups_of, summed
from widthwise.measure.alignment_reference import Reference, plain_model, reference_parts
from widthwise.measure.alignment_report import AlignmentReport
from widthwise.measure.alignment_rows import report_of
from widthwise.measure.spectral_norm import ITERATIONS
from widthwise.scaling import ScalingPlan
from widthwise.theory import Role

Roles = ScalingPlan | Mapping[str, Role]


def measure_alignment(
    model: nn.Module,
    probe: Any,
    *,
    reference: Reference,
    forward: Callable[[nn.Module, Any], object] | None = None,
    roles: Roles | None = None,
    spectral_iterations: int = ITERATIONS,
    groups: Sequence[Any] | None = None,
) -> AlignmentReport:
    """Measure the alignment of every matrix of a model with its inputs, since a reference.

    The model is as it was afterwards: weights, buffers, gradients, modes, hooks and random states. It runs twice on the
    probe in evaluation mode (batch norm by the probe's own statistics), without gradients and uncompiled, once with the
    reference's weights, and repeats each product four times. Use the same probe at every measurement: z of one batch
    against z_0 of another is a change that no training made.

    Args:
        model: any module; DDP, `fully_shard`, tensor parallelism and `torch.compile` included.
        probe: one batch: a tensor, a tuple of positional or a mapping of named arguments. A process of several may have
            its own part.
        reference: W_0: a state dict that is a copy, another module, a `Snapshot` or a `Redraw`. A snapshot taken before
            the last step gives the per-step variant: this update instead of the change since initialization.
        forward: runs the model on the probe; left out, the model is called with it.
        roles: a plan, or tensor name -> role; tensors that it does not know are measured as well.
        spectral_iterations: of the power iteration for the spectral norm of dW; 0 leaves it out.
        groups: process groups over which to add up, each called by all of its processes; left out, the model's own.

    Raises:
        ValueError: a reference of another model, or one that is the model's own memory; weights that were redrawn
            and are not those of the start; a model that `FullyShardedDataParallel` flattened.

    Example:
        >>> import torch
        >>> from widthwise.measure import Snapshot
        >>> from widthwise.theory import AlignmentQuantity
        >>> layer = nn.Linear(4, 3, bias=False)
        >>> start = Snapshot.of(layer)
        >>> with torch.no_grad():
        ...     _ = layer.weight.add_(torch.ones(3, 1) * torch.tensor([1.0, 2.0, 3.0, 4.0]))
        >>> found = measure_alignment(layer, torch.tensor([[1.0, 2.0, 3.0, 4.0]]), reference=start).layer("weight")
        >>> round(found.ratio(AlignmentQuantity.ALPHA), 5)  # the update is aligned with what it meets
        1.0
        >>> found.ratio(AlignmentQuantity.OMEGA)  # its input is the data, which has not changed
        nan
    """
    inner = plain_model(model)
    parts = reference_parts(reference, inner)
    passes = two_passes(inner, lambda: _run(inner, probe, forward), parts)
    names = (*passes.weights.first_names, *passes.weights.effective)
    layers = summed(passes, names, groups_of(model) if groups is None else groups)
    return report_of(passes, layers, _table(roles), spectral_iterations=spectral_iterations)


def _table(roles: Roles | None) -> Mapping[str, Role]:
    if isinstance(roles, ScalingPlan):
        return {name: row.role for name, row in roles.rows.items()}
    return roles or {}


def _run(model: nn.Module, probe: Any, forward: Callable[[nn.Module, Any], object] | None) -> object:
    if forward is not None:
        return forward(model, probe)
    match probe:
        case Tensor():
            return model(probe)
        case Mapping():
            return model(**probe)
        case tuple() | list():
            return model(*probe)
        case _:
            raise ValueError(
                f"the probe is of type {type(probe).__name__}; give a tensor, a tuple or a mapping of arguments, or "
                "forward=lambda model, probe: ..."
            )
