"""`make_plan`: a description of the user's model and the theory's exponents, put together for one width.

For every tensor the theory gives (a, b, c, g) by role. The model's own forward pass has no multiplier (or n^e, as a
rule declares), so the exponents are moved to that gauge: theta = -e - a. With w(n) the scale of the user's own draw,

    init factor      (n / n_b)^(-b) * w(n_b) / w(n)
    rate factor      (n / n_b)^(-c)
    epsilon factor   (n / n_b)^(-g)
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from widthwise.scaling.attention import attention_notes
from widthwise.scaling.axis import Axis
from widthwise.scaling.description import ModelDescription, TensorDescription
from widthwise.scaling.growth import GrowthKind
from widthwise.scaling.initializers import Draw
from widthwise.scaling.parameter_names import without_wrappers
from widthwise.scaling.plan_settings import check_settings
from widthwise.scaling.role_decision import SHAPE
from widthwise.scaling.rules import Rule
from widthwise.scaling.scaling_plan import PlanRow, ScalingPlan
from widthwise.scaling.tied import as_embedding, resolve_ties
from widthwise.scaling.weight_norm import check_weight_norms
from widthwise.theory import (
    FULL,
    MATRIX_ROLES,
    AnyAlignment,
    OptimizerRule,
    Parameterization,
    Role,
    RoleExponents,
    role_exponents,
    shift_gauge,
)

if TYPE_CHECKING:
    from torch import nn


def make_plan(
    build: "Callable[[int], nn.Module]",
    *,
    width: int,
    base_width: int,
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    alignment: AnyAlignment = FULL,
    rules: Sequence[Rule] = (),
    widths: Sequence[int] | None = None,
    initializer_widths: Sequence[int] | None = None,
    norm: str | None = None,
) -> ScalingPlan:
    """The plan of a user's model at a width.

    Args:
        build: makes a fresh model of a width; it is called on the meta device at `widths` and for real, on the CPU, at
            `initializer_widths`.
        width: the width to train.
        base_width: the width whose hyperparameters were tuned.
        alignment: how updates are assumed to align with activations; with exponents of its own for every layer, the
            layers are the roles `hidden` and `readout`.
        rules: what shapes and module types cannot say, one rule a tensor at most.
        widths: at which shapes are read; left out, the base width, twice and four times it, and `width`.
        initializer_widths: at which the model is drawn to measure its own initializers; left out, the three smallest of
            `widths`, or smaller ones down to a quarter of the base width where the factory accepts them.
        norm: the module of the norm in front of a tied readout, where it cannot be told.

    Raises:
        ValueError: as `describe` does; an initializer whose law is undetermined; a dimension that the theory does not
            cover; a tied readout without a norm in front of it; a weight norm's gain that does not follow its tensor.

    Example:
        >>> from torch import nn
        >>> from widthwise.theory import ADAM, STANDARD
        >>> def build(width):
        ...     return nn.Sequential(nn.Embedding(11, width), nn.Linear(width, width), nn.Linear(width, 11))
        >>> plan = make_plan(build, width=256, base_width=64, parameterization=STANDARD, optimizer=ADAM)
        >>> plan.rows["1.weight"].rate, plan.rows["1.weight"].init
        (0.25, 1.0)
    """
    from widthwise.scaling.describe import describe
    from widthwise.scaling.plan_widths import shape_widths, small_widths

    check_settings(
        {"width": width, "base width": base_width},
        parameterization=parameterization,
        optimizer=optimizer,
        alignment=alignment,
    )
    shapes_at = shape_widths(widths, base_width, width)
    drawn_at = (
        small_widths(build, base_width, shapes_at) if initializer_widths is None else initializer_widths
    )
    description = describe(build, widths=shapes_at, rules=rules, initializer_widths=drawn_at)
    return plan_from(
        description,
        width=width,
        base_width=base_width,
        parameterization=parameterization,
        optimizer=optimizer,
        alignment=alignment,
        norm=norm,
    )


def plan_from(
    description: ModelDescription,
    *,
    width: int,
    base_width: int,
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    alignment: AnyAlignment = FULL,
    norm: str | None = None,
) -> ScalingPlan:
    """The plan of a described model, without building anything.

    Args:
        norm: the module of the norm in front of a tied readout, where it cannot be told.

    Raises:
        ValueError: see `make_plan`.
    """
    ties = resolve_ties(description, parameterization, alignment, norm)
    rows = {
        without_wrappers(tensor.name): _row(
            tensor,
            _in_own_gauge(tensor, ties.parameterization, optimizer, alignment, ties.carried.get(tensor.name)),
            optimizer.at(tensor.role),
            (width, base_width),
            _shape_at(width, tensor, description.widths),
            ties.carried.get(tensor.name),
        )
        for tensor in map(as_embedding, description.tensors.values())
    }
    check_weight_norms(description, rows)
    notes = (*ties.notes, *attention_notes(description))
    return ScalingPlan(width, base_width, parameterization, optimizer, alignment, rows, notes)


def _in_own_gauge(
    tensor: TensorDescription,
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    alignment: AnyAlignment,
    carried: Fraction | None,
) -> RoleExponents:
    """(a, b, c, g) of a tensor with the multiplier that the model's forward pass has, n^e."""
    exponents = role_exponents(parameterization, optimizer, alignment, tensor.role)
    if carried is not None:  # the gain is n^(-t) times one that stays of size one and has a gain's rate
        exponents = replace(exponents, a=carried)
    return shift_gauge(exponents, optimizer.at(tensor.role), -tensor.forward_factor - exponents.a)


