"""Settings, losses and metrics as text: the same in documents and on pages."""

import math
from collections.abc import Iterable

from widthwise.analysis import ArmLabel, EvaluationColumn, EvaluationEntry, Metric
from widthwise.analysis.published import rate_laws
from widthwise.report.numbers import MISSING, fixed


def published_laws(label: ArmLabel | None) -> tuple[float, ...]:
    """The paper's fitted exponents for a setting, one a sweep; none where it states none."""
    if label is None or (label.optimizer, label.prescription, label.constants) != (
        "adam",
        "global",
        "default",
    ):
        return ()
    return tuple(
        law.exponent
        for law in rate_laws()
        if (law.parameterization, law.horizon) == (label.parameterization, label.horizon)
    )


def published_exponents(label: ArmLabel | None) -> str:
    """The same as text: "−0.94, −0.95"; empty where it states none."""
    return ", ".join(fixed(exponent, 2) for exponent in published_laws(label))


def column_title(column: EvaluationColumn) -> str:
    """A setting in words, its defaults left out: "full, optimal constants"."""
    words = [column.prescription]
    words += [f"{column.constants} constants"] if column.constants != "default" else []
    words += [f"epsilon {column.epsilon}"] if column.epsilon not in ("constant", "none") else []
    words += ["no epsilon"] if column.epsilon == "none" else []
    words += [f"weight decay {column.weight_decay}"] if column.weight_decay != "none" else []
    words += [column.horizon] if column.horizon != "fixed" else []
    return ", ".join(words)


def entry_text(entry: EvaluationEntry | None) -> str:
    """A loss with its half-width: "2.5712 ± 0.0031"; a lowest mean that is no fitted optimum has a "≤"."""
    if entry is None:
        return MISSING
    if not entry.bracketed:
        return f"≤ {fixed(entry.loss, 4)}"
    half = "" if entry.half_width is None else f" ± {fixed(entry.half_width, 4)}"
    return f"{fixed(entry.loss, 4)}{half}"


def published_text(entry: EvaluationEntry | None) -> str:
    """One of the paper's losses, in its three decimals."""
    return MISSING if entry is None else fixed(entry.loss, 3)


def beware(flags: Iterable[str]) -> str:
    """What limits a row of metrics; what several findings come to is said once.

    Example:
        >>> beware(["alpha is at its lower bound: R(inf) is loose", "beta is at its bound: R(inf) is loose", "so few"])
        'alpha is at its lower bound, beta is at its bound: R(inf) is loose; so few'
    """
    causes: dict[str, list[str]] = {}
    for flag in flags:
        cause, _, effect = flag.rpartition(": ")
        causes.setdefault(effect, []).extend([cause] if cause else [])
    return "; ".join(f"{', '.join(found)}: {effect}" if found else effect for effect, found in causes.items())


def metric_text(metric: Metric | None) -> str:
    """A metric with its interval, to four decimals where it is small; an end that is far off has none.

    Example:
        >>> from widthwise.analysis import Interval
        >>> metric_text(Metric(0.0221, Interval(0.0221, 0.0, 474.9)))
        '0.0221 [0.0000, 475]'
    """
    if metric is None:
        return MISSING
    digits = 4 if math.fabs(metric.estimate) < 0.1 else 3
    if metric.interval is None:
        return fixed(metric.estimate, digits)
    low, high = (
        fixed(end, 0 if math.fabs(end) >= 100 else digits)
        for end in (metric.interval.low, metric.interval.high)
    )
    return f"{fixed(metric.estimate, digits)} [{low}, {high}]"
