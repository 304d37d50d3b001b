"""Two forward passes over one probe: with the reference's weights, to know z_0, and with the model's own, to measure.

The reference's weights come into the model by exchange: each tensor's numbers change places with the reference's, and
back afterwards, bit for bit. So there is one copy of W_0 at most, sharded tensors stay sharded, and no code of the
model can tell. In the second pass every product is repeated with dW = W - W_0 and dz = z - z_0, in float32 or in the
tensors' own precision if that is higher (TF32 for products of low-precision inputs: `tensor_product`).
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.utils import parametrize

from widthwise.measure.alignment_reference import named_tensors, reshard, whole
from widthwise.measure.alignment_sums import Norms, PassSums
from widthwise.measure.alignment_weights import Weights, beside, exchanged, parameters_under
from widthwise.measure.tensor_product import Convolution, TensorProduct
from widthwise.measure.undisturbed import same_draws, undisturbed
from widthwise.measure.weight_products import Use, WeightProducts
from widthwise.scaling.parameter_names import without_wrappers
from widthwise.theory import AlignmentQuantity


@dataclass
class Layer:
    """What the second pass finds of one tensor besides its sums.

    Args:
        fan_in: of the first call.
        fan_out: of the first call.
        convolved: whether the tensor is a convolution's kernel, and no matrix or stack of matrices.
        calls: how often it was used.
        note: why there is no change of the input.
    """

    fan_in: int
    fan_out: int
    convolved: bool = False
    calls: int = 0
    note: str = ""


@dataclass
class Passes:
    """What both passes found.

    Args:
        layers: by the name under which a tensor is used.
        sums: of each of them.
        met: parameter -> the operations that it met and that are no product.
        looked_up: the tables.
        weights: W and W_0 of all of them.
    """

    layers: Mapping[str, Layer]
    sums: PassSums
    met: Mapping[str, set[str]]
    looked_up: tuple[str, ...]
    weights: Weights


class Kept(NamedTuple):
    """A product of the first pass: its input, and what was done to the tensor before."""

    vector: Tensor
    use: Use


class KeptInputs:
    """The inputs of the first pass, by the layer and the call; a tensor that several layers read is kept once."""

    def __init__(self) -> None:
        self.inputs: defaultdict[str, list[Kept]] = defaultdict(list)
        self._known: dict[Any, tuple[StorageWeakRef, Tensor]] = {}

    def keep(self, use: Use, product: TensorProduct) -> None:
        """Copy a product's input: the model may change it in place, or free it."""
        self.inputs[use.name].append(Kept(self._copy(product.vector), use))

    def _copy(self, tensor: Tensor) -> Tensor:
        tensor = whole(tensor)
        if tensor.is_inference():
            return tensor.clone()
        storage = tensor.untyped_storage()
        key = (
            storage.data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype, tensor._version,
        )  # fmt: skip
        known = self._known.get(key)
        if known is None or known[0].expired():  # an address means one tensor only while that lives
            known = self._known[key] = (StorageWeakRef(storage), tensor.clone())
        return known[1]


def two_passes(model: nn.Module, forward: Callable[[], object], reference: Mapping[str, Tensor]) -> Passes:
    """Run both passes.

    Args:
        model: without wrappers.
        forward: runs the model on the probe.
        reference: this process's part of every parameter, as `reference_parts` gives it.
    """
    kept = KeptInputs()
    before: dict[str, Tensor] = {}
    reference = beside(named_tensors(model), reference)
    weights = Weights(model, reference, before)
    second = SecondPass(weights, kept.inputs)
    products = WeightProducts(second.measure)
    with (
        undisturbed(model),
        exchanged(weights.ours, reference),
        _watched(model, WeightProducts(kept.keep), before),
    ):
        forward()
    with undisturbed(model), _watched(model, products, weights.effective):
        forward()
    second.compare_calls()
    return Passes(second.layers, second.sums, products.met, tuple(products.looked_up), weights)


def _layer(product: TensorProduct) -> Layer:
    return Layer(product.fan_in, product.fan_out, convolved=isinstance(product, Convolution))


