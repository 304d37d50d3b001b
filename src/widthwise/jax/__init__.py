"""For JAX: Adam-atan2 as an optax transformation, and plans for pytrees of parameters.

    plan = plan_for_tree(init, ...)            names, shapes and draws of a pytree -> the factors of every leaf
    params = initialize(plan, init(width, key))
    optimizer = adam_by_plan(plan, learning_rate)

`adam_by_plan` and `adam_atan2_by_plan` are chains of `scale_gradients_by_plan`, an optimizer's own update,
`scale_by_plan`, `add_decay_by_plan` and the learning rate; any other optimizer of optax can stand in their place.
Needs the extra `jax`: `pip install 'widthwise[jax]'`.
"""

from widthwise.jax.adam_atan2 import ScaleByAdamAtan2State, adam_atan2, scale_by_adam_atan2
from widthwise.jax.initialize import initialize
from widthwise.jax.layout import FLAX, Layout
from widthwise.jax.non_finite import non_finite
from widthwise.jax.optimizers_by_plan import adam_atan2_by_plan, adam_by_plan
from widthwise.jax.plan_for_tree import describe_tree, plan_for_tree
from widthwise.jax.plan_rows import rows_of_tree
from widthwise.jax.scale_by_plan import add_decay_by_plan, scale_by_plan, scale_gradients_by_plan
from widthwise.jax.second_moment import ROOT, SQUARED
from widthwise.jax.weight_decay import NO_DECAY, WeightDecay

__all__ = [
    "FLAX",
    "NO_DECAY",
    "ROOT",
    "SQUARED",
    "Layout",
    "ScaleByAdamAtan2State",
    "WeightDecay",
    "adam_atan2",
    "adam_atan2_by_plan",
    "adam_by_plan",
    "add_decay_by_plan",
    "describe_tree",
    "initialize",
    "non_finite",
    "plan_for_tree",
    "rows_of_tree",
    "scale_by_adam_atan2",
    "scale_by_plan",
    "scale_gradients_by_plan",
]
