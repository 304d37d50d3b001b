"""What the package takes of scipy.interpolate, which carries no types."""

from numpy import float64
from numpy.typing import ArrayLike, NDArray

class PchipInterpolator:
    def __init__(self, x: ArrayLike, y: ArrayLike) -> None: ...
    def __call__(self, x: ArrayLike) -> NDArray[float64]: ...
