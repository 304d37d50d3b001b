"""Simulated studies with known optima, for the tests of the analysis and its benchmark."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from widthwise.analysis import Observation

Curve = Callable[[np.ndarray], np.ndarray]


def quadratic(curvature: float = 0.04) -> Curve:
    """Loss above the minimum, u octaves from it: curvature u^2 / 2."""
    return lambda u: curvature / 2 * u**2


def steep_above(curvature: float = 0.04, asymmetry: float = 1.0) -> Curve:
    """curvature (e^(k u) - k u - 1) / k^2: grows exponentially above the best rate and linearly below."""
    return lambda u: curvature * (np.exp(asymmetry * u) - asymmetry * u - 1) / asymmetry**2


def flat_below(curvature: float = 0.04, asymmetry: float = 0.7, plateau: float = 0.1) -> Curve:
    """As `steep_above`, but levels off to a plateau below the best rate."""
    steep = steep_above(curvature, asymmetry)
    return lambda u: np.where(u > 0, steep(u), curvature / 2 * u**2 / (1 + plateau * u**2))


def kinked(below: float = 0.04, above: float = 0.16) -> Curve:
    """Two parabolas with one vertex: the curvature itself jumps at the best rate."""
    return lambda u: np.where(u < 0, below, above) / 2 * u**2


@dataclass(frozen=True)
class Design:
    """Widths 128, 256, ...; seeds; prescriptions that share the base cell; rates a factor of 2 apart.

    `noise` is each point's, `shift` a seed's common shift of the loss and `tilt` its slope per octave.
    """

    widths: int = 3
    seeds: int = 2
    prescriptions: int = 3
    rates: int = 9
    noise: float = 0.002
    shift: float = 0.0
    tilt: float = 0.0

    def tilted(self) -> "Design":
        """Most of the noise common to all rates of a seed."""
        return replace(self, noise=0.3 * self.noise, shift=2.5 * self.noise, tilt=self.noise / 3)


@dataclass(frozen=True)
class Study:
    """Runs, and the true exponent of each prescription."""

    observations: tuple[Observation, ...]
    exponents: tuple[float, ...]


def simulate(rng: np.random.Generator, curve: Curve, design: Design) -> Study:
    """One study; where the optima lie between two grid points is random.

    The largest width's optimum stays within 3 octaves of the grid's middle whatever the number of widths.
    """
    x_R = np.arange(design.rates) - 13.0
    middle = -13.0 + (design.rates - 1) / 2
    start = middle + rng.uniform(-0.5, 0.5)
    bound = min(0.8, 2.4 / (design.widths - 1))
    exponents = rng.uniform(-bound, bound / 2, design.prescriptions)

    def losses(best: float) -> np.ndarray:
        shape = (design.seeds, design.rates)
        noise_SxR = design.noise * rng.standard_normal(shape) + design.shift * rng.standard_normal(
            (shape[0], 1)
        )
        tilt_S = design.tilt * rng.standard_normal((shape[0], 1))
        return 2.0 + curve(x_R - best) + noise_SxR + tilt_S * (x_R - best)

    base = losses(start)
    observations: list[Observation] = []
    for p, exponent in enumerate(exponents):
        for w in range(design.widths):
            loss_SxR = base if w == 0 else losses(start + exponent * w)
            owner = "base" if w == 0 else f"{p}-{w}"
            observations += [
                Observation(f"p{p}", 128 * 2**w, 2.0 ** x_R[r], s, float(loss_SxR[s, r]), f"{owner}-{s}-{r}")
                for s in range(design.seeds)
                for r in range(design.rates)
            ]
    return Study(tuple(observations), tuple(float(e) for e in exponents))
