"""Attention heads that grow with the width: what a plan says of them, and the rule that divides by d."""

from fractions import Fraction
from functools import cache

import pytest
import torch
from torch import nn

from plan_models import llama
from plan_training import plan_of, planned, train, word_loss
from widthwise.scaling import Rule, ScalingPlan, describe, description_from_json, description_to_json


def grown(width: int) -> nn.Module:
    """Two heads that grow, drawn large enough that attention is far from uniform."""
    return llama(width, head=None, std=0.3)


QUERIES = (Rule("model.layers.*.self_attn.q_proj.weight", forward_factor=Fraction(1, 2)),)


@cache
def grown_plan(*rules: Rule) -> ScalingPlan:
    return plan_of(grown, rules=rules)


def test_growing_heads_are_said_with_the_option() -> None:
    (note,) = grown_plan().notes
    assert note.startswith("attention heads grow with the width: model.layers.*.self_attn (8 to 16 to 32)")
    assert 'Rule("...q_proj.weight", forward_factor=Fraction(1, 2))' in note
    assert note.endswith("Declared: nothing")
    assert note in str(grown_plan())
    (declared,) = grown_plan(*QUERIES).notes
    assert declared.endswith("layers.0.self_attn.q_proj.weight, model.layers.1.self_attn.q_proj.weight")


def test_heads_that_do_not_grow_need_no_word() -> None:
    assert plan_of(llama, width=32).notes == ()


def test_the_option_is_a_model_that_divides_by_d() -> None:
    """The rule in a plan, against the same model with its attention scale at 1/d relative to the base width.

    Heads 4 times as large: d^(1/2) / d is 1/2 of the base width's. Weights and rates of the query projections stand at
    1/2 too, and their decay's product is the same.
    """
    plain, declaring = grown_plan(), grown_plan(*QUERIES)
    query = "model.layers.0.self_attn.q_proj.weight"
    assert declaring.rows[query].init == plain.rows[query].init / 2
    assert declaring.rows[query].rate == plain.rows[query].rate / 2
    divided = planned(plain, grown)
    for layer in divided.model.layers:
        layer.self_attn.scaling /= 2.0
    wanted = trained_words(plain, divided)
    # float32 rounds at 6e-8; kernels may scale before or after the sum over d
    assert trained_words(declaring, planned(declaring, grown)) == pytest.approx(wanted, rel=1e-5)
    assert trained_words(plain, planned(plain, grown)) != pytest.approx(wanted, rel=1e-3)


def trained_words(plan: ScalingPlan, model: nn.Module) -> list[float]:
    groups = plan.param_groups(model, learning_rate=1e-2, weight_decay=0.1, epsilon=1e-12)
    return train(model, torch.optim.AdamW(groups), range(4), word_loss)


def test_growing_heads_survive_the_descriptions_file() -> None:
    description = describe(grown, widths=(16, 32, 64), initializer_widths=(16, 32, 64))
    assert description.growing_heads == {"model.layers.*.self_attn": (8, 16, 32)}
    assert description_from_json(description_to_json(description)) == description
