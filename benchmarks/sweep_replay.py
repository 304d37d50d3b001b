"""The planned sweep, replayed on finished fine grids: how near its optimum is to the grid's, and what it costs.

    PYTHONPATH=src python benchmarks/sweep_replay.py [--store FILE ...] [--out FILE] [--smoke]

A replay gives `decide` the losses of a full grid as it asks for them, width after width, and then fits both sets of
runs by the same analysis. The simulated grids have 49 rates (12 octaves at 2^0.25), five widths with a drifting
optimum and seed noise of 0.002 nats (0.01 in some rows), and diverge somewhere above the best rate; a store's grid is
its own, each arm at all its widths. Trials have equal horizons, so that tokens are counted in trials; one that
diverged counts in full.

The committed store rows are of `benchmarks/sweep_replay_grid.yaml`, run on a CPU.

The baseline of each difference is the error of the full grid's own optimum (simulated grids alone know the truth).
Writes `benchmarks/results/sweep_replay.json`.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _record import RESULTS, Row, machine, make_record, printed, row, versions, write_json

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from analysis_study import Curve, flat_below, kinked, quadratic, steep_above  # noqa: E402
from widthwise.analysis import Observation  # noqa: E402
from widthwise.analysis.cell import make_cell  # noqa: E402
from widthwise.analysis.optimum import fit_cell  # noqa: E402
from widthwise.records import StoredStudy, TrialStatus, read_study  # noqa: E402
from widthwise.study.sweep import Point, SweepRule, decide  # noqa: E402

ARMS = 100
WIDTHS = 5
OCTAVES = 12
NOISE = 0.002
LOWEST = 2.0**-13
CURVES: Mapping[str, Curve] = {
    "quadratic": quadratic(),
    "steep above": steep_above(),
    "flat below": flat_below(),
    "kinked": kinked(),
    "sharp": quadratic(0.2),
    "shallow": quadratic(0.015),
}
NEAR, SHARE = "<= 0.15", "<= 0.40"
PLANS = {
    "as by default": {},
    "filled to 2^0.5": {"fill": 0.5},
    "filled to 2^2": {"fill": 2.0},
    "window of 2^1": {"window": 1.0},
    "coarse steps of 2^2": {"coarse": 2.0},
}
"""Octaves that differ from the defaults."""


@dataclass(frozen=True)
class Grid:
    """The full grid of one cell: every point's loss for every seed, and where its optimum truly is (log2), if known."""

    runs: Mapping[Point, float | None]
    truth: float | None = None


@dataclass(frozen=True)
class Replayed:
    """One cell: the fitted optima (log2) of both, runs of the sweep and of the grid, and rounds."""

    planned: float | None
    full: float | None
    truth: float | None
    runs: int
    grid_runs: int
    rounds: int


def rule_of(
    step: float,
    octaves: float,
    *,
    coarse: float = 1,
    window: float = 2,
    fill: float = 1,
    origin: float = LOWEST,
) -> SweepRule:
    """A rule in octaves that may not leave its grid."""
    coarse, window, fill, last = (round(part / step) for part in (coarse, window, fill, octaves))
    return SweepRule(origin, step, last, coarse, window, fill, reach=0, stop_ratio=1.2, around=0)


def replay(rule: SweepRule, arm: Sequence[Grid], seeds: Sequence[int]) -> Iterator[Replayed]:
    """The sweep of one arm on its grids, by ascending width."""
    neighbour: int | None = None
    for grid in arm:
        runs: dict[Point, float | None] = {}
        rounds = 0
        while (decision := decide(rule, runs, neighbour=neighbour, seeds=seeds)).wanted:
            runs |= {point: grid.runs[point] for point in decision.wanted}
            rounds += 1
        neighbour = neighbour if decision.best is None else decision.best
        optima = optimum(rule, runs), optimum(rule, grid.runs)
        yield Replayed(*optima, grid.truth, len(runs), len(grid.runs), rounds)


def optimum(rule: SweepRule, runs: Mapping[Point, float | None]) -> float | None:
    """The best rate of a cell's runs as the analysis fits it, log2; None unless it is bracketed."""
    found = fit_cell(make_cell([Observation("", 1, rule.rate(k), s, loss) for (k, s), loss in runs.items()]))
    return found.local.parabola.x if found.local else None


def simulated_arms(
    curve: Curve, *, step: float, seeds: int, arms: int, noise: float = NOISE
) -> Iterator[list[Grid]]:
    """Arms whose optimum drifts from width to width by as much as prescriptions of the paper let it."""
    rng = np.random.default_rng(0)
    last = round(OCTAVES / step)
    for _ in range(arms):
        drift, start, edge = rng.uniform(-1.0, 0.3), rng.uniform(-7.5, -5.5), rng.uniform(1.5, 5)
        grids: list[Grid] = []
        for width in range(WIDTHS):
            best = start + drift * width
            u_K = math.log2(LOWEST) + step * np.arange(last + 1) - best
            loss_KxS = 2 + curve(u_K)[:, None] + noise * rng.standard_normal((last + 1, seeds))
            grids.append(
                Grid(
                    {
                        (k, seed): None if u_K[k] > edge else float(loss_KxS[k, seed])
                        for k in range(last + 1)
                        for seed in range(seeds)
                    },
                    best,
                )
            )
        yield grids


