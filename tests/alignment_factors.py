"""Matrices and vectors of known alignment, and their log gains in plain float64 NumPy: what tests compare with."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TOKENS = 6


@dataclass(frozen=True)
class Factors:
    """A matrix A [m, f] and tokens x [T, f]."""

    matrix: Floats
    tokens: Floats


def independent(width: int, seed: int) -> Factors:
    """Gaussian entries in both: exponent 1/2, in the limit."""
    rng = np.random.default_rng([width, seed])
    return Factors(rng.standard_normal((width, width)), rng.standard_normal((TOKENS, width)))


def rank_one(width: int, seed: int) -> Factors:
    """A = p q^T, every token has the part q / 2 beside unit noise of its own: exponent 1, ratio below 1."""
    rng = np.random.default_rng([width, seed, 1])
    p, q = rng.standard_normal(width), rng.standard_normal(width)
    return Factors(np.outer(p, q), q / 2 + rng.standard_normal((TOKENS, width)))


def rms(values: Floats) -> float:
    return math.sqrt(float(np.mean(values**2)))


def log_gain(matrix: Floats, tokens: Floats) -> float:
    """ln( rms(A x) / (rms(A) rms(x)) ), pooled over tokens."""
    return math.log(rms(tokens @ matrix.T) / (rms(matrix) * rms(tokens)))


def token_mean(matrix: Floats, tokens: Floats) -> float:
    """The mean of the log gains of the tokens that are not zero."""
    return float(np.mean([log_gain(matrix, token[None]) for token in tokens if token.any()]))
