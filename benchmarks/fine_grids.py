"""How far optima and best losses err on grids finer than factors of 2, on curves as a study of Adam measured them.

    PYTHONPATH=src python benchmarks/fine_grids.py [--out FILE] [--smoke]

The truth is `fine_grids.csv`: for 90 of 96 distinct finished cells of the one-GPU study (Adam with and without
parameter scaling, Adafactor, Adam-atan2; not SGD) the loss above its minimum, u octaves from it, as two
exponentials, fitted to what was measured up to 1.5 times the best:

    A e^(-p u) + B e^(q u) - A - B,        A p = B q

Left out are the two with the steepest walls (q above 12) and four that two exponentials fit poorly, so the figures say
nothing of walls as steep as those. That three tenths of the variance differ between rates is assumed, not measured.

A prescription keeps one curve at four widths, or draws another at each (`mixed`); where optima lie between rates is
random, three tenths of the seeds' variance differ between rates, and seeds differ as they do at that width. One seed
searches as a sweep does, coarse steps and then fine ones within an octave of the best; two more train at the best rate.
The baseline of the loss at the optimum is the minimum of a parabola over all rates within an octave. Prints the rows
and writes `benchmarks/results/fine_grids.json`.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from _record import Row, record_simulation, row

from widthwise.analysis import Interval, Observation, fit_table, transfer
from widthwise.analysis.best_loss import loss_difference, loss_difference_slope
from widthwise.analysis.difference_noise import common_cells, difference_noise
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.polynomial import polynomial_minimum

CURVES = Path(__file__).with_suffix(".csv")
SPREAD = {128: 0.016, 256: 0.011, 512: 0.005, 1024: 0.004}
"""Width -> standard deviation of a seed's loss at the best rate, nats, Adam."""
OWN = 0.3
PRESCRIPTIONS = 10
STUDIES = 60
FLOOR = 1.4
Curve = tuple[float, float, float, float]


def read_curves() -> list[Curve]:
    """The curves' p, q, A, B."""
    with CURVES.open(encoding="utf-8") as lines:
        found = [[float(line[name]) for name in "pqAB"] for line in csv.DictReader(lines)]
    return [(p, q, a, b) for p, q, a, b in found]


def excess(curve: Curve, u: float) -> float:
    """The loss above its minimum, u octaves from it."""
    p, q, a, b = curve
    return float(a * np.exp(-p * u) + b * np.exp(min(q * u, 30.0)) - a - b)


def sweep(
    name: str,
    width: int,
    curve: Curve,
    best: float,
    *,
    fine: float,
    noise: Callable[[float, int], float],
    seeds: int = 3,
) -> Iterator[Observation]:
    """The runs of one cell whose optimum is at log2 of the rate `best`; the noise is of a rate and a seed, nats."""
    losses: dict[tuple[float, int], float] = {}

    def run(x: float, seed: int) -> None:
        losses[x, seed] = FLOOR + excess(curve, x - best) + noise(x, seed)

    def lowest() -> float:
        return min((x for x, seed in losses if seed == 0), key=lambda x: losses[x, 0])

    for x in np.arange(np.floor(best) - 4, np.floor(best) + 5).tolist():
        run(x, 0)
    steps = round(1 / fine)
    while new := [x for k in range(-steps, steps + 1) if ((x := lowest() + k * fine), 0) not in losses]:
        for x in new:
            run(x, 0)
    for seed in range(1, seeds):
        run(lowest(), seed)
    for (x, seed), loss in losses.items():
        yield Observation(name, width, 2.0**x, seed, loss, f"{name} {width} {x} {seed}")


def octave_parabola(fit: CellFit) -> float:
    """The minimum of a parabola over all rates within an octave of the best; NaN if it has none there."""
    near_R = np.abs(fit.cell.x - fit.cell.x[fit.best_index or 0]) < 1.01
    found = polynomial_minimum(fit.cell.x[near_R], fit.cell.loss[0][near_R], degree=2)
    return found.value if found else float("nan")


def covers(interval: Interval | None, truth: float) -> bool:
    return interval is not None and interval.low - 1e-12 <= truth <= interval.high


