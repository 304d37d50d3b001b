"""From rows of log gains to the measured alignment of every role or layer, ready for the solver."""

from collections.abc import Iterable

from widthwise.analysis.alignment_exponents import AlignmentExponent, Pool, alignment_exponents
from widthwise.analysis.alignment_rows import AlignmentRow
from widthwise.analysis.width_slope import LEVEL
from widthwise.theory import SOLVER_QUANTITIES, MeasuredAlignment, settle


def measured_layers(
    rows: Iterable[AlignmentRow], *, pool: Pool = Pool.ROLE, level: float = LEVEL
) -> dict[str, MeasuredAlignment]:
    """The three exponents of every role (or layer) over widths, as the theory takes them (`theory.settle`).

    Args:
        rows: one measurement a run, layer and quantity, such as `over_training` makes; those of the whole product are
            left out.
        pool: per role, over its layers, or per layer.
        level: of the intervals, which are over seeds, widths and, where pooled, layers.

    Raises:
        ValueError: no rows; a quantity that was not measured or is undefined; fewer than three widths, and what else
            `alignment_exponents` refuses.

    Example:
        >>> import math
        >>> from widthwise.theory import AlignmentQuantity, Role
        >>> rows = [
        ...     AlignmentRow(n, 0, "up", Role.HIDDEN, quantity, 1, slope * math.log(n), n)
        ...     for n in (64, 128, 256)
        ...     for quantity, slope in (("alpha", 0.9), ("omega", 0.5), ("u", 0.7))
        ... ]
        >>> round(measured_layers(rows)["hidden"].alpha.value, 9)
        0.9
    """
    wanted = [row for row in rows if row.quantity in SOLVER_QUANTITIES]
    if not wanted:
        raise ValueError("nothing was measured: no alpha, omega or u is in the rows")
    found: dict[str, dict[str, AlignmentExponent]] = {}
    for one in alignment_exponents(wanted, pool=pool, level=level):
        if one.quantity in found.setdefault(one.name, {}):
            raise ValueError(
                f"{one.name!r} was measured at several times; average over training first, or choose one"
            )
        found[one.name][one.quantity] = one
    return {name: settle(_alignment(name, exponents)) for name, exponents in found.items()}


def _alignment(name: str, exponents: dict[str, AlignmentExponent]) -> MeasuredAlignment:
    missing = [str(quantity) for quantity in SOLVER_QUANTITIES if quantity not in exponents]
    if missing:
        raise ValueError(
            f"{name!r}: {', '.join(missing)} was not measured; the solver takes alpha, omega and u"
        )
    for quantity, one in exponents.items():
        if one.undefined:
            raise ValueError(f"{name!r}: {quantity} is undefined: {one.undefined}")
    return MeasuredAlignment(**{str(quantity): one.exponent for quantity, one in exponents.items()})


def measured_over_training(
    rows: Iterable[AlignmentRow], *, level: float = LEVEL
) -> dict[float, dict[str, MeasuredAlignment]]:
    """Progress -> role -> its exponents over widths then; times at which one is undefined are left out.

    Args:
        rows: every measurement of every run, at the same progress in all runs.

    Raises:
        ValueError: no rows, no time at which every exponent is defined, and what `alignment_exponents` refuses.
    """
    wanted = [row for row in rows if row.quantity in SOLVER_QUANTITIES]
    found: dict[float, dict[str, dict[str, AlignmentExponent]]] = {}
    for one in alignment_exponents(wanted, pool=Pool.ROLE, level=level):
        found.setdefault(one.progress, {}).setdefault(one.name, {})[one.quantity] = one
    defined = {
        progress: {name: settle(_alignment(name, exponents)) for name, exponents in roles.items()}
        for progress, roles in sorted(found.items())
        if not any(one.undefined for exponents in roles.values() for one in exponents.values())
    }
    if not defined:
        raise ValueError("there is no time of training at which alpha, omega and u of every role are defined")
    return defined
