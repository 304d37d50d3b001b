"""Random problems for the solver, each with the chain that the exact method sees."""

import random
from dataclasses import dataclass, replace
from fractions import Fraction

from exact_rates import Chain
from widthwise.theory import (
    OPTIMIZER_RULES,
    PARETO_OVER_FULL,
    SMALLEST_TOTAL,
    Alignment,
    AnyAlignment,
    InitExponents,
    Layer,
    Lexicographic,
    Logits,
    Network,
    OptimizerRule,
    Parameterization,
    PerLayerAlignment,
    Preference,
    Role,
    Solution,
    chain,
    solve,
)

SCALES_AS = {
    "sgd": "sgd",
    "adam": "adam",
    "adam-atan2": "adam",
    "rmsprop": "adam",
    "lion": "adam",
    "adafactor": "adafactor",
    "adam-ps": "adafactor",
    "muon": "muon",
}
"""Every optimizer's name -> the one that the exact method knows it by."""
ROLES = (Role.EMBEDDING, Role.HIDDEN, Role.READOUT)


@dataclass(frozen=True)
class Problem:
    """What `solve` takes."""

    unit: int
    parameterization: Parameterization
    optimizer: OptimizerRule
    alignment: AnyAlignment
    network: Network
    logits: Logits = Logits.BOUNDED
    prefer: Preference = SMALLEST_TOTAL
    slack: Fraction | None = None

    def solve(self) -> Solution:
        """The solver's answer."""
        return solve(
            self.parameterization,
            self.optimizer,
            self.alignment,
            network=self.network,
            logits=self.logits,
            prefer=self.prefer,
            slack=self.slack,
        )

    def units(self, value: Fraction) -> int:
        """A value that lies on the lattice, in its units."""
        scaled = value * self.unit
        assert scaled.denominator == 1, f"{value} is not a multiple of 1/{self.unit}"
        return int(scaled)

    def chain(self, ceiling: Solution | None = None) -> Chain:
        """The same problem for the exact method; no rate falls below the ceiling's."""
        layers = self.network.layers
        exponents = [self.parameterization[layer.role] for layer in layers]
        aligned = [self.aligned(layer) for layer in layers]
        top = [] if ceiling is None else [ceiling[layer.name].c for layer in layers]
        return Chain(
            unit=self.unit,
            optimizer=SCALES_AS[self.optimizer.name],
            a=tuple(self.units(found.a) for found in exponents),
            b=tuple(self.units(found.b) for found in exponents),
            alpha=tuple(self.units(found.alpha) for found in aligned),
            omega=tuple(self.units(found.omega) for found in aligned),
            u=tuple(self.units(found.u) for found in aligned),
            frozen=tuple(layer.frozen for layer in layers),
            controlled=self.logits is Logits.CONTROLLED,
            slack=None if self.slack is None else self.units(self.slack),
            groups=self.groups(),
            ceiling=tuple(None if c is None else self.units(c) for c in top),
        )

    def aligned(self, layer: Layer) -> Alignment:
        """A layer's exponents; zeros for what reads data alone."""
        if not layer.inputs:
            return Alignment("nothing to align", *[Fraction(0)] * 3)
        return self.alignment if isinstance(self.alignment, Alignment) else self.alignment.layers[layer.name]

    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The layers whose rates are summed, by their index, the sums minimized one after another."""
        layers = self.network.layers
        if not isinstance(self.prefer, Lexicographic):
            return (tuple(range(len(layers))),)
        named = [tuple(k for k, x in enumerate(layers) if x.role is role) for role in self.prefer.roles]
        rest = tuple(k for k, layer in enumerate(layers) if layer.role not in self.prefer.roles)
        return (*named, rest) if rest else tuple(named)


def random_parameterization(rng: random.Random, unit: int) -> Parameterization:
    """Any (a, b) that are stable at initialization."""
    half = Fraction(1, 2)
    embedding, hidden, readout = (Fraction(rng.randint(-unit, unit), unit) for _ in ROLES)
    smaller = rng.choice([Fraction(0), half, Fraction(rng.randint(0, unit), unit)])
    return Parameterization(
        "random",
        embedding=InitExponents(embedding, -embedding),
        hidden=InitExponents(hidden, half - hidden),
        readout=InitExponents(readout, half + smaller - readout),
    )


def random_alignment(rng: random.Random, unit: int, network: Network) -> AnyAlignment:
    """Exponents in [0, 1.2]; omega is often 1/2, as it is at initialization; now and then the same for all layers."""
    gaussian = rng.random() < 0.5

    def one(name: str) -> Alignment:
        alpha, omega, u = (Fraction(rng.randint(0, 6 * unit // 5), unit) for _ in range(3))
        return Alignment(name, alpha=alpha, omega=Fraction(1, 2) if gaussian else omega, u=u)

    if rng.random() < 0.2:
        return one("everywhere")
    return PerLayerAlignment("random", {x.name: one(x.name) for x in network.layers if x.inputs})


def random_preference(rng: random.Random, network: Network, *, readout_last: bool) -> Preference:
    """Mostly the total; never one whose optimum is unbounded."""
    kind = rng.choices(["total", "lexicographic", "pareto"], [12, 4, 1])[0]
    if kind == "pareto":
        return PARETO_OVER_FULL
    if kind == "total":
        return SMALLEST_TOTAL
    roles = sorted({layer.role for layer in network.layers}, key=lambda role: rng.random())
    if readout_last:
        roles.remove(Role.READOUT)
    return Lexicographic(tuple(roles[: rng.randint(1, len(roles))]))


def random_problem(rng: random.Random) -> Problem:
    """A chain of depth 1 to 6 with any optimizer; a share with frozen layers, controlled logits, bounded slack."""
    unit = rng.choice([4, 6, 10, 10, 12])
    freezing = 0.25 if rng.random() < 0.25 else 0.0
    nodes = (replace(layer, frozen=rng.random() < freezing) for layer in chain(rng.randint(0, 5)).layers)
    network = Network(tuple(nodes))
    optimizer = rng.choice(list(OPTIMIZER_RULES.values()))
    logits = Logits.CONTROLLED if rng.random() < 0.2 else Logits.BOUNDED
    free = logits is Logits.CONTROLLED and optimizer.gradient_power == 1
    return Problem(
        unit=unit,
        parameterization=random_parameterization(rng, unit),
        optimizer=optimizer,
        alignment=random_alignment(rng, unit, network),
        network=network,
        logits=logits,
        prefer=random_preference(rng, network, readout_last=free),
        slack=Fraction(rng.randint(0, unit), unit) if rng.random() < 0.25 else None,
    )
