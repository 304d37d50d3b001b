"""The coordinate check: correct plans pass, plans with one broken rule fail and name the tensor."""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from check_breaks import BREAKS, Planner, changes_plan
from check_models import Llama, Mlp, mlp_batch, mlp_loss, next_token, tokens
from widthwise.measure import CoordinateCheck, Quantity, Verdict, coordinate_check, plan_ladder
from widthwise.measure.expectation import Runs
from widthwise.measure.feature_rows import growth_allowed
from widthwise.measure.slope import SlopeInterval
from widthwise.measure.verdict import CheckRow
from widthwise.scaling import Rule
from widthwise.theory import (
    ADAM,
    ADAM_ATAN2,
    FULL,
    MUON,
    MUP,
    NONE,
    PARAMETERIZATIONS,
    SGD,
    STANDARD,
    Alignment,
    OptimizerRule,
    Parameterization,
    Role,
)

RATES = {SGD: 0.1, ADAM: 1e-3, MUON: 1e-3}
ARMS = [
    (parameterization, optimizer)
    for parameterization in PARAMETERIZATIONS.values()
    for optimizer in (SGD, ADAM)
]
WIDE = (128, 256, 512, 1024)
SMALL = (32, 64, 128)


def planner(
    build: object, arm: tuple[Parameterization, OptimizerRule], *, base: int, alignment: Alignment = FULL
) -> Planner:
    return plan_ladder(build, base_width=base, parameterization=arm[0], optimizer=arm[1], alignment=alignment)  # type: ignore[arg-type]


def check_mlp(plan: Planner, optimizer: OptimizerRule, **options: object) -> CoordinateCheck:
    given = {"widths": WIDE, "learning_rate": RATES[optimizer], "seeds": 5, "steps": 1} | options
    return coordinate_check(Mlp, mlp_batch(), mlp_loss, plan=plan, **given)  # type: ignore[arg-type]


def arm_id(value: object) -> str:
    return " ".join(part.name for part in value) if isinstance(value, tuple) else str(value)


slow = pytest.mark.slow
SLICE = {(STANDARD, ADAM), (MUP, SGD)}


def sliced(arms: list[tuple[Parameterization, OptimizerRule]]) -> list[object]:
    """Every arm, all but two of them marked slow."""
    return [arm if arm in SLICE else pytest.param(arm, marks=slow) for arm in arms]


@pytest.mark.parametrize("arm", sliced(ARMS), ids=arm_id)
def test_a_correct_plan_of_an_mlp_passes_every_row(arm: tuple[Parameterization, OptimizerRule]) -> None:
    check = check_mlp(planner(Mlp, arm, base=128), arm[1], steps=2)
    assert check.verdict is Verdict.PASS, check
    judged = [row for row in check.rows if row.verdict not in (Verdict.REPORTED, Verdict.UNDEFINED)]
    assert {row.verdict for row in judged} == {Verdict.PASS}
    assert {row.name for row in judged if row.quantity is Quantity.UPDATE} == set(
        planner(Mlp, arm, base=128)(128).rows
    )
    assert {row.name for row in check.rows if row.quantity is Quantity.OMEGA} == {
        "second.weight",
        "readout.weight",
    }


@slow
@pytest.mark.parametrize("arm", ARMS, ids=arm_id)
def test_a_correct_plan_of_a_llama_fails_no_row(arm: tuple[Parameterization, OptimizerRule]) -> None:
    """At five seeds and 180 rows an interval may stick out of its margin by chance: one in a hundred at most."""
    plan = planner(Llama, arm, base=128)
    check = coordinate_check(Llama, tokens(), next_token, plan=plan, widths=WIDE, learning_rate=RATES[arm[1]])
    assert check.failures == (), check
    undecided = [row for row in check.rows if row.verdict is Verdict.UNDECIDED]
    assert len(undecided) <= len(check.rows) / 100, check


@pytest.mark.parametrize("what", BREAKS)
@pytest.mark.parametrize("arm", sliced(ARMS), ids=arm_id)
def test_a_broken_rule_fails_and_names_its_tensor(
    arm: tuple[Parameterization, OptimizerRule], what: str
) -> None:
    breaks, role = BREAKS[what]
    plan = planner(Mlp, arm, base=32)
    if not changes_plan(breaks(plan), plan, SMALL[-1]):
        assert (what, arm[1]) == ("n = fan-in", ADAM)  # with Adam no rate of a fixed fan-in follows the width
        return
    check = check_mlp(breaks(plan), arm[1], widths=SMALL, seeds=3)
    assert check.verdict is Verdict.FAIL
    assert check.suspects[0].role == role
    assert check.suspects[0].name in check.summary()
    exact = {Quantity.FACTOR} if what == "readout init" else {Quantity.UPDATE}
    assert {row.quantity for row in check.suspects} == exact


