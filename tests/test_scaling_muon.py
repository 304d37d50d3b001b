"""Muon for hidden matrices with AdamW elsewhere: each tensor in one of them, with its own rule's rates."""

import pytest
import torch
from torch import nn

from plan_models import gpt2, llama
from plan_training import TIED, mlp, plan_of, planned, train, word_loss, words_of
from widthwise.scaling import COUPLED, muon_with_adamw
from widthwise.theory import ADAM, MUON, MUP, NONE


def named(optimizer: torch.optim.Optimizer) -> dict[str, dict]:
    return {name: group for group in optimizer.param_groups for name in group["param_names"]}


def test_each_tensor_in_one_of_the_two() -> None:
    plan = plan_of(llama, optimizer=MUON)
    model = planned(plan, llama)
    muon, adamw = muon_with_adamw(plan, model, muon_rate=0.02, adamw_rate=3e-3, weight_decay=0.1)
    assert named(muon).keys() & named(adamw).keys() == set()
    assert named(muon).keys() | named(adamw).keys() == plan.rows.keys()
    assert {name.split(".")[-2] for name in named(muon)} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    plan.verify(muon, model)
    plan.verify(adamw, model)


@pytest.mark.parametrize("alignment", [NONE, None], ids=["none", "full"])
def test_rates_by_hand(alignment) -> None:
    """Muon's update keeps root mean squares by construction, c = 1/2 - 1/2 = 0; AdamW's rates are Adam's."""
    options = {} if alignment is None else {"alignment": alignment}
    plan = plan_of(llama, optimizer=MUON, **options)
    adam = plan_of(llama, optimizer=ADAM, **options)
    muon, adamw = muon_with_adamw(
        plan, planned(plan, llama), muon_rate=0.02, adamw_rate=3e-3, weight_decay=0.1, epsilon=1e-6
    )
    assert {group["lr"] for group in muon.param_groups} == {0.02}
    assert {group["weight_decay"] for group in muon.param_groups} == {0.1}
    for name, group in named(adamw).items():
        assert group["lr"] == 3e-3 * adam.rows[name].rate
        assert group["eps"] == 1e-6 * adam.rows[name].epsilon
    head = 0.25 if alignment is None else 0.5
    assert named(adamw)["lm_head.weight"]["lr"] == 3e-3 * head
    assert named(adamw)["lm_head.weight"]["weight_decay"] == 0.1 / head
    assert named(adamw)["model.norm.weight"]["weight_decay"] == 0.0


def test_the_update_is_scaled_by_the_rate_alone() -> None:
    """PyTorch's Muon with `original` leaves a square matrix's orthogonal update: singular values of the rate.

    Its Newton-Schulz iteration maps them into about 0.7 to 1.2, at 16 as at 64: RMS entries n^(-1/2).
    """
    sizes = {}
    for width in (16, 64):
        plan = plan_of(llama, width=width, optimizer=MUON)
        model = planned(plan, llama)
        muon, _ = muon_with_adamw(plan, model, muon_rate=0.1, adamw_rate=1e-3)
        weight = model.model.layers[0].self_attn.o_proj.weight
        before = weight.detach().clone()
        word_loss(model, 0).backward()
        muon.step()
        change = weight.detach() - before
        sizes[width] = torch.linalg.matrix_norm(change, 2).item()
    assert sizes[64] == pytest.approx(sizes[16], rel=0.2)
    assert sizes[16] == pytest.approx(0.1, rel=0.3)


def test_it_trains_and_resumes() -> None:
    plan = plan_of(TIED, optimizer=MUON)
    model = planned(plan, TIED)
    both = muon_with_adamw(plan, model, muon_rate=0.02, adamw_rate=3e-2)
    first = word_loss(model, 0).item()
    for _ in range(8):
        for optimizer in both:
            train(model, optimizer, range(1), word_loss)
    assert word_loss(model, 0).item() < 0.9 * first
    other = muon_with_adamw(plan, model, muon_rate=0.02, adamw_rate=3e-2)
    for optimizer, again in zip(both, other, strict=True):
        again.load_state_dict(optimizer.state_dict())
        plan.verify(again, model)
    assert model(words_of(0)).isfinite().all()


def test_decay_policies_reach_both() -> None:
    plan = plan_of(TIED, optimizer=MUON, parameterization=MUP)
    muon, adamw = muon_with_adamw(
        plan, planned(plan, TIED), muon_rate=0.02, adamw_rate=3e-3, weight_decay=0.1, policy=COUPLED
    )
    assert {g["weight_decay"] for g in muon.param_groups} == {0.1}
    assert {g["weight_decay"] for g in adamw.param_groups} == {0.1, 0.0}


def test_a_plan_for_another_optimizer() -> None:
    plan = plan_of(TIED)
    with pytest.raises(ValueError, match="the plan is for adam; make one with optimizer=MUON"):
        muon_with_adamw(plan, planned(plan, TIED), muon_rate=0.02, adamw_rate=3e-3)


def test_hidden_tensors_that_are_no_matrices() -> None:
    def convolutions(width: int) -> nn.Module:
        return nn.Sequential(nn.Conv1d(3, width, 3), nn.Conv1d(width, width, 3), nn.Conv1d(width, 3, 3))

    plan = plan_of(convolutions, optimizer=MUON)
    with pytest.raises(ValueError, match=r"1\.weight has 3 dimensions; PyTorch's Muon takes matrices alone"):
        muon_with_adamw(plan, planned(plan, convolutions), muon_rate=0.02, adamw_rate=3e-3)


def test_the_wrong_half_is_refused() -> None:
    """AdamW over Muon's matrices has no rate that the plan knows."""
    plan = plan_of(mlp, optimizer=MUON)
    model = planned(plan, mlp)
    groups = plan.param_groups(model, learning_rate=0.1, rule="muon")
    with pytest.raises(ValueError, match=r"the plan's rates are for muon .* is AdamW"):
        plan.verify(torch.optim.AdamW(groups))


def test_gpt2s_transposed_matrices() -> None:
    """Conv1D stores [in, out]; PyTorch's Muon scales by its rows over its columns, the same at every width."""
    plan = plan_of(gpt2, optimizer=MUON)
    muon, _ = muon_with_adamw(plan, planned(plan, gpt2), muon_rate=0.02, adamw_rate=3e-3)
    assert len(named(muon)) == 8
