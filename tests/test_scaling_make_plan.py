"""Plans of users' models: exponents by hand, factors at a width, equal plans, and what is refused."""

import warnings
from fractions import Fraction
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from plan_models import GPT2_UNTIED
from plan_training import Build, fresh, mlp, plan_of, planned, train
from widthwise.scaling import PlanRow, Rule, ScalingPlan, describe, make_plan, plan_from
from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    ADAM_ATAN2,
    FULL,
    LION,
    MEAN_FIELD,
    MUP,
    NONE,
    NTK,
    OPTIMIZER_RULES,
    PARAMETERIZATIONS,
    SGD,
    STANDARD,
    Alignment,
    OptimizerRule,
    Parameterization,
    Role,
)

H = Fraction(1, 2)

# Everett et al. 2024 (arXiv 2407.05872), table 1, with each multiplier moved into the weights by the gauge: (b, c, g)
# of embedding, hidden, readout; then of a vector, which may change as an embedding does. By hand.
MULTIPLIERS_FOLDED: dict[tuple[str, str, str], tuple[tuple[Fraction | int, ...], ...]] = {
    ("standard", "adam", "full"): ((0, 0, H), (H, 1, H), (H, 1, 0), (0, 0, H)),
    ("standard", "adam", "none"): ((0, 0, H), (H, H, H), (H, H, 0), (0, 0, H)),
    ("standard", "sgd", "full"): ((0, -H, H), (H, H, H), (H, 1, 0), (0, -H, H)),
    ("standard", "sgd", "none"): ((0, -H, H), (H, 0, H), (H, H, 0), (0, -H, H)),
    ("mup", "adam", "full"): ((0, 0, 1), (H, 1, 1), (1, 1, 0), (0, 0, 1)),
    ("mup", "adam", "none"): ((0, 0, 1), (H, H, 1), (1, H, 0), (0, 0, 1)),
    ("mup", "sgd", "full"): ((0, -1, 1), (H, 0, 1), (1, 1, 0), (0, -1, 1)),
    # The readout's 1, not 1/2: a larger rate would grow the gradients of the layers below it.
    ("mup", "sgd", "none"): ((0, -1, 1), (H, -H, 1), (1, 1, 0), (0, -1, 1)),
}
SAME_WHEN_FOLDED = {"standard": (STANDARD, NTK), "mup": (MUP, MEAN_FIELD)}
TENSORS = ("0.weight", "2.weight", "4.weight", "0.bias")


def exponents(row: PlanRow) -> tuple[Fraction, Fraction, Fraction]:
    assert row.exponents.a == 0  # the forward pass is the user's
    return row.exponents.b, row.exponents.c, row.exponents.g


@pytest.fixture(scope="module")
def description():
    return describe(mlp, widths=(16, 32, 64), initializer_widths=(16, 32, 64))


@pytest.mark.parametrize("case", MULTIPLIERS_FOLDED, ids=" ".join)
def test_exponents_by_hand(case: tuple[str, str, str], description) -> None:
    name, optimizer, alignment = case
    for parameterization in SAME_WHEN_FOLDED[name]:
        plan = plan_from(
            description,
            width=64,
            base_width=16,
            parameterization=parameterization,
            optimizer=OPTIMIZER_RULES[optimizer],
            alignment={"full": FULL, "none": NONE}[alignment],
        )
        assert tuple(exponents(plan.rows[tensor]) for tensor in TENSORS) == MULTIPLIERS_FOLDED[case]
        assert exponents(plan.rows["4.bias"]) == (0, 0, 0)


