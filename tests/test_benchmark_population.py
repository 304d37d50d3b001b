"""The population benchmark: every part runs on a CPU, records merge only where they may, and its helpers by hand."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

import benchmark_modules  # noqa: F401

# isort: split
import population
import pytest
import torch
from _population_case import Scale
from _population_fidelity import broken, largest
from _population_speed import LARGE_VOCABULARY, SINGLE, SMALL
from _population_study import MODELS, POPULATION, specification
from _timing import Times, interleaved

from study_example import one_thread, write_corpus
from widthwise.study import parse_spec
from widthwise.study.expand import expand

QUICK = ("small", "large", "single", "thousand", "fidelity", "cpu")


def run(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    target = folder / "population.json"
    with one_thread():
        code = population.main(
            ["--smoke", "--json", str(target), "--corpus", str(write_corpus(folder)), *arguments]
        )
    return code, json.loads(target.read_text())


@pytest.mark.slow
def test_every_quick_part_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = run(tmp_path, "--parts", ",".join(QUICK))
    assert code == 0, capsys.readouterr().out
    assert found["benchmark"] == "population"
    assert {row["name"].partition(":")[0] for row in found["rows"]} == set(QUICK)
    assert all(set(row) == {"name", "value", "unit", "baseline", "ratio", "target"} for row in found["rows"])
    names = [(row["name"], row["baseline"]) for row in found["rows"]]
    assert len(set(names)) == len(names)
    for ran in found["backends"].values():
        assert "scaled_dot_product" in ran["attention"]
        assert "mm" in ran["matmul"]
    exact = {row["name"]: row["value"] for row in found["rows"] if row["target"] == "0"}
    assert len(exact) == 5  # three of fidelity, and a population of each table with no member lost
    assert set(exact.values()) == {0}
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.slow
def test_processes_run(tmp_path: Path) -> None:
    code, found = run(tmp_path, "--parts", "processes")
    assert code == 0
    assert [row["unit"] for row in found["rows"]] == ["M/s"] * 3
    assert all(row["value"] > 0 for row in found["rows"])


def test_a_part_run_again_replaces_its_rows_alone(tmp_path: Path) -> None:
    _, before = run(tmp_path, "--parts", "cpu,thousand")
    stale = {**before["rows"][0], "name": "cpu: a row of an earlier form"}
    other = {**before, "rows": [stale, *before["rows"]]}
    (tmp_path / "population.json").write_text(json.dumps(other))
    _, after = run(tmp_path, "--parts", "cpu")
    assert [row for row in after["rows"] if row["name"].startswith("thousand")] == [
        row for row in before["rows"] if row["name"].startswith("thousand")
    ]
    assert {row["name"] for row in after["rows"]} == {row["name"] for row in before["rows"]}


def test_another_commits_record_is_not_mixed_in(tmp_path: Path) -> None:
    _, found = run(tmp_path, "--parts", "cpu")
    (tmp_path / "population.json").write_text(json.dumps({**found, "commit": "another"}))
    with pytest.raises(ValueError, match="commit: 'another' there, "):
        run(tmp_path, "--parts", "cpu")


def test_files_of_one_run_are_put_into_one(tmp_path: Path) -> None:
    _, first = run(tmp_path, "--parts", "cpu")
    other = tmp_path / "other.json"
    row = {**first["rows"][0], "name": "small: invented"}
    changed = {**first["rows"][0], "value": -1.0}
    other.write_text(json.dumps({**first, "rows": [changed, row]}))
    target = tmp_path / "population.json"
    assert population.main(["--json", str(target), "--merge", str(other)]) == 0
    merged = json.loads(target.read_text())["rows"]
    assert merged == [changed, *first["rows"][1:], row]
    other.write_text(json.dumps({**first, "machine": "another"}))
    with pytest.raises(ValueError, match="machine: "):
        population.main(["--json", str(target), "--merge", str(other)])


def test_a_part_that_fails_is_a_row_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(run: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setitem(population.PARTS, "thousand", fail)
    code, found = run(tmp_path, "--parts", "thousand,cpu")
    assert code == 1
    assert found["rows"][0]["error"] == "RuntimeError: no such thing"
    assert found["rows"][-1]["name"].startswith("cpu")
    assert "FAILED thousand" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parts", "smal"], r"parts \['smal'\] are unknown; choose of small, large"),
        (["--parts", "small"], "no CUDA device: --smoke, or --parts cpu"),
        (["--merge", "a.json"], "--merge needs --json FILE"),
    ],
)
def test_bad_arguments_end_before_anything_runs(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        population.main(arguments)
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_without_pydantic_the_study_is_refused_at_the_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("_population_study.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        population.main(["--smoke", "--parts", "small,thousand"])
    assert "part `thousand` needs pydantic and yaml, not installed here" in capsys.readouterr().err


def test_a_thousand_different_models_in_even_populations() -> None:
    spec = parse_spec(specification("python-stdlib", smoke=False)).spec
    plan = expand(spec, corpus="0" * 64, population_size=POPULATION)
    assert len(plan.cells) == 4 * 13 * 5 * 5
    assert len(plan.trials) == 1170 >= MODELS  # Adafactor's two pairs of equal numbers train once
    assert [len(population) for population in plan.populations] == [POPULATION] * 9
    training = spec.training
    assert training.steps * training.batch * spec.model.context == 1_638_400


def test_the_cases_are_those_asked_for() -> None:
    small = {case.model.width: (case.members, case.required, case.required_alone) for case in SMALL}
    assert small == {
        128: (52, 40, 5), 256: (52, 22, 3), 512: (26, 6, 1.5), 1024: (13, 2.3, 1.1), 64: (104, None, None),
    }  # fmt: skip
    assert all((case.tokens, case.model.depth) == (4096, 8) for case in SMALL)
    assert [case.required for case in LARGE_VOCABULARY] == [2, 1.3, 1.15, None]
    assert all(case.tokens == 32768 and case.model.vocabulary == 32101 for case in LARGE_VOCABULARY)
    assert [case.required_alone for case in SINGLE] == [0.62, 0.72, 0.77] * 2


def test_model_arithmetic_by_hand() -> None:
    """D = 128, 8 blocks, V = 256, T = 256: 6 (12 * 8 * 128^2 + 256 * 128) + 6 * 8 * 256 * 128 = 11,206,656 a token."""
    assert SMALL[0].flops == 4096 * 11_206_656


def test_contestants_take_turns() -> None:
    order: list[str] = []
    found = interleaved(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")},
        device=torch.device("cpu"), rounds=3, seconds=0.0, most=1,
    )  # fmt: skip
    assert "".join(order) == "aa" + "bb" + "ab" * 3  # two steps of each to choose its count, then turns
    assert len(found["a"].samples) == 3


def test_a_contest_stays_within_its_steps() -> None:
    """The horizon of a schedule counts on it."""
    scale = Scale(torch.device("cpu"), rounds=4, seconds=10.0, most=7)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    interleaved({"a": step}, device=scale.device, rounds=scale.rounds, seconds=scale.seconds, most=scale.most)
    assert steps == 1 + 7 + 4 * 7
    assert steps < scale.horizon


def test_times_are_of_the_rounds() -> None:
    times = Times((3.0, 1.0, 2.0))
    assert (times.median, times.least, times.most) == (2.0, 1.0, 3.0)


def test_losses_that_are_finite_on_one_side_only_differ_without_bound() -> None:
    one = np.array([[1.0, 2.0], [4.0, np.nan]])
    assert largest(np.array([[1.0, 2.5], [4.0, np.nan]]), one) == 0.25
    assert largest(np.array([[1.0, 2.0], [4.0, 4.0]]), one) == float("inf")
    assert largest(np.array([[1.0, np.nan], [4.0, np.nan]]), one) == float("inf")


def test_a_broken_member_is_broken_in_one_tensor() -> None:
    from _population_case import crowd_of

    from widthwise.models import Transformer

    (member,) = crowd_of(Transformer(16, 1, 16, 8, 4), 1)
    found = broken(member)
    assert found.numbers["readout"].init == float("inf")
    assert {name for name in member.numbers if found.numbers[name] != member.numbers[name]} == {"readout"}
