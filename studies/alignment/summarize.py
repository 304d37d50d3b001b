"""Tables of what the experiment found, from its stores.

    python studies/alignment/summarize.py STORES                      prints them
    python studies/alignment/summarize.py STORES --write              puts them into docs/alignment-experiment.md

STORES is a folder of stores, or the `stores.tar.gz` that `run.py` made. What is not there is left out.
"""

import argparse
import math
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from plan import Case, Config, cases, load_config
from progress import exponents_over_training, ratios_over_training, write_figure
from stored import ARMS, Runs, Stores, best_rate

from widthwise.analysis import CellStatus, Interval, Observation, TransferResult, Weighting, transfer
from widthwise.analysis.noise import student_quantile
from widthwise.study.arms import RULES
from widthwise.study.measured_rates import MeasuredStore
from widthwise.theory import (
    ALIGNMENTS,
    MATRIX_ROLES,
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
NOT_RUN = "not run"


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


def has_series(stores: Stores, config: Config, case: Case) -> bool:
    """Whether a case's alignment can be read as exponents under the first measured arm's rates."""
    return isinstance(stores.measured(case, config["measured_arms"][0]), MeasuredStore)


def run_table(stores: Stores, config: Config) -> str:
    """Which studies there are: how many models trained to the end, and how many diverged."""
    larges = (f"large-{width}" for width in config["large_widths"])
    studies = ("coarse", "base", "measure", "small", "transferred", *larges)
    rows = [[case.name, *(_count(stores, case, study) for study in studies)] for case in cases(config)]
    return table(("case", *studies), rows) if any(set(row[1:]) != {NOT_RUN} for row in rows) else ""


def _count(stores: Stores, case: Case, study: str) -> str:
    trials = {o.run: o.loss for o in stores.rows(case, study)}
    diverged = sum(loss is None for loss in trials.values())
    if not trials:
        return NOT_RUN
    return f"{len(trials)}, {diverged} diverged" if diverged else f"{len(trials)}"


# Alignment


def exponent_table(stores: Stores, config: Config) -> str:
    """Exponents by role, mean over training weighed by loss, under each measured arm."""
    rows: list[list[str]] = []
    for case in cases(config):
        for arm in config["measured_arms"]:
            found = stores.measured(case, arm)
            if isinstance(found, str):
                if stores.path(case, "measure").exists():
                    why = found.partition(": ")[2].partition(";")[0]
                    rows.append([case.name, arm, "-", *["-"] * 4, why])
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
        if not has_series(stores, config, case):
            continue
        found = ratios_over_training(stores.path(case, "measure"), config["measured_arms"][0])
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
        if not has_series(stores, config, case):
            continue
        series = exponents_over_training(stores.path(case, "measure"), config["measured_arms"][0])
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
    """How far each arm's best rate moved against every assumption's prediction, and how far off each one is."""
    rows: list[list[str]] = []
    scores: list[list[str]] = []
    names = (*ALIGNMENTS, "measured")
    for case in cases(config):
        for width in config["large_widths"]:
            found = drifts(stores, config, case, width)
            if found is None:
                rows.append([case.name, "-", str(width), NOT_RUN, *["-"] * len(names)])
                continue
            octaves = math.log2(width / config["base_width"])
            for one in found:
                where = interval(one.moved) if one.moved else one.why
                cells = [_foreseen(one.foreseen.get(name), octaves, one.moved) for name in names]
                rows.append([case.name, one.arm, str(width), where, *cells])
            distinct = [one for one in found if one.moved is not None and one.twin is None]
            if distinct:
                misses = (_miss(distinct, name, octaves) for name in names)
                scores.append([case.name, str(width), str(len(distinct)), *misses])
    head = ("case", "arm", "width", "best rate moved by, octaves", *names)
    return table(head, rows), table(("case", "width", "arms", *names), scores)


@dataclass(frozen=True)
class Drift:
    """How far one arm's best rate moved, and what was foreseen.

    Args:
        moved: log2(best rate at the width / best rate at the base); None if one of them was not found.
        why: what is missing, then.
        foreseen: assumption -> octaves a doubling of the width: low, value, high.
        twin: an earlier arm with the same runs at the width.
    """

    arm: str
    moved: Interval | None
    why: str
    foreseen: dict[str, tuple[float, float, float]]
    twin: str | None


def drifts(stores: Stores, config: Config, case: Case, width: int) -> list[Drift] | None:
    """Every arm's drift from the base width to a large one; None where the large one was not run."""
    runs = stores.runs(case)
    result = "" if runs is None else analysed(runs, width)
    if runs is None or isinstance(result, str):
        return None
    measured = stores.measured(case, config["measured_arms"][0])
    own = {"measured": measured.prescription} if isinstance(measured, MeasuredStore) else {}
    own["constant"] = PRESCRIPTIONS["full"]
    found: list[Drift] = []
    seen: dict[frozenset[object], str] = {}
    for one in result.results:
        arm = PRESCRIPTIONS.get(one.prescription) or own.get(one.prescription)
        if arm is None or (one.prescription == "constant" and runs.constant[0] == 1):
            continue  # a constant of 1 is full alignment again
        last = frozenset(o.run for o in runs.grid if (o.prescription, o.width) == (one.prescription, width))
        twin = seen.get(last)
        seen.setdefault(last, one.prescription)
        moved = _moved(one.regret.offset)
        ends = {cell.width: cell.status for cell in (one.cells[-1], one.cells[0])}
        why = "; ".join(f"at {n}: {s}" for n, s in sorted(ends.items()) if s is not CellStatus.BRACKETED)
        found.append(Drift(one.prescription, moved, why, predictions(case, arm, measured), twin))
    return found


def _miss(found: Sequence[Drift], name: str, octaves: float) -> str:
    """The mean over arms of moved - predicted, as if their errors were one, and how many intervals it meets.

    The arms share the base width's runs. sd(mean) is at most the mean of the sds, whatever the correlation.
    """
    known = [
        (one.moved, one.foreseen[name]) for one in found if one.moved is not None and name in one.foreseen
    ]
    if not known:
        return "-"
    value, low, high = (
        float(np.mean(ends))
        for ends in zip(
            *(
                (m.estimate - octaves * p, m.low - octaves * top, m.high - octaves * bottom)
                for m, (bottom, p, top) in known
            ),
            strict=True,
        )
    )
    met = sum(m.low <= octaves * top and octaves * bottom <= m.high for m, (bottom, _, top) in known)
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f}), meets {met}"


