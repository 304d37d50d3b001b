"""Adafactor's kernels are the reference: over dtypes, layouts, members and captures; their tables, and their sums."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from adafactor_cases import SMALL_TILE, draw, interpreted_kernels, states, trained
from widthwise.optim import (
    NEAREST,
    Adafactor,
    AdafactorConstants,
    ParameterScaling,
    StochasticRounding,
    WeightDecay,
    device_tables,
)
from widthwise.optim.adafactor_fused import FusedAdafactor
from widthwise.optim.adafactor_single import adafactor_step, initial_state
from widthwise.optim.adafactor_tables import COLUMNS, Shape, Tensors, layout

pytest.importorskip("triton")


@pytest.fixture(autouse=True)
def _interpreted() -> Iterator[None]:
    with interpreted_kernels():
        yield


SHAPES: list[tuple[int, ...]] = [(), (0,), (3, 11), (9, 20), (8, 16), (2, 5, 17), (5, 2, 4)]
"""A scalar, nothing, too small to factor, several strips, aligned, experts, factored around a gap."""


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        (torch.float32, {"weight_decay": WeightDecay(0.1, 1e-3)}),
        (torch.float32, {"clipping_threshold": None, "parameter_scaling": None}),
        (torch.bfloat16, {"momentum": 0.5, "rounding": StochasticRounding(seed=11)}),
        pytest.param(torch.bfloat16, {"rounding": NEAREST}, marks=pytest.mark.slow),
        pytest.param(torch.float16, {"clipping_threshold": None}, marks=pytest.mark.slow),
    ],
    ids=["float32", "float32 bare", "bfloat16 stochastic", "bfloat16", "float16"],
)
def test_agree(dtype: torch.dtype, options: dict[str, Any]) -> None:
    """Two steps. Weights below 32 round by 2^-20, updates below 30 by some 2^-20; means by a few 2^-23 a sum.

    Weights of 16 bits agree unless a float32 beside the middle of two of them is rounded to the other one.
    """
    starts = [draw(*shape, seed=i, dtype=dtype) for i, shape in enumerate(SHAPES)]
    gradients = [[draw(*s, seed=100 * t + i, dtype=dtype) for i, s in enumerate(SHAPES)] for t in range(1, 3)]
    ours = trained(starts, gradients, lr=0.05, fused=True, **options)
    reference = trained(starts, gradients, lr=0.05, fused=False, **options)
    for theta, expected in zip(ours[0], reference[0], strict=True):
        assert theta.dtype == expected.dtype
        if dtype.itemsize == 2 and theta.numel():
            assert (theta != expected).float().mean() < 0.02
        torch.testing.assert_close(
            theta, expected, rtol=2**-7 if dtype.itemsize == 2 else 0, atol=2 * (2**-20 + 1.5 * 2**-20)
        )
    for state, expected_state in zip(states(ours[1]), states(reference[1]), strict=True):
        assert set(state) == set(expected_state)
        for name, value in state.items():
            torch.testing.assert_close(value, expected_state[name], rtol=2**-19, atol=2**-22)


def population(members: int) -> tuple[Tensors, list[Tensor]]:
    """[P, ...] tensors, and a rate a member that differs from tensor to tensor."""
    shapes = [(9, 20), (2, 4, 5), (21,)]
    parameters = [draw(members, *shape, seed=i) for i, shape in enumerate(shapes)]
    constants = AdafactorConstants(min_dim_size_to_factor=4)
    made = []
    for x in parameters:
        counts = {name: torch.zeros(members) for name in ("step", "non_finite_step")}
        made.append({**initial_state(x, constants=constants, batch_dims=1), **counts})
    gradients = [draw(*x.shape, seed=50 + i) for i, x in enumerate(parameters)]
    rates = [0.1 * (i + 1) * torch.arange(1.0, members + 1) for i in range(len(shapes))]
    return Tensors(parameters, gradients, made, [0, 1, 2]), rates


def test_a_population_is_each_member_alone_to_the_bit_and_the_reference() -> None:
    """With a rate, a decay and a count of its own; a member whose gradient is NaN touches no other."""
    constants, decay = AdafactorConstants(min_dim_size_to_factor=4), WeightDecay(0.1, 1e-3)
    tensors, rates = population(3)
    for state in tensors.states:
        state["step"] += torch.tensor([0.0, 4.0, 9.0])
    tensors.gradients[0][1, 0, 0] = float("nan")
    start = [x.clone() for x in tensors.parameters]
    begun = [{name: x.clone() for name, x in state.items()} for state in tensors.states]
    rest = FusedAdafactor().step(tensors, constants=constants, rate=rates, decay=decay, batch_dims=1)
    assert rest == []
    assert [state["step"].tolist() for state in tensors.states] == [[1.0, 5.0, 10.0]] * 3
    assert [s["non_finite_step"].tolist() for s in tensors.states] == [[0.0, 5.0, 0.0], [0.0] * 3, [0.0] * 3]
    for p in (1, 2):
        alone = Tensors(
            [x[p].clone() for x in start],
            [g[p].clone() for g in tensors.gradients],
            [{name: x[p].clone() for name, x in state.items()} for state in begun],
            [0, 1, 2],
        )
        own = [rate[p].clone() for rate in rates]
        FusedAdafactor().step(alone, constants=constants, rate=own, decay=decay)
        for i, theta in enumerate(alone.parameters):
            assert torch.equal(theta.nan_to_num(7), tensors.parameters[i][p].nan_to_num(7))
            for name, value in alone.states[i].items():
                assert torch.equal(value.nan_to_num(7), tensors.states[i][name][p].nan_to_num(7))
    for i in (0, 1, 2):
        expected, _ = adafactor_step(
            start[i], tensors.gradients[i], begun[i], constants=constants, rate=rates[i],
            step=begun[i]["step"] + 1, decay=decay.fraction(rates[i]), batch_dims=1,
        )  # fmt: skip
        torch.testing.assert_close(tensors.parameters[i], expected, rtol=0, atol=2**-18, equal_nan=True)


@pytest.mark.parametrize(
    ("what", "value"),
    [("step", torch.zeros(())), ("non_finite_step", torch.zeros(2)), ("rate", torch.zeros(2))],
)
def test_a_population_needs_a_number_for_each_member(what: str, value: Tensor) -> None:
    tensors, rates = population(3)
    if what == "rate":
        rates[0] = value
    else:
        tensors.states[0][what] = value
    with pytest.raises(ValueError, match=rf"{what} of tensor 0 is .* shape \(3,\), a number for each member"):
        FusedAdafactor().step(tensors, constants=AdafactorConstants(), rate=rates, batch_dims=1)


def test_strips_cover_every_element_once() -> None:
    """A gradient of ones at one place only: its row's and column's means, and nothing else."""
    for place in ((8, 33), (12, 39)):
        gradient = torch.zeros(13, 40)
        gradient[place] = 2.0
        _, optimizer = trained([torch.zeros(13, 40)], [[gradient]], lr=0.1, eps=1e-20, fused=True)
        (state,) = states(optimizer)
        assert (state["v_row"] > 1e-10).nonzero().flatten().tolist() == [place[0]]
        assert (state["v_col"] > 1e-10).nonzero().flatten().tolist() == [place[1]]
        assert state["v_row"].max().item() == pytest.approx(4 / 40)
        assert state["v_col"].max().item() == pytest.approx(4 / 13)


@pytest.mark.parametrize("name", ["transposed", "every other row", "expanded gradient", "one element on"])
def test_any_layout_and_alignment(name: str) -> None:
    """As if everything were contiguous; what the kernels cannot walk through goes to the reference, counted once."""
    weight, gradient = draw(9, 16, seed=1), draw(9, 16, seed=2)
    match name:
        case "transposed":
            start, own = weight.t().contiguous().t(), gradient
        case "every other row":
            start, own = weight.repeat_interleave(2, dim=0)[::2], gradient
        case "expanded gradient":
            start, own = weight, gradient[:1].expand(9, 16)
        case _:
            start, own = torch.cat([torch.zeros(1), weight.flatten()])[1:].view(9, 16), gradient
    results = []
    for laid_out in (False, True):  # the second one writes to the memory it begins with
        parameter = torch.nn.Parameter(start if laid_out else start.contiguous().clone())
        optimizer = Adafactor([parameter], lr=0.1, fused=True, min_dim_size_to_factor=4)
        parameter.grad = own if laid_out else own.contiguous()
        optimizer.step()
        assert optimizer.state[parameter]["step"].item() == 1
        results.append(parameter.detach().clone())
    torch.testing.assert_close(*results, rtol=0, atol=2**-20)


def test_a_capture_writes_into_memory_that_was_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture played through on the CPU: tables that exist are not written to, and what cannot be is refused."""
    capturing = False
    monkeypatch.setattr(device_tables, "capturing", lambda device: capturing)
    monkeypatch.setattr(device_tables, "sets_aside", lambda device: True)
    results = []
    for fused in (True, False):
        weight, kept = torch.nn.Parameter(draw(5, seed=0)), []
        optimizer = Adafactor([weight], lr=0.1, fused=fused)
        for t in range(1, 5):
            capturing = fused and t in (2, 4)
            weight.grad = draw(5, seed=t)
            kept.append(weight.grad)
            if t == 3:  # the address of the first step: its table is still right
                weight.grad = kept[0].copy_(weight.grad)
            optimizer.step()
        results.append(weight.detach().clone())
        if fused:
            weight.grad = draw(5, seed=9)
            with pytest.raises(ValueError, match="a table of addresses is needed for the first time"):
                optimizer.step()
            weight.grad = kept[0]
            optimizer.param_groups[0]["lr"] = 0.2
            with pytest.raises(ValueError, match=r"lr changes to the number 0.2 .*: give lr as a tensor"):
                optimizer.step()
            optimizer.param_groups[0]["clipping_threshold"] = 2.0
            with pytest.raises(ValueError, match="a hyperparameter changes"):
                optimizer.step()
    torch.testing.assert_close(*results, rtol=0, atol=4 * 2**-20)


