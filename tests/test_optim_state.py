"""Adam-atan2's state: saved, loaded and continued to the bit, and to and from torch.optim.AdamW."""

import copy
import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from optim_cases import IMPLEMENTATIONS, draw, interpreted_kernels
from widthwise.optim import NEAREST, ROOT, SQUARED, AdamAtan2, StochasticRounding, WeightDecay
from widthwise.optim.rounding import Rounding
from widthwise.optim.second_moment import SecondMoment

FORMS = [SQUARED, ROOT]
SHAPES = [(5, 7), (6,), (0,)]


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels():
        yield


def parameters(dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(draw(*shape, seed=i, dtype=dtype)) for i, shape in enumerate(SHAPES)]


def go(optimizer: torch.optim.Optimizer, steps: range) -> list[Tensor]:
    """Steps with gradients that depend on the step's number alone; the weights after them."""
    leaves = [p for group in optimizer.param_groups for p in group["params"]]
    for t in steps:
        for i, leaf in enumerate(leaves):
            leaf.grad = draw(*leaf.shape, seed=1000 * t + i, dtype=leaf.dtype)
        optimizer.step()
    return [leaf.detach().clone() for leaf in leaves]


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("how", sorted(IMPLEMENTATIONS))
@pytest.mark.parametrize(
    ("form", "dtype", "rounding"),
    [
        (SQUARED, torch.float32, NEAREST),
        (ROOT, torch.bfloat16, StochasticRounding(seed=5)),
        (ROOT, torch.float64, NEAREST),
    ],
)
def test_a_saved_run_goes_on_to_the_bit(
    how: str, form: SecondMoment, dtype: torch.dtype, rounding: Rounding
) -> None:
    """Through a file, read with weights_only=True, into an optimizer that was built with other numbers."""
    if how == "fused":
        pytest.importorskip("triton")
    options: dict[str, Any] = {
        "lr": 0.05, "b": 2.0, "second_moment": form, "rounding": rounding,
        "weight_decay": WeightDecay.independent(1e-3), **IMPLEMENTATIONS[how],
    }  # fmt: skip
    whole = AdamAtan2(parameters(dtype), **options)
    go(whole, range(1, 4))
    state = through_a_file(whole.state_dict())
    leaves = [torch.nn.Parameter(p.detach().clone()) for p in whole.param_groups[0]["params"]]
    expected = go(whole, range(4, 6))
    resumed = AdamAtan2(leaves, lr=1.0, **IMPLEMENTATIONS[how])
    resumed.load_state_dict(state)
    assert all(torch.equal(*pair) for pair in zip(go(resumed, range(4, 6)), expected, strict=True))
    for ours, theirs in zip(resumed.state.values(), whole.state.values(), strict=True):
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_loaded_state_is_a_copy() -> None:
    first, second = AdamAtan2(parameters()), AdamAtan2(parameters())
    go(first, range(1, 3))
    second.load_state_dict(first.state_dict())
    before = copy.deepcopy(first.state_dict()["state"])
    go(second, range(3, 5))
    for number, state in first.state_dict()["state"].items():
        assert all(torch.equal(state[name], before[number][name]) for name in state)


def test_a_deep_copy_goes_on_alone() -> None:
    pytest.importorskip("triton")
    model = torch.nn.ParameterList(parameters())
    optimizer = AdamAtan2(list(model), lr=0.1, fused=True)
    go(optimizer, range(1, 3))
    other = copy.deepcopy(optimizer)
    expected = go(other, range(3, 5))
    assert not torch.equal(model[0], expected[0])
    assert all(torch.equal(*pair) for pair in zip(go(optimizer, range(3, 5)), expected, strict=True))


