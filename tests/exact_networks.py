"""Every point of a lattice of rates, for any small network: what is stable, what is best, what cannot be improved.

The network's equations are evaluated forward as minima, over all points at once. Products are evaluated as products:
d(x y) = dx y + x dy + dx dy ~ n^(-min(r_x, r_y, r_x + r_y)). Nothing is shared with the solver or with `exact_rates`
but the table's formulas. The lattice is of t, the exponent of every update's entries: t >= 0 is needed wherever
alpha >= 0, so the box has no lower edge to miss (controlled logits apart), and the best point must not touch the upper
one. That a lattice of the data's denominator is enough is argued in `exact_rates`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from theory_problems import SCALES_AS, Problem
from widthwise.theory import Join, Layer, Logits, Role

STILL = 10**6
"""The exponent r of an output that does not change."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Lattice:
    """All points t in {0, ..., top}^k of a problem's k trained layers, in its units.

    Args:
        products: names of the joins that multiply.
    """

    problem: Problem
    top: int
    products: frozenset[str] = frozenset()

    @cached_property
    def trained(self) -> tuple[Layer, ...]:
        """The layers that have a rate."""
        return tuple(layer for layer in self.problem.network.layers if not layer.frozen)

    @cached_property
    def t(self) -> dict[str, Integers]:
        """Trained layer -> the exponent of its update's entries at every point."""
        axes = np.indices((self.top + 1,) * len(self.trained)).reshape(len(self.trained), -1)
        return {layer.name: axis for layer, axis in zip(self.trained, axes, strict=True)}

    def _exponents(self, layer: Layer) -> tuple[int, int]:
        found = self.problem.parameterization[layer.role]
        return self.problem.units(found.a), self.problem.units(found.b)

    @cached_property
    def gradients(self) -> dict[str, Integers]:
        """Readout -> the exponent of what it sends back: the larger of its initial weights and its update."""
        readouts = [layer for layer in self.problem.network.layers if layer.role is Role.READOUT]
        never = np.full_like(next(iter(self.t.values())), STILL)
        return {
            layer.name: np.minimum(sum(self._exponents(layer)), self.t.get(layer.name, never))
            for layer in readouts
        }

    def gradient(self, layer: str) -> Integers:
        """The exponent of gradients at a layer's output: of all readouts behind it, the largest gradient counts."""
        reached = {layer}
        for node in self.problem.network.order:
            if not reached.isdisjoint(node.inputs):
                reached.add(node.name)
        return np.minimum.reduce([sent for name, sent in self.gradients.items() if name in reached])

    @cached_property
    def c(self) -> Integers:
        """Rates of the trained layers, points x layers."""
        return np.stack([self.t[layer.name] - self._size(layer) for layer in self.trained], axis=1)

    def _size(self, layer: Layer) -> int | Integers:
        a, b = self._exponents(layer)
        match SCALES_AS[self.problem.optimizer.name]:
            case "sgd" if layer.role is Role.READOUT:
                return 2 * a
            case "sgd":
                return 2 * a + self.gradient(layer.name)
            case "adafactor":
                return a + b
            case "muon" if layer.role is Role.HIDDEN:
                return a + self.problem.unit // 2
            case _:
                return a

    @cached_property
    def r(self) -> dict[str, Integers]:
        """Node -> the exponent of its change at every point."""
        r: dict[str, Integers] = {}
        still = np.full(len(self.c), STILL)
        for node in self.problem.network.order:
            read = [r[name] for name in node.inputs]
            if isinstance(node, Join):
                product = [np.minimum(sum(read), STILL)] if node.name in self.products else []
                r[node.name] = np.minimum.reduce([*read, *product])
                continue
            one = self.problem.aligned(node)
            alpha, omega, u = (self.problem.units(x) for x in (one.alpha, one.omega, one.u))
            if SCALES_AS[self.problem.optimizer.name] == "muon" and node.role is Role.HIDDEN:
                alpha = u = self.problem.unit // 2
            bounds = [still]
            # Inputs of a matrix are added up before it meets them: of several, the largest change counts.
            if read:
                before = np.minimum.reduce(read)
                moves = before < STILL
                bounds.append(np.where(moves, sum(self._exponents(node)) + before - omega, STILL))
                if not node.frozen:
                    bounds.append(np.where(moves, self.t[node.name] + before - u, STILL))
            if not node.frozen:
                bounds.append(self.t[node.name] - alpha)
            r[node.name] = np.minimum.reduce(bounds)
        return r

    @cached_property
    def features(self) -> Integers:
        """r of every layer but the readouts, points x layers."""
        layers = (layer for layer in self.problem.network.layers if layer.role is not Role.READOUT)
        return np.stack([self.r[layer.name] for layer in layers], axis=1)

    @cached_property
    def stable(self) -> NDArray[np.bool_]:
        """Whether every condition holds, at every point."""
        asked = [self.features.min(axis=1) >= 0]
        for layer in self.problem.network.layers:
            if layer.role is Role.READOUT and self.problem.logits is Logits.BOUNDED:
                asked.append(self.r[layer.name] >= 0)
        if SCALES_AS[self.problem.optimizer.name] == "adafactor":
            asked.append(self.c.min(axis=1) >= 0)
        if self.problem.slack is not None:
            asked.append(self.features.max(axis=1) <= self.problem.units(self.problem.slack))
        return np.logical_and.reduce(asked)

    def best(self) -> tuple[tuple[int, ...], int, Integers] | None:
        """The least sums of c in the preferred order, the least sum of r at them, and the rates of all such points."""
        if not self.stable.any():
            return None
        chosen = self.stable
        sums: list[int] = []
        for group in self.problem.groups():
            names = {self.problem.network.layers[k].name for k in group}
            summed = self.c[:, [layer.name in names for layer in self.trained]].sum(axis=1)
            sums.append(int(summed[chosen].min()))
            chosen = chosen & (summed == sums[-1])
        slack = np.where(self.features < STILL, self.features, 0).sum(axis=1)
        least = int(slack[chosen].min())
        chosen &= slack == least
        assert max(int(t[chosen].max()) for t in self.t.values()) < self.top, "the box cuts the search off"
        return tuple(sums), least, self.c[chosen]

    def cheapest(self) -> Integers:
        """The rates of every point with the least sum of c, before ties are broken."""
        total = np.where(self.stable, self.c.sum(axis=1), STILL)
        return self.c[total == total.min()]

    def maximal(self) -> Iterator[tuple[Fraction, ...]]:
        """The rates (not in units) that no other stable rates match everywhere and exceed somewhere."""
        points = {tuple(int(x) for x in c) for c in self.c[self.stable]}
        for c in sorted(points):
            # Raising any c keeps a point stable, so that trying one layer at a time is enough.
            lower = ((*c[:k], c[k] - 1, *c[k + 1 :]) for k in range(len(c)))
            if not any(point in points for point in lower):
                yield tuple(Fraction(x, self.problem.unit) for x in c)
