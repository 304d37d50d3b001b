"""The slope over ln(width) of numbers that were measured in several runs a width and in one or several layers.

With y_lks the number of layer l at width k in run s, ybar_ks its mean over the L layers, ybar_k that over the S_k runs,
and w the least-squares weights of the slope on ln(width):

    slope     sum_k w_k ybar_k
    seeds     s^2 = sigma^2 sum_k w_k^2 / S_k,   sigma^2 = sum_ks (ybar_ks - ybar_k)^2 / nu,   nu = sum_k (S_k - 1)
    widths    b^2 = tau^2 sum_k w_k^2,           tau^2 the scatter of ybar_k about the line, less what sigma explains
    layers    d^2 = variance of the layers' own slopes / L                                     L - 1 degrees of freedom

tau^2 = max(0, sum_k (ybar_k - line_k)^2 - sigma^2 sum_k (1 - h_k) / S_k) / (K - 2), h the leverages. Half the interval
is sqrt((t_nu s)^2 + (t_(K-2) b)^2 + (t_(L-1) d)^2): each part with the Student t of its own degrees of freedom.

At 95 %, with Gaussian noise, it covers the slope in 95 to 99 % of simulated tables where the seeds are all the noise,
in 91 to 98 % where the widths scatter about the line as well and there are four or more, and in 87 to 98 % with three
widths: one degree of freedom cannot tell a curve from noise. With one seed a width it covers 95 % exactly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from widthwise.analysis.cell import Floats
from widthwise.analysis.exponent import slope_weights
from widthwise.analysis.noise import student_quantile

LEVEL = 0.95
LEAST_WIDTHS = 3


@dataclass(frozen=True)
class SlopeErrors:
    """Standard errors of a slope: by the seeds, by the widths' scatter about the line, by the layers."""

    seeds: float
    widths: float
    layers: float


@dataclass(frozen=True)
class WidthSlope:
    """A slope on ln(width), with its interval and what that is made of."""

    estimate: float
    low: float
    high: float
    errors: SlopeErrors


def width_slope(
    widths: Sequence[int], values: Sequence[Sequence[Sequence[float]]], *, level: float = LEVEL
) -> WidthSlope:
    """The slope of finite values on ln(width).

    Args:
        widths: all different, three or more.
        values: [layers, widths, runs]; the runs of a width may be fewer than those of another.
        level: of the interval.

    Example:
        >>> found = width_slope((64, 128, 256), [[[6 * math.log(2)], [7 * math.log(2)], [8 * math.log(2)]]])
        >>> round(found.estimate, 9)
        1.0
    """
    weights_K = slope_weights(tuple(widths)) / math.log(2)  # those are on log2(width)
    runs_K = np.array([len(held) for held in values[0]], dtype=np.float64)
    layers_LxK = np.array([[math.fsum(held) / len(held) for held in layer] for layer in values])
    mean_K = layers_LxK.mean(0)
    estimate = float(weights_K @ mean_K)
    seeds, seeds_freedom = _between_runs(values)
    variances = (
        seeds * float((weights_K**2 / runs_K).sum()),
        _about_the_line(widths, mean_K, seeds / runs_K) * float(weights_K @ weights_K),
        float(np.var(layers_LxK @ weights_K, ddof=1)) / len(values) if len(values) > 1 else 0.0,
    )
    freedoms = (seeds_freedom, len(widths) - 2, len(values) - 1)
    half = math.sqrt(
        math.fsum(
            student_quantile(level, nu) ** 2 * variance
            for variance, nu in zip(variances, freedoms, strict=True)
            if variance
        )
    )
    return WidthSlope(estimate, estimate - half, estimate + half, SlopeErrors(*map(math.sqrt, variances)))


def _between_runs(values: Sequence[Sequence[Sequence[float]]]) -> tuple[float, int]:
    """sigma^2 of one run's mean over layers, and its degrees of freedom; 0 and 0 with one run a width."""
    squares, freedom = 0.0, 0
    for runs in zip(*values, strict=True):
        mean_S = np.array(runs, dtype=np.float64).mean(0)
        squares += float(((mean_S - mean_S.mean()) ** 2).sum())
        freedom += len(mean_S) - 1
    return (squares / freedom if freedom else 0.0), freedom


def _about_the_line(widths: Sequence[int], mean_K: Floats, explained_K: Floats) -> float:
    """tau^2: the widths' scatter about their line, less what the seeds explain of it."""
    x_K = np.log(np.array(widths, dtype=np.float64))
    design_Kx2 = np.stack([np.ones_like(x_K), x_K - x_K.mean()], axis=1)
    solution = np.linalg.lstsq(design_Kx2, mean_K, rcond=None)[0]
    residual_K = mean_K - design_Kx2 @ solution
    leverage_K = 1 / len(widths) + design_Kx2[:, 1] ** 2 / (design_Kx2[:, 1] @ design_Kx2[:, 1])
    left = float(residual_K @ residual_K) - float(((1 - leverage_K) * explained_K).sum())
    return max(0.0, left) / (len(widths) - 2)
