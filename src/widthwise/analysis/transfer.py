"""The analysis of one table, from runs to verdicts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from widthwise.analysis.cell import rate_points
from widthwise.analysis.exponent import fit_exponent
from widthwise.analysis.fitted_table import FittedTable, fit_table
from widthwise.analysis.noise import Noise, distinct_fits
from widthwise.analysis.observation import Observation
from widthwise.analysis.optimum import CellFit
from widthwise.analysis.optimum_loss import OptimumLoss
from widthwise.analysis.regret import loss_given_up
from widthwise.analysis.result import CellOptimum, GroupNoise, PrescriptionResult, TransferResult
from widthwise.analysis.verdict import describe_unused, explain, judge

MARGIN = 0.01
"""The relative loss below which giving it up counts as transfer, unless asked otherwise."""
LEVEL = 0.95
"""The level of intervals, unless asked otherwise."""

_MOST_NAMED = 12  # prescriptions that a note names one by one


def transfer(
    observations: Iterable[Observation] | FittedTable,
    *,
    base_width: int | None = None,
    margin: float = MARGIN,
    level: float = LEVEL,
) -> TransferResult:
    """Does the best learning rate of a small width stay good enough at the largest?

    For each prescription: the optimum of every width, the exponent of its drift, the loss given up at the largest
    width by keeping the base width's best rate, and a verdict on that loss.

    Args:
        observations: the whole table, or what `fit_table` made of it; the noise is pooled over all of it.
        base_width: the width whose best rate is kept; by default each prescription's smallest.
        margin: the relative loss below which giving it up counts as transfer.
        level: of every interval, two-sided.

    Raises:
        ValueError: the table is unusable (see `validate`), or an option is out of range.

    Example:
        >>> runs = [
        ...     Observation("p", width, 2.0**x, seed, 2 + 0.02 * (x + 6) ** 2 + 0.0001 * seed * x)
        ...     for width in (128, 256) for x in range(-10, -1) for seed in (0, 1)
        ... ]
        >>> transfer(runs).results[0].verdict
        <Verdict.TRANSFERS: 'transfers'>
    """
    fitted = observations if isinstance(observations, FittedTable) else fit_table(observations)
    if not margin > 0:
        raise ValueError(f"the margin is {margin}; it must be positive: 0.01 is one per cent of the loss")
    if not 0 < level < 1:
        raise ValueError(f"the level is {level}; it must lie between 0 and 1: 0.95 gives 95 % intervals")
    prescriptions = fitted.prescriptions
    bases = {name: _base_cell(name, fits, base_width) for name, fits in prescriptions.items()}
    of_losses = {
        (group, width): fitted.noise_at(group, width)
        for group in fitted.noises
        for width in sorted({fit.cell.width for fit in fitted.members(group)})
    }
    return TransferResult(
        results=tuple(
            _result(fits, bases[name], fitted.noise_of(name), of_losses, margin=margin, level=level)
            for name, fits in prescriptions.items()
        ),
        margin=margin,
        level=level,
        noises=tuple(
            GroupNoise(group, noise.sigma, noise.degrees_of_freedom)
            for group, noise in fitted.noises.items()
            if noise is not None
        ),
        notes=_notes(fitted),
    )


def _base_cell(name: str, fits: Sequence[CellFit], base_width: int | None) -> CellFit:
    if base_width is None:
        return fits[0]
    allowed = {fit.cell.width: fit for fit in fits[:-1]}
    if base_width not in allowed:
        raise ValueError(
            f"the base width is {base_width}; prescription {name!r} has the widths "
            f"{', '.join(str(fit.cell.width) for fit in fits)}: choose one below the largest"
        )
    return allowed[base_width]


def _result(
    fits: Sequence[CellFit],
    base: CellFit,
    noise: Noise | None,
    of_losses: Mapping[tuple[str, int], Noise | None],
    *,
    margin: float,
    level: float,
) -> PrescriptionResult:
    exponent = fit_exponent(fits, noise, level=level)
    regret = loss_given_up(base, fits[-1], noise, level=level)
    return PrescriptionResult(
        prescription=base.cell.prescription,
        cells=tuple(_optimum(fit, noise, of_losses[fit.cell.group, fit.cell.width]) for fit in fits),
        exponent=exponent,
        regret=regret,
        verdict=judge(regret.loss, margin),
        reason=explain(base, fits[-1], regret, exponent, margin=margin, level=level),
    )


def _optimum(fit: CellFit, noise: Noise | None, of_loss: Noise | None) -> CellOptimum:
    common: dict[str, Any] = {
        "prescription": fit.cell.prescription,
        "width": fit.cell.width,
        "status": fit.status,
        "points": rate_points(fit.cell),
    }
    local = fit.local
    if local is None:
        return CellOptimum(
            **common, best=None, parabola=None, cubic=None, standard_error=None, systematic=None, loss=None
        )
    one = OptimumLoss(fit, local)
    return CellOptimum(
        **common,
        best=local.parabola.x,
        parabola=local.parabola.x,
        cubic=local.cubic.x,
        standard_error=noise.sigma / local.seeds**0.5 if noise else None,
        systematic=abs(local.difference),
        loss=one.mean,
        degrees_of_freedom=noise.degrees_of_freedom if noise else 0,
        loss_error=of_loss.level * one.factor**0.5 if of_loss else None,
        loss_freedom=of_loss.degrees_of_freedom if of_loss else 0,
    )


def _notes(fitted: FittedTable) -> tuple[str, ...]:
    """What the reader must know, one sentence each."""
    prescriptions = fitted.prescriptions
    every_fit = [fit for fits in prescriptions.values() for fit in fits]
    bracketed = [(fit.cell, fit.local) for fit in every_fit if fit.local is not None]
    notes = [
        f"{fit.cell.prescription}, not used: {describe_unused(fit)}."
        for fit in every_fit
        if fit.local is None
    ]
    notes += [
        f"{cell.prescription}, width {cell.width}: {local.seeds} of {len(cell.seeds)} seeds trained at every "
        "rate of the fit, and only they are used."
        for cell, local in bracketed
        if local.seeds < len(cell.seeds)
    ]
    notes += [note for fit in every_fit for note in _holes(fit)]
    for group, noise in fitted.noises.items():
        if noise is None and distinct_fits(fitted.members(group)):
            of = f" of {group}" if group else ""
            notes.append(
                f"No optimum{of} has two seeds, so its noise is unknown and there are no intervals: add a second seed."
            )
    shared = len(bracketed) - len(distinct_fits(every_fit))
    if shared:
        notes.append(f"{shared} of {len(bracketed)} optima repeat the same runs; the noise counts them once.")
    largest = Counter(fits[-1].cell.width for fits in prescriptions.values())
    if len(largest) > 1:
        listed = ", ".join(f"{name}: {fits[-1].cell.width}" for name, fits in prescriptions.items())
        if len(prescriptions) > _MOST_NAMED:
            listed = ", ".join(f"{count} at {width}" for width, count in sorted(largest.items()))
        notes.append(f"Prescriptions end at different widths ({listed}), each judged at its own largest.")
    return tuple(notes)


def _holes(fit: CellFit) -> list[str]:
    """A rate below an optimum that diverged: rarely the rate's doing, so the fit passes over it, but it is said."""
    if fit.local is None:
        return []
    cell = fit.cell
    return [
        f"{cell.prescription}, width {cell.width}: a run diverged at 2^{x:.2f}, below the best rate; the fit leaves "
        "that rate out, and if the failure had another cause the run should be made again."
        for x in cell.x[: fit.best_index][cell.some_diverged()[: fit.best_index]]
    ]