def test_tables_are_written_when_something_changes_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new gradient, another option, a loaded state; the numbers are the reference's throughout."""
    written: list[int] = []
    original = FusedAdafactor._new_launch

    def new_launch(self: FusedAdafactor, *arguments: Any) -> Any:
        written.append(len(written))
        return original(self, *arguments)

    monkeypatch.setattr(FusedAdafactor, "_new_launch", new_launch)
    sides = []
    for fused in (True, False):
        weight = torch.nn.Parameter(draw(5, seed=0))
        optimizer = Adafactor([weight], lr=0.1, fused=fused)
        kept = []  # nothing is freed, so that no address comes back
        for t in range(1, 6):
            if t in (1, 3):
                weight.grad = torch.empty(5)
                kept.append(weight.grad)
            if t == 4:
                optimizer.param_groups[0]["parameter_scaling"] = ParameterScaling(floor=3.0)
            if t == 5:
                kept.append(dict(optimizer.state[weight]))
                optimizer.load_state_dict(optimizer.state_dict())
            assert weight.grad is not None
            weight.grad.copy_(draw(5, seed=t))
            optimizer.step()
            if fused:
                assert len(written) == [1, 1, 2, 3, 4][t - 1], t
        sides.append(weight.detach())
    torch.testing.assert_close(*sides, rtol=0, atol=5 * 2**-20)


