"""How often the analysis's 95 % intervals cover the truth, over designs, curves and noises.

    PYTHONPATH=src python benchmarks/interval_coverage.py [--out FILE] [--smoke]

The baseline of the exponent's coverage is a percentile bootstrap over seeds of the same three-point parabola, on the
same studies. The last rows compare estimates of the optimum by the error of the exponent they give; their baseline is
the three-point parabola. Prints the rows and writes `benchmarks/results/interval_coverage.json`.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from _record import RESULTS, Row, machine, make_record, printed, row, versions, write_json

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from analysis_study import (  # noqa: E402
    Curve,
    Design,
    Study,
    flat_below,
    kinked,
    quadratic,
    simulate,
    steep_above,
)
from widthwise.analysis import Interval, Observation, Verdict, transfer  # noqa: E402
from widthwise.analysis.exponent import slope_weights  # noqa: E402
from widthwise.analysis.polynomial import polynomial_minimum  # noqa: E402

STUDIES = 400
RESAMPLES = 400
DESIGNS = {
    "3 widths x 2 seeds": Design(),
    "3 widths x 2 seeds, tilted noise": Design().tilted(),
    "3 widths x 2 seeds, noise / 7": Design(noise=0.0003),
    "3 widths x 2 seeds, one prescription": Design(prescriptions=1),
    "3 widths x 3 seeds": Design(seeds=3),
    "4 widths x 2 seeds": Design(widths=4),
    "8 widths x 3 seeds": Design(widths=8, seeds=3),
    "2 widths x 3 seeds, one prescription": Design(widths=2, seeds=3, prescriptions=1),
}
CURVES = {
    "quadratic": quadratic(),
    "steep above": steep_above(),
    "flat below": flat_below(),
    "kinked": kinked(),
}
TARGETS = {
    "statistical": "0.92 to 0.98",
    "total": ">= 0.92",
    "offset": ">= 0.92",
    "wrong verdicts": "<= 0.05",
}


def bootstrap(study: Study, design: Design, rng: np.random.Generator) -> list[tuple[float, float]]:
    """The percentile interval of each prescription's slope, cells resampled over their seeds (B resamples)."""
    shape = (design.prescriptions, design.widths, design.seeds, design.rates)
    loss_PxWxSxR = np.array([o.loss for o in study.observations], dtype=float).reshape(shape)
    x_R = np.log2([o.rate for o in study.observations[: design.rates]])
    optimum_PxWxB = np.empty((*shape[:2], RESAMPLES))
    for p, w in np.ndindex(shape[:2]):
        drawn_BxS = rng.integers(design.seeds, size=(RESAMPLES, design.seeds))
        mean_BxR = loss_PxWxSxR[p, w][drawn_BxS].mean(axis=1)
        best_B = np.clip(mean_BxR.argmin(axis=1), 1, design.rates - 2)
        left_B, middle_B, right_B = (mean_BxR[np.arange(RESAMPLES), best_B + k] for k in (-1, 0, 1))
        optimum_PxWxB[p, w] = x_R[best_B] + (left_B - right_B) / (2 * (left_B + right_B - 2 * middle_B))
    weights_W = slope_weights(tuple(128 * 2**w for w in range(design.widths)))
    slope_PxB = np.einsum("w,pwb->pb", weights_W, optimum_PxWxB)
    return [(float(low), float(high)) for low, high in np.quantile(slope_PxB, (0.025, 0.975), axis=1).T]


