"""How well a learning rate transfers, in three numbers per prescription.

Three laws are fitted to the optima of a prescription's widths, x = log2 of the rate, c the curvature in x:

    the loss        L(n) = floor + A n^(-alpha)                      (`loss_law`)
    the best rate   eta(n) = C n^(-beta)                             least squares of x on log2 n
    the curvature   d^2 L / d eta^2 = c / (eta ln 2)^2 ~ n^gamma     so gamma = slope of log2 c + 2 beta

**Robustness** kappa = alpha - 2 beta + gamma. A fixed relative error of the rate costs c/2 delta^2, which falls or
grows as n^(gamma - 2 beta); relative to the loss that width has still to lose, A n^(-alpha), as n^kappa. Below 0 such
errors fade as models widen, above 0 they grow. beta cancels: kappa = alpha + slope of log2 c. It is the noisiest of the
three; an interval wider than 1 is flagged: from one end to the other, what the errors cost differs tenfold when the
width does, and no more than the sign is known, if that.

**Fit error** E: by how much, relative to the loss, the three laws together miss the fitted losses within one octave of
each width's best rate, root mean square over widths and u in [-1, 1]:

    E^2 = mean over n, u of ((Lhat(n, x_n + u) - L_n(x_n + u)) / L_n(x_n))^2

with L_n the width's own parabola and Lhat the laws'. The source fits jointly too but does not state its norm; this one
is stated here and cannot be compared with its numbers to the digit. A resampled table has the noise twice, its own and
the measured table's, and misses its laws by more than the measured one: E's interval is E^2 more or less by how far the
upper percentile of the resampled E^2 lies above their median, and ends at 0. (Simulated with three seeds and four
widths, it leaves out the truth in 0 to 6 of 100 tables; plain percentiles do in 2 to 10, and always where the laws are
exact.)

**Asymptotic loss gap** R(inf) = floor - floor of a reference prescription, in nats.

Intervals are percentiles of a bootstrap over seeds and over the fits' shape (`resample`).

Source: Kalra and Barkeshli, Quantifying Hyperparameter Transfer and the Importance of Embedding Layer Learning Rate
(arXiv 2605.21486), 2026; the meaning of kappa is derived above.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from widthwise.analysis.cell import Floats
from widthwise.analysis.exponent import slope_weights
from widthwise.analysis.fitted_table import FittedTable
from widthwise.analysis.loss_law import LossLaws, fit_loss_laws
from widthwise.analysis.optimum import LocalFit
from widthwise.analysis.resample import Resampler, triple
from widthwise.analysis.result import Interval

LEVEL = 0.95
SAMPLES = 2000
WIDE = 1.0
"""The width of kappa's interval from which on it says no more than the sign, if that."""
LEAST_WIDTHS = 3
_OFFSETS = np.linspace(-1.0, 1.0, 9)  # octaves around a width's best rate at which E looks


@dataclass(frozen=True)
class Metric:
    """An estimate; no interval where the noise is unknown."""

    estimate: float
    interval: Interval | None


@dataclass(frozen=True)
class TransferMetrics:
    """The metrics of one prescription; all None, with the reason in `flags`, below three bracketed widths.

    Args:
        widths: those used.
        alpha: of the loss law.
        beta: of the best rate, eta ~ n^(-beta).
        gamma: of the curvature in the rate itself.
        kappa: alpha - 2 beta + gamma.
        fit_error: E, relative to the loss.
        floor: the loss at infinite width, nats.
        gap: R(inf), floor less that of `reference`; None without one.
        reference: the prescription that `gap` is against.
        flags: what the numbers must not be used for, one sentence each.
    """

    prescription: str
    widths: tuple[int, ...]
    alpha: Metric | None = None
    beta: Metric | None = None
    gamma: Metric | None = None
    kappa: Metric | None = None
    fit_error: Metric | None = None
    floor: Metric | None = None
    gap: Metric | None = None
    reference: str | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Laws:
    """The three laws of one prescription, once from the data (index 0) and B times resampled [1 + B]."""

    widths: tuple[int, ...]
    loss: LossLaws
    beta: Floats
    gamma: Floats
    fit_error: Floats

    @property
    def kappa(self) -> Floats:
        return self.loss.alpha - 2 * self.beta + self.gamma