def rate_table(stores: Stores, config: Config) -> str:
    """The best rate of each grid, no fit: log2 of the rate whose loss, mean over seeds that all trained, is lowest."""
    widths = (config["base_width"], config["small_width"], *config["large_widths"])
    rows: list[list[str]] = []
    for case in cases(config):
        runs = stores.runs(case)
        if runs is None:
            continue
        for arm in ARMS:
            cells = [
                _best_cell([o for o in runs.grid if (o.prescription, o.width) == (arm, n)]) for n in widths
            ]
            if any(cell != NOT_RUN for cell in cells[1:]):
                rows.append([case.name, arm, *cells])
    return table(("case", "arm", *(f"width {n}" for n in widths)), rows)


def _best_cell(runs: list[Observation]) -> str:
    if len({o.rate for o in runs}) < 2:
        return NOT_RUN
    x, loss = best_rate(runs)
    above = {math.log2(o.rate) for o in runs if math.log2(o.rate) > x}
    broken = {math.log2(o.rate) for o in runs if o.loss is None}
    edge = ", the highest of its grid" if not above else ", next diverges" if min(above) in broken else ""
    return f"{x:g}: {loss:.3f}{edge}"


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
        cells = [_loss_cell([o for o in runs.transferred if o.prescription == arm]) for arm in LOSS_ARMS]
        constant = f"{runs.constant[0]:g}"
        rows.append(
            [case.name, str(len({o.seed for o in runs.transferred})), f"2^{runs.x:g}", *cells, constant]
        )
        pairs = [
            ("measured", nearest, f"{nearest}, the nearest preset"),
            *([("measured", "full", "full")] if nearest != "full" else []),
            ("measured", "constant", f"full with the readout times {constant}"),
            ("measured", "readout", "full but for the readout, as measured"),
            ("constant", "full", "full"),
            ("readout", "full", "full"),
        ]
        for one, other, what in pairs:
            if one in losses and other in losses and freedom:
                found = _differences(losses[one], losses[other], sigma, freedom)
                differences.append([case.name, f"{one} - ({what})", *found, str(len(losses[one]))])
    head = ("case", "seeds", "transferred rate", *LOSS_ARMS, "constant tuned at the base width")
    columns = ("case", "difference", "all arms' noise", "these two arms' alone", "seeds")
    return table(head, rows), table(columns, differences)


