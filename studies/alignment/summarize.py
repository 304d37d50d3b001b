"""Tables of what the experiment found, from its stores.

    python studies/alignment/summarize.py STORES                      prints them
    python studies/alignment/summarize.py STORES --write              puts them into docs/alignment-experiment.md

STORES is a folder of stores, or the `stores.tar.gz` that `run.py` made. What is not there is left out.
"""

import argparse
import math
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from plan import Case, Config, cases, load_config
from progress import exponents_over_training, ratios_over_training, write_figure
from stored import ARMS, Runs, Stores

from widthwise.analysis import Interval, Observation, TransferResult, Weighting, transfer
from widthwise.analysis.noise import student_quantile
from widthwise.study.arms import RULES
from widthwise.study.measured_rates import MeasuredStore
from widthwise.theory import (
    ALIGNMENTS,
    PARAMETERIZATIONS,
    PRESCRIPTIONS,
    Prescription,
    measured_drift,
    predicted_drift,
    prescribed_exponent,
)

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "alignment-experiment.md"
BEGIN, END = "<!-- tables: made by studies/alignment/summarize.py -->", "<!-- /tables -->"
LEVEL = 0.95


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; nothing if it has no rows."""
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def interval(one: object, digits: int = 2) -> str:
    """A value with its ends, from any kind of interval."""
    if one is None:
        return "-"
    value = getattr(one, "estimate", getattr(one, "value", math.nan))
    low, high = one.low, one.high  # pyright: ignore
    return f"{float(value):.{digits}f} ({float(low):.{digits}f} to {float(high):.{digits}f})"


# Alignment


def exponent_table(stores: Stores, config: Config) -> str:
    """Exponents by role, mean over training weighed by loss, under each measured arm."""
    rows: list[list[str]] = []
    for case in cases(config):
        for arm in config["measured_arms"]:
            found = stores.measured(case, arm)
            if isinstance(found, str):
                if stores.path(case, "measure").exists():
                    rows.append([case.name, arm, found.partition(": ")[2], "", "", "", "", ""])
                continue
            for role, own in found.roles.items():
                rate = found.solution.interval(role)
                rows.append(
                    [
                        *(case.name, arm, role, interval(own.alpha), interval(own.omega), interval(own.u)),
                        *(interval(rate), ", ".join(found.nearest.layers[role].inside) or "none of them"),
                    ]
                )
    head = ("case", "at the rates of", "role", "alpha", "omega", "u", "c", "presets within c's interval")
    return table(head, rows)


def ratio_table(stores: Stores, config: Config) -> str:
    """The ratios of each width in the middle of training and at its end: a diagnostic, no exponent."""
    rows: list[list[str]] = []
    for case in cases(config):
        path = stores.path(case, "measure")
        if not path.exists():
            continue
        found = ratios_over_training(path, config["measured_arms"][0])
        times = sorted({time for *_, time in found})
        for role in ("hidden", "readout"):
            for quantity in ("alpha", "u"):
                at = [times[0], times[len(times) // 2], times[-1]]
                series = [[found[role, quantity, n, t] for t in at] for n in config["measured_widths"]]
                cells = (" / ".join(f"{ratio:.2f}" for ratio in one) for one in series)
                rows.append([case.name, role, quantity, *cells])
    head = ("case", "role", "ratio: first, middle, last", *(f"width {n}" for n in config["measured_widths"]))
    return table(head, rows)


def nearest_table(stores: Stores, config: Config) -> str:
    """Which preset a case's measured rates are like, in words."""
    rows: list[list[str]] = []
    for case in cases(config):
        for weighting in Weighting:
            found = stores.measured(case, config["measured_arms"][0], weighting=weighting)
            if isinstance(found, MeasuredStore):
                c = ", ".join(
                    f"{role} {float(found.solution.interval(role).value):.2f}" for role in found.roles
                )
                rows.append([case.name, str(weighting), c, str(found.nearest)])
    return table(("case", "mean over training by", "c", "against the presets"), rows)


def progress_table(stores: Stores, config: Config) -> str:
    """Alpha and u as exponents over widths at some times of training, by role."""
    rows: list[list[str]] = []
    for case in cases(config):
        path = stores.path(case, "measure")
        if not path.exists():
            continue
        series = exponents_over_training(path, config["measured_arms"][0])
        shown = [t for i, t in enumerate(sorted(series)) if i % 2 == 0]
        for role in ("hidden", "readout"):
            for quantity in ("alpha", "u", "omega"):
                cells = [interval(series[t].get((role, quantity))) for t in shown]
                rows.append([case.name, role, quantity, *cells])
        head = ("case", "role", "exponent", *(f"at {t:.0%}" for t in shown))
    return table(head, rows) if rows else ""


# The best rate


def predictions(
    case: Case, arm: Prescription, measured: MeasuredStore | str
) -> dict[str, tuple[float, float, float]]:
    """Assumption -> how many octaves the best rate moves when the width doubles: low, value, high."""
    at = (PARAMETERIZATIONS[case.parameterization], RULES[case.optimizer], arm)
    found = {name: (-float(predicted_drift(*at, truth)),) * 3 for name, truth in ALIGNMENTS.items()}
    if isinstance(measured, MeasuredStore):
        drift = measured_drift(*at, measured.roles)
        found["measured"] = (-float(drift.high), -float(drift.value), -float(drift.low))
    return found