def store_arms(study: StoredStudy) -> tuple[SweepRule, list[list[Grid]], tuple[int, ...]]:
    """The grids of a finished study, and the rule of its lattice.

    Raises:
        ValueError: rates that are not evenly spaced in log2, or a run that is missing.
    """
    rates = sorted({cell.learning_rate for cell in study.cells})
    seeds = tuple(sorted({cell.seed for cell in study.cells}))
    steps = np.diff(np.log2(rates))
    step = float(steps.min()) if len(rates) > 1 else 1.0
    place = {rate: round(math.log2(rate / rates[0]) / step) for rate in rates}
    if not np.allclose(steps, step, rtol=1e-6):
        raise ValueError(f"the rates of study {study.name!r} are not evenly spaced; replay a full grid")
    found: dict[tuple[str, int], dict[Point, float | None]] = {}
    for cell in study.cells:
        trial = study.trials[cell.trial]
        if trial.status in (TrialStatus.PENDING, TrialStatus.FAILED):
            raise ValueError(
                f"study {study.name!r} has runs that are {trial.status.value}; replay a full grid"
            )
        points = found.setdefault((cell.arm, cell.width), {})
        points[place[cell.learning_rate], cell.seed] = trial.validation_loss
    lacking = [key for key, points in found.items() if len(points) != len(rates) * len(seeds)]
    if lacking:
        raise ValueError(f"study {study.name!r} lacks runs in {lacking[0]}; replay a full grid")
    arms = [[Grid(found[key]) for key in sorted(found) if key[0] == arm.name] for arm in study.arms]
    # On a lattice coarser than the default the coarse population is every second point, or all.
    octaves = step * (len(rates) - 1)
    coarse = max(round(1 / step), 2) * step
    return rule_of(step, octaves, coarse=coarse, fill=coarse, window=2 * coarse, origin=rates[0]), arms, seeds


def rows_of(name: str, cells: Sequence[Replayed]) -> Iterator[Row]:
    """The figures of one surface."""
    both = [c for c in cells if c.planned is not None and c.full is not None]
    apart = [abs(c.planned - c.full) for c in both if c.planned is not None and c.full is not None]
    known = [c for c in both if c.truth is not None]
    planned, full = (
        math.sqrt(sum((getattr(c, which) - c.truth) ** 2 for c in known) / len(known)) if known else None
        for which in ("planned", "full")
    )
    share = sum(c.runs for c in cells) / sum(c.grid_runs for c in cells)
    lost = sum(c.full is not None and c.planned is None for c in cells)
    if apart:
        yield row(f"{name}; distance, median", round(float(np.median(apart)), 4), "octaves", target=NEAR)
        yield row(f"{name}; distance, 95th percentile", round(float(np.quantile(apart, 0.95)), 4), "octaves")
    yield row(f"{name}; tokens", round(share, 4), "of the full grid's", target=SHARE)
    yield row(f"{name}; rounds a width", round(sum(c.rounds for c in cells) / len(cells), 2), "rounds")
    yield row(f"{name}; optima that the grid has and the sweep lacks", lost, f"of {len(cells)} cells")
    if planned is not None and full is not None:
        error = f"{name}; error of the optimum, RMS"
        yield row(error, round(planned, 4), "octaves", round(full, 4), round(planned / full, 3))


def simulated_rows(arms: int) -> Iterator[Row]:
    """Every surface by default; then the alternatives, over all surfaces together."""
    for step, plan, seeds, noise in [
        *((0.25, plan, 1, NOISE) for plan in PLANS),
        (0.25, "as by default", 3, NOISE),
        (0.25, "as by default", 1, 5 * NOISE),
        (0.5, "as by default", 1, NOISE),
    ]:
        together: list[Replayed] = []
        rule = rule_of(step, OCTAVES, **PLANS[plan])
        title = f"steps of 2^{step:g}, {plan}, {seeds} seed{'s' * (seeds > 1)}, noise {noise:g}"
        for name, curve in CURVES.items():
            grids = simulated_arms(curve, step=step, seeds=seeds, arms=arms, noise=noise)
            cells = [cell for arm in grids for cell in replay(rule, arm, range(seeds))]
            together += cells
            if plan == "as by default":
                yield from rows_of(f"{title}; {name}", cells)
        yield from rows_of(f"{title}; all surfaces", together)


def store_rows(path: Path) -> Iterator[Row]:
    """A store's grids."""
    study = read_study(path)
    rule, arms, seeds = store_arms(study)
    for count in sorted({1, len(seeds)}):
        kept = [
            [replace(g, runs={p: loss for p, loss in g.runs.items() if p[1] in seeds[:count]}) for g in arm]
            for arm in arms
        ]
        cells = [cell for arm in kept for cell in replay(rule, arm, seeds[:count])]
        yield from rows_of(f"store {study.name}, {count} seed{'s' * (count > 1)}", cells)


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay everything and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--store", type=Path, action="append", default=[], help="a study with a full fine grid"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "sweep_replay.json")
    parser.add_argument(
        "--smoke", action="store_true", help="one arm of each surface; prints, writes nothing"
    )
    given = parser.parse_args(arguments)
    rows = printed(simulated_rows(1 if given.smoke else ARMS))
    for path in given.store:
        rows += printed(store_rows(path))
    if given.smoke:
        return
    write_json(
        given.out,
        make_record("sweep_replay", rows, machine=machine(), versions=versions("numpy", "scipy")),
    )


if __name__ == "__main__":
    main()
