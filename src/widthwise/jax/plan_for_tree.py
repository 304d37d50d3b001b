"""Plans for JAX models: any function that draws a pytree of parameters of a width.

The shapes are read by jax.eval_shape, the initializers measured at small widths; everything else is widthwise.scaling.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from widthwise.jax.layout import FLAX, Layout
from widthwise.jax.tree_skeletons import Init, draw_tree_pair, read_tree_skeletons
from widthwise.scaling import Axis, Growth, ModelDescription, Rule, ScalingPlan, plan_from
from widthwise.scaling.describe import AxesOf, describe_skeletons
from widthwise.scaling.module_rules import ModuleAxes
from widthwise.scaling.plan_settings import check_settings
from widthwise.scaling.plan_widths import shape_widths, small_widths_of
from widthwise.scaling.skeleton import Parameter, Skeleton
from widthwise.theory import FULL, AnyAlignment, OptimizerRule, Parameterization

NOTHING_TIED: Mapping[str, str] = MappingProxyType({})


def describe_tree(
    init: Init,
    *,
    widths: Sequence[int],
    rules: Sequence[Rule] = (),
    layout: Layout = FLAX,
    tied: Mapping[str, str] = NOTHING_TIED,
    initializer_widths: Sequence[int] | None = None,
) -> ModelDescription:
    """Every leaf's growth, role and own initializer. `scaling.describe` for a pytree.

    Args:
        init: (width, key) -> a pytree of parameters, as `lambda width, key: Model(width).init(key, x)["params"]`.
        widths: three or more at which shapes are read; they cost nothing.
        rules: what names and shapes cannot say. Patterns are of dotted names: `Dense_*.kernel`.
        layout: what the names say.
        tied: second uses of a leaf: {name for the readout: name of the embedding that it reuses}.
        initializer_widths: two or more at which parameters are drawn; left out, the three smallest of `widths`.

    Raises:
        ValueError: as `scaling.describe` does; a tree with leaves other than real floating-point ones.

    Example:
        >>> import jax
        >>> def init(width, key):
        ...     one, two = jax.random.split(key)
        ...     hidden = {"kernel": jax.random.normal(one, (width, width)) / width**0.5}
        ...     return {"embed": {"embedding": jax.random.normal(two, (11, width))}, "hidden": hidden}
        >>> print(describe_tree(init, widths=(16, 32, 64)).table())
        tensor           shape    role       initializer      decided by
        embed.embedding  [11, n]  embedding  random n^0       flax embedding
        hidden.kernel    [n, n]   hidden     random n^(-1/2)  flax kernel
    """
    ordered = tuple(sorted(set(widths)))
    drawn_at = tuple(sorted(initializer_widths or ordered[:3]))
    return describe_skeletons(
        read_tree_skeletons(init, ordered, layout=layout, tied=tied),
        built="jax.eval_shape",
        drawn_at=drawn_at,
        draw=partial(draw_tree_pair, init),
        axes_of=_axes_by(layout, tied),
        rules=rules,
    )


def plan_for_tree(
    init: Init,
    *,
    width: int,
    base_width: int,
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    alignment: AnyAlignment = FULL,
    rules: Sequence[Rule] = (),
    layout: Layout = FLAX,
    tied: Mapping[str, str] = NOTHING_TIED,
    norm: str | None = None,
    widths: Sequence[int] | None = None,
    initializer_widths: Sequence[int] | None = None,
) -> ScalingPlan:
    """The plan of a JAX model at a width. `scaling.make_plan` for a pytree.

    Args:
        init: (width, key) -> a pytree of parameters; traced at `widths`, run at `initializer_widths`.
        width: the width to train.
        base_width: the width whose hyperparameters were tuned.
        alignment: how updates are assumed to align with activations.
        rules: what names and shapes cannot say, one rule a leaf at most.
        layout: what the names say.
        tied: {name for the readout: name of the embedding that it reuses}. A tree does not show it.
        norm: the path of the norm in front of a tied readout, which a tree does not show either.
        widths: at which shapes are read; left out, the base width, twice and four times it, and `width`.
        initializer_widths: at which parameters are drawn to measure their initializers; left out, the three smallest of
            `widths`, or smaller ones down to a quarter of the base width where `init` accepts them.

    Raises:
        ValueError: as `describe_tree` and `scaling.plan_from` do.

    Example:
        >>> import jax
        >>> from widthwise.theory import ADAM, STANDARD
        >>> def init(width, key):
        ...     one, two = jax.random.split(key)
        ...     readout = {"kernel": jax.random.normal(two, (width, 3)) / width**0.5}
        ...     return {"first": {"kernel": jax.random.normal(one, (5, width))}, "last": readout}
        >>> plan = plan_for_tree(init, width=256, base_width=64, parameterization=STANDARD, optimizer=ADAM)
        >>> {name: (row.role.value, row.init, row.rate) for name, row in plan.rows.items()}
        {'first.kernel': ('embedding', 1.0, 1.0), 'last.kernel': ('readout', 1.0, 0.25)}
    """
    check_settings(
        {"width": width, "base width": base_width},
        parameterization=parameterization,
        optimizer=optimizer,
        alignment=alignment,
    )
    shapes_at = shape_widths(widths, base_width, width)

    def read(every: Sequence[int], real: Sequence[int]) -> tuple[Skeleton, ...]:
        return read_tree_skeletons(init, every, layout=layout, tied=tied)

    drawn_at = (
        small_widths_of(read, base_width, shapes_at) if initializer_widths is None else initializer_widths
    )
    description = describe_tree(
        init, widths=shapes_at, rules=rules, layout=layout, tied=tied, initializer_widths=drawn_at
    )
    return plan_from(
        description,
        width=width,
        base_width=base_width,
        parameterization=parameterization,
        optimizer=optimizer,
        alignment=alignment,
        norm=norm,
    )


def _axes_by(layout: Layout, tied: Mapping[str, str]) -> AxesOf:
    """The layout's word on every leaf; a tied leaf's second use contracts what grows."""
    aliases = set(tied)

    def axes_of(name: str, parameters: Sequence[Parameter], growth: tuple[Growth, ...]) -> ModuleAxes | None:
        if name in aliases:
            axes = tuple(Axis.CONTRACTED if law.grows else Axis.PRODUCED for law in growth)
            return ModuleAxes("tied", axes)
        return layout.axes(name, growth)

    return axes_of
