"""What the package takes of scipy.optimize, which carries no types."""

from collections.abc import Mapping, Sequence

from numpy import float64
from numpy.typing import NDArray
from scipy.sparse import csr_array

class _Marginals:
    marginals: Sequence[float]

class OptimizeResult:
    x: NDArray[float64]
    message: str
    status: int
    success: bool
    fun: float
    ineqlin: _Marginals
    eqlin: _Marginals

def linprog(
    c: Sequence[float],
    *,
    A_ub: csr_array | Sequence[Sequence[float]] | None = ...,
    b_ub: Sequence[float] | None = ...,
    A_eq: csr_array | None = ...,
    b_eq: Sequence[float] | None = ...,
    bounds: tuple[float | None, float | None] = ...,
    method: str = ...,
    options: Mapping[str, object] | None = ...,
) -> OptimizeResult: ...