def test_an_undeclared_forward_factor_is_found_and_a_declared_one_passes() -> None:
    """Gemma multiplies its embedding's output by the root of the width."""
    gemma = partial(Llama, layers=1, forward_factor=True)
    run = partial(
        coordinate_check, gemma, tokens(), next_token, widths=SMALL, learning_rate=1e-3, seeds=3, steps=1
    )
    undeclared = run(plan=planner(gemma, (STANDARD, ADAM), base=32))
    assert undeclared.verdict is Verdict.FAIL
    first = undeclared.suspects[0]
    assert (first.quantity, first.name) == (Quantity.FEATURE, "layers.0.input_layernorm input")
    # The embedding alone is in that input, so the slope is the factor's, up to the embedding's own sampling
    assert first.slope is not None
    assert first.slope.estimate == pytest.approx(0.5, abs=0.02)
    assert "forward_factor" in undeclared.summary()
    rule = Rule("embed_tokens.weight", role=Role.EMBEDDING, forward_factor=Fraction(1, 2))
    plan = plan_ladder(gemma, base_width=32, parameterization=STANDARD, optimizer=ADAM, rules=[rule])
    declared = run(plan=plan)
    assert declared.failures == ()
    assert declared.row("feature", first.name).slope.estimate == pytest.approx(0, abs=0.02)  # type: ignore[union-attr]


class Shrinking(nn.Module):
    """A readout whose input falls as the root of the width, which no rule says."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first, self.readout = nn.Linear(16, width, bias=False), nn.Linear(width, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(torch.tanh(self.first(x)) / self.width**0.5)


def test_an_output_that_vanishes_fails_as_one_that_grows_does() -> None:
    plan = planner(Shrinking, (STANDARD, ADAM), base=32)
    check = coordinate_check(
        Shrinking, mlp_batch(), mlp_loss, plan=plan, widths=SMALL, seeds=3, steps=1, learning_rate=1e-3
    )
    assert [(row.quantity, row.name) for row in check.suspects] == [(Quantity.FEATURE, "readout input")]
    assert check.suspects[0].slope.estimate == pytest.approx(-0.5, abs=0.05)  # type: ignore[union-attr]


def test_growth_under_no_alignments_rates_is_reported_as_such() -> None:
    check = check_mlp(planner(Mlp, (MUP, ADAM), base=64, alignment=NONE), ADAM, widths=(64, 128, 256, 512))
    assert check.failures == ()
    hidden = check.row("effect", "second.weight")
    assert hidden.verdict is Verdict.REPORTED
    assert "the plan's rates assume 0.5" in hidden.reason
    # alpha = 1 where 1/2 was assumed: half a power, read low by finite widths
    assert 0.35 < hidden.slope.estimate < 0.55  # type: ignore[union-attr]
    assert check.row("change", "second").verdict is Verdict.REPORTED


def test_the_logits_of_a_standard_readout_grow_by_name_and_mups_do_not() -> None:
    standard = check_mlp(planner(Mlp, (STANDARD, ADAM), base=64), ADAM, widths=(64, 128, 256, 512))
    omega = standard.row("omega", "readout.weight")
    assert omega.verdict is Verdict.REPORTED
    assert omega.slope.low > 0.8  # type: ignore[union-attr]
    assert "2505.22491" in omega.reason
    assert standard.row("change", "readout").verdict is Verdict.REPORTED
    assert standard.row("omega", "second.weight").slope.estimate == pytest.approx(0.5, abs=0.05)  # type: ignore[union-attr]
    mup = check_mlp(planner(Mlp, (MUP, ADAM), base=64), ADAM, widths=(64, 128, 256, 512))
    assert mup.row("change", "readout").verdict is Verdict.PASS
    breaks, _ = BREAKS["readout init"]  # muP with the standard readout's draw: its logits grow, and may not
    broken = check_mlp(breaks(planner(Mlp, (MUP, ADAM), base=64)), ADAM, widths=(64, 128, 256, 512))
    assert broken.row("change", "readout").verdict is Verdict.FAIL


def test_one_run_by_hand() -> None:
    """dW, dW z and the logits' change of one linear layer under SGD, against their formulas in float64."""

    def build(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(6, width, bias=False), nn.Linear(width, 1, bias=False))

    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    plan = plan_ladder(build, base_width=16, parameterization=STANDARD, optimizer=SGD)
    check = coordinate_check(
        build, x, lambda model, batch: model(batch).sum(), plan=plan, widths=(16, 32, 64), seeds=2, steps=1,
        learning_rate=0.25,
    )  # fmt: skip
    for k, width in enumerate((16, 32, 64)):
        torch.manual_seed(1)
        model = build(width)
        plan(width).initialize_(model)
        w, v = (layer.weight.detach().double() for layer in model)
        rows = plan(width).rows
        dw = 0.25 * rows["0.weight"].rate * v.T * x.double().sum(0)
        dv = 0.25 * rows["1.weight"].rate * (x.double().sum(0) @ w.T)
        expected = {
            ("update", "0.weight"): dw,
            ("update", "1.weight"): dv,
            ("effect", "0.weight"): x.double() @ dw.T,
            ("effect", "1.weight"): x.double() @ w.T @ dv,
            ("change", "1"): x.double() @ (w - dw).T @ (v - dv).T - x.double() @ w.T @ v.T,
        }
        for (quantity, name), tensor in expected.items():
            found = check.row(quantity, name).values[1][k]
            # float32 updates of weights a thousand times larger: 1e-4
            assert found == pytest.approx(tensor.square().mean().sqrt().item(), rel=1e-4)


