"""Tied embeddings: one tensor in two roles, whose readout's factor a final norm's gain carries."""

from fractions import Fraction
from functools import cache

import pytest
import torch
from torch import nn
from transformers import GemmaConfig, GemmaForCausalLM, T5Config, T5ForConditionalGeneration

from plan_models import gpt2
from plan_training import TIED, WORDS, Build, Tied, fresh, plan_of, planned, tensors, words_of
from widthwise.scaling import Rule, describe, plan_from
from widthwise.scaling.tied import tied_parameterization
from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    FULL,
    MID,
    NONE,
    PARAMETERIZATIONS,
    SGD,
    Role,
)

H = Fraction(1, 2)

# By hand. The table: b = 0, and c such that its entries change by n^0: Adam 0; SGD minus its gradient's g = t. The
# gain: b = t, its rate n^(-t) (Adam: entries change by n^(-t); SGD: gradient n^0, so the rate itself falls by n^(-t)).
BY_HAND: dict[tuple[str, str], tuple[tuple[Fraction | int, ...], tuple[Fraction | int, ...]]] = {
    ("adam", "full"): ((0, 0, 1), (1, 1, 0)),
    ("adam", "mid"): ((0, 0, Fraction(3, 4)), (Fraction(3, 4), Fraction(3, 4), 0)),
    ("adam", "none"): ((0, 0, H), (H, H, 0)),
    ("sgd", "full"): ((0, -1, 1), (1, 1, 0)),
    ("sgd", "none"): ((0, -H, H), (H, H, 0)),
    ("adafactor", "full"): ((0, 0, 1), (1, 0, 0)),  # its update follows the gain's own size
}
RULES = {rule.name: rule for rule in (SGD, ADAM, ADAFACTOR)}
ALIGNMENTS = {alignment.name: alignment for alignment in (FULL, MID, NONE)}


@pytest.mark.parametrize("case", BY_HAND, ids=" ".join)
def test_exponents_by_hand(case: tuple[str, str]) -> None:
    optimizer, alignment = RULES[case[0]], ALIGNMENTS[case[1]]
    plans = [
        plan_from(
            described(TIED),
            width=64,
            base_width=16,
            parameterization=p,
            optimizer=optimizer,
            alignment=alignment,
        )
        for p in PARAMETERIZATIONS.values()
    ]
    for plan in plans:  # none of them changes the table's own scale, so there is one tied plan
        found = [
            tuple(getattr(plan.rows[name].exponents, symbol) for symbol in "bcg")
            for name in ("embed.weight", "norm.weight", "norm.bias")
        ]
        assert found == [*BY_HAND[case], BY_HAND[case][1]]
        assert plan.rows == plans[0].rows
    assert plans[0].rows["embed.weight"].role is Role.EMBEDDING


@cache
def described(build: Build):
    return describe(build, widths=(16, 32, 64), initializer_widths=(16, 32, 64))


def test_every_parameterization_has_one_tied_form() -> None:
    for parameterization in PARAMETERIZATIONS.values():
        form = tied_parameterization(parameterization, NONE)
        assert (form.readout.a, form.readout.b, form.embedding.a, form.embedding.b) == (H, 0, 0, 0)
        assert form.hidden == parameterization.hidden


def test_the_plan_says_what_carries_the_factor() -> None:
    plan = plan_of(TIED)
    assert plan.notes == (
        "embed.weight = head.weight is tied: norm.weight, norm.bias carry its readout's n^(-1)",
    )
    row = plan.rows["norm.weight"]
    assert (row.init, row.rate, row.note) == (0.25, 0.25, "carries the tied readout's n^(-1)")
    assert plan.notes[0] in str(plan)


def test_whichever_name_comes_first() -> None:
    """A model that makes its head before its embedding: the tensor is first met as a readout, and planned the same."""

    class HeadFirst(Tied):
        def __init__(self, width: int) -> None:
            super().__init__(width)
            modules = dict(self._modules)
            self._modules.clear()
            self._modules.update({name: modules[name] for name in ("head", "hidden", "norm", "embed")})

    one, other = plan_of(TIED).rows, plan_of(HeadFirst).rows
    assert next(iter(other)) == "head.weight"
    assert other["head.weight"].exponents == one["embed.weight"].exponents
    assert other["head.weight"].init == 1.0
    assert other["norm.weight"] == one["norm.weight"]
    planned(plan_of(HeadFirst), HeadFirst)


