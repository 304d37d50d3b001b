"""The paper's stability conditions, written down once more, and an exhaustive search over them.

Nothing of the solver is used here. Exponents are integers in units of 1/4, so that the search is exact and fast.
Legend: a, b, c per layer (embedding, hidden ..., readout); alpha, omega, u the alignment; r_l >= 0 says that layer
l's change stays bounded; g_l is the gradient's exponent.

Source: Everett et al. 2024 (arXiv 2407.05872), the table of stability constraints. Its gradient exponent for SGD is
read as a minimum: the gradient scales with the larger of the initial readout and the readout's update. Muon is not the
paper's: hidden matrices move by orthogonal updates, whose n x n entries have size n^(-1/2); Adam does the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

UNIT = 4
HALF = UNIT // 2
LARGEST = 2 * UNIT


@dataclass(frozen=True)
class Case:
    """One network: (a, b) of every layer, an optimizer's name and the three alignment exponents, in units of 1/4."""

    a: tuple[int, ...]
    b: tuple[int, ...]
    optimizer: str
    alpha: int
    omega: int
    u: int


def units(value: Fraction) -> int:
    scaled = value * UNIT
    assert scaled.denominator == 1, f"{value} is not a multiple of 1/{UNIT}"
    return int(scaled)


def fractions(rates: tuple[int, ...]) -> tuple[Fraction, ...]:
    return tuple(Fraction(rate, UNIT) for rate in rates)


def residuals(case: Case, c: tuple[int, ...]) -> list[int]:
    """r of every layer: stable when none is negative."""
    a, b, readout = case.a, case.b, len(c) - 1
    gradient = min(a[readout] + b[readout], 2 * a[readout] + c[readout])
    # SGD: g_l = gradient + a_l, so that g_l + a_l + c_l = gradient + 2 a_l + c_l.
    first = {"sgd": gradient + 2 * a[0] + c[0], "adam": a[0] + c[0], "muon": a[0] + c[0], "adafactor": c[0]}
    r = [first[case.optimizer]]
    for layer in range(1, readout):
        update = {
            "sgd": gradient + 2 * a[layer] + c[layer],
            "adam": a[layer] + c[layer],
            "adafactor": HALF + c[layer],
            "muon": HALF + a[layer] + c[layer],
        }[case.optimizer]
        # An orthogonal update keeps the size of what it meets: sqrt(n) from n products of entries n^(-1/2).
        alpha, u = (HALF, HALF) if case.optimizer == "muon" else (case.alpha, case.u)
        r.append(min(update - alpha, update + r[-1] - u, HALF + r[-1] - case.omega))
    update = {
        "sgd": 2 * a[readout] + c[readout],
        "adam": a[readout] + c[readout],
        "muon": a[readout] + c[readout],
        "adafactor": a[readout] + b[readout] + c[readout],
    }[case.optimizer]
    initial = a[readout] + b[readout] + r[-1] - case.omega
    r.append(min(initial, update - case.alpha, update + r[-1] - case.u))
    return r


def is_stable(case: Case, c: tuple[int, ...]) -> bool:
    """Whether every layer stays bounded, and, for Adafactor, no update outgrows the weights that set its size."""
    if case.optimizer == "adafactor" and min(c) < 0:
        return False
    return min(residuals(case, c)) >= 0


def is_maximal(case: Case, c: tuple[int, ...]) -> bool:
    """Whether no layer's rate can grow, whatever the others do.

    Trying one layer at a time is enough: raising any c never makes a stable point unstable.
    """
    lowered = (tuple(rate - (k == layer) for k, rate in enumerate(c)) for layer in range(len(c)))
    return is_stable(case, c) and not any(is_stable(case, other) for other in lowered)


def stable_points(case: Case, step: int) -> Iterator[tuple[int, ...]]:
    lattice = range(-LARGEST, LARGEST + 1, step)
    return (c for c in product(lattice, repeat=len(case.a)) if is_stable(case, c))


def largest_rates(case: Case, step: int) -> list[tuple[int, ...]]:
    """All stable points of the smallest sum of c; among those, the ones whose features move most (smallest r)."""
    points = list(stable_points(case, step))
    least = min(map(sum, points))
    best = [c for c in points if sum(c) == least]
    slack = min(sum(residuals(case, c)) for c in best)
    return [c for c in best if sum(residuals(case, c)) == slack]
