"""The power of the width that a measured size follows, with its interval: of one tensor, or of a role's together."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from widthwise.analysis.width_slope import LEAST_WIDTHS, LEVEL, WidthSlope, width_slope


@dataclass(frozen=True)
class Sized:
    """A size, such as a root mean square, of one tensor of one run."""

    width: int
    seed: int
    tensor: str
    value: float


@dataclass(frozen=True)
class SizeSlope:
    """What the sizes come to.

    Args:
        slope: of ln(size) over ln(width), or None.
        widths: that it rests on.
        missing: why there is none; empty if there is one.
    """

    slope: WidthSlope | None
    widths: tuple[int, ...]
    missing: str = ""


def size_slope(sizes: Iterable[Sized], *, level: float = LEVEL) -> SizeSlope:
    """The slope over the widths at which every run of every tensor has a size that is positive and finite.

    Tensors that only some widths have are compared where all have them: runs of one width are alike in what they hold.

    Args:
        level: of the interval.

    Example:
        >>> found = size_slope([Sized(n, 0, "up", 3.0 / n) for n in (64, 128, 256)])
        >>> round(found.slope.estimate, 9), found.widths
        (-1.0, (64, 128, 256))
        >>> size_slope([Sized(n, 0, "up", 0.0) for n in (64, 128, 256)]).missing
        'a size is zero or not finite at widths 64, 128, 256'
    """
    held: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(sizes, key=lambda one: (one.width, one.seed)):
        held[one.width][one.tensor].append(one.value)
    bad = [n for n, of in held.items() if not all(0 < v < math.inf for values in of.values() for v in values)]
    widths = tuple(width for width in held if width not in bad)
    if len(widths) < LEAST_WIDTHS:
        why = f"a size is zero or not finite at widths {', '.join(map(str, bad))}" if bad else ""
        few = f"a slope needs {LEAST_WIDTHS} widths, and there are {len(widths)}"
        return SizeSlope(None, widths, why or few)
    shared = set.intersection(*(set(held[width]) for width in widths))
    values = [
        [[math.log(value) for value in held[width][tensor]] for width in widths] for tensor in sorted(shared)
    ]
    return SizeSlope(width_slope(widths, values, level=level), widths)
