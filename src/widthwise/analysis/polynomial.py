"""The minimum of a least-squares polynomial of degree two or three, and how it responds to the data.

With p(t) = sum_k c_k t^k fitted to y over t = x - origin, the minimum solves p'(t) = 0, p''(t) > 0, and a small change
dy moves it by

    dt = -p'[dy](t) / p''(t),      p'[dy] the derivative of the polynomial fitted to dy,

which is linear in dy: applied to one seed's deviations from the mean it gives that seed's optimum, also where the
seed's own fit would have none.
"""

from dataclasses import dataclass

import numpy as np

from widthwise.analysis.cell import Floats


@dataclass(frozen=True)
class Minimum:
    """A fitted minimum.

    Args:
        x: where it is.
        value: the polynomial there.
        curvature: the second derivative there, positive.
        shift: change of `x` per change of each fitted value [R].
        bend: change of 2 c_2, the parabola's curvature, per change of each fitted value [R].
        level: change of `value` per change of each fitted value [R]; at a minimum that of p(t) at a fixed t.
    """

    x: float
    value: float
    curvature: float
    shift: Floats
    bend: Floats
    level: Floats


def polynomial_minimum(x_R: Floats, y_R: Floats, *, degree: int) -> Minimum | None:
    """The minimum of the fitted polynomial inside the fitted range; None if it has none there.

    Args:
        x_R: at least degree + 1 distinct positions, ascending.
        y_R: values.
        degree: 2 or 3.

    Example:
        >>> x = np.array([0.0, 1.0, 2.0])
        >>> found = polynomial_minimum(x, (x - 0.5) ** 2 + 3, degree=2)
        >>> round(found.x, 12), round(found.value, 12), round(found.curvature, 12)
        (0.5, 3.0, 2.0)
    """
    assert degree in (2, 3)
    assert len(x_R) > degree
    origin = x_R[len(x_R) // 2]
    t_R = x_R - origin
    coefficients_KxR = np.linalg.pinv(np.vander(t_R, degree + 1, increasing=True))
    c_K = coefficients_KxR @ y_R
    t = _parabola_vertex(c_K) if degree == 2 else _cubic_minimum(c_K)
    if t is None or not t_R[0] <= t <= t_R[-1]:
        return None
    k = np.arange(degree + 1)
    slope_K = k * t ** np.maximum(k - 1, 0)
    bend_K = k * (k - 1) * t ** np.maximum(k - 2, 0)
    curvature = float(bend_K @ c_K)
    return Minimum(
        x=float(origin + t),
        value=float(t**k @ c_K),
        curvature=curvature,
        shift=-(slope_K @ coefficients_KxR) / curvature,
        bend=2 * coefficients_KxR[2],
        level=t**k @ coefficients_KxR,
    )


def _parabola_vertex(c_K: Floats) -> float | None:
    return float(-c_K[1] / (2 * c_K[2])) if c_K[2] > 0 else None


def _cubic_minimum(c_K: Floats) -> float | None:
    """The root of c_1 + 2 c_2 t + 3 c_3 t^2 with a positive second derivative, in the form that does not cancel."""
    _, c_1, c_2, c_3 = (float(c) for c in c_K)
    discriminant = c_2**2 - 3 * c_1 * c_3
    if discriminant <= 0:
        return None
    root = discriminant**0.5
    if c_2 >= 0:
        return -c_1 / (c_2 + root)
    return (root - c_2) / (3 * c_3) if c_3 else None