def test_a_check_repeats_itself_and_leaves_random_states_alone(tmp_path: Path) -> None:
    plan = planner(Mlp, (STANDARD, SGD), base=32)
    before = torch.random.get_rng_state()
    one = check_mlp(plan, SGD, widths=SMALL, seeds=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert check_mlp(plan, SGD, widths=SMALL, seeds=2) == one
    one.save(tmp_path / "check.json")
    read = CoordinateCheck.load(tmp_path / "check.json")
    assert read == one
    assert str(read) == str(one)
    (tmp_path / "check.json").write_text('{"kind": "plan"}')
    with pytest.raises(ValueError, match="not a coordinate check: its kind is 'plan'"):
        CoordinateCheck.load(tmp_path / "check.json")


class Odd(nn.Module):
    """Dropout, a frozen tensor, a readout that starts at zero, and a layer that is never called."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.frozen = nn.Linear(16, width, bias=False), nn.Linear(width, width, bias=False)
        self.drop, self.readout = nn.Dropout(0.5), nn.Linear(width, 10, bias=False)
        self.unused = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.readout.weight)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.drop(torch.tanh(self.frozen(torch.tanh(self.first(x))))))


def test_what_is_undefined_stays_undefined_with_its_reason() -> None:
    plan = planner(Odd, (STANDARD, ADAM), base=64)
    run = partial(
        coordinate_check, Odd, mlp_batch(), mlp_loss, plan=plan, widths=(64, 128, 256), learning_rate=1e-3
    )
    check = run(seeds=3, steps=2)
    reasons = {
        (row.quantity.value, row.name): row.reason for row in check.rows if row.verdict is Verdict.UNDEFINED
    }
    assert reasons["init factor", "readout.weight"] == "all entries are zero"
    assert reasons["update", "frozen.weight"] == "frozen"
    assert reasons["update", "unused.weight"] == "no gradient reached it"
    assert [row.name for row in check.unmeasured] == ["unused.weight"]
    assert check.verdict is Verdict.UNDECIDED
    # behind a readout of zeros the first layer moves at step 2, and Adam's update is as large as ever
    first = check.row("update", "first.weight")
    assert (first.step, first.verdict) == (2, Verdict.PASS)
    one = run(seeds=2, steps=1)
    assert {row.name for row in one.unmeasured} == {"unused.weight", "first.weight"}


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=lambda rule: rule.name)
def test_a_gradient_that_is_zero_up_to_rounding_has_no_exponent(optimizer: OptimizerRule) -> None:
    """A bias in front of a batch norm shifts nothing."""

    def build(width: int) -> nn.Module:
        layers = nn.Linear(16, width), nn.BatchNorm1d(width), nn.Tanh(), nn.Linear(width, 10)
        return nn.Sequential(*layers)

    plan = plan_ladder(build, base_width=64, parameterization=STANDARD, optimizer=optimizer)
    check = coordinate_check(
        build,
        mlp_batch(),
        mlp_loss,
        plan=plan,
        widths=(64, 128, 256),
        seeds=3,
        learning_rate=RATES[optimizer],
    )
    bias = check.row("update", "0.bias")
    assert (bias.verdict, bias.reason) == (Verdict.UNDEFINED, "its gradient is zero up to rounding")
    assert check.failures == ()


def test_a_tied_embedding_is_checked_under_both_names() -> None:
    class Tied(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.embed, self.norm = nn.Embedding(64, width), nn.LayerNorm(width)
            self.head = nn.Linear(width, 64, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.embed(x)))

    plan = planner(Tied, (STANDARD, ADAM), base=64)
    check = coordinate_check(
        Tied, tokens(), next_token, plan=plan, widths=(64, 128, 256), seeds=3, learning_rate=1e-3
    )
    assert check.failures == (), check
    assert check.row("init factor", "norm.weight").theory == -1
    assert check.row("feature", "norm").theory == -1
    assert check.row("effect", "embed.weight").theory == 0
    assert check.row("effect", "head.weight").theory == pytest.approx(0, abs=1e-3)
    broken = replace(
        plan(256), rows=plan(256).rows | {"norm.weight": replace(plan(256).rows["norm.weight"], init=1.0)}
    )
    wrong = coordinate_check(
        Tied, tokens(), next_token, plan=lambda n: broken if n == 256 else plan(n), widths=(64, 128, 256), seeds=3,
        learning_rate=1e-3,
    )  # fmt: skip
    assert wrong.suspects[0].name == "norm.weight"


@slow
def test_muons_product_is_theorys_though_a_small_batch_limits_its_rank() -> None:
    build = partial(Llama, layers=1)
    plan = planner(build, (STANDARD, MUON), base=64)
    check = coordinate_check(
        build, tokens(), next_token, plan=plan, widths=(64, 128, 256), seeds=3, learning_rate=1e-3
    )
    assert check.failures == ()
    q = "layers.0.self_attn.q_proj.weight"
    assert check.row("update", q).verdict is Verdict.REPORTED
    assert check.row("effect", q).verdict is Verdict.PASS


def diverging(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1]) * float("inf")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (64, 128)}, "a slope needs 3 or more"),
        ({"widths": (64, 64, 128)}, "a slope needs 3 or more"),
        ({"seeds": 1}, "seeds = 1; an interval needs 2"),
        ({"steps": 0}, "steps = 0; one update"),
        ({"learning_rate": 0.0}, "learning rate 0.0 must be positive"),
        ({"plan": planner(Odd, (STANDARD, ADAM), base=32)}, "this plan is for another model"),
        ({"optimizer": lambda groups: torch.optim.SGD(groups)}, "the plan's rates are for adam"),
        (
            {"plan": planner(Mlp, (STANDARD, ADAM_ATAN2), base=32)},
            "adam-atan2, of which PyTorch has no optimizer",
        ),
        (
            {"plan": lambda n: planner(Mlp, (STANDARD, ADAM), base=32)(64)},
            r"plan\(32\) is a plan for width 64",
        ),
    ],
)
def test_bad_input_is_refused(options: dict[str, object], message: str) -> None:
    given = {
        "plan": planner(Mlp, (STANDARD, ADAM), base=32),
        "widths": SMALL,
        "seeds": 2,
        "learning_rate": 1e-3,
    }
    with pytest.raises(ValueError, match=message):
        coordinate_check(Mlp, mlp_batch(), mlp_loss, **(given | options))  # type: ignore[arg-type]


def test_divergence_is_a_failure_and_no_slope() -> None:
    plan = planner(Mlp, (STANDARD, SGD), base=32)
    check = coordinate_check(Mlp, mlp_batch(), diverging, plan=plan, widths=SMALL, seeds=2, learning_rate=0.1)
    assert check.verdict is Verdict.FAIL
    assert "not finite" in check.row("update", "second.weight").reason


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.2, 0.6, Verdict.REPORTED),
        (0.35, 0.63, Verdict.UNDECIDED),
        (0.55, 0.7, Verdict.UNDECIDED),
        (0.61, 0.7, Verdict.FAIL),
    ],
)
def test_the_growth_of_standard_logits_fails_only_where_it_lies_beyond(
    low: float, high: float, verdict: Verdict
) -> None:
    """Under the standard readout (a + b = 1/2) logits may grow by n^(1/2), and a margin of 0.1."""
    plan = plan_ladder(Mlp, base_width=32, parameterization=STANDARD, optimizer=ADAM, alignment=FULL)(32)
    slope = SlopeInterval((low + high) / 2, low, high)
    judged = Verdict.FAIL if low > 0.1 else Verdict.UNDECIDED
    row = CheckRow(Quantity.CHANGE, "head", 1, "", 0.0, True, 0.1, slope, (), judged)
    assert growth_allowed(row, Runs({32: plan}, {}, {}), grows=False).verdict is verdict
    assert growth_allowed(row, Runs({32: plan}, {}, {}), grows=True).verdict is judged


def test_no_growth_of_mups_logits_is_allowed() -> None:
    """a + b = 1: a slope that may be 0 or above stays undecided, without a word that it does no harm."""
    plan = plan_ladder(Mlp, base_width=32, parameterization=MUP, optimizer=ADAM, alignment=FULL)(32)
    slope = SlopeInterval(0.12, 0.05, 0.19)
    row = CheckRow(Quantity.CHANGE, "head", 1, "", 0.0, True, 0.1, slope, (), Verdict.UNDECIDED)
    assert growth_allowed(row, Runs({32: plan}, {}, {}), grows=False) is row
