"""What a tensor's own initializer does with the width: measured from real draws, then named by an exact law.

At each of several small widths the tensor is drawn under pairs of seeds. Its *spread* is what the seeds change,

    spread^2 = mean of (x - x')^2 / 2 over the entries that change,   SE(log spread) = sqrt((k - 1) / (4 entries))

with k the kurtosis of x - x', taken as no less than a normal draw's 3; numbers that are exactly 0 are left out of the
mean. So constants, ramps, zero rows and offsets do not count as random. A draw about something else than zero (noisy
gains, the row norms of a weight norm) is multiplied as a whole, so its *size*, the root mean square, counts. A law is

    scale(n) = s size(n)^(-b)

and holds when the chi-square of its residuals does not reject it. `size` is the width n with b among the halves; or a
fan of the tensor with b = 1/2, since PyTorch's default of a layer whose input is n + 4, or Xavier's fan_in + fan_out
with a vocabulary in it, is no power of n at any finite width but exact in a fan; or n again with b among the quarters.
Known initializers fall as n^0, n^(-1/2) or n^(-1), and a pair of factors that share one of these as n^(-1/4); what lies
between two quarters has another cause, which the user must name. If no law holds, or more than one of a kind, the
exponent is undetermined and the fit says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import exp, inf, log, prod, sqrt

from widthwise.scaling.growth import Growth, GrowthKind, fit_growth

HALVES = tuple(Fraction(k, 2) for k in range(-2, 5))
QUARTERS = tuple(Fraction(k, 4) for k in range(-3, 8, 2))
FAN_EXPONENT = Fraction(1, 2)
ROUNDING = 2.0**-9
"""Half an ulp of bfloat16, in log spread: parameters may be held in it, and no measurement is taken to be finer."""
NORMAL_KURTOSIS = 3.0
REJECTED = 4.4
"""Normal deviate at which chi-square rejects a law: of 200,000 true laws, one."""


class Draw(StrEnum):
    """What an initializer draws.

    A constant has one value everywhere; a pattern varies over its entries and not over seeds (ramps, sinusoids, or a
    factory that seeds itself); random is centred on zero; shifted varies about something else (noisy gains).
    """

    CONSTANT = "constant"
    PATTERN = "pattern"
    RANDOM = "random"
    SHIFTED = "shifted"

    @property
    def random(self) -> bool:
        """Whether seeds change it, so that more of them measure it better."""
        return self in (Draw.RANDOM, Draw.SHIFTED)


@dataclass(frozen=True)
class Sample:
    """One tensor's draws at one width.

    Args:
        shape: of the tensor.
        entries: that differ between the seeds of a pair, over all pairs; 0 if none does.
        spread: standard deviation over seeds of what is not 0 in those entries; 0 if none differs.
        size: root mean square of the same, or of all entries if none differs.
        value: the one value of every entry under every seed; None if there is more than one.
        kurtosis: of the differences between seeds; 3 for a normal draw, less for a uniform one, more for a sparse one.
    """

    shape: tuple[int, ...]
    entries: int
    spread: float
    size: float
    value: float | None
    kurtosis: float = NORMAL_KURTOSIS

    @property
    def draw(self) -> Draw:
        """What was drawn; shifted where the size exceeds the spread by five times its sampling error."""
        if self.entries == 0:
            return Draw.PATTERN if self.value is None else Draw.CONSTANT
        excess = (self.size / self.spread) ** 2 - 1
        return Draw.SHIFTED if excess > 5 * sqrt(3 / self.entries) + 2 * ROUNDING else Draw.RANDOM

    @property
    def scale(self) -> float:
        """The number whose law is sought: a centred draw's spread, a constant's value, else the root mean square."""
        return self.scale_as(self.draw)

    def scale_as(self, draw: Draw) -> float:
        """The same, of what the draw is at other widths: near zero, chance may call it by another name."""
        if draw is Draw.RANDOM:
            return self.spread
        return self.value if draw is Draw.CONSTANT and self.value is not None else self.size


@dataclass(frozen=True)
class InitializerFit:
    """A tensor's own initializer.

        scale(n) = s size(n)^(-exponent)

    Args:
        draw: what is drawn.
        exponent: b; None if undetermined.
        base: what `size` is, in words: `n`, `fan in`, `fan out` or `fan in + fan out`.
        size: its law; None for n itself.
        slope: of log scale over log n, fitted; None where a scale is 0.
        standard_error: of the slope, from the number of entries; None with it.
        widths: at which it was drawn.
        scales: spread at each (random), value (constant) or root mean square (shifted, pattern).
        candidates: the exponents that hold: one if it is determined, none if no law holds or it was declared.
        errors: standard error of log scale at each width, from the number of entries; empty where a scale is 0.
    """

    draw: Draw
    exponent: Fraction | None
    base: str
    size: Growth | None
    slope: float | None
    standard_error: float | None
    widths: tuple[int, ...]
    scales: tuple[float, ...]
    candidates: tuple[Fraction, ...]
    errors: tuple[float, ...] = ()

    def scale_ratio(self, width: int, base_width: int) -> float:
        """The scale at one width over the scale at another, by the law.

        Raises:
            ValueError: the exponent is undetermined.

        Example:
            >>> samples = {n: Sample((n, 9), 9000, n**-0.5, n**-0.5, None) for n in (16, 32, 64)}
            >>> fit_initializer(samples).scale_ratio(1024, 256)
            0.5
        """
        if self.exponent is None:
            raise ValueError(
                f"the initializer's exponent is undetermined: {self.evidence()}; declare it with a rule"
            )
        if self.size is None:
            return (width / base_width) ** -float(self.exponent)
        return (self.size.size_at(width) / self.size.size_at(base_width)) ** -float(self.exponent)

    def scale_at(self, width: int) -> float:
        """The scale at a width: what was measured, carried on by the law (the mean of logs, weighted by their errors).

        Raises:
            ValueError: the exponent is undetermined.

        Example:
            >>> samples = {n: Sample((n, 9), 9000, n**-0.5, n**-0.5, None) for n in (16, 64)}
            >>> round(fit_initializer(samples).scale_at(256), 6)
            0.0625
        """
        if not all(self.scales):
            return 0.0
        carried = [abs(s) * self.scale_ratio(width, n) for n, s in zip(self.widths, self.scales, strict=True)]
        weights = [error**-2 for error in self.errors] or [1.0] * len(carried)
        total = sum(weights)
        return exp(sum(weight * log(x) for weight, x in zip(weights, carried, strict=True)) / total)

    @property
    def scale_error(self) -> float:
        """The standard error of log `scale_at`: a law measured at small widths is itself a little off.

        Example:
            >>> samples = {n: Sample((n, 9), 5000, 0.02, 0.02, None) for n in (16, 64)}
            >>> round(fit_initializer(samples).scale_error, 4)   # sqrt(1 / (2 * 10000)), and rounding
            0.0072
        """
        return 1 / sqrt(sum(error**-2 for error in self.errors)) if self.errors else 0.0

    def evidence(self) -> str:
        """The measurement in words, for errors and notes."""
        scales, widths = ", ".join(f"{scale:.4g}" for scale in self.scales), ", ".join(map(str, self.widths))
        powers = ", ".join(f"n^({-exponent})" for exponent in self.candidates) or "no law"
        verdict = f"{powers} {'fit' if len(self.candidates) > 1 else 'fits'}"
        fitted = f", slope {self.slope:.3f} +- {self.standard_error:.3f}" if self.slope is not None else ""
        return f"{self.draw.value}, scales {scales} at widths {widths}{fitted}: {verdict}"

    def __str__(self) -> str:
        """As the tables print it: `random n^(-1/2)`, `constant 1`, `random (fan in)^(-1/2)`."""
        if self.draw is Draw.CONSTANT and len(set(self.scales)) == 1:
            return f"constant {self.scales[0]:.6g}"
        if self.exponent is None:
            return f"{self.draw.value}, exponent undetermined"
        base = "n" if self.size is None else f"({self.base})"
        power = f"{-self.exponent}" if self.exponent.denominator == 1 else f"({-self.exponent})"
        return f"{self.draw.value} {base}^{power}"


def fit_initializer(samples: Mapping[int, Sample], *, declared: Fraction | None = None) -> InitializerFit:
    """The law of a tensor's own initializer.

    Args:
        samples: by width, at two widths or more.
        declared: the exponent b, where the user gives it instead of the measurement.

    Raises:
        ValueError: fewer than two widths, or one tensor constant at one width and drawn at another.

    Example:
        >>> samples = {n: Sample((n, 9), 9 * n, 0.02, 0.02, None) for n in (64, 128, 256)}
        >>> str(fit_initializer(samples))
        'random n^0'
    """
    if len(samples) < 2:
        raise ValueError(f"draws at widths {sorted(samples)}; an exponent needs at least two")
    widths = tuple(sorted(samples))
    ordered = [samples[width] for width in widths]
    fixed = {sample.entries == 0 for sample in ordered}
    if len(fixed) > 1:
        own = tuple(sample.scale for sample in ordered)
        raise ValueError(f"constant at some widths and drawn at others: scales {own} at widths {widths}")
    draw = ordered[-1].draw
    scales = tuple(sample.scale_as(draw) for sample in ordered)
    if 0 in scales:
        always = not any(scales)
        held = (Fraction(0),) if always else ()
        exponent = Fraction(0) if always else declared
        return InitializerFit(draw, exponent, "n", None, None, None, widths, scales, held)
    errors = tuple(_error(sample, draw) for sample in ordered)
    slope, standard_error = _slope(widths, scales, errors)
    if declared is not None:
        return InitializerFit(draw, declared, "n", None, slope, standard_error, widths, scales, (), errors)
    held, base, size = _law(widths, scales, errors, [sample.shape for sample in ordered])
    exponent = held[0] if len(held) == 1 else None
    return InitializerFit(draw, exponent, base, size, slope, standard_error, widths, scales, held, errors)


def _error(sample: Sample, draw: Draw) -> float:
    """Standard error of log scale. A pattern may be a draw of a factory that seeds itself, and counts as one.

    A size is less noisy than a spread: with r = (spread / size)^2 its squared error is r (2 - r) / 2 of that of
    the spread, for a normal draw. Skewed ones have more, so r (2 - r) is used.
    """
    count = {Draw.CONSTANT: inf, Draw.PATTERN: prod(sample.shape)}.get(draw, sample.entries)
    r = min((sample.spread / sample.size) ** 2, 1.0) if draw is Draw.SHIFTED else 1.0
    return sqrt((max(sample.kurtosis, NORMAL_KURTOSIS) - 1) / (4 * count) * r * (2 - r) + ROUNDING**2)


def _slope(widths: Sequence[int], scales: Sequence[float], errors: Sequence[float]) -> tuple[float, float]:
    """Weighted least squares of log |scale| on log n."""
    x, y = [log(width) for width in widths], [log(abs(scale)) for scale in scales]
    weights = [error**-2 for error in errors]
    total = sum(weights)
    mean_x = sum(w * v for w, v in zip(weights, x, strict=True)) / total
    mean_y = sum(w * v for w, v in zip(weights, y, strict=True)) / total
    moment = sum(w * (v - mean_x) ** 2 for w, v in zip(weights, x, strict=True))
    product = sum(w * (v - mean_x) * (u - mean_y) for w, v, u in zip(weights, x, y, strict=True))
    return product / moment, 1 / sqrt(moment)


def _holds(
    sizes: Sequence[float], exponent: Fraction, scales: Sequence[float], errors: Sequence[float]
) -> bool:
    """Whether scale = s size^(-exponent) survives the chi-square test of its residuals (Wilson and Hilferty 1931)."""
    residuals = [
        log(abs(scale)) + float(exponent) * log(size) for size, scale in zip(sizes, scales, strict=True)
    ]
    weights = [error**-2 for error in errors]
    mean = sum(w * r for w, r in zip(weights, residuals, strict=True)) / sum(weights)
    chi_square = sum(w * (r - mean) ** 2 for w, r in zip(weights, residuals, strict=True))
    degrees = len(scales) - 1
    spread = 2 / (9 * degrees)
    return chi_square <= degrees * (1 - spread + REJECTED * sqrt(spread)) ** 3


def _law(
    widths: Sequence[int], scales: Sequence[float], errors: Sequence[float], shapes: Sequence[tuple[int, ...]]
) -> tuple[tuple[Fraction, ...], str, Growth | None]:
    """(exponents that hold, base, its law): halves of n, then roots of a fan, then quarters of n."""
    halves = tuple(exponent for exponent in HALVES if _holds(widths, exponent, scales, errors))
    if halves:
        return halves, "n", None
    for base, size in _fans(widths, shapes):
        if _holds([size.size_at(width) for width in widths], FAN_EXPONENT, scales, errors):
            return (FAN_EXPONENT,), base, size
    return tuple(exponent for exponent in QUARTERS if _holds(widths, exponent, scales, errors)), "n", None


def _fans(widths: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> list[tuple[str, Growth]]:
    """The fans as `torch.nn.init` counts them, [out, in, *kernel], that grow by a known law."""
    if len(shapes[0]) < 2 or len(widths) < 3:
        return []
    kernels = [prod(shape[2:]) for shape in shapes]
    fan_in = [shape[1] * kernel for shape, kernel in zip(shapes, kernels, strict=True)]
    fan_out = [shape[0] * kernel for shape, kernel in zip(shapes, kernels, strict=True)]
    both = [one + other for one, other in zip(fan_in, fan_out, strict=True)]
    found: list[tuple[str, Growth]] = []
    for base, sizes in (("fan in", fan_in), ("fan out", fan_out), ("fan in + fan out", both)):
        try:
            growth = fit_growth(widths, sizes)
        except ValueError:
            continue
        if growth.grows and growth.kind is not GrowthKind.ROUNDED:
            found.append((base, growth))
    return found