def measure(curve: Curve, design: Design, *, seed: int, studies: int) -> dict[str, float]:
    """Coverage of each interval, the bootstrap's, wrong and undecided verdicts, and the total interval's width."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[float, ...]] = []
    unused = 0
    for _ in range(studies):
        study = simulate(rng, curve, design)
        limits = bootstrap(study, design, rng)
        results = transfer(study.observations).results
        for result, exponent, (low, high) in zip(results, study.exponents, limits, strict=True):
            offset = -exponent * (design.widths - 1)
            regret = float(curve(np.array(offset))) / 2
            if result.regret.offset is None or len(result.exponent.widths) < design.widths:
                unused += 1
                continue
            wrong = {Verdict.TRANSFERS: regret > 0.01, Verdict.DOES_NOT: regret < 0.01}.get(
                result.verdict, False
            )
            total = result.exponent.total
            assert total is not None
            rows.append(
                (
                    covers(result.exponent.statistical, exponent),
                    covers(total, exponent),
                    low <= exponent <= high,
                    covers(result.regret.offset, offset),
                    covers(result.regret.loss, regret),
                    wrong,
                    result.verdict is Verdict.UNDECIDED,
                    total.high - total.low,
                )
            )
    names = (
        "statistical",
        "total",
        "bootstrap",
        "offset",
        "regret",
        "wrong verdicts",
        "undecided",
        "total width",
    )
    found = dict(zip(names, np.mean(np.array(rows, dtype=float), axis=0).tolist(), strict=True))
    return {**found, "not all widths bracketed": unused / (unused + len(rows))}


def other_optima(observations: Sequence[Observation], design: Design) -> dict[str, float]:
    """One cell's optimum by each estimate; runs of one cell, ordered by seed and rate."""
    loss_SxR = np.array([o.loss for o in observations], dtype=float).reshape(design.seeds, design.rates)
    x_R = np.log2([o.rate for o in observations[: design.rates]])
    mean_R = loss_SxR.mean(axis=0)
    best = int(mean_R.argmin())
    found: dict[str, float] = {}
    for points, degree in ((3, 2), (5, 2), (5, 3)):
        start = min(max(best - points // 2, 0), design.rates - points)
        window = slice(start, start + points)
        minimum = polynomial_minimum(x_R[window], mean_R[window], degree=degree)
        found[f"{points}-point {'parabola' if degree == 2 else 'cubic'}"] = (
            minimum.x if minimum else float("nan")
        )
    found["mean of 5-point fits"] = (found["5-point parabola"] + found["5-point cubic"]) / 2
    return found


def estimate_errors(curve: Curve, design: Design, *, seed: int, studies: int) -> dict[str, float]:
    """Root-mean-square error of the exponent by each estimate of the optimum."""
    rng = np.random.default_rng(seed)
    weights_W = slope_weights(tuple(128 * 2**w for w in range(design.widths)))
    size = design.seeds * design.rates
    errors: dict[str, list[float]] = {}
    for _ in range(studies):
        study = simulate(rng, curve, design)
        cells = [study.observations[i : i + size] for i in range(0, len(study.observations), size)]
        optima = [other_optima(cell, design) for cell in cells]
        for p, exponent in enumerate(study.exponents):
            own = optima[p * design.widths : (p + 1) * design.widths]
            for name in own[0]:
                slope = float(weights_W @ np.array([cell[name] for cell in own]))
                errors.setdefault(name, []).append(slope - exponent)
    return {name: float(np.sqrt(np.nanmean(np.square(found)))) for name, found in errors.items()}


def estimate_rows(studies: int) -> Iterator[Row]:
    """Every estimate of the optimum on every curve, at two noises."""
    for design_name in ("3 widths x 2 seeds", "3 widths x 2 seeds, noise / 7"):
        for curve_name, curve in CURVES.items():
            found = estimate_errors(curve, DESIGNS[design_name], seed=99, studies=studies)
            baseline = found["3-point parabola"]
            for name, value in found.items():
                label = f"{design_name}; {curve_name}; error of the exponent, {name}"
                ratio = round(value / baseline, 3)
                yield row(label, round(value, 4), "octaves per octave", round(baseline, 4), ratio)


def covers(interval: Interval | None, truth: float) -> bool:
    assert interval is not None
    return interval.low - 1e-12 <= truth <= interval.high


def coverage_rows(studies: int) -> Iterator[Row]:
    """Every curve with every design."""
    for index, (design_name, design) in enumerate(DESIGNS.items()):
        for curve_name, curve in CURVES.items():
            found = measure(curve, design, seed=index, studies=studies)
            baseline = found.pop("bootstrap")
            for what, value in found.items():
                compared = baseline if what in ("statistical", "total") else None
                target = TARGETS.get(what)
                if what == "statistical" and curve_name != "quadratic":
                    target = None  # it does not claim to hold the error of fitting the wrong shape
                yield row(
                    f"{design_name}; {curve_name}; {what}",
                    round(value, 4),
                    "octaves per octave" if what == "total width" else "fraction",
                    None if compared is None else round(compared, 4),
                    round(value / compared, 3) if compared else None,
                    target,
                )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the table and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "interval_coverage.json")
    parser.add_argument("--smoke", action="store_true", help="three studies of each; prints, writes nothing")
    given = parser.parse_args(arguments)
    studies = 3 if given.smoke else STUDIES
    rows = [*printed(coverage_rows(studies)), *printed(estimate_rows(studies))]
    if given.smoke:
        return
    record = make_record("interval_coverage", rows, machine=machine(), versions=versions("numpy", "scipy"))
    write_json(given.out, record)


if __name__ == "__main__":
    main()
