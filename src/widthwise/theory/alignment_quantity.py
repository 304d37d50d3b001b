"""What is measured where a matrix meets its input: the theory's three alignments, and that of the whole product."""

from enum import StrEnum


class AlignmentQuantity(StrEnum):
    """One product of a matrix and a vector.

    With W_0, z_0 a reference's weights and inputs, dW = W - W_0 and dz = z - z_0:

        W z - W_0 z_0 = dW z_0 + W_0 dz + dW dz
                        alpha    omega    u             product: W z itself, a diagnostic that the theory does not use
    """

    ALPHA = "alpha"
    OMEGA = "omega"
    U = "u"
    PRODUCT = "product"


SOLVER_QUANTITIES = (AlignmentQuantity.ALPHA, AlignmentQuantity.OMEGA, AlignmentQuantity.U)
"""The quantities whose exponents enter the solver."""
