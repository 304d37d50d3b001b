"""abc-parameterizations: how a layer's multiplier and its initialization scale with the width n.

    effective weight = n^(-a) W,    W ~ N(0, s^2 n^(-2b)) at initialization

The four named ones are those of Everett et al. 2024 (arXiv 2407.05872). Every exponent is a `Fraction`.
"""

from dataclasses import dataclass
from fractions import Fraction

from widthwise.theory.role import Role

ZERO, HALF, ONE = Fraction(0), Fraction(1, 2), Fraction(1)


@dataclass(frozen=True)
class InitExponents:
    """The pair (a, b) of one role: forward multiplier n^(-a), initial standard deviation n^(-b)."""

    a: Fraction
    b: Fraction


@dataclass(frozen=True)
class Parameterization:
    """A named choice of (a, b) for each role.

    Vectors act elementwise: their multiplier and their initial value never depend on the width (a = b = 0). Neither do
    those of fixed tensors.

    Raises:
        ValueError: if the network is not stable at initialization, which needs a + b = 0 (embedding), a + b = 1/2
            (hidden) and a + b >= 1/2 (readout).

    Example:
        >>> MUP[Role.READOUT].b
        Fraction(1, 2)
    """

    name: str
    embedding: InitExponents
    hidden: InitExponents
    readout: InitExponents

    def __post_init__(self) -> None:
        for role, layer, needed in (("embedding", self.embedding, ZERO), ("hidden", self.hidden, HALF)):
            if layer.a + layer.b != needed:
                raise ValueError(
                    f"parameterization {self.name!r} is not stable at initialization: {role} a + b = "
                    f"{layer.a + layer.b}, must be {needed}"
                )
        if self.readout.a + self.readout.b < HALF:
            raise ValueError(
                f"parameterization {self.name!r} is not stable at initialization: readout a + b = "
                f"{self.readout.a + self.readout.b}, must be at least {HALF}"
            )

    def __getitem__(self, role: Role) -> InitExponents:
        match role:
            case Role.EMBEDDING:
                return self.embedding
            case Role.HIDDEN:
                return self.hidden
            case Role.READOUT:
                return self.readout
            case Role.VECTOR | Role.FIXED:
                return InitExponents(ZERO, ZERO)


STANDARD = Parameterization(
    name="standard",
    embedding=InitExponents(ZERO, ZERO),
    hidden=InitExponents(ZERO, HALF),
    readout=InitExponents(ZERO, HALF),
)
NTK = Parameterization(
    name="ntk",
    embedding=InitExponents(ZERO, ZERO),
    hidden=InitExponents(HALF, ZERO),
    readout=InitExponents(HALF, ZERO),
)
MUP = Parameterization(
    name="mup",
    embedding=InitExponents(-HALF, HALF),
    hidden=InitExponents(ZERO, HALF),
    readout=InitExponents(HALF, HALF),
)
MEAN_FIELD = Parameterization(
    name="mean-field",
    embedding=InitExponents(ZERO, ZERO),
    hidden=InitExponents(HALF, ZERO),
    readout=InitExponents(ONE, ZERO),
)

PARAMETERIZATIONS = {p.name: p for p in (STANDARD, NTK, MUP, MEAN_FIELD)}
"""The named parameterizations, by the names that specs and the command line use."""
