"""Where a model's tensors meet its activations: every matrix product of a forward pass, by the tensor's name.

    parameter  ->  views, casts, constant factors  ->  mm, addmm, bmm, ..., convolution  x  activation

The products are seen where PyTorch carries them out, so that it does not matter who wrote the layer: `nn.Linear`, a
Conv1D that stores its weight transposed, `F.linear(x, self.embedding.weight)`, `x @ self.weight`, an expert's slice of
a stack, packed attention projections. A tensor is followed through what only turns, cuts, casts or multiplies it by a
constant; a tensor that meets something else on its way is not measured, and what it met is noted.
"""

import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from widthwise.measure.recorder import tensors_of
from widthwise.measure.tensor_product import Convolution, MatrixProduct, TensorProduct

aten: Any = torch.ops.aten

VIEWS: frozenset[Any] = frozenset({
    aten.alias, aten.as_strided, aten.chunk, aten.contiguous, aten.detach, aten.diagonal, aten.expand, aten.index,
    aten.index_select, aten.narrow, aten.permute, aten.reshape, aten.select, aten.slice, aten.split,
    aten.split_with_sizes, aten.squeeze, aten.t, aten.transpose, aten.unbind, aten.unflatten, aten.unsqueeze,
    aten.view, aten._unsafe_view, aten._reshape_alias, aten.unsafe_split, aten.unsafe_chunk,
})  # fmt: skip
"""What is repeated on W and W_0 as it was done to each."""

COPIES: frozenset[Any] = frozenset({aten._to_copy, aten.clone})
"""Repeated in the copy's layout, without its cast: W and W_0 keep their precision."""

FACTORS: frozenset[Any] = frozenset({aten.mul, aten.div, aten.neg})
"""By a number: a parameterization's multiplier, which drops out of a ratio, or the tensor's own norm."""

LOOKUPS: frozenset[Any] = frozenset({aten.embedding, aten._embedding_bag, aten._embedding_bag_forward_only})


class View(NamedTuple):
    """One operation on the way from a parameter to a product, and which of its results was taken."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    place: int | None = None

    def __call__(self, tensor: Tensor) -> Tensor:
        found = self.function(tensor, *self.arguments, **self.options)
        return found if self.place is None else found[self.place]


class Use(NamedTuple):
    """A parameter as it is used: its name and what was done to it on the way."""

    name: str
    views: tuple[View, ...] = ()

    def turned(self, whole: Tensor) -> Tensor:
        """The same done to another tensor of the parameter's shape."""
        for view in self.views:
            whole = view(whole)
        return whole


