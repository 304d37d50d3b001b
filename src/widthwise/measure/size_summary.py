"""What the host makes of the counts and samples of one tensor's parts, or of several tensors together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from widthwise.measure.epsilon_verdict import BITES_FRACTION
from widthwise.measure.moment_sizes import COUNTS, ORDERED, SKETCH


@dataclass(frozen=True)
class Sizes:
    """What the host knows of one or several tensors. Counts as in the module.

    Args:
        low: the sqrt(v_hat) at the 1 % point: fewer than 1 % are smaller. NaN without a sample, as `median` is.
        median: of sqrt(v_hat).
        samples: for each part of the tensor that has any, its sorted sample [K] of sqrt(v_hat) (evenly spaced ones of
            it if it is long), and how many coordinates an entry stands for.
    """

    coordinates: int
    below: int
    vanished: int
    untouched: int
    non_finite: int
    sampled: int
    step: int
    low: float
    median: float
    samples: tuple[tuple[Tensor, float], ...]


def without_state(coordinates: int) -> Sizes:
    """The sizes of a tensor that the optimizer has never updated."""
    nan = float("nan")
    return Sizes(coordinates, 0, 0, coordinates, 0, 0, 0, nan, nan, ())


def _from_bits(values: Tensor, *, double: bool) -> Tensor:
    if double:
        return values.view(torch.float64)
    return values.to(torch.int32).view(torch.float32).to(torch.float64)


def host_sizes(parts: Tensor, *, coordinates: int, double: bool) -> Sizes:
    """The sizes of a tensor from what its parts' devices counted.

    Args:
        parts: [processes, numbers], as `device_sizes` gives them, on the host.
        coordinates: of the whole tensor.
        double: whether the moments are float64.
    """
    below, touched, filled, valid, sampled, _ = parts[:, :COUNTS].sum(0).tolist()
    middle = _from_bits(parts[:, COUNTS : COUNTS + ORDERED].contiguous(), double=double)
    sketches = _from_bits(parts[:, COUNTS + ORDERED :].contiguous(), double=double)
    samples: list[tuple[Tensor, float]] = []
    for row, (here, taken) in zip(sketches, parts[:, 3:5].tolist(), strict=True):
        if kept := min(taken, SKETCH):
            samples.append((row[:kept], here / kept))
    if len(parts) == 1 and sampled:
        left, right, low = middle[0].tolist()
        median = (left + right) / 2
    else:
        low, median = pooled(samples)
    step = int(parts[:, COUNTS - 1].max())
    return Sizes(
        coordinates=coordinates,
        below=below,
        vanished=touched - filled,
        untouched=coordinates - touched,
        non_finite=touched - valid,
        sampled=sampled,
        step=step,
        low=low,
        median=median,
        samples=tuple(samples),
    )


def pooled(parts: Sequence[tuple[Tensor, float]]) -> tuple[float, float]:
    """The 1 % point and the median of several samples, each entry of a sample with the sample's weight.

    Example:
        >>> pooled([(torch.tensor([1.0, 2.0]), 1.0), (torch.tensor([8.0]), 4.0)])
        (1.0, 8.0)
    """
    found = [(values.to(torch.float64), weight) for values, weight in parts if len(values)]
    if not found:
        return float("nan"), float("nan")
    values, order = torch.cat([values for values, _ in found]).sort()
    weights = torch.cat([torch.full_like(values, weight) for values, weight in found])[order]
    reached = weights.cumsum(0)
    share = reached / reached[-1]
    tiny = 1e-12  # of rounding in the sums
    places = torch.searchsorted(
        share, torch.tensor([float(BITES_FRACTION) - tiny, 0.5 - tiny, 0.5 + tiny], dtype=torch.float64)
    )
    low, left, right = values[places.clamp(max=len(values) - 1)].tolist()
    return low, (left + right) / 2
