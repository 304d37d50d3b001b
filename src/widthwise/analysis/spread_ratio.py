"""How much more one set of cells scatters over seeds than another.

With Q_c a cell's sum of squares about its mean and nu_c its degrees of freedom, a set has

    variance  s^2 = sum_c Q_c / sum_c nu_c,         nu = (sum_c Q_c)^2 / sum_c (Q_c^2 / nu_c)

and the ratio of two standard deviations the interval of Fisher's F at both nu. Cells scatter unlike: where one has most
of a set's sum, the sum is no surer than that one. With nu = sum_c nu_c, as if all were alike, the interval covers far
too rarely (`benchmarks/spreads.py`).

Source: Satterthwaite, An approximate distribution of estimates of variance components, Biometrics 2 (1946).
"""

import math
from collections.abc import Sequence

from widthwise.analysis.result import Interval

Scatter = Sequence[tuple[float, int]]
"""Q and nu of each cell."""


def spread_ratio(first: Scatter, second: Scatter, *, level: float) -> Interval | None:
    """Standard deviation of the first cells over that of the second; None where either is unknown or 0.

    Example:
        >>> ratio = spread_ratio([(18.0, 2), (18.0, 2)], [(2.0, 2), (2.0, 2)], level=0.95)
        >>> [round(end, 4) for end in (ratio.estimate, ratio.low, ratio.high)]  # F of 4 and 4: 9.6045
        [3.0, 0.968, 9.2974]
        >>> alone = spread_ratio([(36.0, 2), (0.0, 2)], [(2.0, 2), (2.0, 2)], level=0.95)
        >>> round(alone.high, 4)  # F of 2 and 4: its lower point is 1 / 39.2484
        18.7946
    """
    from scipy.special import fdtri

    variances: list[tuple[float, float]] = []
    for cells in (first, second):
        known = [(squares, freedom) for squares, freedom in cells if freedom]
        total = math.fsum(squares for squares, _ in known)
        if total == 0:
            return None
        freedom = total**2 / math.fsum(squares**2 / freedom for squares, freedom in known)
        variances.append((total / sum(freedom for _, freedom in known), freedom))
    (a, nu_1), (b, nu_2) = variances
    ratio = math.sqrt(a / b)
    low, high = (float(fdtri(nu_1, nu_2, p)) for p in ((1 - level) / 2, (1 + level) / 2))
    return Interval(ratio, ratio / math.sqrt(high), ratio / math.sqrt(low))
