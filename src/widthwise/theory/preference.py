"""Preferences: which of the stable rates count as the largest.

Rates trade off against each other: where an update meets a change more than it meets activations (u > alpha), or where
a larger readout rate would enlarge gradients, one layer's larger rate costs another's. A preference says what is
minimized; ties are then broken by the least slack (every r as near 0 as it can be) and by gradients nearest to their
initial scale.
"""

from dataclasses import dataclass

from widthwise.theory.network import Network
from widthwise.theory.role import Role


@dataclass(frozen=True)
class SmallestTotal:
    """The smallest sum of c over the trained layers: the largest product of rates."""


@dataclass(frozen=True)
class Lexicographic:
    """The smallest sum of c over one role's layers, then over the next role's; roles not named come last, together.

    Raises:
        ValueError: no role, or a role twice.
    """

    roles: tuple[Role, ...]

    def __post_init__(self) -> None:
        if not self.roles:
            raise ValueError("a lexicographic preference needs at least one role")
        if len(set(self.roles)) < len(self.roles):
            raise ValueError(
                f"a lexicographic preference names a role twice: {', '.join(self.roles)}; each role has one place"
            )


@dataclass(frozen=True)
class ParetoOverFull:
    """The smallest sum of c among solutions in which no layer's rate falls below the one for full alignment.

    Measured alignment then only ever gains: the trade-offs between layers that the smallest total makes are excluded.

    Source: suggested by the authors of maxP as the remedy for their own objective's trade-offs.
    """


Preference = SmallestTotal | Lexicographic | ParetoOverFull

SMALLEST_TOTAL = SmallestTotal()
PARETO_OVER_FULL = ParetoOverFull()


def rate_stages(prefer: Preference, network: Network) -> tuple[frozenset[str], ...]:
    """The layers whose rates are minimized together, one set after another.

    Raises:
        ValueError: a role of which the network has no layer.

    Example:
        >>> from widthwise.theory.network import ROLE_CHAIN
        >>> [sorted(stage) for stage in rate_stages(Lexicographic((Role.READOUT,)), ROLE_CHAIN)]
        [['readout'], ['embedding', 'hidden']]
    """
    everything = frozenset(layer.name for layer in network.layers)
    if not isinstance(prefer, Lexicographic):
        return (everything,)
    stages = [
        frozenset(layer.name for layer in network.layers if layer.role is role) for role in prefer.roles
    ]
    for role, stage in zip(prefer.roles, stages, strict=True):
        if not stage:
            raise ValueError(
                f"the preference names the role {role.value!r}, of which the network has no layer"
            )
    rest = everything.difference(*stages)
    return (*stages, rest) if rest else tuple(stages)
