"""How often the interval of a ratio of spreads (`analysis/spread_ratio.py`) covers it.

    PYTHONPATH=src python benchmarks/spreads.py [--out FILE] [--smoke]

Invented: 19 cells of three seeds against 77, as many as the one-GPU study has of SGD and of Adam. The cells of the
first scatter alike, as much as its widths do in that study (`BY_WIDTH`), or as single cells do there (`AS_MEASURED`,
where one has four fifths of the sum); the seeds' errors are normal, have Student's t of 5 or 3 degrees of freedom, or
one in twenty is eight times as large. The second's cells differ in variance, log-normally by 1. The truth is the ratio
of the root mean squares of the cells' standard deviations. Each row is the share of invented studies whose 95 %
interval has it; the baseline is that of an interval with as many degrees of freedom as if cells were alike. Prints them
and writes `benchmarks/results/spreads.json`.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from _record import Row, record_simulation, row
from numpy.typing import NDArray
from scipy.special import fdtri, ndtri

from widthwise.analysis.spread_ratio import spread_ratio

Floats = NDArray[np.float64]
STUDIES = 2000
SEEDS = 3
BY_WIDTH = np.repeat([0.041, 0.051, 0.153, 0.0087], (6, 1, 7, 5))
AS_MEASURED = np.array([
    0.025, 0.030, 0.049, 0.027, 0.048, 0.057, 0.051, 0.378, 0.113, 0.0045, 0.020, 0.082, 0.0084, 0.0077, 0.0081,
    0.0050, 0.0032, 0.0067, 0.0153,
])  # fmt: skip
CELLS = {"cells alike": np.ones(19), "widths unlike": BY_WIDTH, "cells unlike": AS_MEASURED}
SECOND = np.exp(ndtri((np.arange(77) + 0.5) / 77) / 2)
ERRORS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "Student's t, 5": lambda rng, shape: rng.standard_t(5, shape) / np.sqrt(5 / 3),
    "Student's t, 3": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "one in twenty eightfold": lambda rng, shape: (
        rng.standard_normal(shape) * np.where(rng.random(shape) < 0.05, 8, 1) / np.sqrt(0.95 + 0.05 * 64)
    ),
}


def all_rows(studies: int) -> Iterator[Row]:
    """Every kind of cells and errors."""
    for cells, sigma_C in CELLS.items():
        truth = float(np.sqrt((sigma_C**2).mean() / (SECOND**2).mean()))
        for errors, draw in ERRORS.items():
            rng = np.random.default_rng(0)
            taken = alike = 0
            for _ in range(studies):
                first_C, second_C = (
                    _squares(draw(rng, (s.size, SEEDS)) * s[:, None]) for s in (sigma_C, SECOND)
                )
                parts = [[(float(q), SEEDS - 1) for q in squares] for squares in (first_C, second_C)]
                found = spread_ratio(parts[0], parts[1], level=0.95)
                assert found is not None
                taken += found.low <= truth <= found.high
                low, high = fdtri(2 * first_C.size, 2 * second_C.size, [0.025, 0.975])
                alike += found.estimate / np.sqrt(high) <= truth <= found.estimate / np.sqrt(low)
            yield row(f"{cells}; {errors}", taken / studies, "fraction", round(float(alike / studies), 4))


def _squares(loss_CxS: Floats) -> Floats:
    return ((loss_CxS - loss_CxS.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the table and write it."""
    record_simulation("spreads", __doc__, all_rows, arguments, studies=STUDIES, smoke=3)


if __name__ == "__main__":
    main()
