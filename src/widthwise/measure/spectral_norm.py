"""The spectral norm of a matrix, the largest factor by which it stretches a vector, by power iteration."""

import torch
from torch import Tensor

ITERATIONS = 30
SEED = 0


def spectral_norm(matrix: Tensor, *, iterations: int = ITERATIONS) -> Tensor:
    """The largest singular value.

        v <- A^T A v / ||A^T A v||,    sigma = ||A v||

    From a fixed random start, sigma comes from below. For the worst spectrum of f columns its expected shortfall is
    at most 0.44 ln(f) / (iterations - 1) of itself, 14 % at f = 8192 and 30 iterations; where the second singular value
    is 0.9 of the first it is (0.9)^(4 iterations) f or so, a thousandth at most.

    Args:
        matrix: [..., m, f]; leading axes are kept apart.
        iterations: 2 or more.

    Returns:
        [...]; NaN where the matrix is not finite, and 0 for a matrix of zeros.

    Raises:
        ValueError: fewer than 2 iterations.

    Example:
        >>> spectral_norm(torch.diag(torch.tensor([3.0, 1.0])))
        tensor(3.)

    Source: Kuczynski and Wozniakowski, Estimating the largest eigenvalue by the power and Lanczos algorithms with a
        random start, SIAM J. Matrix Anal. Appl. 13 (1992), theorem 3.1, halved for singular values.
    """
    if iterations < 2:
        raise ValueError(f"{iterations} power iterations, must be 2 or more")
    generator = torch.Generator().manual_seed(SEED)
    start = torch.randn(matrix.shape[-1], 1, generator=generator, dtype=torch.float64)
    v = start.to(matrix).expand(*matrix.shape[:-2], -1, -1)
    scale = matrix.abs().amax((-1, -2), keepdim=True)  # squares of tiny updates would vanish
    unit = matrix / torch.where(scale > 0, scale, 1.0)
    for _ in range(iterations):
        v = unit.mT @ (unit @ v)
        norm = torch.linalg.vector_norm(v, dim=(-1, -2), keepdim=True)
        v = v / torch.where(norm > 0, norm, 1.0)
    return torch.linalg.vector_norm(unit @ v, dim=(-1, -2)) * scale[..., 0, 0]
