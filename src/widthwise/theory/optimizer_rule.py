"""Optimizer rules: how the size of one update depends on the gradient and on the parameter.

An update's entries are proportional to

    eta * gradient^p * RMS(W)^q

SGD has (p, q) = (1, 0). Adam divides the gradient's scale away: (0, 0); Adam-atan2 shares its rule. Adafactor (and
Adam with parameter scaling) multiplies by the parameter's own scale instead: (0, 1).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class OptimizerRule:
    """The powers p (of the gradient) and q (of the parameter's scale) in an optimizer's update."""

    name: str
    gradient_power: int
    parameter_power: int


SGD = OptimizerRule("sgd", gradient_power=1, parameter_power=0)
ADAM = OptimizerRule("adam", gradient_power=0, parameter_power=0)
ADAFACTOR = OptimizerRule("adafactor", gradient_power=0, parameter_power=1)

OPTIMIZER_RULES = {rule.name: rule for rule in (SGD, ADAM, ADAFACTOR)}
"""The named rules, by the names that the command line uses."""
