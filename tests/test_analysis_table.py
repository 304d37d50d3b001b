"""Reading and validating tables: what is accepted, and what each refusal says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from widthwise.analysis import Observation, read_table, validate

HEADER = "width,prescription,rate,seed,loss"
ROWS = [f"{width},full,{rate},0,2.5" for width in (64, 128) for rate in (0.001, 0.002, 0.004, 0.008)]


def write(path: Path, *lines: str) -> Path:
    file = path / "table.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_reads_every_column(tmp_path: Path) -> None:
    rows = read_table(write(tmp_path, HEADER + ",run", *[row + ",r" for row in ROWS]))
    assert len(rows) == 8
    assert rows[0] == Observation("full", 64, 0.001, 0, 2.5, "r")


def test_order_extra_columns_synonyms_case_blank_lines_and_bom(tmp_path: Path) -> None:
    lines = ["\ufeffnote,Final_Loss, LR ,Seed,d_model,Method", ""]
    lines += [
        f"hi,{loss},{rate},{seed},{width}.0,full"
        for width, _, rate, seed, loss in (r.split(",") for r in ROWS)
    ]
    assert read_table(write(tmp_path, *lines)) == read_table(write(tmp_path, HEADER, *ROWS))


def test_own_name_wins_over_a_synonym(tmp_path: Path) -> None:
    rows = read_table(write(tmp_path, HEADER + ",lr", *[row + ",9" for row in ROWS]))
    assert rows[0].rate == 0.001


@pytest.mark.parametrize("text", ["", "nan", "NaN", "inf", "-inf", "diverged", "Diverged", "none", " "])
def test_a_run_without_loss_is_none(tmp_path: Path, text: str) -> None:
    rows = read_table(write(tmp_path, HEADER, *ROWS, f"64,full,0.016,0,{text}"))
    assert rows[-1].loss is None


def bad_row(row: str) -> tuple[str, ...]:
    return (HEADER, *ROWS, row)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ("width,prescription,rate,seed", *ROWS),
            r"no column 'loss' among 'width'.*'loss' may be called final_loss",
        ),
        (bad_row("64,full,fast,0,2"), r"row 10: column 'rate' is 'fast'; it must be a number"),
        (bad_row("64,full,0.1,0,high"), r"row 10: column 'loss' is 'high'.*leave it empty"),
        (bad_row("64,full,0,0,2"), r"row 10: column 'rate' is '0'.*positive"),
        (bad_row("64,full,-0.1,0,2"), r"row 10: column 'rate' is '-0.1'.*positive"),
        (bad_row("64,full,inf,0,2"), r"row 10: column 'rate' is 'inf'.*finite"),
        (bad_row("64,full,nan,0,2"), r"row 10: column 'rate' is 'nan'"),
        (bad_row("0,full,0.1,0,2"), r"row 10: column 'width' is '0'.*at least 1"),
        (bad_row("64.5,full,0.1,0,2"), r"row 10: column 'width' is '64.5'.*whole number"),
        (bad_row("inf,full,0.1,0,2"), r"row 10: column 'width' is 'inf'.*whole number"),
        (bad_row("64,full,0.1,a,2"), r"row 10: column 'seed' is 'a'; it must be a number"),
        (bad_row("64,,0.1,0,2"), r"row 10: column 'prescription' is empty"),
        (bad_row("64,full,0.001,0,2.6"), r"row 10: .*width 64, rate 0.001, seed 0 is already in row 2"),
        (bad_row("64,full,0.1,0"), r"row 10: 4 fields where the header has 5"),
        (bad_row('64,"full,0.1,0,2'), r"not a CSV table"),
        ((HEADER + ",loss", *ROWS), r"columns 'loss', 'loss' could all be 'loss'"),
        (("width,prescription,lr,eta,seed,loss", *ROWS), r"'lr', 'eta' could all be 'rate'"),
        ((HEADER,), r"a header and no rows"),
        ((HEADER, *ROWS[:4]), r"'full' has the width 64 alone.*at least 2 widths"),
        ((HEADER, *ROWS[:-1]), r"at width 128 has 3 distinct rates \(0.001, 0.002, 0.004\).*at least 4"),
    ],
)
def test_bad_tables_say_what_is_wrong(tmp_path: Path, lines: tuple[str, ...], says: str) -> None:
    file = write(tmp_path, *lines)
    with pytest.raises(ValueError, match=re.escape(str(file)) + r"(:|,) .*" + says):
        read_table(file)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="this is a directory"):
        read_table(tmp_path)
    file = tmp_path / "table.csv"
    file.write_bytes(b"")
    with pytest.raises(ValueError, match="the file is empty"):
        read_table(file)
    file.write_bytes(HEADER.encode() + b"\n64,f\xff,1,1,1\n")
    with pytest.raises(ValueError, match="byte 38 is not UTF-8"):
        read_table(file)


GOOD = tuple(Observation("p", w, 2.0**x, 0, 2.0) for w in (1, 2) for x in range(4))


@pytest.mark.parametrize(
    ("observations", "says"),
    [
        ((), "the table has no runs"),
        ((*GOOD, GOOD[0]), "width 1, rate 1, seed 0 occurs twice"),
        ((*GOOD, replace(GOOD[0], rate=-1.0)), "rate must be positive"),
        ((*GOOD, replace(GOOD[0], rate=float("nan"))), "rate must be positive"),
        ((*GOOD, replace(GOOD[0], width=0)), "width must be a whole number"),
        ((*GOOD, replace(GOOD[0], seed=1, loss=float("nan"))), "use None for a run that diverged"),
        (GOOD[:4], "at least 2 widths"),
        (GOOD[:7], "3 distinct rates"),
    ],
)
def test_validate_refuses(observations: tuple[Observation, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        validate(observations)


def test_validate_accepts_the_smallest_table() -> None:
    validate(GOOD)


def test_a_column_of_optimizers_groups_the_noise(tmp_path: Path) -> None:
    rows = [f"{w},p,{2.0**x},0,{2 + x * x},adam" for w in (64, 128) for x in range(-3, 4)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["width,prescription,rate,seed,loss,optimizer", *rows]))
    assert {o.group for o in read_table(path)} == {"adam"}
    path.write_text(path.read_text().replace("adam", "sgd", 1))
    with pytest.raises(ValueError, match=r"t\.csv: prescription 'p' has runs of the groups 'sgd' and 'adam'"):
        read_table(path)
