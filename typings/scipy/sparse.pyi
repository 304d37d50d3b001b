"""What the package takes of scipy.sparse, which carries no types."""

from collections.abc import Sequence
from typing import Self

class csr_array:
    def __init__(
        self,
        arg1: tuple[Sequence[float], Sequence[int], Sequence[int]],
        *,
        shape: tuple[int, int],
    ) -> None: ...
    def __getitem__(self, rows: Sequence[int]) -> Self: ...
    def __neg__(self) -> Self: ...
