"""The noise of differences of losses between prescriptions that share their seeds: of every pair, at every width.

What seed s has more than the mean difference of the pair p of prescriptions at width w, d_pws, has the variance

    sigma_pw^2 = rho_p v_w

v says how much seeds differ at a width, as all pairs of a table have it; rho how little the runs of two prescriptions
are alike, which ranges over orders of magnitude: two epsilons may be all but one run. With Q_pw = sum_s d_pws^2 and its
degrees of freedom nu_pw = S_pw - 1, maximum likelihood (a gamma model with a logarithmic link) gives

    rho_p = sum_w Q_pw / v_w / N_p,    v_w = sum_p Q_pw / rho_p / sum_p nu_pw,    N_p = sum_w nu_pw

over the pairs with scatter at two widths. A weighted sum of a pair's differences, each the mean of seeds with the
factor f (`optimum_loss`), has the variance s^2 and, by how it answers to errors of rho and of v, so many degrees of
freedom nu:

    s^2 = rho_p sum_w c_w^2 f_w v_w,     1 / nu = 1 / N_p + sum_w (a_w - nu_pw / N_p)^2 / M_w

a_w is width w's share of s^2, M_w = (K_w - 1)(S_w - 1) with K_w distinct runs: v's own degrees of freedom, fewer than
the pairs', which hang together. Of two prescriptions alone this is Welch's and Satterthwaite's each-width-its-own
variance, and with many it comes near a variance that is known but for one factor.

Where no pair has two seeds, v is the largest of the others'. A pair without two common seeds anywhere has twice the
variance of a single seed's loss, pooled over the cells of the width, and so has a width without any common seed.

Why not a pair's variance pooled over widths, each width's own, or one pooled over pairs: `benchmarks/differences.py`,
with the coverage of each under `benchmarks/results/differences.json`.

Source: Welch, The generalization of Student's problem when several different population variances are involved,
Biometrika 34 (1947); Satterthwaite, Biometrics 2 (1946).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from widthwise.analysis.cell import Floats
from widthwise.analysis.noise import Noise, pool_noise, summed
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.optimum_loss import LossDifference, OptimumLoss, Pair

ROUNDS = 500
CLOSE = 1e-10
"""The relative change of v at which the rounds of both equations end."""


@dataclass(frozen=True)
class WidthNoise:
    """How much seeds differ at a width.

    Args:
        variance: v, up to a factor that all widths have in common.
        freedom: M; infinite where v is not measured.
    """

    variance: float
    freedom: float


@dataclass(frozen=True)
class DifferenceNoise:
    """What all pairs of a table have in common.

    Args:
        widths: v of every width.
        cells: the noise of a single seed's loss at a width, pooled over its cells, or over all; None if unknown.
    """

    widths: Mapping[int, WidthNoise]
    cells: Mapping[int, Noise | None]

    def variance(
        self, compared: Mapping[int, LossDifference], weights: Mapping[int, float]
    ) -> tuple[float, float] | None:
        """s^2 and nu of the sum over widths of weight times difference of one pair; None if the noise is unknown.

        Args:
            compared: the pair at each width; it may be another than those that v is of.
            weights: c, by width.
        """
        live = {w: one for w, one in compared.items() if one.freedom and self.widths[w].variance > 0}
        total = sum(one.freedom for one in live.values())
        paired = {w: one for w, one in compared.items() if one.paired and (total or one.freedom)}
        parts = [self._own(paired, live, weights)] if paired else []
        for width, one in compared.items():
            if width not in paired and one.factor:
                noise = self.cells[width]
                if noise is None:
                    return None
                variance = weights[width] ** 2 * one.factor * 2 * noise.level**2
                parts.append((variance, float(noise.degrees_of_freedom)))
        return summed(parts)

    def _own(
        self,
        paired: Mapping[int, LossDifference],
        live: Mapping[int, LossDifference],
        weights: Mapping[int, float],
    ) -> tuple[float, float]:
        """s^2 and nu of the widths with common seeds."""
        total = sum(one.freedom for one in live.values())
        if not total:
            return 0.0, math.inf
        rho = math.fsum(one.squares / self.widths[w].variance for w, one in live.items()) / total
        parts = {w: weights[w] ** 2 * one.factor * rho * self.widths[w].variance for w, one in paired.items()}
        variance = math.fsum(parts.values())
        if variance == 0:
            return 0.0, math.inf
        unsure = math.fsum(
            (part / variance - (live[w].freedom / total if w in live else 0.0)) ** 2 / self.widths[w].freedom
            for w, part in parts.items()
        )
        return variance, 1 / (1 / total + unsure)


def difference_noise(prescriptions: Iterable[Sequence[CellFit]]) -> DifferenceNoise:
    """Fit v to all pairs of prescriptions.

    Args:
        prescriptions: the cells of each, of runs whose seeds may be compared.
    """
    cells = [tuple(fits) for fits in prescriptions]
    widths = sorted({fit.cell.width for fits in cells for fit in fits})
    compared = [
        {width: (pair, pair[0].less(pair[1])) for width, pair in _common(first, second).items()}
        for first, second in combinations(map(_optima, cells), 2)
    ]
    told = [
        pair
        for pair in compared
        if sum(one.freedom > 0 for _, one in pair.values()) > 1
        and any(one.squares for _, one in pair.values())
    ]
    known: dict[int, WidthNoise] = {}
    if told:
        freedom_PxW = np.array([[float(p[w][1].freedom) if w in p else 0.0 for w in widths] for p in told])
        squares_PxW = np.array([[p[w][1].squares if w in p else 0.0 for w in widths] for p in told])
        for width, variance, freedom_P in zip(
            widths, relative_variances(squares_PxW, freedom_PxW), freedom_PxW.T, strict=True
        ):
            runs = {
                cell.local.identity
                for pair in told
                if width in pair and pair[width][1].freedom
                for cell in pair[width][0]
            }
            if runs:
                mean = float(freedom_P[freedom_P > 0].mean())
                known[width] = WidthNoise(float(variance), (len(runs) - 1) * mean)
    most = max((one.variance for one in known.values()), default=1.0)
    every = [fit for fits in cells for fit in fits]
    whole = pool_noise(every)
    return DifferenceNoise(
        {width: known.get(width, WidthNoise(most, math.inf)) for width in widths},
        {width: pool_noise(f for f in every if f.cell.width == width) or whole for width in widths},
    )


def relative_variances(squares_PxW: Floats, freedom_PxW: Floats) -> Floats:
    """v [W], the largest 1, from sums of squares Q and degrees of freedom nu [P, W]; 0 where nothing scatters.

    Example:
        >>> relative_variances(np.array([[8.0, 2.0], [80.0, 20.0]]), np.full((2, 2), 2.0)).round(9).tolist()
        [1.0, 0.25]
    """
    live_W = squares_PxW.sum(0) > 0
    squares_PxL, freedom_PxL = squares_PxW[:, live_W], freedom_PxW[:, live_W]
    scatter_P = squares_PxL.sum(1) > 0
    squares_PxL, freedom_PxL = squares_PxL[scatter_P], freedom_PxL[scatter_P]
    v_L, v_W = np.ones(squares_PxL.shape[1]), np.zeros(len(live_W))
    for _ in range(ROUNDS if v_L.size else 0):
        rho_Px1 = (squares_PxL / v_L).sum(1, keepdims=True) / freedom_PxL.sum(1, keepdims=True)
        new_L = (squares_PxL / rho_Px1).sum(0) / freedom_PxL.sum(0)
        new_L = np.maximum(new_L / new_L.max(), np.finfo(float).tiny)
        done = bool(np.all(np.abs(new_L - v_L) <= CLOSE * v_L))
        v_L = new_L
        if done:
            break
    v_W[live_W] = v_L
    return v_W


def common_cells(first: Sequence[CellFit], second: Sequence[CellFit]) -> dict[int, Pair]:
    """The widths at which both prescriptions have an optimum, ascending, with both cells."""
    return _common(_optima(first), _optima(second))


def _optima(fits: Sequence[CellFit]) -> dict[int, OptimumLoss]:
    return {fit.cell.width: OptimumLoss(fit, fit.local) for fit in fits if fit.local is not None}


def _common(first: Mapping[int, OptimumLoss], second: Mapping[int, OptimumLoss]) -> dict[int, Pair]:
    return {width: (one, second[width]) for width, one in first.items() if width in second}