def transfer_metrics(
    table: FittedTable,
    *,
    reference: str | None = None,
    level: float = LEVEL,
    samples: int = SAMPLES,
    seed: int = 0,
) -> tuple[TransferMetrics, ...]:
    """E, kappa and R(inf) of every prescription.

    Args:
        table: from `fit_table`.
        reference: the prescription R(inf) is against; unless said the one of the lowest floor, of those whose loss law
            was nowhere at its bounds and has four widths or more, if there are any.
        level: of the intervals.
        samples: of the bootstrap.
        seed: of the bootstrap; equal seeds give equal intervals.

    Raises:
        ValueError: the reference is no prescription of the table, or has too few widths.
    """
    if reference is not None and reference not in table.prescriptions:
        raise ValueError(
            f"reference {reference!r} is no prescription of the table; choose one of {list(table.prescriptions)}"
        )
    resamplers = {
        group: Resampler(table.members(group), noise, level=level, samples=samples, seed=seed)
        for group, noise in table.noises.items()
        if noise is not None
    }
    laws: dict[str, _Laws] = {}
    for name, fits in table.prescriptions.items():
        used = [(fit.cell.width, fit.local) for fit in fits if fit.local is not None]
        if len(used) >= LEAST_WIDTHS:
            widths, locals_ = tuple(w for w, _ in used), [local for _, local in used]
            laws[name] = _fit_laws(widths, locals_, resamplers.get(table.group_of(name)))
    if reference is not None and reference not in laws:
        raise ValueError(
            f"reference {reference!r} has fewer than {LEAST_WIDTHS} widths with a bracketed optimum; choose another"
        )
    if reference is None and laws:
        sure = [name for name, found in laws.items() if not _bound_flags(found, level)]
        reference = min(sure or laws, key=lambda name: float(laws[name].loss.floor[0]))
    against = laws.get(reference) if reference is not None else None
    return tuple(
        _metrics(name, laws[name], against, reference, level) if name in laws else _too_few(name, table)
        for name in table.prescriptions
    )


def _fit_laws(widths: tuple[int, ...], fits: Sequence[LocalFit], resampler: Resampler | None) -> _Laws:
    triples_Bx3 = [triple(fit)[None, :] for fit in fits]
    if resampler is not None:
        triples_Bx3 = [
            np.concatenate([t, t + resampler.deviations(fit)])
            for t, fit in zip(triples_Bx3, fits, strict=True)
        ]
    x_BxC, curvature_BxC, loss_BxC = (np.stack([t[:, k] for t in triples_Bx3], axis=1) for k in range(3))
    loss = fit_loss_laws(widths, loss_BxC)
    weights_C = slope_weights(widths)
    beta_B = -x_BxC @ weights_C
    gamma_B = curvature_BxC @ weights_C / np.log(2) + 2 * beta_B
    error_B = _fit_error(x_BxC, curvature_BxC, loss_BxC, loss.values(widths), weights_C, widths)
    return _Laws(widths, loss, beta_B, gamma_B, error_B)


def _fit_error(
    x_BxC: Floats, curvature_BxC: Floats, loss_BxC: Floats, law_BxC: Floats, weights_C: Floats, widths: Sequence[int]
) -> Floats:  # fmt: skip
    """E of each set of optima and the laws through them [B]."""
    centred_C = np.log2(np.array(widths)) - np.log2(np.array(widths)).mean()

    def line(y_BxC: Floats) -> Floats:
        return y_BxC.mean(axis=1, keepdims=True) + (y_BxC @ weights_C)[:, None] * centred_C

    u_U = _OFFSETS
    miss_BxC = x_BxC - line(x_BxC)  # of the best rate, octaves
    measured_BxCxU = np.exp(curvature_BxC)[..., None] / 2 * u_U**2
    lawful_BxCxU = np.exp(line(curvature_BxC))[..., None] / 2 * (miss_BxC[..., None] + u_U) ** 2
    difference = (law_BxC - loss_BxC)[..., None] + lawful_BxCxU - measured_BxCxU
    return np.sqrt(((difference / loss_BxC[..., None]) ** 2).mean(axis=(1, 2)))


