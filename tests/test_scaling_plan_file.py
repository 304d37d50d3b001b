"""A plan's text and file: what it prints, how two differ, and a resumed run that equals one without interruption."""

import dataclasses
import json
import os
import stat
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import nn

from plan_models import gpt2, llama
from plan_training import TIED, adamw, fresh, mlp, plan_of, planned, same, tensors, train
from widthwise.scaling import ScalingPlan
from widthwise.theory import (
    ADAM,
    FULL,
    MUON,
    MUP,
    NONE,
    OPTIMIZER_RULES,
    PARAMETERIZATIONS,
    SGD,
    STANDARD,
    Alignment,
    PerLayerAlignment,
)

BY_ROLE = PerLayerAlignment(
    "measured",
    {
        "hidden": Alignment("hidden", alpha=Fraction(7, 10), omega=Fraction(1, 2), u=Fraction(3, 5)),
        "readout": Alignment("readout", alpha=Fraction(3, 5), omega=Fraction(1, 2), u=Fraction(3, 4)),
    },
)

PLANS = {
    "mlp": lambda: plan_of(mlp),
    "tied": lambda: plan_of(TIED, parameterization=MUP),
    "gpt2": lambda: plan_of(gpt2),
    "muon": lambda: plan_of(llama, optimizer=MUON),
}


@pytest.mark.parametrize("make", PLANS.values(), ids=PLANS)
def test_round_trip(make, tmp_path: Path) -> None:
    plan: ScalingPlan = make()
    plan.save(tmp_path / "plan.json")
    read = ScalingPlan.load(str(tmp_path / "plan.json"))
    assert read == plan
    assert read.diff(plan) == ()
    assert str(read) == str(plan)
    assert [*read.rows] == [*plan.rows]  # the model's order


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS.values(), ids=lambda p: p.name)
def test_exponents_stay_exact(parameterization, tmp_path: Path) -> None:
    thirds = Alignment("mine", alpha=Fraction(2, 3), omega=Fraction(1, 2), u=Fraction(2, 3))
    plan = plan_of(mlp, width=48, parameterization=parameterization, optimizer=SGD, alignment=thirds)
    plan.save(tmp_path / "plan.json")
    assert ScalingPlan.load(tmp_path / "plan.json") == plan
    assert plan.rows["2.weight"].exponents.c.denominator in (1, 2, 3, 6)


def test_exponents_of_every_role_stay_exact(tmp_path: Path) -> None:
    """A measured alignment has its own exponents for hidden layers and for the readout."""
    plan = plan_of(mlp, width=64, parameterization=MUP, optimizer=SGD, alignment=BY_ROLE)
    plan.save(tmp_path / "plan.json")
    read = ScalingPlan.load(tmp_path / "plan.json")
    assert read == plan
    assert read.diff(plan) == ()
    assert "sgd, measured alignment" in str(read)


def test_a_plan_takes_each_roles_own_alignment() -> None:
    """Standard, Adam: c = max(alpha, u) of the role, for hidden layers and the readout; 64 is four times 16."""
    plan = plan_of(mlp, width=64, parameterization=STANDARD, alignment=BY_ROLE)
    assert plan.rows["2.weight"].exponents.c == Fraction(7, 10)
    assert plan.rows["2.weight"].rate == 4.0**-0.7
    assert plan.rows["4.weight"].exponents.c == Fraction(3, 4)
    assert plan.rows["4.bias"].rate == plan.rows["0.weight"].rate == 1.0


def test_a_tied_readout_takes_the_readouts_alignment() -> None:
    """t = max(omega, alpha, u) of the readout, 3/4 here, is what the final norm's gain carries."""
    plan = plan_of(TIED, parameterization=STANDARD, alignment=BY_ROLE)
    assert any("n^(-3/4)" in note for note in plan.notes)


def test_an_alignment_for_other_layers_than_roles_is_refused() -> None:
    with pytest.raises(ValueError, match=r"for layer 'blocks.0', which the network does not have"):
        plan_of(mlp, alignment=PerLayerAlignment("mine", {"blocks.0": FULL, "hidden": FULL, "readout": FULL}))


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    plan = plan_of(mlp, parameterization=MUP)
    plan.save(tmp_path / "plan.json")
    values = json.loads((tmp_path / "plan.json").read_text(), parse_constant=pytest.fail)
    row = values["rows"]["4.weight"]
    assert (values["kind"], values["version"], values["width"], values["base_width"]) == (
        "widthwise scaling plan",
        1,
        64,
        16,
    )
    assert (row["role"], row["rule"], row["exponents"]) == (
        "readout",
        "adam",
        {"a": "0", "b": "1", "c": "1", "g": "0"},
    )
    facts = ("shape", "init", "multiplier", "rate", "epsilon", "decay")
    assert [row[fact] for fact in facts] == [[3, 64], 0.5, 1.0, 0.25, 1.0, 4.0]


