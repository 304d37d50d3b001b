"""Invented studies whose best rates and losses obey stated laws, for tests of claims, metrics and tables."""

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from widthwise.analysis import ArmLabel, Evidence, Observation, fit_table

WIDTHS = (128, 256, 512, 1024)
RATES = tuple(2.0**k for k in range(-16, 1))


@dataclass(frozen=True)
class Law:
    """How one prescription behaves.

    Args:
        exponent: of the best rate, which is 2^-8 at the smallest width.
        floor: the loss at infinite width, above which the smallest width has 1.
        alpha: how the rest falls.
        curvature: of the loss in log2 of the rate, at the smallest width, and its exponent.
        edge: octaves above the best rate from which on runs diverge.
        noise: of one seed, common to its rates, and a hundredth of it at each rate.
        bump: added to the loss by width.
    """

    exponent: float = 0.0
    floor: float = 2.0
    alpha: float = 0.5
    curvature: float = 0.04
    curvature_exponent: float = 0.0
    edge: float = 99.0
    noise: float = 1e-3
    bump: Mapping[int, float] | None = None


def runs(
    name: str, law: Law, *, widths: Iterable[int] = WIDTHS, seeds: int = 3, rates: Iterable[float] = RATES
) -> list[Observation]:
    found: list[Observation] = []
    for width in widths:
        ratio = math.log2(width / WIDTHS[0])
        best = -8 + law.exponent * ratio
        least = law.floor + 2 ** (-law.alpha * ratio) + (law.bump or {}).get(width, 0.0)
        curvature = law.curvature * 2 ** (law.curvature_exponent * ratio)
        for seed in range(seeds):
            rng = random.Random(f"{name}/{width}/{seed}")
            shift = law.noise * rng.gauss(0, 1)
            for rate in rates:
                u = math.log2(rate) - best
                jitter = law.noise / 100 * rng.gauss(0, 1)
                loss = None if u >= law.edge else least + curvature / 2 * u**2 + shift + jitter
                found.append(Observation(name, width, rate, seed, loss))
    return found


def evidence(laws: Mapping[ArmLabel, Law], *, seeds: int = 3) -> Evidence:
    names = {label: f"arm {k}" for k, label in enumerate(laws)}
    observations = [o for label, law in laws.items() for o in runs(names[label], law, seeds=seeds)]
    return Evidence(fit_table(observations), {name: label for label, name in names.items()})
