"""docs/studies.md: its tables name every field of a specification with its default, and its Python runs."""

import re
import sys
from enum import Enum
from pathlib import Path
from types import ModuleType

import pytest
from pydantic.fields import FieldInfo

from house_rules import SOURCE
from test_house_docs import python_blocks
from widthwise.study import parse_spec
from widthwise.study.arm_spec import ArmSpec, ConstantsSearchSpec
from widthwise.study.fields import Section
from widthwise.study.measure_spec import AlignmentSpec, MeasureSpec
from widthwise.study.optimizer_spec import AdafactorSpec, AdamAtan2Spec, AdamPsSpec, AdamSpec, SgdSpec
from widthwise.study.own_spec import OwnSpec
from widthwise.study.rate_spec import RateGrid, SweepSpec
from widthwise.study.spec import MLPSpec, StudySpec, TokenizerSpec, TransformerSpec
from widthwise.study.training_spec import DivergenceSpec, TrainingSpec

PAGE = (SOURCE.parent.parent / "docs" / "studies.md").read_text()
ROWS = dict(re.findall(r"^\| `([\w.()-]+)` \| (.*?) \|", PAGE, flags=re.MULTILINE))
SECTIONS: dict[str, type[Section]] = {
    "": StudySpec,
    "model(transformer).": TransformerSpec,
    "model(mlp).": MLPSpec,
    "model(own).": OwnSpec,
    "arms.": ArmSpec,
    "optimizer(sgd).": SgdSpec,
    "optimizer(adam).": AdamSpec,
    "optimizer(adam-ps).": AdamPsSpec,
    "optimizer(adafactor).": AdafactorSpec,
    "optimizer(adam-atan2).": AdamAtan2Spec,
    "learning_rates.": RateGrid,
    "learning_rates.sweep.": SweepSpec,
    "training.": TrainingSpec,
    "training.divergence.": DivergenceSpec,
    "tokenizer.": TokenizerSpec,
    "measure.": MeasureSpec,
    "measure.alignment.": AlignmentSpec,
    "constants_search.": ConstantsSearchSpec,
}
IN_WORDS = {
    "base_width": "the smallest of `widths`",
    "constants_search": "see below",
    "arms.constants": "default",
    "arms.weight_decay": "0",
    "learning_rates.windows": "{}",
    "model(own).options": "{}",
    "measure.alignment.layers": "all",
    "measure.alignment.since": "start",
}
"""Defaults that are made when they are needed, or are written another way than they are kept."""
FIELDS = {
    f"{prefix}{name}": info
    for prefix, section in SECTIONS.items()
    for name, info in section.model_fields.items()
    if name != "kind" and f"{prefix}{name}." not in SECTIONS.keys() - {"measure.alignment.", "tokenizer."}
}


def same(said: str, info: FieldInfo) -> bool:
    default = info.default
    if info.is_required() or default is None:
        return said == ("required" if info.is_required() else "none")
    if isinstance(default, bool | str | Enum):
        return said == str(default.value if isinstance(default, Enum) else default).lower()
    return (2.0 ** float(said[2:]) if said.startswith("2^") else float(said)) == default


def test_every_field_is_there_and_no_other() -> None:
    above = {"learning_rates", "training", "measure", "constants_search", "arms"}
    assert set(ROWS) == set(FIELDS) | above


@pytest.mark.parametrize("name", sorted(FIELDS.keys() - IN_WORDS.keys()))
def test_its_default_is_the_packages(name: str) -> None:
    assert same(ROWS[name], FIELDS[name])


def test_the_others_are_as_it_says() -> None:
    assert {name: ROWS[name] for name in IN_WORDS} == IN_WORDS
    spec = parse_spec(
        """
        name: least
        model: {kind: mlp, depth: 1, window: 2, context: 4}
        widths: [64, 32]
        arms: [{parameterization: mup, rates: full}]
        optimizer: {kind: adam}
        learning_rates: {lowest: 2^-10, highest: 2^-2}
        seeds: [0]
        training: {steps: 10, batch: 4}
        corpus: python-stdlib
        measure: {alignment: every 5 steps}
        """
    ).spec
    arm, measure = spec.arms[0], spec.measure
    assert measure is not None
    assert spec.base == 32
    assert ([c.name for c in arm.constants], arm.weight_decay) == (["default"], (0.0,))
    assert (measure.alignment.layers, measure.alignment.since) == (("all",), ("start",))


@pytest.mark.slow
def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    for place, block in python_blocks(PAGE).items():
        exec(compile(block, f"docs/studies.md {place}", "exec"), vars(notebook))
    figures, rows, columns = (vars(notebook)[name] for name in ("figures", "rows", "COLUMNS"))
    assert {len(row) for row in rows} == {len(columns)}
    assert figures["loss-against-rate"]._repr_svg_().startswith("<svg")
    assert repr(figures["loss-against-rate"]) == "<Figure 'loss-against-rate': Loss against learning rate>"
