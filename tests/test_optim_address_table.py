"""The fused implementation's tables: what they hold, when they are written again, and what happens without Triton."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from optim_cases import draw, interpreted_kernels, trained
from widthwise.optim import AdamAtan2, device_tables, implementation
from widthwise.optim.address_table import Columns, address_table, block_table, is_dense, is_fusible, key_of
from widthwise.optim.known_states import KnownGroup, KnownStates
from widthwise.optim.launch import Tables
from widthwise.optim.moment_fused import FusedGroup


@pytest.fixture
def interpreted() -> Iterator[None]:
    pytest.importorskip("triton")
    with interpreted_kernels():
        yield


def columns(*parameters: Tensor) -> Columns:
    tensors = [list(map(torch.clone, parameters)) for _ in range(3)]
    scalars = [[torch.zeros(()) for _ in parameters] for _ in range(2)]
    return Columns(list(parameters), *tensors, *scalars, list(range(len(parameters))))


def test_a_row_is_addresses_size_and_alignment() -> None:
    """Eight bytes into an aligned memory is not aligned to 16."""
    memory = torch.zeros(9)
    found = columns(memory[2:7], torch.zeros(4))
    rows = address_table(found)
    assert rows[0] == [
        *(column[0].data_ptr() for column in (*found[:4], found.steps, found.flags)), 0, 5, False, 0
    ]  # fmt: skip
    assert rows[1][6:] == [0, 4, True, 1]


@pytest.mark.parametrize(
    ("numels", "expected"),
    [
        ([], []),
        ([0], []),
        ([1], [[0, 0, 0]]),
        ([8, 0, 17], [[0, 0, 0], [2, 0, 0], [2, 0, 1], [2, 0, 2]]),
    ],
)
def test_blocks_cover_every_element_once(numels: list[int], expected: list[list[int]]) -> None:
    assert block_table(numels, block=8).tolist() == expected


def test_what_a_kernel_can_walk_through() -> None:
    base = torch.zeros(4, 6, 5, 3)
    assert is_dense(base)
    assert is_dense(base.to(memory_format=torch.channels_last))
    assert is_dense(base.permute(3, 1, 0, 2))
    assert is_dense(torch.zeros(()))
    assert is_dense(torch.zeros(1, 3).as_strided((1, 3), (7, 1)))  # a dimension of one may have any stride
    assert not is_dense(base[::2])
    assert not is_dense(base[:1].expand(4, 6, 5, 3))
    flat = torch.zeros(6)
    assert is_fusible(flat.bfloat16(), flat.half(), flat, flat)
    assert not is_fusible(flat.double(), flat.double(), flat.double(), flat.double())
    assert not is_fusible(flat.view(2, 3), flat.view(3, 2).t(), flat.view(2, 3), flat.view(2, 3))


def key(found: Columns) -> tuple[object, ...]:
    return key_of(found.parameters, found.gradients, zip(*found[2:6], strict=True))


def test_the_key_sees_what_an_address_does_not() -> None:
    """Another size, layout or dtype at the same address."""
    memory = torch.zeros(16)
    first = columns(memory.view(4, 4))
    for other in (memory[:4].view(2, 2), memory.view(4, 4).t(), memory.view(torch.int32).view(4, 4)):
        changed = first._replace(parameters=[other])
        assert [p.data_ptr() for p in changed.parameters] == [p.data_ptr() for p in first.parameters]
        assert key(changed) != key(first)
    assert key(first) == key(first._replace(parameters=[memory.view(4, 4)]))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Filled with an entry for every table that is written."""
    written: list[int] = []
    original = Tables.launch

    def launch(self: Tables, *arguments: Any, **options: Any) -> object:
        written.append(len(written))
        return original(self, *arguments, **options)

    monkeypatch.setattr(Tables, "launch", launch)
    return written


@pytest.mark.usefixtures("interpreted")
def test_tables_are_written_when_an_address_changes_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new gradient, a moved weight, a replaced moment, a loaded state; the numbers are the reference's throughout."""
    written = counted(monkeypatch)
    sides = []
    for fused in (True, False):
        weight = torch.nn.Parameter(draw(5, seed=0))
        optimizer = AdamAtan2([weight], lr=0.1, fused=fused)
        kept = []  # nothing is freed, so that no address comes back
        for t in range(1, 8):
            if t in (1, 3):
                weight.grad = torch.empty(5)
                kept.append(weight.grad)
            if t == 4:
                kept.append(weight.data)
                weight.data = weight.data.clone()
            if t == 5:
                kept.append(optimizer.state[weight]["exp_avg"])
                optimizer.state[weight]["exp_avg"] = optimizer.state[weight]["exp_avg"].clone()
            if t == 6:
                kept.append(dict(optimizer.state[weight]))
                optimizer.load_state_dict(optimizer.state_dict())
            assert weight.grad is not None
            weight.grad.copy_(draw(5, seed=t))
            optimizer.step()
            if fused:
                assert len(written) == [1, 1, 2, 3, 4, 5, 5][t - 1], t
        sides.append(weight.detach())
    torch.testing.assert_close(*sides, rtol=0, atol=7 * 2**-22)


