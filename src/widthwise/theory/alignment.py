"""Alignment between parameters and data, as an assumption.

When a matrix meets a vector, their product is larger than that of two independent ones if they are aligned. With RMS
norms and d. for the change since initialization (Everett et al. 2024):

    alpha = log_n ||dW z|| / (||dW|| ||z||)        the update meets the activations
    omega = log_n ||W dz|| / (||W|| ||dz||)        the initial weights meet the activations' change
    u     = log_n ||dW dz|| / (||dW|| ||dz||)      the update meets the activations' change

each in the limit of large n: 1/2 for independent factors (central limit theorem), 1 for aligned ones (law of large
numbers).
"""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Alignment:
    """The three alignment exponents, the same for every layer."""

    name: str
    alpha: Fraction
    omega: Fraction
    u: Fraction

    @property
    def update(self) -> Fraction:
        """The larger of alpha and u: what the update of a layer meets at worst."""
        return max(self.alpha, self.u)


FULL = Alignment("full", alpha=Fraction(1), omega=Fraction(1, 2), u=Fraction(1))
NONE = Alignment("none", alpha=Fraction(1, 2), omega=Fraction(1, 2), u=Fraction(1, 2))

ALIGNMENTS = {alignment.name: alignment for alignment in (FULL, NONE)}
"""The named assumptions, by the names that specs and the command line use."""
