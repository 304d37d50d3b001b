"""Sums of a pass's products: each call leaves its tokens' norms on the device, and many are finished at once.

    norms of y_t, A, x_t  ->  (on the device, calls of one shape together)  ->  numbers [quantities, NUMBERS] per layer

The host launches a few operations per call and waits for none of them; one transfer brings all numbers to it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple

import torch
from torch import Tensor

from widthwise.measure.alignment_sizes import ProductSizes, Tally, token_sizes
from widthwise.theory import AlignmentQuantity

PARTS = tuple(field.name for field in fields(ProductSizes))
NUMBERS = 2 * len(PARTS)
"""Of a product: a total and a count of each part of its `ProductSizes`."""
QUANTITIES = tuple(AlignmentQuantity)

HELD = 2**22
"""Norms that wait to be finished, at most: 32 MiB; the calls of a model of 30 matrices and 10^4 tokens, nearly."""


class Norms(NamedTuple):
    """One product y = A x of one call, in float64.

    Args:
        output: Euclidean norm of y_t for every token t, [T].
        matrix: of A, [].
        vector: of x_t, [T].
    """

    output: Tensor
    matrix: Tensor
    vector: Tensor


class Shape(NamedTuple):
    """What calls that are finished together share."""

    quantities: tuple[AlignmentQuantity, ...]
    tokens: int
    entries: int
    outputs: int
    inputs: int
    device: torch.device


class PassSums:
    """The sums of every layer, by its name, over the calls of one pass.

    Example:
        >>> sums, one = PassSums(), torch.ones((), dtype=torch.float64)
        >>> norms = {AlignmentQuantity.ALPHA: Norms(3 * one[None], 2 * one, one[None])}
        >>> sums.add("w", norms, entries=6, outputs=3, inputs=2)
        >>> sums.on_host()["w"][0].tolist()[:6]
        [9.0, 3.0, 4.0, 6.0, 1.0, 2.0]
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[Shape, list[tuple[str, Mapping[AlignmentQuantity, Norms]]]] = defaultdict(
            list
        )
        self._held = 0
        self._finished: list[tuple[Shape, list[str], Tensor]] = []

    def add(
        self, name: str, norms: Mapping[AlignmentQuantity, Norms], *, entries: int, outputs: int, inputs: int
    ) -> None:
        """Count the products of one more call.

        Args:
            name: of the layer.
            norms: of one or more products of the same tokens.
            entries: of A.
            outputs: of a token.
            inputs: of a token.
        """
        first = next(iter(norms.values())).output
        shape = Shape(tuple(norms), len(first), entries, outputs, inputs, first.device)
        self._waiting[shape].append((name, norms))
        self._held += 2 * len(norms) * len(first)
        if self._held > HELD:
            self._finish()

    @property
    def device(self) -> torch.device:
        """Where the first sums are; the host if there are none."""
        return next((shape.device for shape, *_ in self._finished), torch.device("cpu"))

    def on_host(self) -> dict[str, Tensor]:
        """The numbers of every layer, [quantities, NUMBERS], zeros for quantities without products: waits once."""
        self._finish()
        found: dict[str, Tensor] = {}
        for device in dict.fromkeys(shape.device for shape, *_ in self._finished):
            parts = [(s, names, numbers) for s, names, numbers in self._finished if s.device == device]
            on_host = torch.cat([numbers.flatten() for *_, numbers in parts]).cpu()
            sizes = [numbers.numel() for *_, numbers in parts]
            for (shape, names, numbers), flat in zip(parts, on_host.split(sizes), strict=True):
                every = torch.zeros(len(names), len(QUANTITIES), NUMBERS, dtype=torch.float64, device="cpu")
                every[:, [QUANTITIES.index(one) for one in shape.quantities]] = flat.reshape(numbers.shape)
                for name, here in zip(names, every, strict=True):
                    found[name] = found[name] + here if name in found else here
        return found

    def _finish(self) -> None:
        for shape, calls in self._waiting.items():
            names = [name for name, _ in calls]
            products = [one for _, norms in calls for one in norms.values()]
            self._finished.append((shape, names, _numbers(shape, products)))
        self._waiting.clear()
        self._held = 0


def _numbers(shape: Shape, products: Sequence[Norms]) -> Tensor:
    """Of calls of one shape, [calls, quantities, NUMBERS]."""
    calls = len(products) // len(shape.quantities)
    output, matrix, vector = (
        torch.stack(part).square().unflatten(0, (calls, -1)) for part in zip(*products, strict=True)
    )
    sizes = token_sizes(
        output, Tally(matrix, shape.entries), vector, outputs=shape.outputs, inputs=shape.inputs
    )
    columns: list[Tensor] = []
    for part in PARTS:
        tally: Tally = getattr(sizes, part)
        count = tally.count
        columns += [
            tally.total,
            count.double() if isinstance(count, Tensor) else torch.full_like(tally.total, count),
        ]
    return torch.stack(columns, -1)


def sizes_of(numbers: Tensor) -> list[list[ProductSizes]]:
    """The sizes of every product from the numbers of all, [layers, quantities, NUMBERS], on the host."""
    totals = iter(numbers[..., ::2].flatten().unbind())
    return [
        [ProductSizes(*(Tally(next(totals), int(count)) for count in counts)) for counts in quantities]
        for quantities in numbers[..., 1::2].tolist()
    ]
