"""A plan's factors as optax transformations, each one column of the plan, to be chained around any optimizer.

    scale_gradients_by_plan  ->  the optimizer's own update  ->  scale_by_plan  ->  add_decay_by_plan  ->  learning rate

An epsilon that follows its gradient, eps n^(-g), is the same as gradients divided by n^(-g) in front of an optimizer
with one epsilon, since Adam's ratio does not change with the scale of both:

    m / (sqrt(v) + f eps) = (m / f) / (sqrt(v) / f + eps)
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from widthwise.jax.plan_rows import SAME_NAMES, multiplied, rows_of_tree
from widthwise.jax.weight_decay import check_params, decayed
from widthwise.scaling import INDEPENDENT, PlanRow, ScalingPlan, Timescale, WeightDecay


def scale_by_plan(
    plan: ScalingPlan, *, names: Mapping[str, str] = SAME_NAMES
) -> optax.GradientTransformation:
    """Multiply each leaf's update by the plan's rate factor: the base learning rate becomes each leaf's own.

    Args:
        plan: of the model whose updates these are.
        names: leaf -> the plan's name for it, where that is another one. See `rows_of_tree`.

    Raises:
        ValueError: at `init` and when a step is traced: another model or width.

    Example:
        >>> from widthwise.jax import plan_for_tree
        >>> from widthwise.theory import ADAM, STANDARD
        >>> def init(width, key):
        ...     return {"kernel": jax.random.normal(key, (width, width)) / width**0.5}
        >>> plan = plan_for_tree(init, width=64, base_width=16, parameterization=STANDARD, optimizer=ADAM)
        >>> optimizer = optax.chain(optax.scale_by_adam(), scale_by_plan(plan), optax.scale_by_learning_rate(1.0))
        >>> params = init(64, jax.random.key(0))
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> round(float(abs(updates["kernel"]).max()), 5)   # a first step of Adam's is 1
        0.25
    """
    return _scale(plan, names, lambda row: row.rate)


def scale_gradients_by_plan(
    plan: ScalingPlan, *, names: Mapping[str, str] = SAME_NAMES
) -> optax.GradientTransformation:
    """Divide each leaf's gradient by the plan's epsilon factor, the size that theory gives it relative to base width.

    In front of an optimizer that divides by the gradient's size, and after any clipping: its one epsilon then follows
    every gradient, and its moments have the base width's size. Not for optimizers that do not (SGD), whose steps it
    would change.

    Args:
        plan, names: as in `scale_by_plan`.

    Raises:
        ValueError: as `scale_by_plan` does.
    """
    return _scale(plan, names, lambda row: 1 / row.epsilon)


def add_decay_by_plan(
    plan: ScalingPlan,
    weight_decay: float,
    *,
    policy: WeightDecay = INDEPENDENT,
    decay_vectors: bool = False,
    learning_rate: float | None = None,
    names: Mapping[str, str] = SAME_NAMES,
) -> optax.GradientTransformation:
    """Decoupled weight decay by a policy, between `scale_by_plan` and the learning rate.

        update <- update + rate factor * decay(policy) * theta

    Args:
        plan, names: as in `scale_by_plan`.
        weight_decay: as tuned at the base width, in the form of optax.adamw (rate times decay a step).
        policy: what the product of rate and decay does with the width; independent of it by default.
        decay_vectors: whether gains and biases decay too.
        learning_rate: the base rate, which a `Timescale` needs; a schedule multiplies the decay as it does the rate.

    Raises:
        ValueError: numbers below 0 or not finite, a timescale without a rate; when a step is traced, another model.
    """
    for name, value in (("weight_decay", weight_decay), ("learning_rate", learning_rate or 0.0)):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} = {value} must be finite and not below 0")
    if isinstance(policy, Timescale) and learning_rate is None:
        raise ValueError(
            f"a timescale of {policy.steps} steps needs the base rate as a number, learning_rate=...: rate times decay "
            "is 1 / steps at that rate"
        )

    def weight(row: PlanRow) -> float:
        if not (row.decayed or decay_vectors):
            return 0.0
        return row.rate * policy.decay(weight_decay, learning_rate=learning_rate or 0.0, rate_factor=row.rate)

    def init(params: Any) -> optax.EmptyState:
        _check(plan, params, names)
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        check_params(params)
        rows = rows_of_tree(plan, updates, names=names)
        return jax.tree.map(lambda u, p, row: decayed(u, p, weight(row)), updates, params, rows), state

    return optax.GradientTransformation(init, update)


def _scale(
    plan: ScalingPlan, names: Mapping[str, str], factor: Callable[[PlanRow], float]
) -> optax.GradientTransformation:
    def init(params: Any) -> optax.EmptyState:
        _check(plan, params, names)
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        rows = rows_of_tree(plan, updates, names=names)
        return jax.tree.map(lambda u, row: multiplied(u, factor(row)), updates, rows), state

    return optax.GradientTransformation(init, update)


def _check(plan: ScalingPlan, params: Any, names: Mapping[str, str]) -> None:
    """That the plan is these parameters'. Optax also calls `init` with placeholders that have no leaves."""
    if jax.tree.leaves(params):
        rows_of_tree(plan, params, names=names)