def _row(
    tensor: TensorDescription,
    exponents: RoleExponents,
    rule: OptimizerRule,
    widths: tuple[int, int],
    shape: tuple[int | None, ...],
    carried: Fraction | None,
) -> PlanRow:
    _check_dimensions(tensor)
    width, base_width = widths

    def power(exponent: Fraction) -> float:
        return (width / base_width) ** -float(exponent)

    return PlanRow(
        shape=shape,
        role=tensor.role,
        rule=rule.name,
        exponents=exponents,
        init=power(exponents.b) / _own_ratio(tensor, width, base_width),
        initializer=tensor.initializer,
        rate=power(exponents.c),
        epsilon=power(exponents.g),
        decayed=tensor.role in MATRIX_ROLES,
        trainable=tensor.trainable,
        decided_by=tensor.rule,
        note=_note(tensor, carried),
    )


def _shape_at(width: int, tensor: TensorDescription, described: Sequence[int]) -> tuple[int | None, ...]:
    if width in described:
        return tensor.shapes[described.index(width)]
    return tuple(
        None if law.kind is GrowthKind.ROUNDED else round(law.size_at(width)) for law in tensor.growth
    )


def _note(tensor: TensorDescription, carried: Fraction | None) -> str:
    notes = [tensor.note] if tensor.note else []
    if carried is not None:
        notes.append(f"carries the tied readout's n^({-carried})")
    if tensor.role is Role.FIXED and tensor.initializer is not None and tensor.initializer.exponent is None:
        notes.append("its own draw is kept: too few numbers to tell how it depends on the width")
    if _may_be_summed_over(tensor):
        notes.append(
            "taken to act elementwise; if it is summed over (a query, one output), give it Role.READOUT"
        )
    return "; ".join(notes)


def _may_be_summed_over(tensor: TensorDescription) -> bool:
    """A lone vector about which no module speaks and that is drawn about zero, as no gain and few biases are."""
    drawn = tensor.initializer is not None and tensor.initializer.draw is Draw.RANDOM
    return drawn and tensor.role is Role.VECTOR and tensor.rule == SHAPE


def _own_ratio(tensor: TensorDescription, width: int, base_width: int) -> float:
    """What the model's own initializer does between the two widths."""
    fit = tensor.initializer
    if fit is None or width == base_width:
        return 1.0
    if fit.exponent is None and tensor.role is Role.FIXED and not tensor.forward_factor:
        return 1.0  # a few numbers, such as a bias of ten classes: kept as drawn, and the row says so
    if fit.exponent is None:
        raise ValueError(
            f"tensor {tensor.name!r}: its initializer follows no law of the width that could be found "
            f"({fit.evidence()}); declare it: Rule({tensor.name!r}, initializer_exponent=Fraction(...))"
        )
    return fit.scale_ratio(width, base_width)


def _check_dimensions(tensor: TensorDescription) -> None:
    for dimension, (law, axis) in enumerate(zip(tensor.growth, tensor.axes, strict=True)):
        if axis is Axis.CONTRACTED and law.grows and law.exponent != 1:
            raise ValueError(
                f"tensor {tensor.name!r} contracts dimension {dimension}, which grows as n^({law.exponent}); the "
                "theory's layers grow as n: choose a width that this dimension grows with, or give its role by a rule"
            )