class SecondPass:
    """Repeats every product with dW and dz while the model computes.

    Args:
        weights: W and W_0.
        inputs: z_0 by layer and call.
    """

    def __init__(self, weights: Weights, inputs: Mapping[str, list[Kept]]) -> None:
        self._weights, self._inputs = weights, inputs
        self.layers: dict[str, Layer] = {}
        self.sums = PassSums()

    def measure(self, use: Use, product: TensorProduct) -> None:
        """Add a product to its layer's sums."""
        layer = self.layers.setdefault(use.name, _layer(product))
        call = layer.calls
        layer.calls += 1
        vector = whole(product.vector)
        now, then = self._weights.pair(use.name, vector.device)
        z, W = vector.to(now.dtype), use.turned(now)
        norms = {
            AlignmentQuantity.PRODUCT: Norms(product.output_norms(W, z), _norm(W), product.input_norms(z))
        }
        before = self._inputs[use.name][call] if call < len(self._inputs.get(use.name, ())) else None
        if before is None or before.vector.shape != z.shape:
            layer.note = layer.note or "its input has another shape than the reference's: is it routed?"
        else:
            z_0, W_0 = before.vector.to(now.dtype), before.use.turned(then)
            if W_0.shape == W.shape:
                norms |= _norms_of_change(product, W, W_0, z, z_0)
            else:
                layer.note = layer.note or "another part of it is used than with the reference: is it routed?"
        self.sums.add(use.name, norms, entries=W.numel(), outputs=product.fan_out, inputs=product.fan_in)

    def compare_calls(self) -> None:
        """Note where a layer's calls cannot be paired with the reference's: only its whole product is known then."""
        for name, layer in self.layers.items():
            known = len(self._inputs.get(name, ()))
            if known != layer.calls:
                layer.note = f"used {layer.calls} times, and {known} times with the reference: is it routed?"


def _norms_of_change(
    product: TensorProduct, W: Tensor, W_0: Tensor, z: Tensor, z_0: Tensor
) -> dict[AlignmentQuantity, Norms]:
    """Of the three products that the change consists of; each tensor is read for its norms once."""
    dW, dz = W - W_0, z - z_0
    size, change = product.input_norms(z_0), product.input_norms(dz)
    update = _norm(dW)
    return {
        AlignmentQuantity.ALPHA: Norms(product.output_norms(dW, z_0), update, size),
        AlignmentQuantity.OMEGA: Norms(product.output_norms(W_0, dz), _norm(W_0), change),
        AlignmentQuantity.U: Norms(product.output_norms(dW, dz), update, change),
    }


def _norm(matrix: Tensor) -> Tensor:
    return torch.linalg.vector_norm(matrix, dtype=torch.float64)


@contextmanager
def _watched(model: nn.Module, products: WeightProducts, effective: dict[str, Tensor]) -> Generator[None]:
    """A block in which the products of the model's tensors are seen, whatever objects these are in a module's call."""

    owned = parameters_under(model)

    def enter(prefix: str) -> Callable[..., None]:
        def know(module: nn.Module, *_: Any) -> None:
            for owner, key, name in owned[prefix]:
                parameter = owner._parameters.get(key)
                if parameter is not None:
                    products.know(parameter, name)
            if parametrize.is_parametrized(module):
                for name in module.parametrizations:  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
                    tensor = getattr(
                        module, name
                    )  # cached in this block, so that the module computes with this one
                    label = without_wrappers(f"{prefix}.{name}" if prefix else str(name))
                    products.know(tensor, label)
                    effective.setdefault(label, tensor.detach().clone())

        return know

    reshard(model)
    with ExitStack() as stack:
        stack.enter_context(same_draws())
        # autocast keeps its casts of weights, and cannot know that they are exchanged
        torch.clear_autocast_cache()
        stack.callback(torch.clear_autocast_cache)
        stack.enter_context(parametrize.cached())
        for name, module in model.named_modules():
            handle = module.register_forward_pre_hook(enter(name))
            stack.callback(handle.remove)
        enter("")(model)
        stack.enter_context(products)
        yield