def _metrics(
    name: str, laws: _Laws, against: _Laws | None, reference: str | None, level: float
) -> TransferMetrics:
    def metric(values_B: Floats) -> Metric:
        estimate = float(values_B[0])
        if len(values_B) == 1:
            return Metric(estimate, None)
        low, high = np.quantile(values_B[1:], [(1 - level) / 2, (1 + level) / 2])
        return Metric(estimate, Interval(estimate, float(low), float(high)))

    kappa = metric(laws.kappa)
    error = metric(laws.fit_error)
    if error.interval is not None:
        error = Metric(error.estimate, _error_interval(laws.fit_error, level))
    gap = metric(_gap(laws.loss.floor, against.loss.floor)) if against is not None else None
    return TransferMetrics(
        prescription=name,
        widths=laws.widths,
        alpha=metric(laws.loss.alpha),
        beta=metric(laws.beta),
        gamma=metric(laws.gamma),
        kappa=kappa,
        fit_error=error,
        floor=metric(laws.loss.floor),
        gap=gap,
        reference=reference,
        flags=(*_bound_flags(laws, level), *_kappa_flags(kappa)),
    )


def _error_interval(error_B: Floats, level: float) -> Interval:
    """E^2, more or less by how far the resampled tables' upper percentile of E^2 lies above their median."""
    estimate = float(error_B[0])
    middle, high = np.quantile(error_B[1:] ** 2, [0.5, (1 + level) / 2])
    half = float(high - middle)
    return Interval(estimate, math.sqrt(max(0.0, estimate**2 - half)), math.sqrt(estimate**2 + half))


def _gap(floor_B: Floats, other_B: Floats) -> Floats:
    """Differences of floors; the estimate alone where only one of the two was resampled."""
    count = min(len(floor_B), len(other_B))
    return floor_B[:count] - other_B[:count]


def _bound_flags(laws: _Laws, level: float) -> list[str]:
    """Fits at their bounds, in the data or in more of the resampled tables than an interval leaves out."""
    flags: list[str] = []
    if len(laws.widths) == LEAST_WIDTHS:
        flags.append(
            "three widths determine the loss law whatever the losses are: alpha and the floor are unchecked"
        )
    for bound, at_B in laws.loss.at_bound().items():
        share = float(at_B[1:].mean()) if len(at_B) > 1 else 0.0
        if at_B[0]:
            flags.append(f"{bound}: alpha, kappa and R(inf) have no meaning")
        elif share > (1 - level) / 2:
            flags.append(
                f"{bound} in {100 * share:.0f} % of the resampled tables: alpha, kappa and R(inf) are loose"
            )
    return flags


def _kappa_flags(kappa: Metric) -> list[str]:
    if kappa.interval is None:
        return ["the noise is unknown, so nothing has an interval: add a second seed"]
    low, high = kappa.interval.low, kappa.interval.high
    open_sign = ["kappa's sign is undecided"] if low < 0 < high else []
    if high - low > WIDE:
        known = "not even its sign is known" if open_sign else "its sign is known, its size is not"
        return [f"kappa's interval is {high - low:.1f} wide: {known}"]
    return open_sign


def _too_few(name: str, table: FittedTable) -> TransferMetrics:
    widths = tuple(fit.cell.width for fit in table.prescriptions[name] if fit.local is not None)
    many = "width" if len(widths) == 1 else "widths"
    reason = f"{len(widths)} {many} with a bracketed optimum; the laws need {LEAST_WIDTHS}"
    return TransferMetrics(name, widths, flags=(reason,))
