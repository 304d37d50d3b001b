"""Plans of one model at many widths, described once."""

from collections.abc import Callable, Sequence

from torch import nn

from widthwise.scaling import Rule, ScalingPlan, describe, plan_from
from widthwise.scaling.plan_settings import check_settings
from widthwise.scaling.plan_widths import shape_widths, small_widths
from widthwise.theory import FULL, AnyAlignment, OptimizerRule, Parameterization


def plan_ladder(
    build: Callable[[int], nn.Module],
    *,
    base_width: int,
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    alignment: AnyAlignment = FULL,
    rules: Sequence[Rule] = (),
    norm: str | None = None,
    widths: Sequence[int] | None = None,
    initializer_widths: Sequence[int] | None = None,
) -> Callable[[int], ScalingPlan]:
    """A function from a width to its plan; the model is described here, once.

    Args:
        widths: at which shapes are read; left out, the base width, twice and four times it. The rest as in `make_plan`.

    Raises:
        ValueError: as `make_plan` does.

    Example:
        >>> from widthwise.theory import ADAM, STANDARD
        >>> plan = plan_ladder(lambda n: nn.Linear(4, n), base_width=64, parameterization=STANDARD, optimizer=ADAM)
        >>> plan(128).width, plan(256).rows["weight"].role.value
        (128, 'embedding')
    """
    check_settings(
        {"base width": base_width},
        parameterization=parameterization,
        optimizer=optimizer,
        alignment=alignment,
    )
    shapes_at = shape_widths(widths, base_width)
    drawn_at = (
        small_widths(build, base_width, shapes_at) if initializer_widths is None else initializer_widths
    )
    description = describe(build, widths=shapes_at, rules=rules, initializer_widths=drawn_at)

    def plan(width: int) -> ScalingPlan:
        return plan_from(
            description,
            width=width,
            base_width=base_width,
            parameterization=parameterization,
            optimizer=optimizer,
            alignment=alignment,
            norm=norm,
        )

    return plan