@pytest.mark.usefixtures("interpreted")
def test_states_that_are_replaced_whole_are_seen() -> None:
    """A state put in another's place, one that is deleted, and parameters exchanged in their group."""
    results = []
    for fused in (True, False):
        leaves = [torch.nn.Parameter(draw(3, seed=i)) for i in range(2)]
        optimizer = AdamAtan2(leaves, lr=0.1, fused=fused)
        kept: list[object] = []  # nothing is freed, so that no address comes back
        for leaf in leaves:
            leaf.grad = torch.empty(3)
        for t in range(1, 7):
            for i, leaf in enumerate(leaves):
                leaf.grad.copy_(draw(3, seed=10 * t + i))  # pyright: ignore[reportOptionalMemberAccess]
            if t == 3:
                kept.append(optimizer.state[leaves[0]])
                optimizer.state[leaves[0]] = {k: v.clone() for k, v in optimizer.state[leaves[0]].items()}
            if t == 4:
                kept.append(optimizer.state.pop(leaves[1]))
            if t == 5:
                optimizer.param_groups[0]["params"].reverse()
            optimizer.step()
        assert [optimizer.state[leaf]["step"].item() for leaf in leaves] == [6, 3]
        results.append(torch.stack([leaf.detach() for leaf in leaves]))
    torch.testing.assert_close(*results, rtol=0, atol=6 * 2**-22)


def test_what_is_known_is_known_by_identity() -> None:
    """Equal values in other objects, another key, another order: none of them is what was there."""
    first, second = torch.zeros(2), torch.zeros(2)
    states = {first: {"step": torch.zeros(())}, second: {"step": torch.zeros(())}}
    known = KnownStates()
    assert not known.holds(states)
    known.note(states)
    assert known.holds(dict(states))
    assert not known.holds({first: states[first]})
    assert not known.holds({first: states[first], torch.zeros(2): states[second]})
    assert not known.holds({first: states[first], second: dict(states[second])})
    group = KnownGroup([first, second], list(states.values()), "exp_avg_rms")
    assert group.is_of([first, second])
    assert not group.is_of([second, first])
    assert not group.is_of([first])
    assert group.tables() is None  # neither has a gradient, or moments


@pytest.mark.usefixtures("interpreted")
def test_parameters_come_and_go() -> None:
    """A tensor without a gradient keeps its count; groups have tables of their own."""
    results = []
    for fused in (True, False):
        leaves = [torch.nn.Parameter(draw(3, seed=i)) for i in range(3)]
        optimizer = AdamAtan2(
            [{"params": leaves[:2]}, {"params": leaves[2:], "lr": 0.3}], lr=0.1, fused=fused
        )
        for t in range(1, 5):
            for i, leaf in enumerate(leaves):
                leaf.grad = draw(3, seed=10 * t + i) if (t + i) % 2 else None
            optimizer.step()
        assert [optimizer.state[leaf]["step"].item() for leaf in leaves] == [2, 2, 2]
        results.append(torch.stack([leaf.detach() for leaf in leaves]))
    torch.testing.assert_close(*results, rtol=0, atol=4 * 2**-22)


@pytest.mark.usefixtures("interpreted")
def test_a_capture_writes_into_memory_that_was_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture played through on the CPU: tables that exist are not written to, and what cannot be is refused."""
    capturing = False
    monkeypatch.setattr(device_tables, "capturing", lambda device: capturing)
    monkeypatch.setattr(device_tables, "sets_aside", lambda device: True)
    results = []
    for fused in (True, False):
        weight, kept = torch.nn.Parameter(draw(5, seed=0)), []
        optimizer = AdamAtan2([weight], lr=0.1, fused=fused)
        for t in range(1, 5):
            capturing = fused and t in (2, 4)
            weight.grad = draw(5, seed=t)
            kept.append(weight.grad)
            if t == 3:
                weight.grad = kept[0].copy_(
                    weight.grad
                )  # the addresses of the first step: its table is still right
            optimizer.step()
        results.append(weight.detach().clone())
        if fused:
            weight.grad = draw(5, seed=9)
            with pytest.raises(
                ValueError, match="a table of addresses is needed for the first time inside a CUDA"
            ):
                optimizer.step()
            optimizer.param_groups[0]["lr"] = 0.2
            weight.grad = kept[0]
            with pytest.raises(ValueError, match=r"lr changes to the number 0.2 .*: give lr as a tensor"):
                optimizer.step()
            optimizer.param_groups[0]["b"] = 2.0
            with pytest.raises(ValueError, match="a hyperparameter changes"):
                optimizer.step()
    torch.testing.assert_close(*results, rtol=0, atol=4 * 2**-22)


def test_changing_sets_of_gradients_keep_few_tables() -> None:
    """As with experts that are not always used."""
    group = FusedGroup()
    for chosen in range(1, 2**5):
        some = [torch.zeros(i + 1) for i in range(5) if chosen >> i & 1]
        group.plan(columns(*some))
    assert len(group._plans) == len(group._blocks) == device_tables.KEPT


def test_without_triton_one_warning_and_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(implementation, "find_spec", lambda name: None)
    implementation.has_triton.cache_clear()
    start, gradients = draw(5, seed=0), [[draw(5, seed=t)] for t in (1, 2)]
    try:
        with pytest.warns(UserWarning, match="Triton is not installed") as caught:
            (found,), _ = trained([start], gradients, fused=True)
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trained([start], gradients, fused=True)
    finally:
        implementation.has_triton.cache_clear()
    (expected,), _ = trained([start], gradients, foreach=True)
    assert torch.equal(found, expected)