def measure(curves: Sequence[Curve], *, mixed: bool, fine: float, studies: int) -> dict[str, float]:
    """Errors, coverage and half-widths, means over studies."""
    rng = np.random.default_rng(5)
    exponents: list[tuple[float, ...]] = []
    losses: list[tuple[float, ...]] = []
    regrets: list[bool] = []
    for _ in range(studies):
        shared = {width: rng.standard_normal(3) for width in SPREAD}
        observations: list[Observation] = []
        truth: dict[str, float] = {}
        lost: dict[str, float] = {}
        for p in range(PRESCRIPTIONS):
            name, exponent, start = f"p{p}", rng.uniform(-1, 0.2), rng.uniform(-8.5, -7.5)
            curve = curves[rng.integers(len(curves))]
            for doublings, width in enumerate(SPREAD):
                own = curves[rng.integers(len(curves))] if mixed else curve
                level_S = np.sqrt(0.5) * (shared[width] + rng.standard_normal(3))
                best = start + exponent * doublings

                def noise(x: float, seed: int, *, level_S: np.ndarray = level_S, width: int = width) -> float:
                    del x  # every rate draws anew
                    size = np.sqrt(1 - OWN) * level_S[seed] + np.sqrt(OWN) * rng.standard_normal()
                    return float(SPREAD[width] * size)

                observations += sweep(name, width, own, best, fine=fine, noise=noise)
            truth[name], doublings = exponent, len(SPREAD) - 1
            lost[name] = excess(own, -doublings * exponent) / FLOOR
        table = fit_table(observations)
        noise_of_pairs = difference_noise(table.prescriptions.values())
        for result in transfer(table).results:
            if result.regret.offset is not None:
                regrets.append(covers(result.regret.loss, lost[result.prescription]))
            found, exponent = result.exponent, truth[result.prescription]
            if found.total is not None and found.exponent is not None:
                half = found.total.high - found.exponent
                exponents.append((found.exponent - exponent, covers(found.total, exponent), half))
        for name, other in zip(list(truth)[::2], list(truth)[1::2], strict=True):
            pairs = common_cells(table.prescriptions[name], table.prescriptions[other])
            if len(pairs) < len(SPREAD):
                continue
            ends = (
                loss_difference(pairs, 1024, noise_of_pairs),
                loss_difference_slope(pairs, noise_of_pairs),
            )
            assert ends[0] is not None
            plain = [octave_parabola(one.cell) for one in pairs[1024]]
            losses.append(
                (ends[0].estimate, plain[0] - plain[1], covers(ends[0], 0), covers(ends[1], 0),
                 ends[0].high - ends[0].estimate)
            )  # fmt: skip
    e, d = np.array(exponents), np.array(losses)
    return {
        "exponent, error": float(np.sqrt((e[:, 0] ** 2).mean())),
        "exponent, coverage": float(e[:, 1].mean()),
        "exponent, half-width": float(e[:, 2].mean()),
        "loss given up at 1024, coverage": float(np.mean(regrets)),
        "difference of best losses at 1024, error": float(np.sqrt((d[:, 0] ** 2).mean())),
        "the same by a parabola over an octave": float(np.sqrt(np.nanmean(d[:, 1] ** 2))),
        "difference of best losses at 1024, coverage": float(d[:, 2].mean()),
        "slope of that difference, coverage": float(d[:, 3].mean()),
        "difference of best losses at 1024, half-width": float(d[:, 4].mean()),
    }


def all_rows(studies: int) -> Iterator[Row]:
    """Both grids of the paper, curves that keep their shape and that do not."""
    curves = read_curves()
    for fine in (0.5, 0.25):
        for mixed in (False, True):
            found = measure(curves, mixed=mixed, fine=fine, studies=studies)
            plain = found.pop("the same by a parabola over an octave")
            for what, value in found.items():
                name = f"grid of 2^{fine:g}, {'mixed curves' if mixed else 'one curve'}; {what}"
                unit = (
                    "fraction"
                    if "coverage" in what
                    else "octaves per octave"
                    if "exponent" in what
                    else "nats"
                )
                compared = plain if what == "difference of best losses at 1024, error" else None
                yield row(
                    name, round(value, 4), unit, None if compared is None else round(compared, 4),
                    None if compared is None else round(compared / value, 2), ">= 0.92" if unit == "fraction" else None,
                )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the table and write it."""
    record_simulation("fine_grids", __doc__, all_rows, arguments, studies=STUDIES, smoke=2)


if __name__ == "__main__":
    main()
