"""Training functions of a user's own, for tests: no framework, and every way to end."""

import math
import os
import sys
from dataclasses import replace

from widthwise.study import Diverged, Report, Trial


def valley(trial: Trial, report: Report) -> float:
    """A parabola in log2 of the hidden layers' rate, with its minimum at 2^-6, and reports on the way there."""
    loss = 1 + (math.log2(trial.roles["hidden"].learning_rate) + 6) ** 2 / 16 + 1e-3 * trial.seed
    for step in range(1, trial.steps + 1):
        report(step, loss + 1 / step)
    return loss


def every_end(trial: Trial, report: Report) -> float | None:
    """What happens depends on the seed."""
    report(1, 2.5)
    match trial.seed:
        case 0:
            return float("nan")
        case 1:
            return float("-inf")
        case 2:
            report(3, float("nan"))
        case 3:
            raise Diverged("the loss scaler gave up")
        case 4:
            raise RuntimeError("no such file\nand a second line")
        case 5:
            sys.exit("good bye")
        case 6:
            return None
        case 7:
            report(2, 2.0)
            report(2, 2.0)
        case 8:
            try:
                report(2, float("inf"))
            except Diverged:
                sys.stdout.write("swallowed\n")
            return 1.0
        case 9:
            report(trial.steps + 1, 1.0)
        case 11:
            return True
    return 2.0


def repairable(trial: Trial, report: Report) -> float:
    """The valley, but for a width at which something outside is broken."""
    report(1, 2.0)
    if os.environ.get("WIDTHWISE_TEST_BROKEN_WIDTH") == str(trial.width):
        raise OSError("disk full")
    return valley(replace(trial, steps=0), report)
