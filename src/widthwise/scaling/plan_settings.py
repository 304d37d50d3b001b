"""What a plan is asked for, checked before anything is built: whole widths, and values of the theory, not names."""

from collections.abc import Mapping

from widthwise.theory import (
    ALIGNMENTS,
    OPTIMIZER_RULES,
    PARAMETERIZATIONS,
    Alignment,
    OptimizerRule,
    Parameterization,
    PerLayerAlignment,
)


def check_settings(
    widths: Mapping[str, object], *, parameterization: object, optimizer: object, alignment: object
) -> None:
    """Check widths, by what they are called, and the theory's three values.

    Raises:
        ValueError: a width that is no whole number, or below 1; a name in the place of a value.

    Example:
        >>> from widthwise.theory import ADAM, FULL
        >>> check_settings({"width": 64}, parameterization="mup", optimizer=ADAM, alignment=FULL)
        Traceback (most recent call last):
        ...
        ValueError: parameterization is 'mup'; give a value, such as widthwise.theory.PARAMETERIZATIONS['mup']
    """
    for name, width in widths.items():
        if not hasattr(width, "__index__"):  # NumPy's integers have it, floats do not
            raise ValueError(f"{name} is {width!r}, no whole number; give it as an int")
    if any(int(width) < 1 for width in widths.values()):  # type: ignore[call-overload]
        listed = " and ".join(f"{name} {width}" for name, width in widths.items())
        raise ValueError(f"{listed} must {'both ' if len(widths) > 1 else ''}be at least 1")
    for name, value, kinds, table, known in (
        ("parameterization", parameterization, Parameterization, "PARAMETERIZATIONS", PARAMETERIZATIONS),
        ("optimizer", optimizer, OptimizerRule, "OPTIMIZER_RULES", OPTIMIZER_RULES),
        ("alignment", alignment, (Alignment, PerLayerAlignment), "ALIGNMENTS", ALIGNMENTS),
    ):
        if not isinstance(value, kinds):
            example = value if value in list(known) else next(iter(known))
            raise ValueError(
                f"{name} is {value!r}; give a value, such as widthwise.theory.{table}[{example!r}]"
            )
