"""An exact method for chains that shares nothing with the solver: dynamic programming over a lattice.

Everything is an integer in units of 1 / `unit`, and r_l is evaluated as the minimum that the paper's table says it is:
no inequalities, no linear program, no prices. Layer 0 is the embedding, the last one the readout. Legend: r the
exponent of a layer's change, t that of its update's entries (t = a + c for Adam, with the gradient's and the weights'
exponents added for SGD and Adafactor).

    r_0 = t          r_l = min(t - alpha, t + r_(l-1) - u, a + b + r_(l-1) - omega)          the readout: the same, >= 0

Why a lattice is enough: the least sum of c that lets a layer's input change by n^(-r) is a piecewise linear function of
r. It is built from the data by minima, sums, and steps of r by the data's constants, so its corners lie on the lattice
of the data's common denominator, and a piecewise linear function is least at a corner. SGD adds one outer variable, the
exponent G of the gradients that the readout sends back, which the same argument covers. A test repeats problems on a
finer lattice.

Source: Everett et al. 2024 (arXiv 2407.05872), the table of stability constraints, with its gradient exponent read as a
minimum; Muon as in `theory_search`; controlled logits as in arXiv 2505.22491.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

STILL = 10**6
"""The exponent r of an output that does not change."""
IMPOSSIBLE = np.iinfo(np.int64).max // 4
BASE = 1 << 12
"""Sums are the digits of one integer in this base, so that one minimum is lexicographic; digits stay below BASE / 2."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Chain:
    """A problem, layer by layer, in units of 1 / `unit`.

    Args:
        optimizer: sgd, adam, adafactor or muon.
        alpha, omega, u: the embedding's are not used.
        controlled: whether logits may grow.
        slack: the largest r of a layer below the readout; None for any.
        groups: layers whose rates are summed, the sums minimized one after another.
        ceiling: the largest c allowed to each layer; None for any.
    """

    unit: int
    optimizer: str
    a: tuple[int, ...]
    b: tuple[int, ...]
    alpha: tuple[int, ...]
    omega: tuple[int, ...]
    u: tuple[int, ...]
    frozen: tuple[bool, ...]
    controlled: bool = False
    slack: int | None = None
    groups: tuple[tuple[int, ...], ...] = ()
    ceiling: tuple[int | None, ...] = ()

    @property
    def readout(self) -> int:
        """The readout's index."""
        return len(self.a) - 1

    @property
    def takes_gradient(self) -> bool:
        """Whether some update scales with the gradient that the readout sends back."""
        return self.optimizer == "sgd" and not all(self.frozen[: self.readout])

    @property
    def limits_readout(self) -> bool:
        """Whether any condition limits the readout's rate."""
        if self.frozen[self.readout]:
            return False
        return not self.controlled or self.optimizer == "adafactor" or self.takes_gradient


@dataclass(frozen=True)
class Best:
    """The best sums of c in order, the least sum of r at them, the largest G at those (all in units)."""

    sums: tuple[int, ...]
    slack: int
    gradient: int | None


