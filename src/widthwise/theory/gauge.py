"""The gauge symmetry: a layer's scale may sit in its multiplier or in its weights.

For every theta the same function is trained when

    a -> a + theta,   b -> b - theta,   g -> g + theta,   c -> c - (1 + p - q) theta

with (p, q) the optimizer's powers of gradient and parameter: c - 2 theta for SGD, c - theta for Adam, c for Adafactor.
An epsilon that is compared with the gradient moves with g.

Source: Everett et al. 2024 (arXiv 2407.05872); Yang and Hu 2021 (arXiv 2011.14522).
"""

from fractions import Fraction

from widthwise.theory.exponents import RoleExponents
from widthwise.theory.optimizer_rule import OptimizerRule


def rate_power(optimizer: OptimizerRule) -> int:
    """How many powers of the multiplier a learning rate takes up when the multiplier is folded into the weights.

    Example:
        >>> from widthwise.theory import SGD
        >>> rate_power(SGD)
        2
    """
    return 1 + optimizer.gradient_power - optimizer.parameter_power


def shift_gauge(exponents: RoleExponents, optimizer: OptimizerRule, theta: Fraction) -> RoleExponents:
    """The same training run written with the multiplier n^(-(a + theta)).

    Example:
        >>> from widthwise.theory import ADAM, FULL, NTK, Role, role_exponents
        >>> hidden = role_exponents(NTK, ADAM, FULL, Role.HIDDEN)
        >>> shift_gauge(hidden, ADAM, -hidden.a).c   # NTK folded: the standard parameterization's rate
        Fraction(1, 1)
    """
    return RoleExponents(
        a=exponents.a + theta,
        b=exponents.b - theta,
        c=exponents.c - rate_power(optimizer) * theta,
        g=exponents.g + theta,
    )