def test_a_file_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    plan_of(mlp).save(path)
    before = path.read_text()

    def fails(*_: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as context:
        context.setattr(os, "replace", fails)
        with pytest.raises(OSError, match="no space"):
            plan_of(mlp, parameterization=MUP).save(path)
    assert path.read_text() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.json"]
    assert (
        stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()
    )  # as open() would make it, not mkstemp's 0600


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


BROKEN = {
    "not JSON": ("{", "Expecting property name"),
    "a list": ("[]", "not a plan: its kind is None"),
    "something else": ('{"kind": "recipe"}', "not a plan: its kind is 'recipe'"),
    "a later version": (
        '{"kind": "widthwise scaling plan", "version": 2}',
        "a plan of version 2; this widthwise reads version 1",
    ),
    "half of one": (
        '{"kind": "widthwise scaling plan", "version": 1}',
        "a damaged plan: KeyError: 'alignment'",
    ),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_files_that_are_no_plan(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match=rf"plan\.json: .*{message}"):
        ScalingPlan.load(tmp_path / "plan.json")


DAMAGE: dict[str, tuple[str, object]] = {
    "rate": ("rate", 0.0),
    "negative": ("rate", -1.0),
    "not a number": ("init", float("nan")),
    "infinite": ("epsilon", float("inf")),
    "a word for a number": ("init", "a lot"),
    "a word for yes": ("decayed", "false"),
    "a role": ("role", "head"),
    "shape": ("shape", 3),
}


@pytest.mark.parametrize(("field", "value"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_rows(field: str, value: object, tmp_path: Path) -> None:
    plan_of(mlp).save(tmp_path / "plan.json")
    values = json.loads((tmp_path / "plan.json").read_text())
    values["rows"]["2.weight"][field] = value
    (tmp_path / "plan.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"plan\.json: a damaged plan"):
        ScalingPlan.load(tmp_path / "plan.json")


def test_what_differs_is_said_by_name() -> None:
    one = plan_of(mlp)
    other = plan_of(mlp, parameterization=MUP)
    assert one.diff(one) == ()
    lines = one.diff(other)
    assert lines[0] == "parameterization: standard against mup"
    assert "4.weight: init 1.0 against 0.5" in lines
    assert "0.weight: exponents (a, b, c, g) = (0, 0, 0, 1/2) against (a, b, c, g) = (0, 0, 0, 1)" in lines
    assert not any(line.startswith("4.bias") for line in lines)


def test_every_field_can_differ() -> None:
    """Also what has the same name, or stands in notes."""
    plan = plan_of(mlp)
    twin = Alignment("full", alpha=Fraction(1), omega=Fraction(1, 2), u=Fraction(1, 2))
    changed = {
        "width": dataclasses.replace(plan, width=65),
        "alignment": dataclasses.replace(plan, alignment=twin),
        "notes": dataclasses.replace(plan, notes=("a note",)),
        "optimizer": dataclasses.replace(plan, optimizer=dataclasses.replace(ADAM, source="elsewhere")),
    }
    for field, other in changed.items():
        (line,) = plan.diff(other)
        assert line.startswith(f"{field}: ")
        one, two = line.removeprefix(f"{field}: ").split(" against ")
        assert one != two
    row = plan.rows["2.weight"]
    for change in (
        {"note": "x"},
        {"decided_by": "me"},
        {"decayed": False},
        {"trainable": False},
        {"shape": (1, 2)},
    ):
        other = dataclasses.replace(plan, rows={**plan.rows, "2.weight": dataclasses.replace(row, **change)})
        assert [line.split()[0] for line in plan.diff(other)] == ["2.weight:"]
    fewer = dataclasses.replace(plan, rows={k: v for k, v in plan.rows.items() if k != "2.weight"})
    assert plan.diff(fewer) == ("2.weight: in the first plan alone",)
    assert fewer.diff(plan) == ("2.weight: in the second plan alone",)


def test_the_table() -> None:
    def deep(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Embedding(11, width),
            *(nn.Linear(width, width, bias=False) for _ in range(3)),
            nn.Linear(width, 11, bias=False),
        )

    plan = plan_of(deep, parameterization=MUP, alignment=NONE)
    assert plan.table() == (
        "width 64, base width 16: mup parameterization, adam, none alignment; factors on what the base width has\n"
        "tensor         role       init  rate  epsilon  decay  b    c    g  rule  decided by\n"
        "0.weight       embedding  1     1     0.25     1      0    0    1  adam  Embedding\n"
        "*.weight (x3)  hidden     1     0.5   0.25     2      1/2  1/2  1  adam  Linear\n"
        "4.weight       readout    0.5   0.5   1        2      1    1/2  0  adam  Linear"
    )


def checkpoint(plan: ScalingPlan, model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    plan.save(folder / "plan.json")
    torch.save(model.state_dict(), folder / "model.pt")
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")


def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 4))


def scheduled(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler, steps: range) -> None:
    for step in steps:
        train(model, optimizer, range(step, step + 1))
        scheduler.step()


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    plan = plan_of(mlp, parameterization=MUP)
    model = planned(plan, mlp)
    optimizer = adamw(plan, model)
    scheduler = schedule(optimizer)
    scheduled(model, optimizer, scheduler, range(3))
    checkpoint(plan, model, optimizer, tmp_path)
    torch.save(scheduler.state_dict(), tmp_path / "scheduler.pt")
    scheduled(model, optimizer, scheduler, range(3, 7))

    resumed_plan = ScalingPlan.load(tmp_path / "plan.json")
    assert resumed_plan.diff(plan) == ()
    resumed = fresh(mlp, 64, seed=1)
    resumed.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    again = adamw(resumed_plan, resumed)
    state = torch.load(tmp_path / "optimizer.pt", weights_only=True)
    again.load_state_dict(state)
    resumed_plan.verify(again, resumed)
    resumed_scheduler = schedule(again)
    resumed_scheduler.load_state_dict(torch.load(tmp_path / "scheduler.pt", weights_only=True))
    again.load_state_dict(state)  # a new scheduler has set its first rates
    scheduled(resumed, again, resumed_scheduler, range(3, 7))
    assert same(tensors(resumed), tensors(model))
    resumed_plan.verify(again, resumed)


def test_factors_lost_on_resume_are_caught(tmp_path: Path) -> None:
    """A state that was saved under one rate for all: loading it brings that rate along, and `verify` says so."""
    plan = plan_of(mlp)
    model = planned(plan, mlp)
    optimizer = adamw(plan, model)
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group["lr"] = 1e-2
    optimizer.load_state_dict(state)
    with pytest.raises(
        ValueError, match=r"2\.weight has a learning rate for a base rate of 0\.04, 0\.weight for"
    ):
        plan.verify(optimizer)


def test_a_state_of_groups_in_another_order_is_caught() -> None:
    """PyTorch matches by position; with the model, `verify` sees names and tensors come apart."""

    def twins(width: int) -> nn.Module:
        return nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(2)))

    plan = plan_of(twins)
    model = planned(plan, twins)
    groups = plan.param_groups(model, learning_rate=0.1)
    for group in groups:
        group["params"].reverse()
        group["param_names"].reverse()
    state = torch.optim.AdamW(groups).state_dict()
    optimizer = adamw(plan, model)
    plan.verify(optimizer, model)
    optimizer.load_state_dict(state)
    with pytest.raises(
        ValueError, match=r"the optimizer calls 0\.weight 1\.weight: its state is of groups in another"
    ):
        plan.verify(optimizer, model)


def test_another_models_plan_beside_a_checkpoint(tmp_path: Path) -> None:
    plan_of(mlp).save(tmp_path / "plan.json")
    model = fresh(gpt2, 32)
    with pytest.raises(
        ValueError, match=r"this plan is for another model: the plan alone has 0\.bias.* and 1 more"
    ):
        ScalingPlan.load(tmp_path / "plan.json").param_groups(model, learning_rate=0.1)


def test_every_rule_has_a_file(tmp_path: Path) -> None:
    for rule in OPTIMIZER_RULES.values():
        plan = dataclasses.replace(plan_of(mlp), optimizer=rule)
        plan.save(tmp_path / "plan.json")
        assert ScalingPlan.load(tmp_path / "plan.json").optimizer == rule
