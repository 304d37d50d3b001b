"""The loss at the largest width and each arm's transferred rate, and differences to the controls."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markdown_table import LEVEL, table
from plan import Config, cases
from stored import ARMS, End, Stores, ends_in_words

from widthwise.analysis import Observation
from widthwise.analysis.noise import student_quantile
from widthwise.study.measured_rates import MeasuredStore


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
        cells = [
            _loss_cell([o for o in runs.transferred if o.prescription == arm], runs.ends) for arm in LOSS_ARMS
        ]
        constant = f"{runs.found.constant:g}"
        rows.append(
            [case.name, str(len({o.seed for o in runs.transferred})), f"2^{runs.found.x}", *cells, constant]
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


def _loss_cell(runs: list[Observation], ends: Mapping[str, End]) -> str:
    """Mean and standard deviation over seeds, or how many diverged or were ruined."""
    losses = [o.loss for o in runs if o.loss is not None]
    if len(losses) < len(runs):
        return ends_in_words([ends[str(o.run)] for o in runs])
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
