"""Tied models over widths: the table's size, logits at the start, and what one step does to them."""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache

import pytest
import torch
from torch import Tensor

from plan_models import gpt2
from plan_training import TIED, plan_of, planned, word_loss, words_of
from widthwise.scaling import ModelDescription, ScalingPlan, describe, plan_from
from widthwise.theory import ADAM, FULL, NONE, SGD, STANDARD, Alignment, OptimizerRule


@cache
def described() -> ModelDescription:
    return describe(TIED, widths=(16, 32, 64), initializer_widths=(16, 32, 64))


def slope(widths: list[int], values: list[float]) -> float:
    """Least squares of log value over log n."""
    x, y = [math.log(n) for n in widths], [math.log(v) for v in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum(
        (a - mean_x) ** 2 for a in x
    )


WIDTHS = [64, 128, 256, 512]
SEEDS = range(4)


def tied_plan(width: int, rule: OptimizerRule, alignment: Alignment) -> ScalingPlan:
    description = described()
    return plan_from(
        description,
        width=width,
        base_width=64,
        parameterization=STANDARD,
        optimizer=rule,
        alignment=alignment,
    )


def over_widths(
    measure: Callable[[ScalingPlan, int], float], rule: OptimizerRule, alignment: Alignment
) -> float:
    """The slope of a measurement's root mean square over seeds."""
    values = []
    for width in WIDTHS:
        plan = tied_plan(width, rule, alignment)
        values.append(math.sqrt(sum(measure(plan, seed) ** 2 for seed in SEEDS) / len(SEEDS)))
    return slope(WIDTHS, values)


def rms(x: Tensor) -> float:
    return x.detach().double().square().mean().sqrt().item()


def logits_at_start(plan: ScalingPlan, seed: int) -> float:
    """Of other words than the one that is read: on that one, an untrained tied model's features are aligned."""
    logits = planned(plan, TIED, seed)(words_of(0))
    others = torch.ones_like(logits).scatter_(-1, words_of(0).unsqueeze(-1), 0).bool()
    return rms(logits[others])


def logits_change(plan: ScalingPlan, seed: int) -> float:
    model = planned(plan, TIED, seed)
    before = model(words_of(0)).detach()
    optimizer = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[plan.optimizer.name]
    step = optimizer(plan.param_groups(model, learning_rate=1e-3 if plan.optimizer is ADAM else 1e-2))
    word_loss(model, 0).backward()
    step.step()
    return rms(model(words_of(0)) - before)


def test_the_table_does_not_grow_with_the_width() -> None:
    assert over_widths(
        lambda plan, seed: rms(planned(plan, TIED, seed).embed.weight), ADAM, FULL
    ) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("alignment", "expected"), [(FULL, Fraction(-1, 2)), (NONE, Fraction(0))], ids=["full", "none"]
)
def test_logits_at_the_start(alignment: Alignment, expected: Fraction) -> None:
    """n^(1/2 - t): a sum of n independent products of size n^(-t)."""
    # 4 seeds x 24 tokens x 10 words scatter by about 3 % a width, over a factor of 8: 0.02
    assert over_widths(logits_at_start, ADAM, alignment) == pytest.approx(float(expected), abs=0.08)


@pytest.mark.parametrize("rule", [ADAM, SGD], ids=lambda rule: rule.name)
def test_one_step_moves_the_logits_alike_at_every_width(rule: OptimizerRule) -> None:
    assert over_widths(logits_change, rule, FULL) == pytest.approx(0, abs=0.15)


@pytest.mark.parametrize("carried", [True, False], ids=["carried", "left out"])
def test_gpt2s_first_step(carried: bool) -> None:
    """transformers' tied GPT-2 under Adam: alike at every width; faster with it if the final gain is left alone."""
    widths, changes = [32, 64, 128, 256], []
    for width in widths:
        plan = plan_of(gpt2, width=width, base_width=32)
        if not carried:
            row = replace(plan.rows["transformer.ln_f.weight"], init=1.0, rate=1.0)
            plan = replace(plan, rows={**plan.rows, "transformer.ln_f.weight": row})
        squares = []
        for seed in range(2):
            model = planned(plan, gpt2, seed)
            before = model(words_of(0)).logits.detach()
            step = torch.optim.Adam(plan.param_groups(model, learning_rate=1e-3))
            word_loss(model, 0).backward()
            step.step()
            squares.append(rms(model(words_of(0)).logits - before) ** 2)
        changes.append(math.sqrt(sum(squares) / len(squares)))
    found = slope(widths, changes)
    assert abs(found) < 0.15 if carried else found > 0.5


@pytest.mark.parametrize("rule", [ADAM, SGD], ids=lambda rule: rule.name)
def test_without_the_carried_factor_they_grow(rule: OptimizerRule) -> None:
    """What the two tests above would say of a plan that leaves the gain alone (SGD then also has the wrong rates)."""

    def unscaled(plan: ScalingPlan, seed: int) -> float:
        model = planned(plan, TIED, seed)
        with torch.no_grad():
            model.norm.weight.fill_(1.0)
        return rms(model(words_of(0)))

    assert over_widths(unscaled, rule, FULL) > 0.4


def logits_of_the_word_itself(plan: ScalingPlan, seed: int) -> float:
    tokens = words_of(0)
    return rms(planned(plan, TIED, seed)(tokens).gather(-1, tokens.unsqueeze(-1)))


@pytest.mark.parametrize(("alignment", "expected"), [(FULL, 0.0), (NONE, 0.5)], ids=["full", "none"])
def test_the_word_that_was_just_read(alignment: Alignment, expected: float) -> None:
    """The residual stream carries its own row to the readout, n^(1 - t): flat for t = 1, and said for t = 1/2."""
    assert over_widths(logits_of_the_word_itself, ADAM, alignment) == pytest.approx(expected, abs=0.05)
    said = any(
        "the logit of a token that was just read still grows" in note
        for note in tied_plan(64, ADAM, alignment).notes
    )
    assert said == (alignment is NONE)