def test_parameters_come_and_go() -> None:
    """A tensor without a gradient keeps its count; groups have tables of their own."""
    results = []
    for fused in (True, False):
        leaves = [torch.nn.Parameter(draw(3, seed=i)) for i in range(3)]
        optimizer = Adafactor(
            [{"params": leaves[:2]}, {"params": leaves[2:], "lr": 0.3}], lr=0.1, fused=fused
        )
        for t in range(1, 5):
            for i, leaf in enumerate(leaves):
                leaf.grad = draw(3, seed=10 * t + i) if (t + i) % 2 else None
            optimizer.step()
        assert [optimizer.state[leaf]["step"].item() for leaf in leaves] == [2, 2, 2]
        results.append(torch.stack([leaf.detach() for leaf in leaves]))
    torch.testing.assert_close(*results, rtol=0, atol=4 * 2**-20)


def test_a_layout_gives_every_sum_a_place_of_its_own() -> None:
    """Two members of two experts of 9 x 20, and a vector of 33: no two parts overlap, and all are inside."""
    shapes = [Shape(2, 2, 9, 20, factored=True), Shape(1, 1, 1, 33, factored=False)]
    found = layout(shapes, [4, 7], tile=SMALL_TILE, chunk=8, clipped=True, scaled=True)
    down, across, chunks = 2, 2, 2
    assert found.slots.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert len(found.strips) == 4 * down * across
    assert len(found.chunks) == 4 * (chunks + 3)
    assert len(found.pieces) == 3
    row = dict(zip(COLUMNS[10:], found.rows[0].tolist(), strict=True))
    sizes = {
        "row_parts": 4 * across * 9, "column_parts": 4 * down * 20, "row_sums": 4 * chunks, "row_totals": 4,
        "weight_parts": 4 * down * across, "update_parts": 4 * down * across,
    }  # fmt: skip
    flat = dict(zip(COLUMNS[10:], found.rows[1].tolist(), strict=True))
    spans = sorted((row[name], row[name] + size) for name, size in sizes.items())
    spans += sorted((flat[name], flat[name] + 3) for name in ("weight_parts", "update_parts"))
    assert spans[0][0] == 2 * 3
    assert all(end == begin for (_, end), (begin, _) in pairwise(spans))
    assert spans[-1][1] == found.scratch
    targets = [target for _, _, target in (*found.segments.tolist(), *found.late_segments.tolist())]
    assert sorted(targets) == [*range(6), *range(row["row_totals"], row["row_totals"] + 4)]
