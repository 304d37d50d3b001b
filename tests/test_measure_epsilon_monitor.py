"""EpsilonMonitor: at the right steps, without changing a bit of training, and its rows on disk."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from epsilon_cases import build, plan_of, trained
from widthwise.measure import EpsilonMonitor, measure_epsilon


def named_adam(model: nn.Module, **options: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.named_parameters(), lr=1e-2, **options)


def seeded(width: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return build(width)


def test_it_fires_at_multiples_and_stops() -> None:
    model = seeded()
    optimizer = named_adam(model)
    monitor = EpsilonMonitor(optimizer, every=3)
    trained(optimizer, model, steps=7)
    assert [step for step, _ in monitor.series] == [3, 6]
    assert [report.step for _, report in monitor.series] == [3, 6]
    monitor.close()
    monitor.close()
    trained(optimizer, model, steps=5)
    assert [step for step, _ in monitor.series] == [3, 6]
    assert not optimizer._optimizer_step_post_hooks


def test_a_resumed_run_counts_on() -> None:
    model = seeded()
    optimizer = named_adam(model)
    with EpsilonMonitor(optimizer, every=10, start=15) as monitor:
        trained(optimizer, model, steps=16)
    assert [step for step, _ in monitor.series] == [20, 30]
    assert [row["step"] for row in monitor.rows()][:1] == [20]


def test_a_report_is_what_measure_epsilon_says_then() -> None:
    model = seeded()
    optimizer = named_adam(model, eps=1e-3)
    plan = plan_of(32)
    with EpsilonMonitor(optimizer, every=4, plan=plan, epsilon=1e-2, base_epsilon=1e-5) as monitor:
        trained(optimizer, model, steps=4)
    ((_, report),) = monitor.series
    assert report == measure_epsilon(optimizer, plan, epsilon=1e-2, base_epsilon=1e-5)


@pytest.mark.parametrize("options", [{"foreach": True}, {"fused": True}, {"foreach": False}])
def test_training_is_the_same_to_the_bit(options: dict[str, bool]) -> None:
    ends = []
    for watched in (False, True):
        model = seeded()
        optimizer = named_adam(model, **options)
        monitor = EpsilonMonitor(optimizer, every=2) if watched else None
        before = torch.get_rng_state()
        trained(optimizer, model, steps=9)
        assert torch.equal(before, torch.get_rng_state())
        assert monitor is None or len(monitor.series) == 4
        states = [tensor for state in optimizer.state.values() for tensor in state.values()]
        ends.append([*(p.detach().clone() for p in model.parameters()), *states])
    assert all(map(torch.equal, *ends))


def test_an_error_in_training_closes_it() -> None:
    model = seeded()
    optimizer = named_adam(model)
    with pytest.raises(RuntimeError, match="stop"), EpsilonMonitor(optimizer):
        raise RuntimeError("stop")
    assert not optimizer._optimizer_step_post_hooks


def test_a_wrapper_is_watched_through() -> None:
    class Wrapper:
        """As Accelerate's: it holds the optimizer."""

        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    model = seeded()
    optimizer = named_adam(model)
    with EpsilonMonitor(Wrapper(optimizer), every=1) as monitor:  # pyright: ignore[reportArgumentType]
        trained(optimizer, model, steps=2)
    assert len(monitor.series) == 2


def test_rows_go_to_disk_whole(tmp_path: Path) -> None:
    model = seeded()
    model.append(nn.Linear(1, 1))  # never used: undefined, and undefined on disk too
    optimizer = named_adam(model, eps=1e-3)
    with EpsilonMonitor(optimizer, every=2) as monitor:
        with pytest.raises(
            ValueError, match="nothing measured yet: 0 steps are done, and the first report is after 2"
        ):
            monitor.write_csv(tmp_path / "rows.csv")
        assert list(tmp_path.iterdir()) == []
        for p in model[:3].parameters():
            p.grad = torch.full_like(p, 1e-3)
        optimizer.step()
        optimizer.step()
    monitor.write_csv(tmp_path / "rows.csv")
    monitor.write_json_lines(tmp_path / "rows.jsonl")
    rows = monitor.rows()
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == rows
    with (tmp_path / "rows.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert (
        [row["name"] for row in found]
        == [row["name"] for row in rows]
        == [n for n, _ in model.named_parameters()]
    )
    assert [float(row["fraction"]) for row in found[:5]] == [row["fraction"] for row in rows[:5]]
    assert (found[-1]["fraction"], rows[-1]["fraction"], found[-1]["verdict"]) == ("", None, "undefined")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv", "rows.jsonl"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every = 0 must be a whole number of steps, 1 or more"),
        ({"every": 2.5}, "every = 2.5 must be"),
        ({"every": True}, "every = True must be"),
        ({"start": -1}, "start = -1 must be a whole number of steps, 0 or more"),
        ({"epsilon": float("nan")}, "epsilon = nan must be finite"),
        ({"plan": plan_of(64)}, "0.weight has shape"),
        ({"model": build(32)}, "no such parameter as 0 of group 0"),
    ],
)
def test_bad_input_is_refused_before_training(options: dict[str, object], words: str) -> None:
    optimizer = named_adam(seeded())
    with pytest.raises(ValueError, match=words):
        EpsilonMonitor(optimizer, **options)  # pyright: ignore[reportArgumentType]
    assert not optimizer._optimizer_step_post_hooks


def test_sgd_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match="SGD, which has no epsilon"):
        EpsilonMonitor(torch.optim.SGD(seeded().parameters(), lr=0.1))
