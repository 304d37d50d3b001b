"""docs/theory.md: every block runs, every displayed formula and table is evaluated, and no wrong one would pass."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from docs_theory import (
    Formula,
    Reader,
    evaluate,
    legend,
    mutants,
    names,
    read_cell,
    read_document,
    read_formula,
    survives,
    unasserted,
    unread,
    wrong_formulas,
)

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "theory.md").read_text()
LEAST_MUTANTS = 300


@pytest.fixture(scope="module")
def reader() -> Reader:
    """The document, after all of its blocks have run."""
    found = Reader(TEXT)
    found.run_all()
    return found


def test_everything_displayed_is_evaluated(reader: Reader) -> None:
    assert unread(reader) == []
    assert unasserted(reader.sections) == []
    assert sorted(reader.formulas) == list(range(1, len(reader.formulas) + 1))
    assert sorted(reader.tables) == list(range(1, len(reader.tables) + 1))


def test_every_symbol_is_in_the_legend(reader: Reader) -> None:
    used = {x for f in reader.formulas.values() for e in f.expressions for x in names(e)}
    assert {re.sub(r"_\d$", "", symbol) for symbol in used} == legend(TEXT)


@pytest.mark.slow
def test_no_wrong_formula_passes(reader: Reader) -> None:
    survivors, tried = wrong_formulas(reader)
    assert survivors == []
    assert tried > LEAST_MUTANTS


def written_cells() -> Iterator[tuple[int, str, str, str]]:
    """(table, row, column, text) of every cell of a numbered table."""
    for found in re.finditer(r"^Table (\d+)\..*\n\n((?:\|.*\n)+)", TEXT, flags=re.MULTILINE):
        header, _, *rows = [[x.strip() for x in row.strip("|").split("|")] for row in found[2].splitlines()]
        for row in rows:
            yield from ((int(found[1]), row[0], c, x) for c, x in zip(header[1:], row[1:], strict=True))


@pytest.mark.slow
def test_no_wrong_cell_passes(reader: Reader) -> None:
    survivors: list[str] = []
    tried = 0
    for number, row, column, text in written_cells():
        right = reader.tables[number][row][column]
        for wrong in mutants(text):
            reader.tables[number][row][column] = read_cell(wrong)
            tried += 1
            if survives(reader, ("tables", number)):
                survivors.append(f"Table {number}, {row}, {column}: {wrong}")
        reader.tables[number][row][column] = right
    assert survivors == []
    assert tried > LEAST_MUTANTS


def test_the_tables_are_all_found(reader: Reader) -> None:
    assert {number for number, *_ in written_cells()} == set(reader.tables)


# The reader itself.

SMALL = """## One

```text
r = min(a, b) - 1/2    for a layer    (1)
```
```python
assert eq(1, a=2, b=1) == 1 / 2
```
"""


def ran(text: str) -> Reader:
    reader = Reader(text)
    reader.run_all()
    return reader


def test_a_small_document_passes() -> None:
    assert unread(ran(SMALL)) == []
    assert unasserted(ran(SMALL).sections) == []


def test_a_wrong_number_fails_at_its_line() -> None:
    with pytest.raises(AssertionError) as failure:
        ran(SMALL.replace("1/2    for", "1/3    for"))
    assert failure.traceback[-1].lineno + 1 == 1 + SMALL.splitlines().index("assert eq(1, a=2, b=1) == 1 / 2")


def test_what_is_not_evaluated_is_found() -> None:
    assert unread(ran(SMALL.replace("eq(1, a=2, b=1) == 1 / 2", "True"))) == ["(1) in 'One'"]
    elsewhere = (
        SMALL + "\n## Two\n\n```text\ns ~ n^(1)   (2)\n```\n\n## Three\n\n```python\nassert eq(2) == 1\n```\n"
    )
    assert unread(ran(elsewhere)) == ["(2) in 'Two'"]
    assert unasserted(ran(elsewhere).sections) == ["Two"]


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("```text\nr = a\n```\n", "not `left relation right"),
        ("```text\nr = a + (1)\n```\n", "not `left relation right"),
        ("    r = a   (1)\n", "line 1: indented"),
        ("```\nr = a   (1)\n```\n", "line 1: a block is"),
        ("| a |\n|---|\n| 1/2 |\n", "line 1: a table with digits"),
        ("```text\nr = a   (1)\ns = b   (1)\n```\n", "two formulas with the number 1"),
        ("```text\nr ~ 1/2   (1)\n```\n", "must begin with"),
    ],
)
def test_a_formula_cannot_hide(text: str, fact: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fact)):
        read_document(text)


def test_evaluation_is_exact() -> None:
    assert evaluate("1/3 + min(a, 2*b) - max(0, -a)", {"a": Fraction(1), "b": Fraction(1, 6)}) == Fraction(
        2, 3
    )
    assert read_formula("RMS(x) ~ n^(1/2 - (a + b)) RMS(y)   for all x   (7)") == (
        7,
        Formula("RMS(x)", "~", "1/2 - (a + b)"),
    )
    assert read_formula("a + b >= 1/2  (8)")[1](a=Fraction(1, 2), b=0) is True
    assert read_formula("a + b >= 1/2  (8)")[1](a=Fraction(1, 3), b=0) is False
    assert read_cell("-1/2, 0") == (Fraction(-1, 2), 0)
    assert read_cell("G + 2*a")(G=1, a=2, b=9) == 5


@pytest.mark.parametrize("symbols", [{"a": 1}, {"a": 1, "b": 2, "c": 3}])
def test_evaluation_wants_its_symbols(symbols: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="has the symbols"):
        evaluate("a + b", symbols)
