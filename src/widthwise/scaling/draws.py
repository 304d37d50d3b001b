"""Real draws of a factory's initializers at small widths, reduced to one `Sample` a tensor and width.

Models are built in pairs of seeds, two at a time in memory; what is kept of them is a few sums a tensor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod, sqrt
from typing import TYPE_CHECKING

from widthwise.scaling.initializers import Sample
from widthwise.scaling.seeding import seeded
from widthwise.scaling.skeleton import check_model

if TYPE_CHECKING:
    from torch import Tensor, nn

    Build = Callable[[int], nn.Module]

CHUNK = 2**18
"""Entries whose sums are taken at once: 2 MiB of float64, which stays in cache."""


@dataclass(frozen=True)
class Pair:
    """Sums over one tensor under two seeds, x and x', over the entries that differ, or all if none does.

    Args:
        differing: number of entries that differ.
        differences: sum of (x - x')^2.
        fourths: sum of (x - x')^4.
        squares: sum of (x^2 + x'^2) / 2 over the same entries.
        zeros: how many of these x and x' are exactly 0 where any differs (sparse draws): they say nothing of a size.
        value: the one value of all entries, or None.
    """

    shape: tuple[int, ...]
    differing: int
    differences: float
    fourths: float
    squares: float
    value: float | None
    zeros: int = 0

    @property
    def drawn(self) -> float:
        """Entries that the sums run over, a pair of numbers each, without those that are 0."""
        return self.differing - self.zeros / 2

    @property
    def entries(self) -> float:
        """Entries that the sum of squares runs over."""
        return self.drawn if self.differing else prod(self.shape)


def draw_pair(build: "Build", width: int, pair: int) -> Mapping[str, Pair]:
    """One pair of draws at one width, under the seeds 2 pair and 2 pair + 1, by each tensor's first name.

    Raises:
        ValueError: the two models have other tensors, two parameters share memory without being one parameter, or an
            entry is not finite.
    """
    import torch

    models: list[nn.Module] = []
    for seed in (2 * pair, 2 * pair + 1):
        with seeded(seed), torch.device("cpu"):
            model = build(width)
        check_model(model, width)
        models.append(model)
    one, other = ({name: p.detach() for name, p in model.named_parameters()} for model in models)
    if {name: t.shape for name, t in one.items()} != {name: t.shape for name, t in other.items()}:
        raise ValueError(
            f"two calls of build({width}) made tensors of other names or shapes; build the same model twice"
        )
    _check_memory(one)
    unset = [name for model in (one, other) for name, tensor in model.items() if not tensor.isfinite().all()]
    if unset:
        raise ValueError(
            f"build({width}) left entries that are not finite in {', '.join(sorted(set(unset)))}, as memory that was "
            "never initialized has them; call the model's initialization in the factory"
        )
    return {name: _reduce(tensor, other[name]) for name, tensor in one.items() if tensor.numel()}


def pool(pairs: "list[Pair]") -> Sample:
    """The sample of one tensor at one width from all of its pairs.

    Example:
        >>> pool([Pair((2,), 2, 4.0, 8.0, 4.0, None), Pair((2,), 2, 4.0, 16.0, 4.0, None)]).spread
        1.0
    """
    differing, drawn = sum(pair.differing for pair in pairs), sum(pair.drawn for pair in pairs)
    entries = sum(pair.entries for pair in pairs)
    values = {pair.value for pair in pairs}
    differences, fourths = sum(pair.differences for pair in pairs), sum(pair.fourths for pair in pairs)
    return Sample(
        shape=pairs[0].shape,
        entries=differing,
        spread=sqrt(differences / (2 * drawn)) if differing else 0.0,
        size=sqrt(sum(pair.squares for pair in pairs) / entries),
        value=values.pop() if len(values) == 1 else None,
        kurtosis=differing * fourths / differences**2 if differing else 0.0,
    )


def _reduce(x: "Tensor", y: "Tensor") -> Pair:
    """The sums, a chunk at a time: float64 copies of a whole embedding would take more memory than the model."""
    differing = zeros = 0
    differences = fourths = squares_of_differing = squares_of_all = 0.0
    flat_x, flat_y = x.flatten(), y.flatten()
    first = float(_reals(flat_x[:1])[0])
    constant = True
    for start in range(0, x.numel(), CHUNK):
        one, other = _reals(flat_x[start : start + CHUNK]), _reals(flat_y[start : start + CHUNK])
        constant = constant and bool((one == first).all())
        squares = (one * one + other * other) / 2
        squares_of_all += float(squares.sum())
        difference = one - other
        changed = difference != 0
        differing += int(changed.sum())
        zeros += sum(int((values[changed] == 0).sum()) for values in (one, other))
        squares_of_differing += float(squares[changed].sum())
        square = difference * difference
        differences += float(square.sum())
        fourths += float((square * square).sum())
    return Pair(
        shape=tuple(x.shape),
        differing=differing,
        differences=differences,
        fourths=fourths,
        squares=squares_of_differing if differing else squares_of_all,
        value=first if constant and not differing else None,
        zeros=zeros,
    )


def _reals(tensor: "Tensor") -> "Tensor":
    """The entries in float64; of complex ones, both parts."""
    import torch

    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).double().flatten()


def _check_memory(tensors: "Mapping[str, Tensor]") -> None:
    """That no two parameters overlap: an optimizer would step the shared memory twice."""
    extents: list[tuple[int, int, str]] = []
    for name, tensor in tensors.items():
        if tensor.numel():
            reach = (
                sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
                + 1
            )
            extents.append((tensor.data_ptr(), tensor.data_ptr() + reach * tensor.element_size(), name))
    extents.sort()
    for (_, end, name), (start, _, other) in pairwise(extents):
        if start < end:
            raise ValueError(
                f"parameters {name!r} and {other!r} share memory but are two parameters, so an optimizer would step "
                "it twice; tie them by assigning one nn.Parameter to both names"
            )
