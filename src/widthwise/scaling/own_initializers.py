"""Measure every tensor's own initializer, under as many seeds as it takes, and refuse what follows no law.

Two seeds settle a matrix of thousands of entries. A bias of 64 needs more, so pairs of seeds are added until every
growing tensor is settled or the allowance is spent.

What may stay undetermined: a tensor of which nothing grows; and a vector that is constant, a fixed pattern, or too
small to tell. They are left as the model's own initializer makes them. Anything else is an error. A tensor of which
nothing grows is judged by two seeds, however many the others take: whether the bias of a small head is left depends on
its own size and not on theirs.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from widthwise.scaling.draws import Pair, pool
from widthwise.scaling.initializers import InitializerFit, fit_initializer
from widthwise.scaling.role_decision import numberless
from widthwise.theory import Role

QUARTER = 4

DrawPair = Callable[[int, int], Mapping[str, Pair]]
"""(width, number of the pair) -> the sums of one pair of draws, by the name of each tensor with entries."""


def measure_initializers(
    draw: DrawPair,
    widths: Sequence[int],
    *,
    roles: Mapping[str, Role],
    declared: Mapping[str, Fraction],
    most_seeds: int,
) -> Mapping[str, InitializerFit]:
    """The law of every tensor's own initializer, by the tensor's first name; tensors without entries are left out.

    Args:
        draw: draws the model of a width under two seeds.
        widths: at which that is done.
        roles: of every tensor.
        declared: exponents b that the user gives instead of a measurement.
        most_seeds: that may be drawn at each width, at least 2.

    Raises:
        ValueError: fewer than 2 seeds; tensors other than those described; an initializer that follows no law.
    """
    if most_seeds < 2:
        raise ValueError(f"most_seeds is {most_seeds}; telling a draw from a constant needs at least 2")
    pairs: dict[str, dict[int, list[Pair]]] = {}
    fits: dict[str, InitializerFit] = {}
    drawn, wanted = 0, 1
    while True:
        for pair in range(drawn, wanted):
            _draw(draw, widths, pair, known=roles, into=pairs)
        drawn = wanted
        fits = {
            name: _fit(name, drawn_pairs, declared.get(name), most=1 if roles[name] is Role.FIXED else drawn)
            for name, drawn_pairs in pairs.items()
        }
        unsettled = any(_needs_seeds(fit, roles[name]) for name, fit in fits.items())
        if not unsettled or drawn == most_seeds // 2:
            break
        wanted = min(2 * drawn, most_seeds // 2)
    refused = {
        name: fit for name, fit in fits.items() if fit.exponent is None and not _may_stay(fit, roles[name])
    }
    if refused:
        raise ValueError(_refusal(refused, roles, 2 * drawn))
    return fits


def _draw(
    draw: DrawPair,
    widths: Sequence[int],
    pair: int,
    *,
    known: Mapping[str, Role],
    into: dict[str, dict[int, list[Pair]]],
) -> None:
    for width in widths:
        found = draw(width, pair)
        strange = sorted(set(found) - set(known))
        if strange:
            raise ValueError(
                f"build({width}) made tensors that the described widths do not have: {', '.join(strange)}"
            )
        for name, sums in found.items():
            into.setdefault(name, {}).setdefault(width, []).append(sums)


def _fit(
    name: str, pairs: Mapping[int, list[Pair]], declared: Fraction | None, *, most: int
) -> InitializerFit:
    """The law by so many pairs of seeds at each width."""
    try:
        return fit_initializer(
            {width: pool(drawn[:most]) for width, drawn in pairs.items()}, declared=declared
        )
    except ValueError as error:
        raise ValueError(f"tensor {name!r}: {error}") from error


def _needs_seeds(fit: InitializerFit, role: Role) -> bool:
    return role is not Role.FIXED and fit.draw.random and len(fit.candidates) > 1


def _may_stay(fit: InitializerFit, role: Role) -> bool:
    if role is Role.FIXED:
        return True
    return role is Role.VECTOR and (not fit.draw.random or len(fit.candidates) > 1)


def _refusal(fits: Mapping[str, InitializerFit], roles: Mapping[str, Role], seeds: int) -> str:
    first_of: dict[str, str] = {}
    for name in fits:
        first_of.setdefault(numberless(name), name)
    count = "1 tensor has" if len(fits) == 1 else f"{len(fits)} tensors have"
    lines = [
        f"{count} an initializer whose power of the width is not settled by {seeds} seeds. Draw at "
        "larger or other widths (initializer_widths), under more seeds (most_seeds), or declare the exponent b of "
        "n^(-b) in rules=(...):"
    ]
    for pattern, name in first_of.items():
        fit = fits[name]
        nearest = Fraction(round(-fit.slope * QUARTER), QUARTER) if fit.slope is not None else Fraction(0)
        lines.append(f"  {name} ({roles[name].value}): {fit.evidence()}")
        exponent = f"Fraction({nearest.numerator}, {nearest.denominator})"
        lines.append(f"    Rule({pattern!r}, initializer_exponent={exponent}),  # the nearest quarter")
    return "\n".join(lines)
