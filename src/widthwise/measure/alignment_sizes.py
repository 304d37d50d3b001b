"""Alignment of a matrix with the vectors that it meets, from sums that add up over shards, devices and micro-batches.

With the root mean squares of y = A x, of the entries of A [m, f] and of the entries of x [f] over all tokens,

    log_gain = ln( rms(y) / (rms(A) rms(x)) ),        log alignment ratio = log_gain / ln f

which is 1/2 for independent factors and 1 for aligned ones. Each root mean square is kept as a `Tally`, a sum in
float64 and how many terms it has, and tallies are added *before* any logarithm is taken: a mean of ratios over devices
is not the ratio of the whole. Totals may have leading axes (a population's members, [P]); nothing is summed over these.

*Pooled* (the default) takes y and x over all tokens. The *token mean* is the mean over tokens of each token's log gain:
tokens with large activations weigh no more than others there.

A log gain is NaN where it is undefined: A or x or y is zero (nothing has changed), or something is not finite.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tally:
    """A sum and how many terms it has.

    Args:
        total: [] or [P], float64.
        count: of terms; the same for all members, or [P].

    Example:
        >>> (Tally(torch.tensor(8.0), 2) + Tally(torch.tensor(1.0), 1)).mean
        tensor(3.)
    """

    total: Tensor
    count: int | Tensor

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.total + other.total, self.count + other.count)

    @property
    def mean(self) -> Tensor:
        """The sum over its number of terms; NaN if there are none."""
        return self.total / self.count


@dataclass(frozen=True)
class ProductSizes:
    """What is known of a product y = A x, so far: adds up over tokens, calls, shards and devices.

    Args:
        output: squares of y's entries.
        matrix: squares of A's entries.
        vector: squares of x's entries, each token's x of f entries.
        tokens: each token's ln( rms(y) / rms(x) ), over the tokens where it is defined.
    """

    output: Tally
    matrix: Tally
    vector: Tally
    tokens: Tally

    def __add__(self, other: "ProductSizes") -> "ProductSizes":
        return ProductSizes(
            self.output + other.output,
            self.matrix + other.matrix,
            self.vector + other.vector,
            self.tokens + other.tokens,
        )


def squares(tensor: Tensor, *, leading: int = 0) -> Tally:
    """The squares of a tensor's entries, summed in float64.

    Args:
        tensor: [..., entries].
        leading: how many first axes are kept apart: 1 for a population's members.

    Example:
        >>> squares(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), leading=1)
        Tally(total=tensor([25.,  1.], dtype=torch.float64), count=2)
    """
    entries = tensor.detach().unsqueeze(-1)  # a scalar for each member has entries, too
    axes = tuple(range(leading, entries.dim()))
    norm = torch.linalg.vector_norm(entries, dim=axes, dtype=torch.float64)
    return Tally(norm.square(), math.prod(entries.shape[leading:]))


def product_sizes(output: Tensor, matrix: Tally, vector: Tensor, *, leading: int = 0) -> ProductSizes:
    """The sizes of y = A x for many tokens.

    Args:
        output: y, [*leading, *tokens, m].
        matrix: `squares` of A.
        vector: x, [*leading, *tokens, f].
        leading: how many first axes are kept apart.

    Raises:
        ValueError: y and x that are not of the same tokens.

    Example:
        >>> A, x = torch.ones(3, 4), torch.tensor([[1.0, 1.0, 1.0, 1.0]])
        >>> sizes = product_sizes(x @ A.T, squares(A), x)
        >>> round(log_gain(sizes).exp().item(), 12)  # aligned: f ^ 1
        4.0
    """
    if output.shape[:-1] != vector.shape[:-1]:
        raise ValueError(
            f"y {tuple(output.shape)} and x {tuple(vector.shape)} must have the same members and tokens in front"
        )
    members = output.shape[:leading]
    y, x = (_sum_of_squares(part).reshape(*members, -1) for part in (output, vector))
    return token_sizes(y, matrix, x, outputs=output.shape[-1], inputs=vector.shape[-1])


def token_sizes(output: Tensor, matrix: Tally, vector: Tensor, *, outputs: int, inputs: int) -> ProductSizes:
    """The sizes of y = A x from each token's sums of squares alone.

    Args:
        output: the sum of y_t's squares for every token t, [*leading, tokens], float64.
        matrix: `squares` of A.
        vector: the sum of x_t's squares, [*leading, tokens], float64.
        outputs: m, the entries of a y_t.
        inputs: f, the entries of an x_t.
    """
    ratio = (_log(output / outputs) - _log(vector / inputs)) / 2
    known = ratio.isfinite()
    count = output.shape[-1]
    return ProductSizes(
        output=Tally(output.sum(-1), count * outputs),
        matrix=matrix,
        vector=Tally(vector.sum(-1), count * inputs),
        tokens=Tally(torch.where(known, ratio, 0.0).sum(-1), known.sum(-1)),
    )


def log_gain(sizes: ProductSizes) -> Tensor:
    """ln( rms(y) / (rms(A) rms(x)) ), pooled over tokens; NaN where it is undefined. [] or [P], float64."""
    return _defined((_log(sizes.output.mean) - _log(sizes.matrix.mean) - _log(sizes.vector.mean)) / 2, sizes)


def token_mean_log_gain(sizes: ProductSizes) -> Tensor:
    """The mean over tokens of ln( rms(y_t) / (rms(A) rms(x_t)) ); NaN where it is undefined. [] or [P], float64."""
    return _defined(sizes.tokens.mean - _log(sizes.matrix.mean) / 2, sizes)


def _sum_of_squares(tensor: Tensor) -> Tensor:
    """Over the last axis, in float64: no square of a finite float32 overflows or vanishes there."""
    return torch.linalg.vector_norm(tensor.detach(), dim=-1, dtype=torch.float64).square()


def _log(value: Tensor) -> Tensor:
    """The logarithm; NaN for what is not positive and finite."""
    return torch.where((value > 0) & value.isfinite(), value.to(torch.float64), torch.nan).log()


def _defined(value: Tensor, sizes: ProductSizes) -> Tensor:
    """NaN if any of the three is zero or not finite: a token mean over the rest would hide it."""
    means = (sizes.output.mean, sizes.matrix.mean, sizes.vector.mean)
    known = torch.stack([(mean > 0) & mean.isfinite() for mean in means]).all(0)
    return torch.where(known, value, torch.nan)
