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
        return f"undecided: at the base width {describe_unused(base)}"
    rate = f"2^{base.local.parabola.x:.2f}"
    kept = f"keeping the best rate of width {base.cell.width} ({rate}) at width {largest.cell.width}"
    if largest.local is None:
        if regret.loss is None or regret.loss.low <= margin:
            return f"undecided: at the largest width {describe_unused(largest)}"
        lost = (
            "diverges" if math.isinf(regret.loss.low) else f"gives up at least {_percent(regret.loss.low)} %"
        )
        return f"{kept} {lost}, above the margin of {_percent(margin)} %; there, {largest.status}"
    if regret.loss is None:
        return _without_interval(base, largest, kept)
    return f"{kept} {_loss(regret.loss, margin, level)}; {_drift(exponent, level)}"


def describe_unused(fit: CellFit) -> str:
    """Which cell has no optimum that may be used, why, and what to add."""
    where = f"{fit.cell.prescription}, width {fit.cell.width}: {fit.status}"
    if fit.best_index is None:
        return f"{fit.cell.prescription}, width {fit.cell.width}: no rate trained with every seed; add lower rates"
    remedy = REMEDIES[fit.status]
    if fit.status is CellStatus.EDGE_HIGH and fit.best_index == len(fit.cell.rates) - 1:
        remedy = "add higher rates"
    return f"{where} (2^{fit.cell.x[fit.best_index]:.2f}); {remedy}"


def _without_interval(base: CellFit, largest: CellFit, kept: str) -> str:
    estimate = plain_regret(base, largest)
    if estimate is None:
        return "undecided: the loss at the largest width is not positive, so a relative loss has no meaning"
    return f"undecided: {kept} gives up {_percent(estimate)} %, but one seed leaves the noise unknown; add a seed"


def _loss(loss: Interval, margin: float, level: float) -> str:
    interval = f"{level:.4g} interval {_percent(loss.low)} to {_percent(loss.high)} %"
    interval = interval.replace(f"{level:.4g}", f"{100 * level:.4g} %", 1)
    if math.isinf(loss.estimate):
        what = "leaves the rates that trained there" if loss.low <= margin else "diverges or nearly so"
        return f"{what} ({interval}), {_side(loss, margin)}"
    return f"gives up {_percent(loss.estimate)} % ({interval}), {_side(loss, margin)}"


def _side(loss: Interval, margin: float) -> str:
    side = {Verdict.TRANSFERS: "below", Verdict.DOES_NOT: "above", Verdict.UNDECIDED: "on both sides of"}
    return f"{side[judge(loss, margin)]} the margin of {_percent(margin)} %"


def _drift(exponent: ExponentFit, level: float) -> str:
    if exponent.exponent is None or exponent.total is None:
        return "the exponent is unknown"
    return (
        f"the best rate goes as width^{exponent.exponent:.2f} "
        f"({100 * level:.4g} % interval {exponent.total.low:.2f} to {exponent.total.high:.2f})"
    )


def _percent(fraction: float) -> str:
    return "infinitely many" if math.isinf(fraction) else f"{100 * fraction:.2g}"
