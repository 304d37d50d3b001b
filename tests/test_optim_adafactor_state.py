"""Adafactor's state: saved, loaded and continued to the bit; what does not fit; what is not finite; shards."""

import copy
import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from adafactor_cases import IMPLEMENTATIONS, draw, interpreted_kernels
from widthwise.optim import (
    Adafactor,
    AdafactorConstants,
    NonFinite,
    ParameterScaling,
    StochasticRounding,
    WeightDecay,
)

SHAPES = [(5, 7), (6,), (0,)]
INF, NAN = float("inf"), float("nan")


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels():
        yield


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def how(request: pytest.FixtureRequest) -> dict[str, bool]:
    if request.param == "fused":
        pytest.importorskip("triton")
    return {"fused": IMPLEMENTATIONS[request.param]}


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


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (torch.float32, {"momentum": 0.5, "weight_decay": WeightDecay.independent(1e-3)}),
        (torch.bfloat16, {"rounding": StochasticRounding(seed=5), "parameter_scaling": None}),
        (torch.float64, {"parameter_scaling": ParameterScaling(floor=0.5), "clipping_threshold": None}),
    ],
)
def test_a_saved_run_goes_on_to_the_bit(
    how: dict[str, bool], dtype: torch.dtype, options: dict[str, Any]
) -> None:
    """Through a file, read with weights_only=True, into an optimizer that was built with other numbers."""
    whole = Adafactor(parameters(dtype), lr=0.05, min_dim_size_to_factor=4, **options, **how)
    go(whole, range(1, 3))
    state = through_a_file(whole.state_dict())
    leaves = [torch.nn.Parameter(p.detach().clone()) for p in whole.param_groups[0]["params"]]
    expected = go(whole, range(3, 5))
    resumed = Adafactor(leaves, lr=1.0, **how)
    resumed.load_state_dict(state)
    for name, value in whole.param_groups[0].items():
        assert name == "params" or resumed.param_groups[0][name] == value
    assert all(torch.equal(*pair) for pair in zip(go(resumed, range(3, 5)), expected, strict=True))
    for ours, theirs in zip(resumed.state.values(), whole.state.values(), strict=True):
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_bfloat16_parameters_keep_a_float32_state() -> None:
    """Also through a load, which torch's own base class would cast."""
    optimizer = Adafactor(parameters(torch.bfloat16), momentum=0.5)
    go(optimizer, range(1, 3))
    loaded = Adafactor(parameters(torch.bfloat16))
    loaded.load_state_dict(through_a_file(optimizer.state_dict()))
    for a, b in zip(optimizer.state.values(), loaded.state.values(), strict=True):
        assert {x.dtype for x in b.values()} == {torch.float32}
        assert all(torch.equal(a[name], b[name]) for name in a)
    first = next(iter(loaded.state.values()))
    assert (first["v"] != first["v"].bfloat16().float()).any()


def test_a_loaded_state_is_a_copy() -> None:
    first, second = Adafactor(parameters()), Adafactor(parameters())
    go(first, range(1, 3))
    second.load_state_dict(first.state_dict())
    before = copy.deepcopy(first.state_dict()["state"])
    go(second, range(3, 5))
    for number, state in first.state_dict()["state"].items():
        assert all(torch.equal(state[name], before[number][name]) for name in state)


def test_a_deep_copy_goes_on_alone() -> None:
    pytest.importorskip("triton")
    model = torch.nn.ParameterList(parameters())
    optimizer = Adafactor(list(model), lr=0.1, fused=True)
    go(optimizer, range(1, 2))
    other = copy.deepcopy(optimizer)
    expected = go(other, range(2, 3))
    assert not torch.equal(model[0], expected[0])
    assert all(torch.equal(*pair) for pair in zip(go(optimizer, range(2, 3)), expected, strict=True))


def broken(change: str) -> tuple[dict[str, Any], str]:
    optimizer = Adafactor(parameters(), min_dim_size_to_factor=4)
    go(optimizer, range(1, 2))
    state = copy.deepcopy(optimizer.state_dict())
    first = state["state"][0]
    match change:
        case "shape":
            first["v_row"] = torch.zeros(7)
            return state, r"saved 'v_row' of parameter 0 has shape \(7,\), it needs \(5,\)"
        case "missing":
            del first["v_col"]
            return state, "the saved state of parameter 0, .* under its group's options it has"
        case "unfactored":
            state["param_groups"][0]["factored"] = False
            return state, r"has \['non_finite_step', 'step', 'v_col', 'v_row'\]"
        case "groups":
            state["param_groups"][0]["params"].pop()
            return state, r"saved groups of \[2\] parameters, present ones of \[3\]"
        case "torch":
            theirs = torch.optim.Adafactor([*parameters()[:2], torch.nn.Parameter(torch.zeros(1))])
            go(theirs, range(1, 2))
            return theirs.state_dict(), "another optimizer's, whose state Adafactor cannot go on from"
        case "range":
            state["param_groups"][0]["decay_rate"] = 2.0
            return state, "decay_rate = 2.0"
    raise AssertionError(change)