def analysed(runs: Runs, largest: int) -> TransferResult | str:
    """The analysis up to a width, of the arms that have grids there."""
    grid = [o for o in runs.grid if o.width <= largest]
    enough = [
        arm
        for arm in ARMS
        if len({o.rate for o in grid if o.prescription == arm and o.width == largest}) >= 4
    ]
    try:
        return transfer([o for o in grid if o.prescription in enough])
    except ValueError as error:
        return str(error)


def drift_tables(stores: Stores, config: Config) -> tuple[str, str]:
    """How far each arm's best rate moved against every assumption's prediction, and each assumption's mean miss."""
    rows: list[list[str]] = []
    scores: list[list[str]] = []
    for case in cases(config):
        runs = stores.runs(case)
        if runs is None:
            continue
        measured = stores.measured(case, config["measured_arms"][0])
        own = {"measured": measured.prescription} if isinstance(measured, MeasuredStore) else {}
        own["constant"] = PRESCRIPTIONS["full"]
        for width in config["large_widths"]:
            result = analysed(runs, width)
            if isinstance(result, str):
                continue
            octaves = math.log2(width / config["base_width"])
            misses: dict[str, list[float]] = {}
            for one in result.results:
                arm = PRESCRIPTIONS.get(one.prescription) or own.get(one.prescription)
                if arm is None or (one.prescription == "constant" and runs.constant[0] == 1):
                    continue  # a constant of 1 is full alignment again
                moved = _moved(one.regret.offset)
                foreseen = predictions(case, arm, measured)
                cells = [_foreseen(foreseen.get(name), octaves, moved) for name in (*ALIGNMENTS, "measured")]
                where = interval(moved) if moved else one.cells[-1].status
                rows.append([case.name, one.prescription, str(width), where, *cells])
                for name, (_, value, _) in foreseen.items():
                    if moved is not None:
                        misses.setdefault(name, []).append(abs(moved.estimate - value * octaves))
            means = [f"{np.mean(misses[n]):.2f}" if n in misses else "-" for n in (*ALIGNMENTS, "measured")]
            scores.append([case.name, str(width), str(len(misses.get("full", []))), *means])
    head = ("case", "arm", "width", "best rate moved by, octaves", "full", "mid", "none", "measured")
    return table(head, rows), table(("case", "width", "arms", "full", "mid", "none", "measured"), scores)


def _moved(offset: Interval | None) -> Interval | None:
    """log2(best rate at the width / best rate at the base)."""
    return None if offset is None else Interval(-offset.estimate, -offset.high, -offset.low)


def _foreseen(one: tuple[float, float, float] | None, octaves: float, moved: Interval | None) -> str:
    """A prediction; in bold where it, or its interval, meets the observed interval."""
    if one is None:
        return "-"
    low, value, high = (octaves * x for x in one)
    text = f"{value:.2f}" if low == high else f"{value:.2f} ({low:.2f} to {high:.2f})"
    text = text.replace("-0.00", "0.00")
    meets = moved is not None and low <= moved.high and moved.low <= high
    return f"**{text}**" if meets else text


def verdict_table(stores: Stores, config: Config) -> str:
    """The loss given up at the largest width by keeping the base width's best rate, fitted."""
    rows: list[list[str]] = []
    for case in cases(config):
        runs = stores.runs(case)
        result = None if runs is None else analysed(runs, config["large_widths"][-1])
        if result is None or isinstance(result, str):
            continue
        for one in result.results:
            last, lost = one.cells[-1], one.regret.loss
            best = "-" if last.loss is None else f"{last.loss:.4f}"
            given_up = (
                "-"
                if lost is None
                else f"{100 * lost.estimate:.2f} ({100 * lost.low:.2f} to {100 * lost.high:.2f})"
            )
            rows.append(
                [case.name, one.prescription, best, given_up, one.verdict, interval(one.exponent.total)]
            )
    head = ("case", "arm", "lowest loss, fitted", "given up, %", "verdict", "exponent of the best rate")
    return table(head, rows)


# The loss at the largest width


def blocks(runs: Sequence[Observation]) -> tuple[dict[str, np.ndarray], float, int]:
    """Arm -> its losses, seeds in order; and the noise of arms against seeds, a two-way layout, with its freedom.

    residual_as = loss_as - mean_a - mean_s + mean,     sigma^2 = sum residual^2 / ((A - 1) (S - 1))
    """
    seeds = sorted({o.seed for o in runs})
    losses = {
        arm: np.array(
            [
                o.loss if o.loss is not None else math.nan
                for s in seeds
                for o in runs
                if (o.prescription, o.seed) == (arm, s)
            ]
        )
        for arm in dict.fromkeys(o.prescription for o in runs)
    }
    losses = {
        arm: loss for arm, loss in losses.items() if len(loss) == len(seeds) and np.isfinite(loss).all()
    }
    distinct = list({tuple(loss): loss for loss in losses.values()}.values())
    freedom = (len(distinct) - 1) * (len(seeds) - 1)
    if freedom < 1:
        return losses, math.nan, 0
    loss_AxS = np.stack(distinct)
    residual = loss_AxS - loss_AxS.mean(1, keepdims=True) - loss_AxS.mean(0, keepdims=True) + loss_AxS.mean()
    return losses, math.sqrt(float((residual**2).sum()) / freedom), freedom


