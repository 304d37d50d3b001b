"""Solutions: every layer's exponents, what limits them, and the certificate that proves them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from widthwise.theory.alignment import AnyAlignment
from widthwise.theory.conditions import Conditions, Logits
from widthwise.theory.linear_program import Certificate
from widthwise.theory.network import Network
from widthwise.theory.optimizer_rule import OptimizerRule
from widthwise.theory.parameterization import Parameterization
from widthwise.theory.preference import Preference
from widthwise.theory.role import Role

if TYPE_CHECKING:
    from widthwise.theory.explain import Binding

TIE_BREAKS = 2
"""The last two costs of every program of `solve`: the least slack, then the largest G."""


@dataclass(frozen=True)
class LayerSolution:
    """One layer's exponents.

    Args:
        a: multiplier n^(-a).
        b: initial standard deviation n^(-b).
        c: largest stable rate n^(-c); None if the layer is frozen or no condition limits its rate.
        g: gradient at initialization n^(-g).
        r: the output changes by n^(-r); None if it does not change, or if nothing limits its change.
        unconstrained: whether no condition limits the rate, so that c has no smallest value.
    """

    layer: str
    role: Role
    a: Fraction
    b: Fraction
    c: Fraction | None
    g: Fraction
    r: Fraction | None
    unconstrained: bool


@dataclass(frozen=True)
class Solution:
    """The largest stable rates of a network, proven.

    Args:
        total: the sum of c over the layers that have one.
        gradient: gradients reach the features as n^(-G) in training, G over all readouts.
        certificate: the proof; `certificate.check()` repeats it.
    """

    parameterization: Parameterization
    optimizer: OptimizerRule
    alignment: AnyAlignment
    network: Network
    logits: Logits
    prefer: Preference
    slack: Fraction | None
    layers: Mapping[str, LayerSolution]
    total: Fraction
    gradient: Fraction
    conditions: Conditions = field(repr=False)
    certificate: Certificate = field(repr=False)

    def __getitem__(self, layer: str) -> LayerSolution:
        return self.layers[layer]

    def rate(self, layer: str) -> Fraction:
        """The exponent c of a layer's largest stable rate.

        Raises:
            ValueError: a layer that has none, because it is frozen or nothing limits it.
        """
        c = self.layers[layer].c
        if c is None:
            raise ValueError(self.why(layer))
        return c

    def binding(self, layer: str) -> "tuple[Binding, ...]":
        """The conditions that limit a layer's rate, the highest price first."""
        from widthwise.theory.explain import bindings

        return bindings(self, layer)

    def why(self, layer: str) -> str:
        """Why the layer's rate is what it is, in a sentence."""
        from widthwise.theory.explain import sentence

        return sentence(self, layer)

    @cached_property
    def unique(self) -> bool:
        """Whether other rates are as good as these before ties are broken.

        True from the certificate's prices alone is a proof; otherwise two further programs look for other optima along
        a generic direction, which misses existing ones with a chance of about 1 in a million.
        """
        from widthwise.theory.alternatives import is_unique

        return is_unique(self)
