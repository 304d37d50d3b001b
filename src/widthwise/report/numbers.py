"""Numbers as text: one way for every page, figure and terminal.

A missing value is an em dash and never a zero; an infinite bound is an infinity sign; minus is the minus sign.
"""

import math
import re

from widthwise.analysis.result import Interval

MISSING = "—"
INFINITY = "∞"

_SUPERSCRIPT = str.maketrans("-−0123456789.", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹·")
RAISED = re.compile("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹][⁻⁰¹²³⁴⁵⁶⁷⁸⁹·]*")
LOWERED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹·", "−0123456789.")


def fixed(value: float | None, digits: int) -> str:
    """The value with `digits` decimals: `fixed(-0.5, 2)` is "−0.50"; a rounded zero has no sign."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return f"−{INFINITY}" if value < 0 else INFINITY
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", "−")


def percent(value: float | None) -> str:
    """A fraction in per cent, finer where it is small: 0.0012 is "0.12 %", 0.37 is "37 %"."""
    if value is None or math.isnan(value):
        return MISSING
    return _percent_number(value) if math.isinf(value) else f"{_percent_number(value)}\N{NO-BREAK SPACE}%"


def short_percent(value: float) -> str:
    """A chosen fraction, such as a margin, without trailing zeros: "1 %", "0.5 %"."""
    return f"{100 * value:.6g}\N{NO-BREAK SPACE}%"


def _percent_number(value: float) -> str:
    scaled = 100 * value
    digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
    return fixed(scaled, digits)


def percent_range(interval: Interval | None) -> str:
    """The bounds of an interval of fractions: "0.03 to 0.25 %", "4.10 % or more"."""
    if interval is None:
        return MISSING
    if math.isinf(interval.high):
        return "unbounded" if interval.low <= 0 else f"{percent(interval.low)} or more"
    return f"{_percent_number(interval.low)} to {percent(interval.high)}"


def excess_text(interval: Interval | None) -> str:
    """An excess loss: "0.60 %"; "at least 8.40 %" if only a bound is known, "diverges" if there is no loss at all."""
    if interval is None:
        return MISSING
    if math.isinf(interval.low):
        return "diverges"
    bound = math.isinf(interval.high) and interval.estimate == interval.low
    return f"at least {percent(interval.low)}" if bound else percent(interval.estimate)


def excess_with_range(interval: Interval | None) -> str:
    """An excess loss with its interval: "0.60 % (0.11 to 1.72 %)"; a bound stands alone."""
    text = excess_text(interval)
    plain = interval is not None and text == percent(interval.estimate)
    return f"{text} ({percent_range(interval)})" if plain else text


def bounds(interval: Interval | None, digits: int = 2) -> str:
    """The bounds of an interval: "[−1.05, −0.91]", "unbounded" when neither is finite."""
    if interval is None:
        return MISSING
    if interval.low == -math.inf and interval.high == math.inf:
        return "unbounded"
    return f"[{fixed(interval.low, digits)}, {fixed(interval.high, digits)}]"


def significant(value: float | None, digits: int = 3) -> str:
    """The value with `digits` significant digits, in powers of ten where a plain number is hard to read."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value) or value == 0:
        return fixed(value, 0)
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if -5 < exponent < 5:
        return f"{value:.{max(digits - 1 - exponent, 0)}f}".replace("-", "−")
    mantissa = f"{value / 10**exponent:.{digits - 1}f}".rstrip("0").rstrip(".")
    return f"{mantissa}×10{superscript(str(exponent))}".replace("-", "−")


def loss_text(value: float | None) -> str:
    """A loss, with four decimals as long as it is of the usual size."""
    if value is None or math.isnan(value) or math.isinf(value) or abs(value) >= 100:
        return significant(value, 4)
    return fixed(value, 4)


def superscript(text: str) -> str:
    """Digits, sign and point raised: "-8" becomes "⁻⁸"."""
    return text.translate(_SUPERSCRIPT)


def is_dyadic(log2_rate: float) -> bool:
    """Whether a rate is a power of two with a whole or half exponent, and so reads best as one."""
    return abs(2 * log2_rate - round(2 * log2_rate)) < 1e-6


def power_of_two(log2_rate: float) -> str:
    """A rate as a power of two: `power_of_two(-7.5)` is "2⁻⁷·⁵"."""
    text = f"{log2_rate:.2f}".rstrip("0").rstrip(".")
    return f"2{superscript('0' if text == '-0' else text)}"


def rate_text(rate: float) -> str:
    """A learning rate: "2⁻⁷ = 0.00781", or "0.003" where it is no power of two."""
    log2_rate = math.log2(rate)
    plain = _shortest(significant(rate))
    return f"{power_of_two(log2_rate)} = {plain}" if is_dyadic(log2_rate) else plain


def rate_label(rate: float) -> str:
    """A learning rate as the label of a tick, without trailing zeros: "0.003", "3×10⁻⁵"."""
    return _shortest(significant(rate))


def _shortest(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text and "×" not in text else text


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 run", "12 runs"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listing(words: list[str]) -> str:
    """Words in a sentence: "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
