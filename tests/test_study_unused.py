"""What a specification says and nothing would use is refused of a new study; one that has begun goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from study_example import command, snapshot, text, tiny, tiny_plan, write_corpus
from widthwise.study import parse_spec
from widthwise.study.spec import StudySpec
from widthwise.study.text import begun_text, digest_of, load_text
from widthwise.train import has_records, load_corpus

MLP = {"kind": "mlp", "depth": 1, "window": 9, "context": 8}
OWN = {"kind": "own", "runner": "own_functions:valley", "version": "1"}


def spec(**changes: Any) -> StudySpec:
    return parse_spec(yaml.safe_dump(tiny(**changes), sort_keys=False)).spec


def test_a_window_longer_than_its_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(yaml.safe_dump(tiny(model=MLP)))
    before = snapshot(tmp_path)
    for arguments in (["run", "s.yaml", "--store", "s.sqlite", "--device", "cpu"], ["plan", "s.yaml"]):
        result = command("study", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "model.window 9 is longer than model.context 8" in result.stderr
        assert "the last 1 tokens would never be trained; give at most 8" in result.stderr
    assert snapshot(tmp_path) == before
    whole = {**MLP, "window": 8}
    assert load_text(spec(model=whole)) is not None


def test_the_field_of_a_text_without_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    named = spec(text_field="text")
    with pytest.raises(
        ValueError, match=r"text_field 'text' names a field.* corpus 'text.txt' is plain text"
    ):
        load_text(named)
    digest = load_corpus("text.txt").digest
    assert digest_of(begun_text(named, digest, where="the store")) == digest

    folder = tmp_path / "texts"
    folder.mkdir()
    write_corpus(folder)
    (folder / "another.txt").write_text(text(words=60))
    with pytest.raises(ValueError, match="corpus 'texts' is plain text"):
        load_text(spec(corpus="texts", text_field="content"))
    lines = (json.dumps({"content": line}) for line in text().splitlines())
    (folder / "more.jsonl").write_text("\n".join(lines))
    assert load_text(spec(corpus="texts", text_field="content")) is not None
    assert [has_records(name) for name in ("c4", "python-stdlib", "a.jsonl.xz", "a.txt.xz")] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("field", ["text_field", "epochs", "validation_windows"])
def test_what_a_training_function_does_not_read(field: str) -> None:
    given = {"text_field": "content", "epochs": 2, "validation_windows": 4}[field]
    changes = {"model": OWN, "corpus": None, "validation_windows": None, field: given}
    fields = {name: value for name, value in tiny(**changes).items() if name != "corpus"}
    with pytest.raises(ValueError, match=f"{field}: a training function reads its own data"):
        load_text(parse_spec(yaml.safe_dump(fields)).spec)


def test_a_base_width_need_not_be_trained() -> None:
    """Rates at width 16 are relative to width 4, so full muP's hidden rate there is a quarter: 4 / 16."""
    plan = tiny_plan(base_width=4, widths=[16], learning_rates=[0.5], seeds=[0])
    rates = {
        cell.arm: plan.trials[cell.trial - 1].recipe["tensors"]["blocks.*.mlp.up"][1] for cell in plan.cells
    }
    assert rates == {"standard-global": 0.5, "mup-full": 0.125}


@pytest.mark.parametrize("axis", ["parameterization", "rates"])
def test_an_axis_of_nothing(axis: str) -> None:
    arm = {"parameterization": "mup", "rates": "full", axis: []}
    with pytest.raises(ValueError, match=rf"arms\.0\.{axis}: is empty; add what it is to hold"):
        spec(arms=[arm])