def adamw(leaves: list[torch.nn.Parameter], **arguments: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW(leaves, lr=0.03, betas=(0.8, 0.95), weight_decay=0.2, **arguments)


def test_from_adamw_and_back_to_the_bit() -> None:
    """In the squared form nothing is converted: moments, counts and the numbers of the groups return as they were."""
    theirs = adamw(parameters())
    go(theirs, range(1, 4))
    saved = copy.deepcopy(theirs.state_dict())
    ours = AdamAtan2(parameters(), a=2.0, second_moment=SQUARED)
    ours.load_state_dict(saved)
    group = ours.param_groups[0]
    assert (group["lr"], group["betas"], group["a"]) == (0.03, (0.8, 0.95), 2.0)
    assert group["weight_decay"] == WeightDecay.coupled(0.2)
    again = torch.optim.AdamW(parameters())
    again.load_state_dict(ours.adamw_state_dict(eps=1e-8))
    assert ours.adamw_state_dict(eps=1e-8)["param_groups"] == saved["param_groups"]
    for number, state in saved["state"].items():
        returned = again.state_dict()["state"][number]
        assert set(returned) == set(state)
        assert all(torch.equal(returned[name], state[name]) for name in state)
    leaves = [torch.nn.Parameter(p.detach().clone()) for p in theirs.param_groups[0]["params"]]
    again.param_groups[0]["params"][:] = leaves
    expected = go(theirs, range(4, 6))
    continued = torch.optim.AdamW(leaves)
    continued.load_state_dict(ours.adamw_state_dict(eps=1e-8))
    assert all(torch.equal(*pair) for pair in zip(go(continued, range(4, 6)), expected, strict=True))


def test_from_adamw_and_back_in_the_root_form() -> None:
    """Within one unit in the last place."""
    theirs = adamw(parameters())
    go(theirs, range(1, 4))
    ours = AdamAtan2(parameters(), second_moment=ROOT)
    ours.load_state_dict(theirs.state_dict())
    for number, state in ours.adamw_state_dict()["state"].items():
        v = theirs.state_dict()["state"][number]["exp_avg_sq"]
        units = (state["exp_avg_sq"].view(torch.int32) - v.view(torch.int32)).abs()
        assert units.numel() == 0 or units.max() <= 1
    assert "exp_avg_rms" in ours.state_dict()["state"][0]


def test_a_switch_from_adamw_takes_the_next_step_it_would_have_taken() -> None:
    """With b = 4096 Adam-atan2 is Adam, so that a switch in mid-training shows a wrong count, moment or decay."""
    theirs, leaves = adamw(parameters(), eps=0.0), parameters()
    go(theirs, range(1, 4))
    for leaf, trained in zip(leaves, theirs.param_groups[0]["params"], strict=True):
        leaf.data.copy_(trained.detach())
    ours = AdamAtan2(leaves, a=4096.0, b=4096.0)
    ours.load_state_dict(theirs.state_dict())
    for found, expected in zip(go(ours, range(4, 7)), go(theirs, range(4, 7)), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=3 * 2**-22)


def test_one_form_loads_the_other() -> None:
    squared = AdamAtan2(parameters(), second_moment=SQUARED)
    go(squared, range(1, 3))
    state = squared.state_dict()
    state["param_groups"][0]["second_moment"] = "exp_avg_rms"
    root = AdamAtan2(parameters())
    root.load_state_dict(state)
    leaf, original = root.param_groups[0]["params"][0], squared.param_groups[0]["params"][0]
    torch.testing.assert_close(
        root.state[leaf]["exp_avg_rms"], squared.state[original]["exp_avg_sq"].sqrt(), rtol=2**-23, atol=0
    )


def test_bfloat16_parameters_keep_float32_moments(tmp_path: object) -> None:
    """Also through a load, which torch's own base class would cast. (An established package keeps bfloat16 ones.)"""
    optimizer = AdamAtan2(parameters(torch.bfloat16))
    go(optimizer, range(1, 4))
    loaded = AdamAtan2(parameters(torch.bfloat16))
    loaded.load_state_dict(through_a_file(optimizer.state_dict()))
    for a, b in zip(optimizer.state.values(), loaded.state.values(), strict=True):
        assert {a[name].dtype for name in a} == {torch.float32}
        assert all(torch.equal(a[name], b[name]) for name in a)
    # a moment that a bfloat16 could not hold
    assert (a["exp_avg"] != a["exp_avg"].bfloat16().float()).any() or not a["exp_avg"].numel()


def test_a_state_takes_the_layout_of_its_parameter() -> None:
    leaf = torch.nn.Parameter(draw(2, 3, 4, 5, seed=0))
    optimizer = AdamAtan2([leaf])
    go(optimizer, range(1, 2))
    other = torch.nn.Parameter(leaf.detach().to(memory_format=torch.channels_last))
    loaded = AdamAtan2([other])
    loaded.load_state_dict(optimizer.state_dict())
    assert loaded.state[other]["exp_avg"].stride() == other.stride()
    assert torch.equal(loaded.state[other]["exp_avg"], optimizer.state[leaf]["exp_avg"])


def broken(change: str) -> tuple[dict[str, Any], str]:
    optimizer = AdamAtan2(parameters())
    go(optimizer, range(1, 2))
    state = copy.deepcopy(optimizer.state_dict())
    first = state["state"][0]
    match change:
        case "shape":
            first["exp_avg"] = torch.zeros(7, 5)
            return state, r"saved 'exp_avg' of parameter 0 has shape \(7, 5\), the parameter \(5, 7\)"
        case "missing":
            del first["exp_avg_rms"]
            return state, "needs 'step', 'exp_avg' and one of"
        case "groups":
            state["param_groups"][0]["params"].pop()
            return state, r"saved groups of \[2\] parameters, present ones of \[3\]"
        case "amsgrad":
            return torch.optim.AdamW(parameters(), amsgrad=True).state_dict(), "amsgrad"
        case "penalty":
            return torch.optim.Adam(parameters(), weight_decay=0.1).state_dict(), "L2 penalty of 0.1"
    raise AssertionError(change)


@pytest.mark.parametrize("change", ["shape", "missing", "groups", "amsgrad", "penalty"])
def test_a_state_that_does_not_fit_changes_nothing(change: str) -> None:
    optimizer = AdamAtan2(parameters())
    go(optimizer, range(1, 3))
    before = copy.deepcopy(optimizer.state_dict())
    state, message = broken(change)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for number, kept in before["state"].items():
        assert all(torch.equal(after["state"][number][name], kept[name]) for name in kept)


def test_an_independent_decay_has_no_adamw() -> None:
    optimizer = AdamAtan2(parameters(), weight_decay=WeightDecay.independent(0.1))
    with pytest.raises(ValueError, match="AdamW has only a coupled one"):
        optimizer.adamw_state_dict()