@pytest.mark.parametrize("alignment", [FULL, NONE], ids=lambda a: a.name)
@pytest.mark.parametrize("rule", OPTIMIZER_RULES.values(), ids=lambda rule: rule.name)
def test_gauges_of_one_run_are_one_plan(rule: OptimizerRule, alignment: Alignment, description) -> None:
    """NTK is the standard parameterization with its multipliers outside; mean-field is muP so."""

    def of(parameterization: Parameterization) -> ScalingPlan:
        return plan_from(
            description,
            width=64,
            base_width=16,
            parameterization=parameterization,
            optimizer=rule,
            alignment=alignment,
        )

    model = mlp(64)
    for one, other in SAME_WHEN_FOLDED.values():
        assert of(one).rows == of(other).rows
        groups = [
            of(p).param_groups(model, learning_rate=0.1, rule=of(p).rows["0.bias"].rule) for p in (one, other)
        ]
        for left, right in zip(*groups, strict=True):
            assert {k: v for k, v in left.items() if k != "params"} == {
                k: v for k, v in right.items() if k != "params"
            }
    assert of(STANDARD).rows != of(MUP).rows


def test_factors_at_four_times_the_width() -> None:
    """SGD, muP: a readout's draw falls by n^(-1), of which the linear layer's own default makes n^(-1/2)."""
    rows = plan_of(mlp, parameterization=MUP, optimizer=SGD).rows
    assert {name: (row.init, row.rate, row.epsilon, row.decay) for name, row in rows.items()} == {
        "0.weight": (1.0, 4.0, 0.25, 0.25),
        "0.bias": (1.0, 4.0, 0.25, 0.0),
        "2.weight": (1.0, 1.0, 0.25, 1.0),
        "2.bias": (2.0, 4.0, 0.25, 0.0),  # PyTorch draws it as n^(-1/2); a vector keeps its size
        "4.weight": (0.5, 0.25, 1.0, 4.0),
        "4.bias": (1.0, 1.0, 1.0, 0.0),
    }
    assert {row.multiplier for row in rows.values()} == {1.0}
    assert {name: row.shape for name, row in rows.items()}["2.weight"] == (64, 64)


@pytest.mark.parametrize(
    "arm", [*product(PARAMETERIZATIONS.values(), (SGD, ADAM))], ids=lambda arm: f"{arm[0].name} {arm[1].name}"
)
def test_at_the_base_width_every_factor_is_one(arm: tuple[Parameterization, OptimizerRule]) -> None:
    parameterization, optimizer = arm
    plan = plan_of(mlp, width=16, parameterization=parameterization, optimizer=optimizer)
    assert {(row.init, row.rate, row.epsilon) for row in plan.rows.values()} == {(1.0, 1.0, 1.0)}


