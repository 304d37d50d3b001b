"""Widths at which a user's model is described, and small ones at which it can be drawn for real."""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from widthwise.scaling.growth import fit_growth
from widthwise.scaling.skeleton import Skeleton, read_skeletons

if TYPE_CHECKING:
    from torch import nn


def shape_widths(widths: Sequence[int] | None, base_width: int, *planned: int) -> list[int]:
    """At which widths shapes are read: those given, or the base width, twice and four times it, and those planned for.

    Example:
        >>> shape_widths(None, 64, 1024)
        [64, 128, 256, 1024]
    """
    return sorted({base_width, 2 * base_width, 4 * base_width, *planned} if widths is None else set(widths))


def small_widths(
    build: "Callable[[int], nn.Module]", base_width: int, widths: Sequence[int]
) -> tuple[int, ...]:
    """Three widths for drawing initializers of a factory of modules. See `small_widths_of`."""

    def read(every: Sequence[int], real: Sequence[int]) -> Sequence[Skeleton]:
        return read_skeletons(build, every, real_widths=real)[0]

    return small_widths_of(read, base_width, widths)


def small_widths_of(
    read: Callable[[Sequence[int], Sequence[int]], Sequence[Skeleton]], base_width: int, widths: Sequence[int]
) -> tuple[int, ...]:
    """Three widths for drawing initializers: a quarter, half and all of the base width where the factory accepts them.

    Args:
        read: the skeletons at some widths; at the second ones instead if they have to be built for real.
        base_width: whose hyperparameters were tuned.
        widths: at which the model is to be described.

    A factory with constraints of its own (heads of 64) refuses by an error, or by making other tensors, or sizes that
    break the law of the larger ones (a rank of n / 16 that cannot fall below 1); then the three smallest of `widths`
    serve.
    """
    candidates = (base_width // 4, base_width // 2, base_width)
    fallback = tuple(sorted(widths)[:3])
    if candidates[0] < 1 or base_width % 4:
        return fallback
    every = sorted({*candidates, *widths})
    try:
        with warnings.catch_warnings():  # of widths that nobody asked for; those of the others come again
            warnings.simplefilter("ignore")
            skeletons = read(every, candidates)
    except Exception:  # whatever the factory raises: it does not accept the width
        return fallback
    return candidates if _follow_one_law(skeletons) else fallback


def _follow_one_law(skeletons: Sequence[Skeleton]) -> bool:
    first = skeletons[0]
    if any(s.parameters.keys() != first.parameters.keys() for s in skeletons):
        return False
    grows = False
    for name in first.parameters:
        shapes = [skeleton.parameters[name].shape for skeleton in skeletons]
        if len({len(shape) for shape in shapes}) > 1:
            return False
        for sizes in zip(*shapes, strict=True):
            try:
                grows |= fit_growth([skeleton.width for skeleton in skeletons], sizes).grows
            except ValueError:
                return False
    return grows
