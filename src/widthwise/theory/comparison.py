"""Comparing two parameterizations: the same up to gauge, or different in what."""

from dataclasses import dataclass
from fractions import Fraction

from widthwise.theory.parameterization import Parameterization
from widthwise.theory.role import MATRIX_ROLES, Role


@dataclass(frozen=True)
class Comparison:
    """What a change of gauge can and cannot undo.

    Args:
        same: whether some gauge turns one into the other.
        theta: role -> the shift of a, from the first to the second.
        differs: what no gauge changes, role by role, as text.
    """

    same: bool
    theta: dict[Role, Fraction]
    differs: tuple[str, ...]

    def __str__(self) -> str:
        return "same up to gauge: yes" if self.same else "same up to gauge: no, " + "; ".join(self.differs)


def compare(first: Parameterization, second: Parameterization) -> Comparison:
    """Whether two parameterizations are the same training runs, given rates and epsilons that follow the gauge.

    A gauge moves a + theta, b - theta, so a + b cannot change: it is the scale of a layer's initial weights.

    Example:
        >>> from widthwise.theory import MEAN_FIELD, MUP, NTK, STANDARD
        >>> print(compare(MUP, MEAN_FIELD))
        same up to gauge: yes
        >>> print(compare(STANDARD, MUP))
        same up to gauge: no, differs in the readout's init: n^-(1/2) against n^-(1)

    Source: Yang and Hu 2021 (arXiv 2011.14522), the symmetry of abc-parameterizations.
    """
    differs: list[str] = []
    for role in MATRIX_ROLES:
        sizes = [layers[role].a + layers[role].b for layers in (first, second)]
        if sizes[0] != sizes[1]:
            differs.append(f"differs in the {role.value}'s init: n^-({sizes[0]}) against n^-({sizes[1]})")
    theta = {role: second[role].a - first[role].a for role in MATRIX_ROLES}
    return Comparison(same=not differs, theta=theta, differs=tuple(differs))