def size(chain: Chain, layer: int) -> int:
    """t without c, and for SGD without the readout's gradient exponent."""
    a, b = chain.a[layer], chain.b[layer]
    hidden = 0 < layer < chain.readout
    return {
        "sgd": 2 * a,
        "adam": a,
        "adafactor": a + b,
        "muon": a + (chain.unit // 2 if hidden else 0),
    }[chain.optimizer]


def met(chain: Chain, layer: int) -> tuple[int, int]:
    """alpha and u of a layer's update; Muon's orthogonal ones keep the size of whatever they meet."""
    if chain.optimizer == "muon" and 0 < layer < chain.readout:
        return chain.unit // 2, chain.unit // 2
    return chain.alpha[layer], chain.u[layer]


def forward(chain: Chain, c: Sequence[Fraction | None]) -> tuple[list[Fraction | None], Fraction]:
    """r of every layer and G at given rates (in units; None for a frozen layer), by the table's minima.

    None for an output that does not change. A readout without a rate is not evaluated.
    """
    last = chain.readout
    gradient = Fraction(chain.a[last] + chain.b[last])
    out_rate = c[last]
    if out_rate is not None:
        gradient = min(gradient, size(chain, last) + out_rate)
    r: list[Fraction | None] = []
    # Gradients scale with the larger of the readout's initial weights and its update; only SGD's rates follow them.
    for layer, rate in enumerate(c):
        before = r[-1] if r else None
        bounds: list[Fraction] = []
        if before is not None:
            bounds.append(chain.a[layer] + chain.b[layer] + before - chain.omega[layer])
        if rate is not None:
            alpha, u = (0, 0) if layer == 0 else met(chain, layer)
            t = size(chain, layer) + rate
            if chain.optimizer == "sgd" and layer < last:
                t += gradient
            bounds.append(t - alpha)
            if before is not None:
                bounds.append(t + before - u)
        r.append(min(bounds) if bounds else None)
    return r, gradient


def is_stable(chain: Chain, c: Sequence[Fraction | None]) -> bool:
    """Whether rates keep every feature, the logits (unless controlled) and Adafactor's weights at their size."""
    if chain.optimizer == "adafactor" and any(rate is not None and rate < 0 for rate in c):
        return False
    r, _ = forward(chain, c)
    features = r[: chain.readout]
    if chain.slack is not None and any(x is None or x > chain.slack for x in features):
        return False
    asked = features if chain.controlled else r
    return all(x is None or x >= 0 for x in asked)


def best(chain: Chain) -> Best | None:
    """The best rates' sums; None if no rates are stable."""
    last = chain.readout
    initial = chain.a[last] + chain.b[last]
    if not chain.takes_gradient:
        found = _best_at(chain, None)
    else:
        lowest = -chain.unit if chain.controlled else 0
        gradients = [initial] if chain.frozen[last] else range(lowest, initial + 1)
        found = min(_best_at(chain, gradient) for gradient in gradients)
    if found >= IMPOSSIBLE // 2:
        return None
    digits: list[int] = []
    for _ in range(len(_groups(chain)) + 2):
        digit = (found + BASE // 2) % BASE - BASE // 2
        found = (found - digit) // BASE
        digits.append(digit)
    assert found == 0
    assert max(map(abs, digits)) < BASE // 4, "a digit may have overflowed"
    gradient, slack, *sums = digits
    return Best(tuple(reversed(sums)), slack, -gradient if chain.takes_gradient else None)


def _groups(chain: Chain) -> tuple[tuple[int, ...], ...]:
    return chain.groups or (tuple(range(len(chain.a))),)


def _weight(chain: Chain, layer: int) -> int:
    """What a unit of a layer's c costs: the digit of its group; r has digit 1, minus G digit 0."""
    groups = _groups(chain)
    (place,) = [k for k, group in enumerate(groups) if layer in group]
    return BASE ** (len(groups) - place + 1)


def _best_at(chain: Chain, gradient: int | None) -> int:
    """The least cost, as digits, with gradients of one exponent; above IMPOSSIBLE / 2 if there is none."""
    amplified = sum(max(0, w - x - y) for w, x, y in zip(chain.omega, chain.a, chain.b, strict=True))
    largest = amplified + 3 * chain.unit
    r = np.append(np.arange(largest + 1), STILL)
    cost = np.full(len(r), IMPOSSIBLE)
    cost[-1] = 0  # what the embedding reads is data: it does not change
    for layer in range(chain.readout):
        cost = _through(chain, layer, r, cost, gradient)
        assert cost[-2] >= IMPOSSIBLE or cost[-2] > cost[:-2].min(), (
            "the lattice's edge may cut off the best rates"
        )
    end = cost + _readout_cost(chain, r, gradient)
    return int(end.min()) - (gradient or 0)


def _through(chain: Chain, layer: int, r: Integers, cost: Integers, gradient: int | None) -> Integers:
    """The least cost of every r after a layer from that before it."""
    before = r[:, None]
    initial = np.where(before == STILL, STILL, chain.a[layer] + chain.b[layer] + before - chain.omega[layer])
    if chain.frozen[layer]:
        after, paid = initial, cost[:, None]
    else:
        alpha, u = (0, 0) if layer == 0 else met(chain, layer)
        t = np.arange(r[-2] + max(alpha, u) + 1)[None, :]
        c = t - size(chain, layer) - (gradient or 0)
        after = np.minimum(np.minimum(t - alpha, np.where(before == STILL, STILL, t + before - u)), initial)
        paid = np.where(_allowed(chain, layer, c), cost[:, None] + _weight(chain, layer) * c, IMPOSSIBLE)
    kept = (after >= 0) & ((after <= r[-2]) | (after == STILL)) & (cost[:, None] < IMPOSSIBLE)
    if chain.slack is not None:
        kept &= after <= chain.slack
    kept = kept & (paid < IMPOSSIBLE)
    after, paid = np.broadcast_to(after, kept.shape)[kept], np.broadcast_to(paid, kept.shape)[kept]
    places = np.where(after == STILL, len(r) - 1, after)
    found = np.full(len(r), IMPOSSIBLE)
    np.minimum.at(found, places, paid + BASE * np.where(after == STILL, 0, after))
    return found


def _readout_cost(chain: Chain, r: Integers, gradient: int | None) -> Integers:
    """The least cost of the readout's rate for every r that it reads."""
    last = chain.readout
    initial = chain.a[last] + chain.b[last]
    before = r[:, None]
    stays = (before == STILL) | (initial + before - chain.omega[last] >= 0) | chain.controlled
    if not chain.limits_readout:
        return np.where(stays[:, 0], 0, IMPOSSIBLE)
    t = np.arange(-2 * chain.unit, 6 * chain.unit)[None, :]
    c = t - size(chain, last)
    allowed = _allowed(chain, last, c) & stays
    if not chain.controlled:
        alpha, u = chain.alpha[last], chain.u[last]
        allowed &= (t >= alpha) & ((before == STILL) | (t + before - u >= 0))
    if gradient is not None:
        allowed &= np.minimum(initial, t) == gradient
    return np.where(allowed, _weight(chain, last) * c, IMPOSSIBLE).min(axis=1)


def _allowed(chain: Chain, layer: int, c: Integers) -> NDArray[np.bool_]:
    allowed = c >= 0 if chain.optimizer == "adafactor" else np.full(c.shape, True)
    ceiling = chain.ceiling[layer] if chain.ceiling else None
    return allowed if ceiling is None else allowed & (c <= ceiling)
