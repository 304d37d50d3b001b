"""docs/alignment.md: every block runs, every displayed formula is evaluated, and what it says of tables holds."""

from pathlib import Path

import pytest

from docs_theory import Reader, unasserted, unread, wrong_formulas
from widthwise.measure.spectral_norm import ITERATIONS

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "alignment.md").read_text()


def test_blocks_run_and_evaluate_everything(capsys: pytest.CaptureFixture[str]) -> None:
    reader = Reader(TEXT, "docs/alignment.md")
    reader.run_all()
    assert unread(reader) == []
    assert unasserted(reader.sections) == []
    assert sorted(reader.formulas) == list(range(1, len(reader.formulas) + 1))
    assert "1.weight" in capsys.readouterr().out


def test_defaults_are_the_codes() -> None:
    assert f"comes from {ITERATIONS} power iterations" in " ".join(TEXT.split())


@pytest.mark.slow
def test_no_wrong_formula_passes() -> None:
    reader = Reader(TEXT, "docs/alignment.md")
    reader.run_all()
    survivors, tried = wrong_formulas(reader)
    assert survivors == []
    assert tried >= 30
