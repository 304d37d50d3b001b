"""Adam and Adam-atan2 under a plan: the chains of `scale_by_plan` in one call.

theta <- theta - learning_rate * rate factor * (update + decay * theta)
"""

from collections.abc import Mapping
from typing import Any

import optax

from widthwise.jax.adam_atan2 import scale_by_adam_atan2
from widthwise.jax.numbers import Number, check_number
from widthwise.jax.plan_rows import SAME_NAMES
from widthwise.jax.scale_by_plan import add_decay_by_plan, scale_by_plan, scale_gradients_by_plan
from widthwise.jax.second_moment import SQUARED, SecondMoment
from widthwise.scaling import INDEPENDENT, ScalingPlan, Timescale, WeightDecay

ADAMS = frozenset({"adam", "adam-atan2"})
"""Rules whose updates have Adam's size."""


def adam_by_plan(
    plan: ScalingPlan,
    learning_rate: optax.ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    *,
    weight_decay: float = 0.0,
    policy: WeightDecay = INDEPENDENT,
    decay_vectors: bool = False,
    names: Mapping[str, str] = SAME_NAMES,
) -> optax.GradientTransformation:
    """optax.adamw with the plan's rates, epsilons that follow their gradients, and decay by policy.

    For a constant epsilon, chain `optax.scale_by_adam` and `scale_by_plan` without `scale_gradients_by_plan`.

    Args:
        plan: made with the rule ADAM.
        learning_rate: as tuned at the base width; a number, an array, or a schedule.
        b1, b2: optax.adam's.
        eps: as tuned at the base width.
        weight_decay, policy, decay_vectors: see `add_decay_by_plan`. With a schedule, a `Timescale` has no base rate:
            chain `add_decay_by_plan(..., learning_rate=...)` yourself.
        names: see `scale_by_plan`.

    Raises:
        ValueError: a plan for another optimizer; a rate or decay below 0 or not finite; later, another model.

    Example:
        >>> import jax
        >>> from widthwise.jax import plan_for_tree
        >>> from widthwise.theory import ADAM, STANDARD
        >>> def init(width, key):
        ...     return {"kernel": jax.random.normal(key, (width, width)) / width**0.5}
        >>> plan = plan_for_tree(init, width=64, base_width=16, parameterization=STANDARD, optimizer=ADAM)
        >>> optimizer, params = adam_by_plan(plan, 0.1), init(64, jax.random.key(0))
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> round(float(abs(updates["kernel"]).max()), 5)   # 0.1 * 16 / 64
        0.025
    """
    _check_rule(plan)
    before = (scale_gradients_by_plan(plan, names=names), optax.scale_by_adam(b1=b1, b2=b2, eps=eps))
    return optax.chain(*before, *_after(plan, learning_rate, weight_decay, policy, decay_vectors, names))


def adam_atan2_by_plan(
    plan: ScalingPlan,
    learning_rate: optax.ScalarOrSchedule,
    b1: Number = 0.9,
    b2: Number = 0.999,
    a: Number = 1.0,
    b: Number = 1.0,
    *,
    second_moment: SecondMoment = SQUARED,
    weight_decay: float = 0.0,
    policy: WeightDecay = INDEPENDENT,
    decay_vectors: bool = False,
    names: Mapping[str, str] = SAME_NAMES,
) -> optax.GradientTransformation:
    """Adam-atan2 with the plan's rates and decay by policy; there is no epsilon to follow anything.

    Args:
        plan: made with the rule ADAM or ADAM_ATAN2.
        learning_rate: as tuned at the base width; a number, an array, or a schedule.
        b1, b2, a, b: of `scale_by_adam_atan2`.
        second_moment: `SQUARED` or `ROOT`, which also holds where gradients have become small with the width.
        weight_decay, policy, decay_vectors, names: as in `adam_by_plan`.

    Raises:
        ValueError: as `adam_by_plan` does.
    """
    _check_rule(plan)
    update = scale_by_adam_atan2(b1, b2, a, b, second_moment=second_moment)
    return optax.chain(update, *_after(plan, learning_rate, weight_decay, policy, decay_vectors, names))


def _after(
    plan: ScalingPlan,
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: float,
    policy: WeightDecay,
    decay_vectors: bool,
    names: Mapping[str, str],
) -> list[optax.GradientTransformation]:
    """What follows the optimizer's own update."""
    if not callable(learning_rate):
        check_number("learning_rate", learning_rate)
    parts: list[Any] = [scale_by_plan(plan, names=names)]
    if weight_decay or isinstance(policy, Timescale):
        base = float(learning_rate) if isinstance(learning_rate, int | float) else None
        parts.append(
            add_decay_by_plan(
                plan,
                weight_decay,
                policy=policy,
                decay_vectors=decay_vectors,
                learning_rate=base,
                names=names,
            )
        )
    return [*parts, optax.scale_by_learning_rate(learning_rate)]


def _check_rule(plan: ScalingPlan) -> None:
    other = sorted({row.rule for row in plan.rows.values()} - ADAMS)
    if other:
        raise ValueError(
            f"the plan's rates are for {', '.join(other)}, which scales otherwise than Adam; make a plan with "
            "optimizer=ADAM, or chain scale_by_plan behind that optimizer's own update"
        )
