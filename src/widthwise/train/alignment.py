"""Alignment of every member's layers, by one forward pass of the weights as they are and as they were.

The reference's R states run beside the P members, as R more members of one program: at every layer the inputs z_0 and z
and the weights W_0 and W are there together, the sums are taken, and they are gone before the next layer. So nothing of
the size of the model is made, and z_0 is never kept: it costs the forward pass of R states each time.

Everything is computed by the plain layers in float32 (without TF32), whatever the precision of training, from the
float32 weights. A row's root mean square is float32, the sums over rows are float64. Forward multipliers cancel in
every ratio, and the activations are those of the model with its multipliers.

Shape legend: P members, R states of the reference, N tokens, I inputs, O outputs, L layers.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.measure.alignment_sizes import ProductSizes, Tally, log_gain
from widthwise.models import PLAIN, ReferenceModel, Weights
from widthwise.train.reference import Reference


def log_gains(
    model: ReferenceModel,
    parameters: Mapping[str, Tensor],
    reference: Reference,
    *,
    multipliers: Mapping[str, Tensor] | None,
    probe_BxT: Tensor,
    layers: tuple[str, ...],
) -> Tensor:
    """alpha, omega, u and product (`AlignmentQuantity`) of every layer, [P, L, 4], float64; NaN where undefined.

    alpha = ln( ||dW z_0|| / (||dW|| ||z_0||) ) and so on, with root mean squares over entries and tokens.

    Args:
        parameters: of the members, [P, ...], float32.
        reference: what dW = W - W_0 and dz = z - z_0 are counted from.
        multipliers: by name, [P]; None where all are folded into the weights.
        probe_BxT: the tokens that every member and every state is run on.
        layers: names of matrix layers.
    """
    return layer_sums(
        model, parameters, reference, multipliers=multipliers, probe_BxT=probe_BxT, layers=layers
    ).log_gains(layers)


@torch.no_grad()
def layer_sums(
    model: ReferenceModel,
    parameters: Mapping[str, Tensor],
    reference: Reference,
    *,
    multipliers: Mapping[str, Tensor] | None,
    probe_BxT: Tensor,
    layers: tuple[str, ...],
    changes: bool = False,
    dtype: torch.dtype = torch.float32,
) -> "LayerSums":
    """What `log_gains` is made of; parameters are asked for layer by layer, each once a pass.

    Args:
        changes: whether `LayerSums.sizes` is to know how far the outputs have moved.
        dtype: of the pass.
    """
    both = (
        None
        if multipliers is None
        else {n: torch.cat([m_P.index_select(0, reference.firsts), m_P]) for n, m_P in multipliers.items()}
    )
    sums = LayerSums(reference, frozenset(layers), changes=changes)
    weights = Weights(_Together(reference, parameters), both, dtype, PLAIN, seen=sums)
    states = len(reference.firsts) + len(reference.rows)
    with _full_precision():
        model.forward(weights, probe_BxT.expand(states, *probe_BxT.shape))
    return sums


class _Together(Mapping[str, Tensor]):
    """name -> [R + P, ...]: the reference's tensor before the members', made when it is asked for."""

    def __init__(self, reference: Reference, parameters: Mapping[str, Tensor]) -> None:
        self._reference, self._parameters = reference, parameters

    def __getitem__(self, name: str) -> Tensor:
        return torch.cat([self._reference.tensor(name), self._parameters[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)


@dataclass(frozen=True)
class LayerSizes:
    """Mean squares of one layer's entries, over tokens too, [P] each, float64; changes since the reference.

    Args:
        change: of W - W_0.
        input, input_change: of z_0, and of z - z_0.
        output, output_change: of W z, and of W z - W_0 z_0, before the multiplier.
    """

    weight: Tensor
    change: Tensor
    input: Tensor
    input_change: Tensor
    output: Tensor
    output_change: Tensor


class LayerSums:
    """Takes the sums of squares of a layer when the forward pass comes to it (`models.Seen`)."""

    def __init__(self, reference: Reference, layers: frozenset[str], *, changes: bool = False) -> None:
        self._reference, self._layers, self._changes = reference, layers, changes
        self._means: dict[str, Tensor] = {}
        self._output_changes: dict[str, Tensor] = {}

    def __call__(self, name: str, x_RPxNxI: Tensor, w_RPxIxO: Tensor, y_RPxNxO: Tensor) -> None:
        if name not in self._layers:
            return
        states, own = len(self._reference.firsts), self._reference.per_member
        z_PxNxI, W_PxIxO = x_RPxNxI[states:], w_RPxIxO[states:]
        z0_PxNxI, W0_PxIxO = own(x_RPxNxI[:states]), own(w_RPxIxO[:states])
        dz_PxNxI, dW_PxIxO = z_PxNxI - z0_PxNxI, W_PxIxO - W0_PxIxO
        outputs = (
            *(
                rows(torch.bmm(z, W))
                for z, W in ((z0_PxNxI, dW_PxIxO), (dz_PxNxI, W0_PxIxO), (dz_PxNxI, dW_PxIxO))
            ),
            rows(y_RPxNxO[states:]),
        )
        dW_PxI, dz_PxN = rows(dW_PxIxO), rows(dz_PxNxI)
        matrices = (dW_PxI, own(rows(w_RPxIxO[:states])), dW_PxI, rows(W_PxIxO))
        vectors = (own(rows(x_RPxNxI[:states])), dz_PxN, dz_PxN, rows(z_PxNxI))
        tokens, (inputs, outs) = z_PxNxI.shape[1], W_PxIxO.shape[1:]
        self._means[name] = torch.stack(
            [
                mean_squares(outputs, tokens * outs),
                mean_squares(matrices, inputs * outs),
                mean_squares(vectors, tokens * inputs),
            ]
        )
        if self._changes:
            moved = rows(y_RPxNxO[states:] - own(y_RPxNxO[:states]))
            self._output_changes[name] = mean_squares((moved,), tokens * outs)[0]

    def sizes(self, name: str) -> LayerSizes:
        """Of a layer, where changes of outputs were asked for."""
        outputs, matrices, vectors = self._means[name]
        return LayerSizes(
            weight=matrices[3],
            change=matrices[0],
            input=vectors[0],
            input_change=vectors[1],
            output=outputs[3],
            output_change=self._output_changes[name],
        )

    def log_gains(self, layers: tuple[str, ...]) -> Tensor:
        """[P, L, 4] of the layers, in the order asked for."""
        means_3xPxLx4 = torch.stack([self._means[name] for name in layers], dim=2).permute(0, 3, 2, 1)
        output, matrix, vector = (Tally(mean_PxLx4, 1) for mean_PxLx4 in means_3xPxLx4)
        return log_gain(ProductSizes(output, matrix, vector, tokens=Tally(output.total, 1)))


def rows(tensor_PxRxC: Tensor) -> Tensor:
    """The Euclidean norm of every row, [P, R], float32; entries below 1e-19 count as zero there."""
    return torch.linalg.vector_norm(tensor_PxRxC, dim=-1)


def mean_squares(norms: Sequence[Tensor], entries: int) -> Tensor:
    """From rows' norms [P, R] of several tensors, the mean square of each one's entries: [tensors, P], float64."""
    return torch.stack(tuple(norms)).double().square().sum(-1) / entries


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products of float32 in float32, whatever the program has allowed; its setting is back afterwards."""
    on_cpu = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]
    settings = (torch.backends.cuda.matmul, on_cpu)
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision
