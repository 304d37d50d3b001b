"""How many bytes measuring alignment takes: what is kept of the starts, and what one measurement holds.

A measurement is a forward pass in float32 of every member and, at most, as many states of its reference. At the layer
that holds most, there are the inputs and products of both, the weights of both put together, each member's own W_0 and
dW, its z_0 and dz, and one product of these.
"""

import math

from widthwise.train.activation_table import ID, activation_table
from widthwise.train.alignment_plan import AlignmentPlan
from widthwise.train.member import Recipe
from widthwise.train.memory_sums import Moment, Term

FLOAT = 4
NUMBERS = 13 * 8
"""Bytes of a layer, series and step: its four log gains, of which three copies are made when a run ends."""


def measuring_terms(recipe: Recipe, plan: AlignmentPlan, starts: int, starts_bytes: int | None) -> list[Term]:
    """What does not grow with P: the distinct starts, on the device if there is room, and the probe."""
    numbers = recipe.model.parameter_count
    size = FLOAT * numbers * starts
    if starts_bytes is not None:
        size = min(size, starts_bytes)
    tokens = _tokens(recipe, plan)
    return [
        Term("starts", size, f"at most {FLOAT} B x {numbers:,} parameters x {starts}"),
        Term("probe", ID * tokens, f"{ID} B x {tokens:,} tokens"),
    ]


def measuring_moments(recipe: Recipe) -> tuple[Moment, ...]:
    """What a member holds while it is measured; none if nothing is measured."""
    plan = recipe.alignment
    if plan is None:
        return ()
    tensors, tokens = recipe.model.tensors(), _tokens(recipe, plan)
    inputs, outputs = (max(tensors[name].shape[axis] for name in plan.layers) for axis in (0, 1))
    largest = max(math.prod(tensor.shape) for tensor in tensors.values())
    block = activation_table(recipe.model).block_forward * recipe.model.width
    forward = FLOAT * 2 * max(block, recipe.model.width + recipe.model.vocabulary) * tokens
    found = len(plan.measured(recipe.schedule.steps)) * len(plan.since) * len(plan.layers)
    return (
        Moment("measuring", (
            Term("a forward pass of two", forward, f"{forward // tokens:,} B x {tokens:,} tokens"),
            Term("changes and a product", FLOAT * (2 * inputs + outputs) * tokens,
                 f"{FLOAT} B x (2 x {inputs:,} + {outputs:,}) x {tokens:,} tokens"),
            Term("weights of a layer", FLOAT * 4 * largest, f"4 x {FLOAT} B x {largest:,}"),
            Term("log gains", NUMBERS * found, f"{NUMBERS} B x {found:,} layers and steps"),
        )),
    )  # fmt: skip


def _tokens(recipe: Recipe, plan: AlignmentPlan) -> int:
    context = recipe.model.context
    return plan.windows(context) * context
