"""The size of gradients at initialization, which a per-layer epsilon follows.

Source: Everett et al. 2024 (arXiv 2407.05872): gradient entries ~ n^(-g), eps_l = eps_base (n / n_base)^(-g).
"""

from fractions import Fraction

from widthwise.theory.parameterization import ZERO, Parameterization
from widthwise.theory.role import Role


def gradient_exponent(parameterization: Parameterization, role: Role) -> Fraction:
    """The exponent g of a tensor's gradient at initialization, gradient entries ~ n^(-g).

        g = a_readout + b_readout + a      (embedding, hidden, vector)
        g = a_readout                      (readout)
        g = 0                              (fixed: it sums over the growing dimensions that share it)

    Example:
        >>> from widthwise.theory.parameterization import MEAN_FIELD
        >>> gradient_exponent(MEAN_FIELD, Role.HIDDEN)
        Fraction(3, 2)
    """
    readout = parameterization.readout
    if role is Role.FIXED:
        return ZERO
    if role is Role.READOUT:
        return readout.a
    return readout.a + readout.b + parameterization[role].a
