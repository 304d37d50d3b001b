"""The verdicts in a terminal, without the plotting libraries."""

import dataclasses
import subprocess
import sys

import pytest
from rich.console import Console

from test_report_example import example
from widthwise.analysis.result import Regret
from widthwise.report import PageData, summary_line, verdict_table

EXAMPLE = example(curves=False)


def printed(data: PageData, width: int = 100) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(verdict_table(data.analysis, data.predictions))
    console.file.close()
    return console.export_text().replace("\N{NO-BREAK SPACE}", " ")


def test_the_table_has_the_numbers() -> None:
    text = printed(EXAMPLE)
    for part in (
        "✓ transfers",
        "✗ does not transfer",
        "? undecided",
        "0.00 to 0.43 %",
        "4.10 % or more",
        "full −1",
    ):
        assert part in text
    assert "intervals at 95 %" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_keeps_to_the_width(width: int) -> None:
    text = printed(EXAMPLE, width)
    assert max(map(len, text.splitlines())) <= width
    if width >= 80:
        assert all(part in text for part in ("32–128", "32–64 ", "does not transfer", "mup-full"))


def test_without_predictions_there_is_no_column_of_theory() -> None:
    assert "theory" not in printed(dataclasses.replace(EXAMPLE, predictions={}))


def test_markup_in_a_name_is_text() -> None:
    assert "[bold]x[/bold]" in printed(example(names={"mup-full": "[bold]x[/bold]"}))


def test_a_missing_value_has_its_reason() -> None:
    result = EXAMPLE.analysis.results[1]
    bare = dataclasses.replace(result, regret=Regret(32, 128, None, None), reason="undecided: one seed")
    other = dataclasses.replace(bare, prescription="another")
    analysis = dataclasses.replace(EXAMPLE.analysis, results=(bare, other))
    text = printed(dataclasses.replace(EXAMPLE, analysis=analysis))
    assert f"{bare.prescription} and another: one seed." in text
    assert text.count("one seed") == 1


def test_summary_line() -> None:
    assert summary_line(EXAMPLE.analysis).startswith("The best learning rate transfers with mup-full;")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import widthwise.report", {"altair", "vl_convert", "jinja2", "rich", "torch"}),
        (
            "from widthwise.report import verdict_table, summary_line",
            {"altair", "vl_convert", "jinja2", "torch"},
        ),
        ("from widthwise.report import render_page, write_report", {"torch", "pandas"}),
    ],
)
def test_import_weight(code: str, absent: set[str]) -> None:
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & absent


def test_widths_that_all_share_stand_below_the_table() -> None:
    result = EXAMPLE.analysis.results[0]
    analysis = dataclasses.replace(EXAMPLE.analysis, results=(result, result))
    text = printed(dataclasses.replace(EXAMPLE, analysis=analysis), 80)
    assert "widths 32–64, intervals at" in text
    assert result.prescription in text
