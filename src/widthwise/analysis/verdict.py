"""The verdict on one prescription, and the sentence that gives its reason."""

import math

from widthwise.analysis.optimum import CellFit
from widthwise.analysis.regret import plain_regret
from widthwise.analysis.result import CellStatus, ExponentFit, Interval, Regret, Verdict

REMEDIES = {
    CellStatus.EDGE_LOW: "add lower rates",
    CellStatus.EDGE_HIGH: "add rates between it and the next",
    CellStatus.UNRESOLVED: "add rates around the best one, or seeds",
}


def judge(loss: Interval | None, margin: float) -> Verdict:
    """Transfers if the whole interval lies below the margin, does not if above, undecided otherwise.

    Example:
        >>> judge(Interval(0.004, 0.001, 0.009), 0.01)
        <Verdict.TRANSFERS: 'transfers'>
    """
    if loss is not None and loss.high < margin:
        return Verdict.TRANSFERS
    if loss is not None and loss.low > margin:
        return Verdict.DOES_NOT
    return Verdict.UNDECIDED


def explain(
    base: CellFit, largest: CellFit, regret: Regret, exponent: ExponentFit, *, margin: float, level: float
) -> str:
    """One sentence with the numbers behind the verdict."""
    if base.local is None:
        return f"undecided: the base width has no optimum ({describe_unused(base)})"
    rate = f"2^{base.local.parabola.x:.2f}"
    kept = f"keeping the best rate of width {base.cell.width} ({rate}) at width {largest.cell.width}"
    loss = regret.loss
    if largest.local is None:
        if loss is None or judge(loss, margin) is Verdict.UNDECIDED:
            return f"undecided: the largest width has no optimum ({describe_unused(largest)})"
        lost = "diverges" if math.isinf(loss.low) else f"gives up at least {percent(loss.low)} %"
        return f"{kept} {lost}, above the margin of {100 * margin:g} %; that width is {largest.status}"
    if loss is None:
        return _without_interval(base, largest, kept)
    lost = f"{_loss(loss, level)}, {_side(loss, margin)} the margin of {100 * margin:g} %"
    return f"{kept} {lost}; {_drift(exponent, level)}"


def describe_unused(fit: CellFit) -> str:
    """Why a cell has no optimum that may be used, and what to add."""
    where = f"width {fit.cell.width}"
    if fit.best_index is None:
        return f"{where}: no rate trained with every seed; add lower rates"
    remedy = REMEDIES[fit.status]
    if fit.status is CellStatus.EDGE_HIGH and fit.best_index == len(fit.cell.rates) - 1:
        remedy = "add higher rates"
    return f"{where}: {fit.status}, 2^{fit.cell.x[fit.best_index]:.2f}; {remedy}"


def _without_interval(base: CellFit, largest: CellFit, kept: str) -> str:
    estimate = plain_regret(base, largest)
    if estimate is None:
        return "undecided: the loss at the largest width is not positive, so a relative loss has no meaning"
    lost = (
        "leaves the rates that trained there" if math.isinf(estimate) else f"gives up {percent(estimate)} %"
    )
    return f"undecided: {kept} {lost}, but one seed leaves the noise unknown; add a seed"


def _loss(loss: Interval, level: float) -> str:
    """What is lost, with its interval."""
    if math.isinf(loss.low):
        return "diverges"
    bounds = (
        f"{percent(loss.low)} % or more"
        if math.isinf(loss.high)
        else f"{percent(loss.low)} to {percent(loss.high)} %"
    )
    lost = (
        "leaves the rates that trained there"
        if math.isinf(loss.estimate)
        else f"gives up {percent(loss.estimate)} %"
    )
    return f"{lost} ({100 * level:g} % interval {bounds})"


def _side(loss: Interval, margin: float) -> str:
    side = {Verdict.TRANSFERS: "below", Verdict.DOES_NOT: "above", Verdict.UNDECIDED: "on both sides of"}
    return side[judge(loss, margin)]


def _drift(exponent: ExponentFit, level: float) -> str:
    assert exponent.exponent is not None
    assert exponent.total is not None
    return (
        f"the best rate goes as width^{exponent.exponent:.2f} "
        f"({100 * level:g} % interval {exponent.total.low:.2f} to {exponent.total.high:.2f})"
    )


def percent(fraction: float) -> str:
    """Two digits or so: 0.04, 3.2, 24.

    Example:
        >>> percent(0.0004), percent(0.032), percent(1.5)
        ('0.04', '3.2', '150')
    """
    percent = 100 * fraction
    return f"{percent:.2f}" if percent < 1 else f"{percent:.1f}" if percent < 10 else f"{percent:.0f}"