class WeightProducts(TorchDispatchMode):
    """While it is active, calls `found` with every product of a known tensor and an activation.

    Args:
        found: is given the use of the tensor and the product.

    Example:
        >>> weight, seen = torch.ones(3, 2), []
        >>> with WeightProducts(lambda use, product: seen.append((use.name, product.fan_in))) as products:
        ...     products.know(weight, "weight")
        ...     y = torch.nn.functional.linear(torch.ones(5, 2), weight[1:] * 2)
        >>> seen
        [('weight', 2)]
    """

    def __init__(self, found: Callable[[Use, TensorProduct], None]) -> None:
        super().__init__()
        self._found = found
        self._uses: dict[int, tuple[weakref.ref[Tensor], Use]] = {}
        """By address, and weakly: casts of weights are freed when they were, and others may have their addresses."""
        self.met: defaultdict[str, set[str]] = defaultdict(set)
        """Parameter -> the operations that it met and that are no product."""
        self.looked_up: dict[str, None] = {}
        """Parameters of which rows were looked up."""

    def know(self, tensor: Tensor, name: str) -> None:
        """Follow a tensor from here on; a later name replaces an earlier one."""
        known = self.use_of(tensor)
        if known is None or known.name != name or known.views:
            self._keep(tensor, Use(name))

    def _keep(self, tensor: Tensor, use: Use) -> None:
        self._uses[id(tensor)] = (weakref.ref(tensor), use)

    def use_of(self, value: object) -> Use | None:
        """How a known tensor came to be this value, if it did."""
        found = self._uses.get(id(value))
        return found[1] if found is not None and found[0]() is value else None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        result = func(*args, **options)
        if self._meets(args) or (options and self._meets(options.values())):
            self._note(func, args, options, result)
        return result

    def _meets(self, values: Iterable[object]) -> bool:
        """Whether a known tensor is among an operation's arguments; every operation of the pass asks this."""
        for value in values:
            if isinstance(value, list | tuple):
                if self._meets(value):  # pyright: ignore[reportUnknownArgumentType]
                    return True
            elif self.use_of(value) is not None:
                return True
        return False

    def _note(self, func: Any, args: tuple[Any, ...], options: dict[str, Any], result: Any) -> None:
        operation = func.overloadpacket
        first = self.use_of(args[0]) if args else None
        if first is not None and self._passes(operation, args):
            if operation in COPIES:
                layout = {"memory_format": options.get("memory_format")}
                self._follow(View(_laid_out, (), layout), first, result)
            else:
                self._follow(View(func, args[1:], options), first, result)
            return
        product = self._product(operation, args)
        if product is not None:
            self._found(*product)
            bias = args[0] if operation in ADDED else args[2] if operation is aten.convolution else None
            added = self.use_of(bias)
            if added is not None:
                self.met[added.name].add("add")
            return
        if first is not None and operation in LOOKUPS:
            self.looked_up.setdefault(first.name)
            return
        for tensor in tensors_of((args, options)):
            use = self.use_of(tensor)
            if use is not None:
                self.met[use.name].add(operation.__name__)

    def _passes(self, operation: Any, args: tuple[Any, ...]) -> bool:
        if operation in FACTORS:
            others = [other for other in args[1:] if isinstance(other, Tensor)]
            return all(other.dim() == 0 and self.use_of(other) is None for other in others)
        return operation in COPIES or operation in VIEWS

    def _follow(self, view: View, use: Use, result: Any) -> None:
        if isinstance(result, Tensor):
            self._keep(result, Use(use.name, (*use.views, view)))
            return
        for place, tensor in enumerate(result):
            self._keep(tensor, Use(use.name, (*use.views, view._replace(place=place))))

    def _product(self, operation: Any, args: tuple[Any, ...]) -> tuple[Use, TensorProduct] | None:
        if operation is aten.convolution:
            use, other = self.use_of(args[1]), self.use_of(args[0])
            transposed = args[6]
            return None if use is None or other or transposed else (use, Convolution.read(args))
        if operation not in MATRIX_PRODUCTS:
            return None
        left, right = MATRIX_PRODUCTS[operation](args)
        one, two = self.use_of(left), self.use_of(right)
        if (one is None) == (two is None):
            return None
        if two is not None and right.dim() == 1:  # x v is x V with one column
            column = View(aten.unsqueeze.default, (-1,), {})
            return Use(two.name, (*two.views, column)), MatrixProduct(left, right[:, None].shape, left=False)
        if two is not None:
            return two, MatrixProduct(left, right.shape, left=False)
        assert one is not None
        vectors = right.mT if right.dim() > 1 else right[None]
        return one, MatrixProduct(vectors, left.shape, left=True)


def _laid_out(tensor: Tensor, *, memory_format: torch.memory_format | None) -> Tensor:
    """A tensor as a copy of it would lie in memory; itself, where that is as it lies."""
    if memory_format in (None, torch.preserve_format) and tensor.is_contiguous():
        return tensor
    return aten.clone.default(tensor, memory_format=memory_format)


ADDED: frozenset[Any] = frozenset(
    {aten.addmm, aten.addmm_, aten.baddbmm, aten.baddbmm_, aten.addmv, aten.addmv_}
)
"""Products with something added, which comes first."""

MATRIX_PRODUCTS: dict[Any, Callable[[Sequence[Any]], tuple[Tensor, Tensor]]] = {
    **dict.fromkeys((aten.mm, aten.bmm, aten.mv), lambda args: (args[0], args[1])),
    **dict.fromkeys(ADDED, lambda args: (args[1], args[2])),
}
"""The two factors of a product."""