@pytest.mark.parametrize("change", ["shape", "missing", "unfactored", "groups", "torch", "range"])
def test_a_state_that_does_not_fit_changes_nothing(change: str) -> None:
    optimizer = Adafactor(parameters(), min_dim_size_to_factor=4)
    go(optimizer, range(1, 3))
    before = copy.deepcopy(optimizer.state_dict())
    state, message = broken(change)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for number, kept in before["state"].items():
        assert all(torch.equal(after["state"][number][name], kept[name]) for name in kept)


@pytest.mark.parametrize("shape", [(9, 20), (33,)], ids=["factored", "flat"])
@pytest.mark.parametrize("clipping", [1.0, None])
@pytest.mark.parametrize(("bad", "at"), [(INF, 1), (NAN, 2), (1e21, 2)])
def test_what_is_not_finite_is_on_record(
    how: dict[str, bool], shape: tuple[int, ...], clipping: float | None, bad: float, at: int
) -> None:
    """The tensor, its name, its first step; 1e21 squared is infinite. (A factored tensor becomes NaN as a whole.)"""
    weights = [
        ("first", torch.nn.Parameter(torch.ones(3))),
        ("second", torch.nn.Parameter(torch.ones(shape))),
    ]
    optimizer = Adafactor(weights, lr=0.1, min_dim_size_to_factor=4, clipping_threshold=clipping, **how)
    for step in (1, 2):
        for _, weight in weights:
            weight.grad = torch.ones_like(weight)
        if step == at:
            weights[1][1].grad.view(-1)[-1] = bad  # type: ignore[union-attr]
        assert step > at or optimizer.non_finite() == ()
        optimizer.step()
    found = optimizer.non_finite()
    assert found == (NonFinite(group=0, index=1, name="second", step=at),)
    again = Adafactor(
        [("a", torch.nn.Parameter(torch.ones(3))), ("b", torch.nn.Parameter(torch.ones(shape)))]
    )
    again.load_state_dict(optimizer.state_dict())
    assert again.non_finite() == found
    assert weights[0][1].isfinite().all()


def test_nothing_to_report_before_the_first_step() -> None:
    assert Adafactor([torch.nn.Parameter(torch.ones(3))]).non_finite() == ()


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_shards_of_one_process_step_as_whole_tensors() -> None:
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, init_device_mesh

    mesh = init_device_mesh("cpu", (1,))
    weights = []
    for sharded in (True, False):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 4))
        if sharded:
            fully_shard(model, mesh=mesh)
        optimizer = Adafactor(model.parameters(), lr=0.05, min_dim_size_to_factor=4, momentum=0.5)
        for t in range(3):
            optimizer.zero_grad()
            model(draw(4, 6, seed=t)).square().sum().backward()
            optimizer.step()
        saved = optimizer.state_dict()
        Adafactor(model.parameters()).load_state_dict(saved)
        weights.append([p.full_tensor() if isinstance(p, DTensor) else p for p in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*weights, strict=True))


@pytest.mark.usefixtures("one_process")
def test_means_that_cross_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mesh that says it has two processes; what is updated element by element is let through."""
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor, Shard, init_device_mesh

    from widthwise.optim.adafactor_shards import refuse_shards

    mesh = init_device_mesh("cpu", (1,))
    weight = DTensor.from_local(torch.ones(8, 8), mesh, [Shard(0)])
    refuse_shards(weight, AdafactorConstants())
    monkeypatch.setattr(DeviceMesh, "size", lambda self, mesh_dim=None: 2)
    with pytest.raises(
        ValueError, match="clipping_threshold and parameter_scaling takes means over all of it"
    ):
        refuse_shards(weight, AdafactorConstants())
    bare: dict[str, Any] = {"clipping_threshold": None, "parameter_scaling": None}
    refuse_shards(weight, AdafactorConstants(**bare))
    with pytest.raises(ValueError, match="factored takes means"):
        refuse_shards(weight, AdafactorConstants(min_dim_size_to_factor=8, **bare))