def test_gpt2_is_tied() -> None:
    plan = plan_of(gpt2)
    (note,) = plan.notes
    assert note == (
        "transformer.wte.weight = lm_head.weight is tied: transformer.ln_f.weight, transformer.ln_f.bias carry its "
        "readout's n^(-1)"
    )
    assert plan.rows["transformer.wte.weight"].init == 1.0
    assert plan.rows["transformer.ln_f.weight"].init == 0.25
    assert plan.rows["transformer.h.0.ln_1.weight"].init == 1.0


def test_without_a_norm_it_is_refused_with_two_ways_out() -> None:
    def bare(width: int) -> nn.Module:
        return Tied(width, norm=False)

    with pytest.raises(ValueError, match=r"embed\.weight is both embedding and readout") as refusal:
        plan_of(bare)
    message = str(refusal.value)
    assert "no norm stands behind every hidden matrix (norms: none)" in message
    assert "untie them (a readout of its own)" in message
    assert "multiply the logits by (n / base width)^(-1) in the model" in message
    assert "Rule('head.weight', forward_factor=Fraction(-1))" in message


def test_both_ways_out_lead_out() -> None:
    def untied(width: int) -> nn.Module:
        model = Tied(width, norm=False)
        model.head = nn.Linear(width, WORDS, bias=False)
        return model

    assert plan_of(untied).notes == ()
    plan = plan_of(lambda n: Tied(n, norm=False), rules=(Rule("head.weight", forward_factor=Fraction(-1)),))
    assert plan.notes == (
        "embed.weight = head.weight is tied: the model's own factors are its readout's n^(-1)",
    )
    assert plan.rows["embed.weight"].exponents == plan_of(TIED).rows["embed.weight"].exponents
    half = plan_of(TIED, rules=(Rule("head.weight", forward_factor=-H),))
    assert half.rows["norm.weight"].exponents.b == H


class TwoNorms(Tied):
    """A norm after the embedding, and one at the end whose name does not say which it is."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.other = nn.RMSNorm(width)


def test_the_norm_is_named_where_it_cannot_be_told() -> None:
    with pytest.raises(ValueError, match=r"several norms could be it: norm, other\. Name its module, norm="):
        plan_of(TwoNorms)
    rows = plan_of(TwoNorms, norm="norm").rows
    assert (rows["norm.weight"].init, rows["norm.bias"].exponents.b, rows["other.weight"].init) == (
        0.25,
        1,
        1.0,
    )
    assert plan_of(TwoNorms, norm="other").rows["other.weight"].init == 0.25
    with pytest.raises(
        ValueError, match=r"norm='hidden\.weight' holds no gain of a growing dimension; norms: norm, other"
    ):
        plan_of(TwoNorms, norm="hidden.weight")
    with pytest.raises(ValueError, match="norm='1' is for a readout that is tied to its embedding; none is"):
        plan_of(lambda n: nn.Sequential(nn.Linear(5, n), nn.LayerNorm(n), nn.Linear(n, 3)), norm="1")


def test_a_norm_in_front_of_the_layers_is_not_the_final_one() -> None:
    class EarlyNorm(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.embed = nn.Embedding(WORDS, width)
            self.norm = nn.LayerNorm(width)
            self.layers = nn.ModuleList([nn.Linear(width, width)])
            self.head = nn.Linear(width, WORDS, bias=False)
            self.head.weight = self.embed.weight

    with pytest.raises(ValueError, match=r"no norm stands behind every hidden matrix \(norms: norm\)"):
        plan_of(EarlyNorm)


def test_a_norms_bias_moves_with_its_gain() -> None:
    """A bias that starts at one: both shrink, so that the logits are the same model's divided by 4."""

    class Biased(Tied):
        def __init__(self, width: int) -> None:
            super().__init__(width)
            nn.init.ones_(self.norm.bias)

    plan = plan_of(Biased)
    model, own = planned(plan, Biased), fresh(Biased, 64)
    with torch.no_grad():  # without the factor on the hidden bias, which is another matter
        own.hidden.load_state_dict(model.hidden.state_dict())
    torch.testing.assert_close(model(words_of(0)), own(words_of(0)) / 4, rtol=1e-5, atol=1e-6)


def gemma(width: int) -> nn.Module:
    return GemmaForCausalLM(
        GemmaConfig(
            vocab_size=WORDS,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=1,
            num_attention_heads=width // 4,
            num_key_value_heads=width // 4,
            head_dim=4,
            max_position_embeddings=8,
        )
    )


