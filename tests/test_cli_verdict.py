"""Verdicts as exit codes, and the same verdicts from the exported table."""

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from study_example import command, invented_store, snapshot, tiny_source, train, valley, wide, write_corpus
from widthwise.analysis import Verdict, read_table, transfer
from widthwise.cli.study import VERDICT_CODES
from widthwise.records import read_study
from widthwise.report import render_page, study_page_data, table_page_data

STEADY, DRIFTING = "mup-full", "standard-global"
CODES = {STEADY: 0, DRIFTING: 3}


@pytest.fixture(scope="module")
def clear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which one prescription transfers and one drifts by an octave per doubling."""
    path = tmp_path_factory.mktemp("clear") / "s.sqlite"
    invented_store(path, wide(), valley({STEADY: 0.0, DRIFTING: -1.0}))
    return path


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose noise is as large as what is asked about."""
    path = tmp_path_factory.mktemp("noisy") / "s.sqlite"
    invented_store(path, wide(), valley({STEADY: -0.25, DRIFTING: -0.25}, noise=0.03))
    return path


def test_every_verdict_has_its_code() -> None:
    assert {Verdict(name): code for name, code in VERDICT_CODES.items()} == {
        Verdict.TRANSFERS: 0,
        Verdict.DOES_NOT: 3,
        Verdict.UNDECIDED: 4,
    }


@pytest.mark.parametrize(
    ("name", "code", "words"), [(STEADY, 0, "transfers"), (DRIFTING, 3, "does not transfer")]
)
def test_decided(clear: Path, name: str, code: int, words: str) -> None:
    before = snapshot(clear.parent)
    result = command("study", "verdict", clear, "--require", name)
    assert result.exit_code == code
    assert result.stdout.startswith(f"{name}: {words}: ")
    assert "%" in result.stdout
    assert result.stderr == ""
    assert snapshot(clear.parent) == before


def test_undecided(noisy: Path) -> None:
    result = command("study", "verdict", noisy, "--require", STEADY)
    assert result.exit_code == 4
    assert result.stdout.startswith(f"{STEADY}: undecided: ")


