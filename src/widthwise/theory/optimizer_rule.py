"""Optimizer rules: how the size of one update depends on the gradient, the parameter and the shape.

An update's entries are proportional to

    eta * gradient^p * RMS(W)^q * n^(-e)

SGD has p = 1. Adam divides the gradient's scale away: all zero. Adafactor multiplies by the parameter's own scale
instead: q = 1. Muon's update is orthogonal, so its n x n entries have size n^(-1/2): e = 1/2.
"""

from dataclasses import dataclass
from fractions import Fraction

from widthwise.theory.role import Role


@dataclass(frozen=True)
class OptimizerRule:
    """How an optimizer's update scales.

    Args:
        name: as the command line and specs say it.
        gradient_power: p, 0 or 1.
        parameter_power: q, 0 or 1.
        entry_exponent: e, from the update's shape.
        alignment: the exponent with which the update meets any activations, where the optimizer's construction fixes
            it; it replaces the assumed alpha and u. None: the assumption holds.
        elsewhere: the rule of everything that is not a hidden matrix; None: this one.
        source: where the rule comes from.

    Example:
        >>> NORMALIZED_SGD = OptimizerRule("normalized-sgd", entry_exponent=Fraction(1), source="||update||_F = 1")
        >>> NORMALIZED_SGD.at(Role.HIDDEN).entry_exponent
        Fraction(1, 1)
    """

    name: str
    gradient_power: int = 0
    parameter_power: int = 0
    entry_exponent: Fraction = Fraction(0)
    alignment: Fraction | None = None
    elsewhere: "OptimizerRule | None" = None
    source: str = ""

    def __post_init__(self) -> None:
        for what, power in (("gradient", self.gradient_power), ("parameter", self.parameter_power)):
            if power not in (0, 1):
                raise ValueError(f"optimizer {self.name!r}: the {what}'s power is {power}, must be 0 or 1")
        if self.elsewhere is not None and self.elsewhere.elsewhere is not None:
            raise ValueError(
                f"optimizer {self.name!r}: its rule elsewhere, {self.elsewhere.name!r}, has one of its own"
            )

    def at(self, role: Role) -> "OptimizerRule":
        """The rule that updates tensors of a role."""
        return self if role is Role.HIDDEN or self.elsewhere is None else self.elsewhere


SGD = OptimizerRule("sgd", gradient_power=1, source="Everett et al. 2024, arXiv 2407.05872")
ADAM = OptimizerRule("adam", source="Everett et al. 2024, arXiv 2407.05872")
ADAM_ATAN2 = OptimizerRule("adam-atan2", source="Adam's scale without its epsilon: arXiv 2407.05872")
RMSPROP = OptimizerRule("rmsprop", source="the gradient over the root of its mean square: Adam's scale")
LION = OptimizerRule("lion", source="the sign of a momentum: arXiv 2302.06675")
ADAFACTOR = OptimizerRule(
    "adafactor", parameter_power=1, source="arXiv 1804.04235; scaling: arXiv 2407.05872"
)
ADAM_PS = OptimizerRule("adam-ps", parameter_power=1, source="Adam with parameter scaling: arXiv 2407.05872")
MUON = OptimizerRule(
    "muon",
    entry_exponent=Fraction(1, 2),
    alignment=Fraction(1, 2),
    elsewhere=ADAM,
    source="orthogonalized momentum keeps RMS norms: arXiv 2512.05620",
)

PAPER_OPTIMIZERS = (SGD, ADAM, ADAFACTOR)
"""The three optimizers of the paper's table."""

OPTIMIZER_RULES = {rule.name: rule for rule in (*PAPER_OPTIMIZERS, ADAM_ATAN2, RMSPROP, LION, ADAM_PS, MUON)}
"""The named rules, by the names that the command line uses."""
