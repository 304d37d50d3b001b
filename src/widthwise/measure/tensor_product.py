"""A product of a tensor and activations, as it can be repeated with another matrix or other vectors, and its sizes.

A matrix product y = x B has B [..., f, m] and tokens x [..., T, f], and sums over f entries. A convolution sums over
the patch of in_channels / groups x kernel entries under it: its x is that patch, padding included, and every output
position of every group is a token.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from widthwise.measure.alignment_sizes import ProductSizes, product_sizes, squares, token_sizes

aten: Any = torch.ops.aten


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

    def sizes(self, matrix: Tensor, vector: Tensor) -> ProductSizes:
        """The sizes of this product with another matrix, as it would stand there, and other vectors."""
        right = matrix.mT if self.left else matrix
        return product_sizes(vector @ right, squares(matrix), vector)


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

    def sizes(self, matrix: Tensor, vector: Tensor) -> ProductSizes:
        """The sizes of this convolution with another weight and another input."""
        ones = torch.ones(self.groups, *matrix.shape[1:], dtype=matrix.dtype, device=matrix.device)
        patches = self._convolve(vector.square(), ones)  # the squares of a patch, added up
        output = self._convolve(vector, matrix).unflatten(1, (self.groups, -1))
        outputs = torch.linalg.vector_norm(output, dim=2, dtype=torch.float64).square()
        return token_sizes(
            outputs.flatten(),
            squares(matrix),
            patches.double().flatten(),
            outputs=self.fan_out,
            inputs=self.fan_in,
        )

    def _convolve(self, vector: Tensor, weight: Tensor) -> Tensor:
        none = [0] * len(self.stride)
        return aten.convolution(
            vector, weight, None, self.stride, self.padding, self.dilation, False, none, self.groups
        )


TensorProduct = MatrixProduct | Convolution