def test_one_seed_is_undecided(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    invented_store(path, wide(seeds=[0]), valley({STEADY: 0.0, DRIFTING: -1.0}))
    result = command("study", "verdict", path, "--require", STEADY)
    assert result.exit_code == 4
    assert "one seed leaves the noise unknown" in result.stdout
    assert result.stdout.count("undecided") == 1


@pytest.fixture(scope="module")
def begun(clear: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clear store before one run of the steady prescription's largest width."""
    path = tmp_path_factory.mktemp("begun") / "s.sqlite"
    shutil.copy(clear, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE trial SET status = 'pending', validation_loss = NULL WHERE id = (SELECT trial FROM cell WHERE "
            "arm = ? ORDER BY width DESC, learning_rate LIMIT 1)",
            (STEADY,),
        )
    return path


def test_a_prescription_that_waits_for_a_width_is_undecided(clear: Path, begun: Path) -> None:
    largest = max(cell.width for cell in read_study(clear).cells)
    result = command("study", "verdict", begun, "--require", STEADY)
    assert result.exit_code == 4
    assert result.stdout.startswith(
        f"{STEADY}: undecided: not finished at width {largest}; without, transfers: "
    )
    assert command("study", "verdict", begun, "--require", DRIFTING).exit_code == 3


def test_the_page_of_a_study_that_has_not_ended_says_so(clear: Path, begun: Path) -> None:
    assert study_page_data(clear).standing == ""
    data = study_page_data(begun)
    assert data.standing == (
        "The study has not ended: 1 of 2 prescriptions have finished all of their widths; "
        "1 more are judged by the widths that they have finished."
    )
    assert f'<p class="standing"><b>Unfinished.</b> {data.standing}</p>' in render_page(data, ())
    assert "standing" not in re.sub(
        r"<style>.*?</style>", "", render_page(study_page_data(clear), ()), flags=re.S
    )


def test_the_margin_decides(clear: Path) -> None:
    """Two octaves off a parabola of 0.03 per square octave above 2: six per cent are given up."""
    assert command("study", "verdict", clear, "--require", DRIFTING, "--margin", "0.2").exit_code == 0
    assert command("study", "verdict", clear, "--require", DRIFTING, "--margin", "0.02").exit_code == 3


@pytest.mark.parametrize("margin", ["0", "-0.1"])
def test_a_margin_is_positive(clear: Path, margin: str) -> None:
    result = command("study", "verdict", clear, "--require", STEADY, f"--margin={margin}")
    assert result.exit_code == 2
    assert "the margin is" in result.stderr


def test_the_exported_table_has_the_same_verdicts(
    clear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "t.csv"
    assert command("study", "export", clear, "--out", table).exit_code == 0
    own = study_page_data(clear, margin=0.01)
    read = read_table(table)
    assert read == own.observations
    assert transfer(read) == own.analysis
    monkeypatch.setenv("COLUMNS", "200")
    result = command("transfer", table)
    assert result.exit_code == 0
    for prescription, code in CODES.items():
        words = {number: name for name, number in VERDICT_CODES.items()}[code]
        assert re.search(rf"^[│ ]*{prescription} .*[✓✗] {words}\b", result.stdout, flags=re.MULTILINE)
    assert STEADY in result.stdout.splitlines()[-1]


def test_the_exported_table_has_the_same_metrics(clear: Path, tmp_path: Path) -> None:
    """All that the losses alone tell; the initial loss, and with it sensitivity, is the study's own knowledge."""
    table = tmp_path / "t.csv"
    assert command("study", "export", clear, "--out", table).exit_code == 0
    own = {one.name: one for one in study_page_data(clear).tables}
    read = {one.name: one for one in table_page_data(read_table(table), title="t").tables}
    assert list(read) == ["metrics", "sensitivity"]
    assert read["metrics"] == own["metrics"]
    assert read["sensitivity"].title == "From the best rate to the edge of stability"
    assert read["sensitivity"].columns == (*own["sensitivity"].columns[:2], *own["sensitivity"].columns[4:])
    assert [row.entries for row in read["sensitivity"].rows] == [
        (row.entries[0], *row.entries[3:]) for row in own["sensitivity"].rows
    ]
    assert "Sensitivity" not in read["sensitivity"].caption


def test_the_studys_base_width_is_the_one_that_counts(tmp_path: Path) -> None:
    """From 8 to 32 the best rate moves by two octaves, from 16 to 32 by one: 6 and 1.5 per cent are given up."""
    path, table = tmp_path / "s.sqlite", tmp_path / "t.csv"
    invented_store(path, wide(base_width=16), valley({STEADY: 0.0, DRIFTING: -1.0}))
    assert command("study", "export", path, "--out", table).exit_code == 0
    own = study_page_data(path, margin=0.03)
    assert own.analysis == transfer(read_table(table), base_width=16, margin=0.03)
    assert {r.prescription: r.verdict for r in own.analysis.results} == dict.fromkeys(
        CODES, Verdict.TRANSFERS
    )
    assert command("study", "verdict", path, "--require", DRIFTING, "--margin", "0.03").exit_code == 0
    from_smallest = {r.prescription: r.verdict for r in transfer(read_table(table), margin=0.03).results}
    assert from_smallest[DRIFTING] is Verdict.DOES_NOT


def test_an_unfinished_study_is_judged_by_the_widths_it_has(tmp_path: Path) -> None:
    """Of thirteen populations, eight are the widths 8 and 16; width 32 has begun and has no say."""
    path = tmp_path / "s.sqlite"
    invented_store(path, wide(), valley({STEADY: 0.0, DRIFTING: -1.0}), populations=10)
    result = study_page_data(path)
    assert {observation.width for observation in result.observations} == {8, 16}
    assert result.counts["pending"] > 0
    assert [r.regret.largest_width for r in result.analysis.results] == [16, 16]


def test_export_prints_what_it_writes(clear: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    command("study", "export", clear, "--out", table)
    printed = command("study", "export", clear, "--format", "csv")
    assert printed.exit_code == 0
    assert printed.stdout == table.read_text()


def test_a_study_that_runs_says_what_transfers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    spec = tmp_path / "s.yaml"
    spec.write_text(tiny_source(write_corpus(tmp_path)).text)
    store = tmp_path / "s.sqlite"
    run = command("study", "run", spec, "--store", store, "--device", "cpu", "--population-size", 4)
    assert run.exit_code == 0, run.stderr
    assert "prescription" in run.stdout
    assert all(name in run.stdout for name in CODES)
    lines = run.stderr.splitlines()
    assert len(lines) == 6 + 1
    assert lines[0] == "0/24 models, 4 of width 8 at step 0/4"
    assert lines[-1].startswith("24/24 models, 4 of width 16 at step 4/4, ")
    spec.unlink()
    again = command("study", "resume", store)
    assert (again.exit_code, again.stderr) == (0, "")
    assert again.stdout == run.stdout


def test_a_study_too_small_for_a_verdict_is_still_a_result(tmp_path: Path) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text(tiny_source(write_corpus(tmp_path), widths=[8]).text)
    result = command("study", "run", spec, "--store", tmp_path / "s.sqlite", "--device", "cpu")
    assert result.exit_code == 0
    assert "no verdict: prescription 'standard-global' has the width 8 alone" in result.stderr
    assert command("study", "verdict", tmp_path / "s.sqlite", "--require", STEADY).exit_code == 2


def test_a_part_of_a_study_has_a_report_of_what_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "part.sqlite"
    plan = invented_store(path, wide(), valley({STEADY: 0.0, DRIFTING: -1.0}), populations=8)
    assert len(plan.populations) > 8
    result = command("study", "export", path)
    pending = {id_ for members in plan.populations[8:] for id_ in members}
    ended = [cell for cell in plan.cells if cell.trial not in pending]
    assert len(result.stdout.splitlines()) == 1 + len(ended) < 1 + len(plan.cells)


def test_the_report_is_a_page_and_its_figures(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    source = tiny_source(write_corpus(tmp_path), training={"steps": 2, "batch": 1})
    train(source, store)
    before = snapshot(tmp_path)
    result = command("study", "report", store, "--out", tmp_path / "report")
    assert result.exit_code == 0, result.stderr
    written = [Path(line) for line in result.stdout.splitlines()]
    assert written[0] == tmp_path / "report" / "report.html"
    assert {path.suffix for path in written} == {".html", ".png", ".svg"}
    assert sorted(written) == sorted((tmp_path / "report").iterdir())
    page = written[0].read_text()
    assert all(name in page for name in CODES)
    assert "24" in page
    after = snapshot(tmp_path)
    assert {name: content for name, content in after.items() if not name.startswith("report")} == before
