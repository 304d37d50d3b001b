"""The constants gamma of the paper: one factor on the learning rate for each kind of layer, the same at every width.

    eta_l = eta * gamma_l * (n / n_b)^(-c_l)

Only two ratios of the three matter, since the base rate absorbs a common factor. Gains and positions, which contract
no growing dimension, take the embedding's. Two triples of the paper are known (Table 8, found at n_b = 1024): 5.303,
1.258, 11.723 for Adam and muP; 1398.861, 5.532, 0.020 for SGD and muP.
"""

import math
from dataclasses import dataclass

from widthwise.theory import Role


@dataclass(frozen=True)
class RateConstants:
    """gamma of the embedding, the hidden layers and the readout.

    Raises:
        ValueError: one is not positive, or not finite.

    Example:
        >>> RateConstants(embedding=5.303, hidden=1.258, readout=11.723).at(Role.VECTOR)
        5.303
    """

    embedding: float = 1.0
    hidden: float = 1.0
    readout: float = 1.0

    def __post_init__(self) -> None:
        for role in ("embedding", "hidden", "readout"):
            value = getattr(self, role)
            if not 0 < value < math.inf:
                raise ValueError(f"the {role} constant is {value}; it must be positive and finite")

    def at(self, role: Role) -> float:
        """The factor on the rate of a role."""
        match role:
            case Role.HIDDEN:
                return self.hidden
            case Role.READOUT:
                return self.readout
            case _:
                return self.embedding


UNIT_CONSTANTS = RateConstants()
"""The paper's default."""