def loss_tables(stores: Stores, config: Config) -> tuple[str, str]:
    """Losses at the transferred rate, and differences of measured rates to the controls, with intervals."""
    rows: list[list[str]] = []
    differences: list[list[str]] = []
    for case in cases(config):
        runs = stores.runs(case)
        if runs is None or not runs.transferred:
            continue
        losses, sigma, freedom = blocks(runs.transferred)
        measured = stores.measured(case, config["measured_arms"][0])
        nearest = measured.nearest.nearest if isinstance(measured, MeasuredStore) else None
        diverged = {o.prescription for o in runs.transferred if o.loss is None}
        arms = dict.fromkeys((*ARMS, "readout"))
        cells = [
            f"{losses[arm].mean():.4f} ± {losses[arm].std(ddof=1):.4f}"
            if arm in losses and len(losses[arm]) > 1
            else "diverged"
            if arm in diverged
            else "-"
            for arm in arms
        ]
        constant = f"{runs.constant[0]:g}"
        rows.append([case.name, f"2^{runs.x:g}", *cells, constant])
        pairs = [
            ("measured", nearest, "nearest preset"),
            ("measured", "full", ""),
            ("measured", "constant", f"full with the readout times {constant}"),
            ("measured", "readout", "full but for the readout, as measured"),
            ("constant", "full", ""),
            ("readout", "full", ""),
        ]
        for one, other, what in pairs:
            if one in losses and other in losses and freedom:
                n = len(losses[one])
                half = student_quantile(LEVEL, freedom) * sigma * math.sqrt(2 / n)
                mean = float(losses[one].mean() - losses[other].mean())
                name = other if not what else f"{other}: {what}" if what == "nearest preset" else what
                same = np.array_equal(losses[one], losses[other])
                text = "the same runs" if same else f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f})"
                differences.append([case.name, f"{one} - ({name})", text, str(n)])
    head = ("case", "transferred rate", *ARMS, "readout", "constant tuned at the base width")
    return table(head, rows), table(("case", "difference", "loss, nats a token", "seeds"), differences)


def prescription_table(stores: Stores, config: Config) -> str:
    """The c of every arm, by role: what the arms are."""
    rows: list[list[str]] = []
    for case in cases(config):
        measured = stores.measured(case, config["measured_arms"][0])
        own = {"measured": measured.prescription} if isinstance(measured, MeasuredStore) else {}
        at = (PARAMETERIZATIONS[case.parameterization], RULES[case.optimizer])
        from widthwise.theory import MATRIX_ROLES

        for name, arm in {**PRESCRIPTIONS, **own}.items():
            rows.append(
                [
                    case.name,
                    name,
                    *(f"{float(prescribed_exponent(*at, arm, role)):g}" for role in MATRIX_ROLES),
                ]
            )
    return table(("case", "arm", "c embedding", "c hidden", "c readout"), rows)


def page(stores: Stores, config: Config) -> Iterator[str]:
    """Every table under its heading."""
    drift, misses = drift_tables(stores, config)
    losses, differences = loss_tables(stores, config)
    parts = {
        "The arms": prescription_table(stores, config),
        "Measured exponents": exponent_table(stores, config),
        "Over training": progress_table(stores, config),
        "Ratios by width": ratio_table(stores, config),
        "Against the presets": nearest_table(stores, config),
        "How far the best rate moved": drift,
        "Mean distance of the predictions, octaves": misses,
        "What keeping the base width's best rate costs": verdict_table(stores, config),
        "Loss at the largest width, at the transferred rate": losses,
        "Differences at the largest width": differences,
    }
    for title, text in parts.items():
        if text:
            yield f"### {title}\n\n{text}"


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stores", type=Path, help="a folder of stores, or stores.tar.gz")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    parser.add_argument("--figure", type=Path, help="write the figure of alignment over training here, a PNG")
    parser.add_argument("--smoke", action="store_true", help="stores of `run.py --smoke`")
    given = parser.parse_args(arguments)
    config = load_config(HERE / ("smoke.yaml" if given.smoke else "base.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        where = given.stores
        if where.suffix == ".gz":
            with tarfile.open(where) as tar:
                tar.extractall(folder, filter="data")
            where = Path(folder)
        stores = Stores(where, config)
        text = "\n".join(page(stores, config))
        if given.figure is not None:
            paths = {case.name: stores.path(case, "measure") for case in cases(config)}
            there = {name: path for name, path in paths.items() if path.exists()}
            write_figure(there, config["measured_arms"][0], given.figure)
    if not given.write:
        print(text)
        return 0
    old = PAGE.read_text("utf-8")
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{text}\n{END}", old), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
