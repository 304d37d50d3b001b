"""What a specification's rates are too few for, told before they are trained."""

from widthwise.study.arms import expand_arms
from widthwise.study.rate_spec import RateSweep
from widthwise.study.spec import StudySpec


def few_rates_note(spec: StudySpec) -> str | None:
    """One sentence if a verdict is out of reach; None if it is not, or if single rates say that none is asked for.

    Raises:
        ValueError: what `expand_arms` raises.
    """
    from widthwise.analysis.validate import MINIMUM_RATES

    found = [
        (arm.name, width, len(arm.grid.rates_at(width)))
        for arm in expand_arms(spec)
        if not isinstance(arm.grid, RateSweep)
        for width in arm.widths
    ]
    few = [(name, width, count) for name, width, count in found if 1 < count < MINIMUM_RATES]
    if not few:
        return None
    name, width, count = few[0]
    more = f", and {len(few) - 1} more such cells" if len(few) > 1 else ""
    return (
        f"{name} at width {width} has {count} rates{more}: the study ends without a verdict, since an optimum needs "
        f"{MINIMUM_RATES} rates, better 7 by factors of 2; add rates, or let a sweep find them"
    )