def test_a_gain_that_starts_at_zero_is_refused() -> None:
    """Gemma's norm multiplies by 1 + weight, and a factor on the weight is none on that."""
    with pytest.raises(ValueError, match=r"model\.norm\.weight starts at 0, and no factor on it"):
        plan_of(gemma)


def test_gemmas_own_factor_and_a_divided_readout() -> None:
    """Its embedding is multiplied by n^(1/2); its logits, divided by n^(1/2) in the model, need no norm."""
    rules = (
        Rule("model.embed_tokens.weight", forward_factor=H),
        Rule("lm_head.weight", forward_factor=-H),
    )
    plan = plan_of(gemma, rules=rules)
    exponents = plan.rows["model.embed_tokens.weight"].exponents
    assert (exponents.a, exponents.b, exponents.c) == (-H, H, H)
    assert plan.rows["model.norm.weight"].init == 1.0
    with pytest.raises(
        ValueError,
        match=r"needs a final norm's gain .*Rule\('lm_head\.weight', forward_factor=Fraction\(-1/2\)\)",
    ):
        plan_of(gemma, rules=rules[:1])


def t5(width: int) -> nn.Module:
    return T5ForConditionalGeneration(
        T5Config(vocab_size=WORDS, d_model=width, d_kv=4, d_ff=2 * width, num_layers=1, num_heads=width // 4)
    )


def test_t5_divides_by_the_root_of_its_width_already() -> None:
    plan = plan_of(t5, rules=(Rule("lm_head.weight", forward_factor=-H),))
    assert plan.rows["shared.weight"].exponents.b == 0
    assert plan.rows["decoder.final_layer_norm.weight"].exponents.b == H
    assert plan.rows["encoder.final_layer_norm.weight"].exponents.b == 0


def test_two_tied_tables_behind_one_norm() -> None:
    class Twice(Tied):
        def __init__(self, width: int) -> None:
            super().__init__(width)
            self.second = nn.Embedding(5, width)
            self.second_head = nn.Linear(width, 5, bias=False)
            self.second_head.weight = self.second.weight

    assert (
        plan_of(Twice)
        .notes[0]
        .startswith("embed.weight = head.weight, second.weight = second_head.weight is")
    )
    with pytest.raises(
        ValueError, match=r"embed\.weight and second\.weight are tied readouts whose own forward"
    ):
        plan_of(Twice, rules=(Rule("head.weight", forward_factor=-H),))


def test_a_readout_of_its_own_beside_a_tied_one() -> None:
    """It reads what the norm makes, n^(-1) and all; declared, it is planned as if the factor were its own."""

    class Valued(Tied):
        def __init__(self, width: int) -> None:
            super().__init__(width)
            self.value = nn.Linear(width, 1, bias=False)

    _, note = plan_of(Valued).notes
    assert note.startswith("value.weight is a readout of its own")
    rule = Rule("value.weight", forward_factor=Fraction(-1))
    assert repr(rule.forward_factor) == "Fraction(-1, 1)"
    assert "Rule('value.weight', forward_factor=Fraction(-1))" in note
    declared = plan_of(Valued, rules=(rule,))
    assert len(declared.notes) == 1
    assert (declared.rows["value.weight"].exponents.b, declared.rows["value.weight"].exponents.c) == (0, 0)


def test_ties_of_other_roles() -> None:
    """Shared hidden matrices are one row; a matrix that is hidden here and a readout there has no one scale."""
    shared = plan_of(shared_hidden)
    assert shared.rows["0.weight"].role is Role.HIDDEN
    assert "2.weight" not in shared.rows
    rule = Rule("2.weight", role=Role.READOUT)
    with pytest.raises(
        ValueError, match=r"uses that scale differently: 0\.weight \(hidden\), 2\.weight \(readout\)"
    ):
        plan_of(shared_hidden, rules=(rule,))


def shared_hidden(width: int) -> nn.Module:
    model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
    model[2].weight = model[0].weight
    return model


def test_a_tied_model_trains_as_one_tensor() -> None:
    plan = plan_of(TIED)
    model = planned(plan, TIED)
    groups = plan.param_groups(model, learning_rate=1e-2)
    assert sum(name == "embed.weight" for group in groups for name in group["param_names"]) == 1
    torch.optim.AdamW(groups)
    assert "head.weight" not in tensors(model)
