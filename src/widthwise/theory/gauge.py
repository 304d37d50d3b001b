"""The gauge symmetry: a layer's scale may sit in its multiplier or in its weights.

For every theta the same function is trained when

    a -> a + theta,   b -> b - theta,   g -> g + theta,   c -> c - (1 + p - q) theta

with (p, q) the optimizer's powers of gradient and parameter: c - 2 theta for SGD, c - theta for Adam, c for Adafactor.
Whatever is compared with the gradient or with the weights moves as well (`gauge_effect`).

Source: Everett et al. 2024 (arXiv 2407.05872); Yang and Hu 2021 (arXiv 2011.14522).
"""

from dataclasses import dataclass
from fractions import Fraction

from widthwise.theory.exponents import RoleExponents
from widthwise.theory.optimizer_rule import OptimizerRule


@dataclass(frozen=True)
class GaugeEffect:
    """How many powers of n^(theta) each hyperparameter takes up under a -> a + theta: value -> value n^(power theta).

    Args:
        weights: the weights themselves, and Adafactor's floor on their root mean square.
        gradient: gradients, and an epsilon that is compared with them.
        rate: the learning rate.
        coupled_decay: a decay that is multiplied by the learning rate (AdamW's in PyTorch).
        independent_decay: a decay that is not.
        l2: a penalty whose gradient is added to the loss's.
    """

    weights: int
    gradient: int
    rate: int
    coupled_decay: int
    independent_decay: int
    l2: int


def gauge_effect(optimizer: OptimizerRule) -> GaugeEffect:
    """What a change of gauge does to an optimizer's hyperparameters.

    The weights grow by n^theta, gradients shrink by it; the decay of the weights per step, rate times coupled decay,
    must not change; a penalty's gradient, l2 times weights, must shrink as the loss's gradient does.

    Example:
        >>> from widthwise.theory import ADAM
        >>> gauge_effect(ADAM).coupled_decay, gauge_effect(ADAM).l2
        (-1, -2)
    """
    power = rate_power(optimizer)
    return GaugeEffect(weights=1, gradient=-1, rate=power, coupled_decay=-power, independent_decay=0, l2=-2)


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