LOSS_ARMS = (*ARMS, "readout")


def _loss_cell(runs: list[Observation]) -> str:
    """Mean and standard deviation over seeds, or how many diverged."""
    losses = [o.loss for o in runs if o.loss is not None]
    if len(losses) < len(runs):
        return f"{len(runs) - len(losses)} of {len(runs)} diverged"
    return f"{np.mean(losses):.4f} ± {np.std(losses, ddof=1):.4f}" if len(losses) > 1 else "-"


def _differences(one: np.ndarray, other: np.ndarray, sigma: float, freedom: int) -> tuple[str, str]:
    """The mean difference with the interval of all arms' noise, and with that of its own differences by seed."""
    n = len(one)
    if np.array_equal(one, other):
        return "the same runs", ""
    mean = float((one - other).mean())
    pooled = student_quantile(LEVEL, freedom) * sigma * math.sqrt(2 / n)
    paired = student_quantile(LEVEL, n - 1) * float((one - other).std(ddof=1)) / math.sqrt(n)
    pair = [f"{mean:+.4f} ({mean - half:+.4f} to {mean + half:+.4f})" for half in (pooled, paired)]
    return pair[0], pair[1]


def prescription_table(stores: Stores, config: Config) -> str:
    """The c of every arm, by role: what the arms are."""
    rows: list[list[str]] = []
    for case in cases(config):
        if stores.runs(case) is None:
            continue
        measured = stores.measured(case, config["measured_arms"][0])
        own = {"measured": measured.prescription} if isinstance(measured, MeasuredStore) else {}
        at = (PARAMETERIZATIONS[case.parameterization], RULES[case.optimizer])
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
        "What was run": run_table(stores, config),
        "The arms": prescription_table(stores, config),
        "Measured exponents": exponent_table(stores, config),
        "Over training": progress_table(stores, config),
        "Ratios by width": ratio_table(stores, config),
        "Against the presets": nearest_table(stores, config),
        "How far the best rate moved": drift,
        "Moved less predicted, mean over arms, octaves": misses,
        "Best rates of the grids": rate_table(stores, config),
        "What keeping the base width's best rate costs": verdict_table(stores, config),
        "Loss at the largest width, at the transferred rate": losses,
        "Differences at the largest width": differences,
    }
    for title, text in parts.items():
        if text:
            yield f"### {title}\n\n{text}"


def replaced(old: str, text: str) -> str:
    """A page with a text between its marks.

    Raises:
        ValueError: the marks are not there, once each.
    """
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        raise ValueError(f"{PAGE.name} must hold {BEGIN!r} and then {END!r}, once each")
    return f"{old.partition(BEGIN)[0]}{BEGIN}\n\n{text}\n{END}{old.partition(END)[2]}"


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
            readable = {case.name for case in cases(config) if has_series(stores, config, case)}
            paths = {case.name: stores.path(case, "measure") for case in cases(config)}
            there = {name: path for name, path in paths.items() if name in readable}
            write_figure(there, config["measured_arms"][0], given.figure)
    if not given.write:
        print(text)
        return 0
    PAGE.write_text(replaced(PAGE.read_text("utf-8"), text), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
