"""The rates that a roofline divides by, measured on the device in the run that quotes it."""

from collections.abc import Callable, Iterable

import torch
from _roofline import Kernel, Product, Rates
from _timing import copy_rate, forget, recorded_seconds
from torch import Tensor


def square(device: torch.device, size: int) -> Callable[[], Tensor]:
    """A bfloat16 product of two square matrices, the device's ceiling for arithmetic."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return lambda: a @ b


def product_rate(product: Product, device: torch.device) -> float:
    """FLOP a second of one product by itself, the host's part left out."""
    P = product.members
    shapes = [(product.rows, product.inner), (product.inner, product.columns)]
    a, b = (
        torch.randn(P, *(shape[::-1] if turned else shape), device=device, dtype=torch.bfloat16)
        for shape, turned in zip(shapes, (product.layout == "tn", product.layout == "nt"), strict=True)
    )
    a = a.transpose(1, 2) if product.layout == "tn" else a
    b = b.transpose(1, 2) if product.layout == "nt" else b
    if P == 1:  # as the layers do: cuBLAS is faster without the member axis
        return product.flops / recorded_seconds(lambda: a[0] @ b[0], device)
    return product.flops / recorded_seconds(lambda: torch.bmm(a, b), device)


class Ceilings:
    """What this device reaches; each product is measured once.

    Args:
        copied: float32 numbers of the copy.
        size: of the square product.
    """

    def __init__(self, device: torch.device, *, copied: int, size: int) -> None:
        self.device, self.size = device, size
        self.copy = copy_rate(device, copied)
        self.matmul = 2.0 * size**3 / recorded_seconds(square(device, size), device)
        self._products: dict[Product, float] = {}
        forget(device)

    def rates(self, kernels: Iterable[Kernel]) -> Rates:
        """The rates of a list of kernels."""
        for kernel in kernels:
            if kernel.product is not None and kernel.product not in self._products:
                self._products[kernel.product] = product_rate(kernel.product, self.device)
                forget(self.device)
        return Rates(self.copy, self.matmul, self._products)


def ceilings(device: torch.device) -> Ceilings:
    """4 GiB copied and 8192^3 on CUDA; small ones on a CPU, where they only prove that the lines run."""
    cuda = device.type == "cuda"
    return Ceilings(device, copied=1 << 30 if cuda else 1 << 16, size=8192 if cuda else 64)
