"""A product of a tensor and activations, as it can be repeated with another matrix or other vectors, and its sizes.

A matrix product y = x B has B [..., f, m] and tokens x [..., T, f], and sums over f entries. A convolution sums over
the patch of in_channels / groups x kernel entries under it: its x is that patch, padding included, and every output
position of every group is a token.

What is told of y and x is each token's Euclidean norm, in float64 (`vector_norm`: no square of a finite float32
overflows or vanishes there). Of y, as many tokens are made at once as `AT_ONCE` allows.

Products are in float32, or in TF32 on a CUDA device where the model's own inputs are bfloat16 or float16: TF32 keeps 11
bits, such inputs have 8 or 11, and rounding A to 11 moves a log gain by less than 1e-3. A float32 product of a
bfloat16 model takes ten times as long as the model's own.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

aten: Any = torch.ops.aten

AT_ONCE = 2**25
"""Entries of y: 128 MiB in float32, and twice that in float64 while they are summed."""

LOW_PRECISION = frozenset({torch.bfloat16, torch.float16})


@dataclass(frozen=True)
class MatrixProduct:
    """y = x B, or y^T = x^T B^T where the tensor stands on the left.

    Args:
        vector: x, [..., T, f].
        shape: of the tensor as it stands in the product.
        left: whether it stands on the left.
    """

    vector: Tensor
    shape: torch.Size
    left: bool

    @property
    def fan_in(self) -> int:
        """f, the entries that each output sums over."""
        return self.shape[-1] if self.left else self.shape[-2]

    @property
    def fan_out(self) -> int:
        """m, the outputs."""
        return self.shape[-2] if self.left else self.shape[-1]

    def output_norms(self, matrix: Tensor, vector: Tensor) -> Tensor:
        """Each token's norm of y, [tokens], with another matrix, as it would stand there, and other vectors."""
        right = matrix.mT if self.left else matrix
        tokens = max(1, AT_ONCE // max(1, prod(vector.shape[:-2]) * right.shape[-1]))
        with _precision_for(self.vector):
            if vector.shape[-2] <= tokens:
                return _norms(vector @ right).flatten()
            return torch.cat([_norms(part @ right) for part in vector.split(tokens, -2)], -1).flatten()

    def input_norms(self, vector: Tensor) -> Tensor:
        """Each token's norm of x, [tokens]."""
        return _norms(vector).flatten()


@dataclass(frozen=True)
class Convolution:
    """A convolution, by the arguments of `aten.convolution`.

    Args:
        vector: the input, [N, channels, *positions].
        shape: of the weight, [outputs, channels / groups, *kernel].
        stride, padding, dilation: one a spatial dimension.
        groups: of channels that do not meet.
    """

    vector: Tensor
    shape: torch.Size
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @staticmethod
    def read(args: tuple[Any, ...]) -> "Convolution":
        """From the operation's arguments."""
        vector, weight, _, stride, padding, dilation, _, _, groups = args
        return Convolution(vector, weight.shape, tuple(stride), tuple(padding), tuple(dilation), groups)

    @property
    def fan_in(self) -> int:
        """Entries of a patch."""
        return self.shape[1:].numel()

    @property
    def fan_out(self) -> int:
        """Outputs of a patch."""
        return self.shape[0] // self.groups

    def output_norms(self, matrix: Tensor, vector: Tensor) -> Tensor:
        """Each token's norm of y, [tokens], with another weight and another input."""
        output = self._convolve(vector, matrix).unflatten(1, (self.groups, -1))
        return _norms(output, dim=2).flatten()

    def input_norms(self, vector: Tensor) -> Tensor:
        """Each patch's norm, [tokens]: the squares of a patch, added up by a kernel of ones."""
        ones = torch.ones(self.groups, *self.shape[1:], dtype=vector.dtype, device=vector.device)
        return self._convolve(vector.square(), ones).double().clamp_min(0).sqrt().flatten()

    def _convolve(self, vector: Tensor, weight: Tensor) -> Tensor:
        none = [0] * len(self.stride)
        return aten.convolution(
            vector, weight, None, self.stride, self.padding, self.dilation, False, none, self.groups
        )


def _norms(tensor: Tensor, dim: int = -1) -> Tensor:
    return torch.linalg.vector_norm(tensor, dim=dim, dtype=torch.float64)


@contextmanager
def _precision_for(vector: Tensor) -> Generator[None]:
    """A block in which float32 products have the precision that a model's own input deserves."""
    matmul = torch.backends.cuda.matmul
    if not vector.is_cuda or vector.dtype not in LOW_PRECISION:
        yield
        return
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        matmul.fp32_precision = before


TensorProduct = MatrixProduct | Convolution
