"""The answer in words: which prescriptions transfer the best learning rate, and why a value is missing."""

import math
from fractions import Fraction

from widthwise.analysis.result import (
    CellOptimum,
    CellStatus,
    ExponentFit,
    PrescriptionResult,
    TransferResult,
    Verdict,
)
from widthwise.report.numbers import excess_text, fixed, listing, percent, percent_range, short_percent

_COUNTED = {
    Verdict.TRANSFERS: "transfer the best learning rate",
    Verdict.DOES_NOT: "do not",
    Verdict.UNDECIDED: "are undecided",
}
VERDICT_SIGNS = {Verdict.TRANSFERS: "✓", Verdict.DOES_NOT: "✗", Verdict.UNDECIDED: "?"}


MOST_NAMES = 12
"""Up to so many prescriptions are named in a sentence; of more their number is said."""


def headline(analysis: TransferResult) -> str:
    """One sentence that names every prescription under its verdict, or counts them where there are many."""
    names = {verdict: _names(analysis, verdict) for verdict in Verdict}
    if len(analysis.results) > MOST_NAMES:
        counts = [f"{len(names[verdict])} {word}" for verdict, word in _COUNTED.items() if names[verdict]]
        return f"Of {len(analysis.results)} prescriptions {listing(counts)}."
    good, bad, open_ = names[Verdict.TRANSFERS], names[Verdict.DOES_NOT], names[Verdict.UNDECIDED]
    if not (good or bad or open_):
        return "The table holds no prescription to judge."
    parts: list[str] = []
    if good:
        parts.append(f"The best learning rate transfers with {listing(good)}")
    if bad:
        parts.append(
            f"it does not with {listing(bad)}"
            if good
            else f"The best learning rate does not transfer with {listing(bad)}"
        )
    if open_ and parts:
        parts.append(f"{listing(open_)} {'is' if len(open_) == 1 else 'are'} undecided")
    elif open_:
        parts.append(f"Whether the best learning rate transfers is undecided for {listing(open_)}")
    return "; ".join(parts) + "."


def _names(analysis: TransferResult, verdict: Verdict) -> list[str]:
    return [result.prescription for result in analysis.results if result.verdict is verdict]


def answer(result: PrescriptionResult, margin: float, level: float) -> str:
    """The numbers behind one verdict, as the rest of a sentence that begins with the prescription's name."""
    regret, verdict = result.regret, result.verdict
    verb = "is undecided" if verdict is Verdict.UNDECIDED else verdict.value
    if regret.loss is None or math.isinf(regret.loss.estimate):
        return f"{verb}: {reason_text(result)}"
    side = {Verdict.TRANSFERS: "below", Verdict.DOES_NOT: "above", Verdict.UNDECIDED: "on both sides of"}[
        verdict
    ]
    cost = excess_text(regret.loss)
    interval = f" ({level_text(level)} interval {percent_range(regret.loss)})"
    return (
        f"{verb}: keeping the best rate of width {regret.base_width} at width {regret.largest_width} raises the loss "
        f"by {cost}{interval if cost == percent(regret.loss.estimate) else ''}, {side} the margin of "
        f"{short_percent(margin)}."
    )


def reason_text(result: PrescriptionResult) -> str:
    """The analysis' reason as a sentence of its own, without the verdict in front."""
    return result.reason.removeprefix(f"{result.verdict.value}: ").removesuffix(".") + "."


def level_text(level: float) -> str:
    """The level of an interval: "95 %"."""
    return short_percent(level)


def exponent_missing(fit: ExponentFit) -> str:
    """Why no exponent, or no interval of it, is shown."""
    if fit.exponent is None:
        return f"{_count(len(fit.widths))} with a bracketed optimum; a slope needs two"
    if fit.statistical is None:
        return "the noise is unknown: it takes two seeds"
    return ""


def _count(widths: int) -> str:
    return "no width" if widths == 0 else "one width" if widths == 1 else f"{widths} widths"


def cell_missing(cell: CellOptimum) -> str:
    """Why a cell shows no optimum, or no error of it."""
    if cell.status is not CellStatus.BRACKETED:
        return cell.status.value
    return "the noise is unknown" if cell.standard_error is None else ""


def theory_text(prediction: str, fit: ExponentFit) -> str:
    """A predicted exponent and whether the measured interval holds it: "−1 (inside)"."""
    text = prediction.replace("-", "−")
    if fit.total is None:
        return text
    inside = fit.total.low <= float(Fraction(prediction)) <= fit.total.high
    return f"{text} ({'inside' if inside else 'outside'})"


def widths_text(fit: ExponentFit) -> str:
    """The widths the exponent was fitted to."""
    return ", ".join(map(str, fit.widths)) if fit.widths else "—"


def noise_sentence(analysis: TransferResult) -> str:
    """How noisy one seed's optimum is."""
    if not analysis.noises:
        return "The noise of an optimum is unknown: it takes at least two seeds."
    parts = [
        f"{fixed(noise.sigma, 3)} octaves{f' with {noise.group}' if noise.group else ''}"
        for noise in analysis.noises
    ]
    freedom = listing([str(noise.degrees_of_freedom) for noise in analysis.noises])
    return (
        f"One seed's optimum scatters by {listing(parts)} (standard deviation, {freedom} degrees of freedom, pooled "
        "over cells)."
    )