def test_only_the_difference_to_the_own_initializer() -> None:
    """One layer drawn by PyTorch's default, as 0.02, by Xavier with a vocabulary in it, and with a fixed input more."""

    class Layers(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.default = nn.Linear(width, width, bias=False)
            self.constant = nn.Linear(width, width, bias=False)
            nn.init.normal_(self.constant.weight, std=0.02)
            self.xavier = nn.Linear(width, 48, bias=False)
            nn.init.xavier_normal_(self.xavier.weight)
            self.concatenated = nn.Linear(width + 16, width, bias=False)

    rows = plan_of(Layers, width=256, base_width=64).rows
    assert rows["default.weight"].init == 1.0
    assert rows["constant.weight"].init == 0.5
    # Xavier: ((64 + 48) / (256 + 48))^(1/2) of its own; wanted: 1/2
    assert rows["xavier.weight"].init == pytest.approx(0.5 * ((256 + 48) / (64 + 48)) ** 0.5, rel=1e-12)
    assert rows["concatenated.weight"].init == pytest.approx(0.5 * ((256 + 16) / (64 + 16)) ** 0.5, rel=1e-12)


def test_a_linear_model_and_gpt2_end_with_the_same_ratios() -> None:
    """Linear draws fall by themselves, GPT-2's 0.02 do not; planned, both stand in the theory's ratio."""
    for parameterization, wanted in ((STANDARD, (1.0, 0.5, 0.5)), (MUP, (1.0, 0.5, 0.25))):
        for build, names in (
            (words_mlp, ("0.weight", "1.weight", "2.weight")),
            (GPT2_UNTIED, ("transformer.wte.weight", "transformer.h.1.mlp.c_fc.weight", "lm_head.weight")),
        ):
            plan = plan_of(build, width=256, base_width=64, parameterization=parameterization)
            small, large = (
                dict(model.named_parameters()) for model in (fresh(build, 64), planned(plan, build))
            )
            ratios = [(large[name].std() / small[name].std()).item() for name in names]
            # a standard deviation over N entries has a relative error of (2 N)^(-1/2), N >= 11 * 64; five of them
            assert ratios == pytest.approx(wanted, rel=5 * (2 * 11 * 64) ** -0.5 * 2**0.5)


def words_mlp(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Embedding(11, width), nn.Linear(width, width, bias=False), nn.Linear(width, 11, bias=False)
    )


def test_n_is_the_width_and_not_the_fan_in() -> None:
    """Of an MLP of 4 n, both matrices get the hidden rate at the ratio of widths; a fan-in of 5 stays out of it."""

    def wide(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(5, width), nn.Linear(width, 4 * width), nn.Linear(4 * width, 3))

    rows = plan_of(wide).rows
    assert (rows["0.weight"].rate, rows["1.weight"].rate, rows["2.weight"].rate) == (1.0, 0.25, 0.25)


def test_a_forward_factor_moves_into_init_and_rate() -> None:
    """A model that multiplies its embedding by n^(1/2): a table drawn as n^(-1/2), with rates to match."""
    rule = Rule("0.weight", forward_factor=H)
    assert exponents_at("0.weight", rule, ADAM) == (-H, H, H, 0)
    assert exponents_at("0.weight", rule, SGD) == (-H, H, H, 0)  # -1/2 + 2 * 1/2
    assert exponents_at("0.weight", rule, ADAFACTOR) == (-H, H, 0, 0)  # its update follows the weights


def exponents_at(name: str, rule: Rule, optimizer: OptimizerRule) -> tuple[Fraction, ...]:
    row = plan_of(mlp, optimizer=optimizer, rules=(rule,)).rows[name]
    return row.exponents.a, row.exponents.b, row.exponents.c, row.exponents.g


class Explicit(nn.Module):
    """The MLP with its multipliers in the forward pass: what the folded plan must train like."""

    def __init__(self, width: int, multipliers: tuple[float, float, float]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(a, b, bias=False) for a, b in ((5, width), (width, width), (width, 3))
        )
        self.multipliers = multipliers

    def forward(self, x: Tensor) -> Tensor:
        for i, (layer, multiplier) in enumerate(zip(self.layers, self.multipliers, strict=True)):
            x = multiplier * layer(x if i == 0 else x.relu())
        return x


# muP with full alignment at 4 times the width, with its multipliers outside: a = (-1/2, 0, 1/2), b = 1/2, c as in the
# paper's table: (0, 0, 0) for SGD and (1/2, 1, 1/2) for Adam; g = (1/2, 1, 1/2).
OUTSIDE = {
    "sgd": ((2.0, 1.0, 0.5), (1.0, 1.0, 1.0)),
    "adam": ((2.0, 1.0, 0.5), (0.5, 0.25, 0.5)),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_folded_and_explicit_multipliers_train_the_same_model(name: str) -> None:
    """Factors that are powers of two: every number of one run is a power of two times the other's, to the last bit."""

    def build(width: int) -> nn.Module:
        return Explicit(width, (1.0, 1.0, 1.0))

    multipliers, rates = OUTSIDE[name]
    plan = plan_of(build, parameterization=MUP, optimizer=OPTIMIZER_RULES[name])
    folded = planned(plan, build)
    explicit = Explicit(64, multipliers)
    with torch.no_grad():
        for inside, outside, multiplier in zip(
            folded.parameters(), explicit.parameters(), multipliers, strict=True
        ):
            outside.copy_(inside / multiplier)
    groups = plan.param_groups(
        folded, learning_rate=0.02, weight_decay=0.5, epsilon=None if name == "sgd" else 1e-3
    )
    by_hand: list[dict[str, object]] = []
    for parameter, rate, g in zip(explicit.parameters(), rates, (0.5, 1.0, 0.5), strict=True):
        group = {"params": [parameter], "lr": 0.02 * rate, "weight_decay": 0.5 / rate}
        by_hand.append(group if name == "sgd" else {**group, "eps": 1e-3 * 4**-g})
    optimizer = torch.optim.SGD if name == "sgd" else torch.optim.AdamW
    losses = train(folded, optimizer(groups), range(6))
    assert losses == train(explicit, optimizer(by_hand), range(6))
    assert losses[-1] != losses[0]
    for inside, outside, multiplier in zip(
        folded.parameters(), explicit.parameters(), multipliers, strict=True
    ):
        assert torch.equal(inside, outside * multiplier)


def test_small_ranks_do_not_mislead_the_measured_initializer() -> None:
    """A rank of n / 16, at least 1: draws at a quarter of the base width would be of another law."""

    class Ranked(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            rank = max(1, width // 16)
            self.down, self.up = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)

    plan = plan_of(Ranked, width=128, base_width=32)
    assert plan.rows["up.weight"].initializer.widths == (32, 64, 128)
    planned(plan, Ranked)
    assert plan_of(mlp, width=128, base_width=32).rows["0.weight"].initializer.widths == (8, 16, 32)


def test_a_plan_says_which_rule_decided() -> None:
    plan = plan_of(mlp, rules=(Rule("0.weight", role=Role.EMBEDDING),))
    assert plan.rows["0.weight"].decided_by == "Rule('0.weight')"
    assert plan.rows["2.weight"].decided_by == "torch.nn.modules.linear.Linear"
    assert {row.rule for row in plan.rows.values()} == {"adam"}
    assert {row.rule for row in plan_of(mlp, optimizer=LION).rows.values()} == {"lion"}
    assert {row.rule for row in plan_of(mlp, optimizer=ADAM_ATAN2).rows.values()} == {"adam-atan2"}


def test_frozen_tensors_are_scaled_and_not_trained() -> None:
    def build(width: int) -> nn.Module:
        model = words_mlp(width)
        model[1].weight.requires_grad_(False)
        nn.init.normal_(model[1].weight)
        return model

    plan = plan_of(build)
    assert not plan.rows["1.weight"].trainable
    assert "frozen" in next(line for line in str(plan).splitlines() if line.startswith("1.weight"))
    groups = plan.param_groups(planned(plan, build), learning_rate=0.1)
    assert [name for group in groups for name in group["param_names"]] == ["0.weight", "2.weight"]
    # 1.0 at both widths by its own draw: the plan's n^(-1/2) is applied although nothing trains it
    assert planned(plan, build)[1].weight.std().item() == pytest.approx(0.5, rel=0.05)


def lazy(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), nn.LazyLinear(3))


def shared_memory(width: int) -> nn.Module:
    model = nn.Sequential(nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False))
    model[1].weight = nn.Parameter(model[0].weight.detach())
    return model


class Squared(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, width * width), nn.Linear(width * width, 3)


class Unlawful(nn.Module):
    """A gain whose constant falls as n^(-0.3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(5, width)
        self.gain = nn.Parameter(torch.full((width,), width**-0.3))


REFUSED: dict[str, tuple[Build, str]] = {
    "a factory that ignores the width": (lambda width: mlp(16), "build ignores the width"),
    "a tensor created lazily": (lazy, "1.weight, 1.bias without a shape until the first batch"),
    "shared memory": (shared_memory, "'0.weight' and '1.weight' share memory but are two parameters"),
    "a width that grows otherwise": (
        Squared,
        r"tensor 'last.weight' contracts dimension 1, which grows as n\^\(2\)",
    ),
    "an initializer without a law": (Unlawful, r"tensor 'gain': its initializer follows no law"),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(build: Build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_of(build)


@pytest.mark.parametrize(("width", "base"), [(0, 16), (16, 0), (-4, 16)])
def test_widths_below_one(width: int, base: int) -> None:
    with pytest.raises(ValueError, match=f"width {width} and base width {base} must both be at least 1"):
        make_plan(mlp, width=width, base_width=base, parameterization=STANDARD, optimizer=ADAM)


def test_widths_where_nothing_grows() -> None:
    """Widths below the first multiple of 256 give one size."""

    def rounded(width: int) -> nn.Module:
        inner = 256 * -(-width // 256)
        return nn.Sequential(nn.Linear(5, inner), nn.Linear(inner, 3))

    with pytest.raises(ValueError, match="no tensor grows between widths"):
        plan_of(rounded)


def test_a_fixed_tensor_with_a_factor_needs_a_law() -> None:
    """Ten numbers do not say how they are drawn; kept as they are, that is fine, and multiplied it is not."""
    assert plan_of(mlp).rows["4.bias"].note.startswith("its own draw is kept: too few numbers")
    with pytest.raises(ValueError, match=r"tensor '4\.bias': its initializer follows no law"):
        plan_of(mlp, rules=(Rule("4.bias", forward_factor=H),))


def test_a_declared_initializer() -> None:
    rows = plan_of(Unlawful, rules=(Rule("gain", initializer_exponent=Fraction(3, 10)),)).rows
    assert rows["gain"].init == pytest.approx(4**0.3, rel=1e-12)


def test_any_width_is_reached_from_one_description(description) -> None:
    """A plan for a width that was not described has the shapes by the laws of growth."""
    plan = plan_from(description, width=1024, base_width=16, parameterization=STANDARD, optimizer=ADAM)
    assert plan.rows["2.weight"].shape == (1024, 1024)
    assert plan.rows["2.weight"].rate == 1 / 64


def test_values_not_names() -> None:
    """Refused before anything is built."""
    asked = {"width": 64, "base_width": 16, "parameterization": STANDARD, "optimizer": ADAM}
    for wrong, message in (
        ({"parameterization": "standard"}, r"'standard'; give .* theory.PARAMETERIZATIONS\['standard'\]"),
        ({"optimizer": "adamw"}, r"optimizer is 'adamw'; give a value, such as .* OPTIMIZER_RULES\['sgd'\]"),
        ({"alignment": 1}, r"alignment is 1; give a value, such as .* ALIGNMENTS\['full'\]"),
        ({"width": 64.0}, r"width is 64.0, no whole number"),
    ):
        with pytest.raises(ValueError, match=message.replace(" .* ", ".*")):
            make_plan(None, **{**asked, **wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"build is a Sequential, a model of one width; give the function"):
        make_plan(mlp(64), **asked)  # type: ignore[arg-type]


def test_no_warning_of_a_width_that_nobody_asked_for() -> None:
    """Heads of 16 at a quarter of the base width of 32 are none, and torch warns of tensors without entries."""

    def heads(width: int) -> nn.Module:
        return nn.Sequential(nn.Embedding(5, width), nn.Linear(width, width // 16 * 16))

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        plan = make_plan(heads, width=64, base_width=32, parameterization=STANDARD, optimizer=ADAM)
    assert seen == []
    assert plan.rows["1.weight"].role is Role.HIDDEN


def test_a_lone_vector_that_is_drawn_is_remarked_upon() -> None:
    """A class token and the query of a pooling have one shape and one draw; a gain is a constant.

    A module speaks of its bias, which PyTorch draws about zero too, and two dimensions speak for themselves.
    """

    class Lone(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.words = nn.Embedding(5, width)
            self.layer = nn.Linear(5, width)
            self.matrix = nn.Parameter(torch.randn(width, width) / width**0.5)
            self.query = nn.Parameter(0.02 * torch.randn(width))
            self.gain = nn.Parameter(torch.ones(width))

    rows = plan_of(Lone).rows
    assert "if it is summed over (a query, one output), give it Role.READOUT" in rows["query"].note
    assert {name for name, row in rows.items() if row.note} == {"query"}
    said = plan_of(Lone, rules=(Rule("query", role=Role.READOUT),)).rows["query"]
    assert (said.note, said.rate) == ("", 1 / 4)
