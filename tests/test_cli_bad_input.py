"""Bad input: exit code 2, one message with field, value and remedy, no traceback, and not a file touched."""

import errno
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from study_example import (
    command,
    invented_store,
    snapshot,
    tiny,
    tiny_source,
    tiny_text,
    train,
    valley,
    wide,
    write_corpus,
)
from widthwise.analysis import MARGIN
from widthwise.study.run import CHECKPOINT_SECONDS
from widthwise.train.checkpoint_timer import SHARE
from widthwise.train.choose_population import SECONDS_LIMIT

DRIFT = {"standard-global": -1.0, "mup-full": 0.0}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a corpus and the specification of a tiny study."""
    write_corpus(tmp_path)
    (tmp_path / "s.yaml").write_text(tiny_text("text.txt"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "s.sqlite"
    invented_store(path, wide(), valley(DRIFT))
    return path


def assert_refused(*arguments: object, says: list[str], folder: Path) -> None:
    """Run the command; it must refuse, say all of `says`, and leave the folder as it was."""
    before = snapshot(folder)
    result = command(*arguments)
    assert result.exit_code == 2, (result.stdout, result.stderr, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    for part in says:
        assert part in result.stderr
    assert "Traceback" not in result.stderr
    assert snapshot(folder) == before


def run_refused(says: list[str], folder: Path, *options: object) -> None:
    given = {"--store": "out.sqlite", "--device": "cpu"}
    given |= dict(zip(options[::2], options[1::2], strict=True))  # pyright: ignore[reportArgumentType]
    assert_refused(
        "study", "run", "s.yaml", *(x for pair in given.items() for x in pair), says=says, folder=folder
    )


ARM = {"parameterization": "mup", "rates": "full"}
BAD_FIELDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown parameterization": (
        {"arms": [{**ARM, "parameterization": "mu-p"}]},
        ["arms.0.parameterization.0", "'standard', 'ntk', 'mup' or 'mean-field'", "(given: 'mu-p')"],
    ),
    "unknown rates": (
        {"arms": [{**ARM, "rates": "some"}]},
        ["arms.0.rates.0", "'global', 'full', 'mid' or 'none'", "(given: 'some')"],
    ),
    "unknown optimizer": (
        {"optimizer": {"kind": "lion"}},
        ["optimizer", "'lion'", "'sgd', 'adam', 'adam-atan2'"],
    ),
    "a rate of 0": (
        {"learning_rates": {"lowest": 0, "highest": 1}},
        ["learning_rates.lowest", "greater than 0", "(given: 0)"],
    ),
    "a negative rate": (
        {"learning_rates": [0.1, -0.5]},
        ["learning_rates.values.1", "greater than 0", "-0.5"],
    ),
    "no rate": ({"learning_rates": []}, ["learning_rates.values", "is empty", "(given: [])"]),
    "an infinite rate": ({"learning_rates": ["2^5000"]}, ["learning_rates.values.0", "finite", "'2^5000'"]),
    "widths and heads": (
        {"widths": [8, 10]},
        [
            "widths [10] are not multiples of model.head_dim 4",
            "choose a head_dim that divides all of [8, 10]",
        ],
    ),
    "a width twice": ({"widths": [8, 8]}, ["widths [8, 8] name a width twice", "name each once"]),
    "a seed twice": ({"seeds": [1, 1]}, ["seeds [1, 1] name a seed twice", "name each once"]),
    "a seed too large": ({"seeds": [2**70]}, ["seeds.0", "less than", str(2**70)]),
    "an arm twice": ({"arms": [ARM, ARM]}, ["arms ['mup-full'] stand more than once", "give each a `name`"]),
    "a warm-up without end": (
        {"training": {"steps": 2, "batch": 1, "warmup": 0.9}},
        ["training", "warmup 0.9 of steps 2", "lower it"],
    ),
    "a list where a mapping belongs": (
        {"optimizer": ["adam"]},
        ["optimizer", "must be a mapping", "['adam']"],
    ),
    "an unknown field": ({"colour": "red"}, ["colour", "no such field", "remove it", "'red'"]),
    "several": (
        {"seeds": [-1], "widths": [0]},
        ["2 mistakes", "seeds.0", "(given: -1)", "widths.0", "(given: 0)"],
    ),
    "missing corpus": (
        {"corpus": "missing.txt"},
        ["corpus 'missing.txt' does not exist", "give 'python-stdlib', a text file or a folder"],
    ),
    "corpus of too long a name": ({"corpus": "x" * 400}, ["does not exist", "give 'python-stdlib'"]),
    "empty corpus": (
        {"corpus": "empty.txt"},
        ["corpus 'empty.txt' is empty", "give a file or folder that holds text"],
    ),
    "short corpus": (
        {"corpus": "short.txt"},
        ["corpus 'short.txt' has", "tokens, fewer than the 18 that a batch of 2 x 8 needs", "give more text"],
    ),
}


@pytest.mark.parametrize("name", list(BAD_FIELDS))
def test_a_specification_with_mistakes(folder: Path, name: str) -> None:
    changes, says = BAD_FIELDS[name]
    (folder / "empty.txt").touch()
    (folder / "short.txt").write_text("one\ntwo\n")
    (folder / "s.yaml").write_text(tiny_text(**{"corpus": "text.txt", **changes}))
    run_refused(says, folder)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("name: {a\n", ["s.yaml is not YAML", "line 2"]),
        ("name: a: b\n", ["s.yaml is not YAML", "line 1"]),
        (
            "name: !!python/object/apply:os.mkdir [hacked]\n",
            ["s.yaml is not YAML", "python/object/apply:os.mkdir"],
        ),
        ("- name\n", ["s.yaml is a list", "it must be a mapping with the fields ['name', 'model'"]),
        ("", ["s.yaml is empty", "it must be a mapping"]),
        (
            "seeds: [0, 1]\nname: a\nseeds: [0]\n",
            ["s.yaml says 'seeds' twice, in lines 1 and 3", "remove one"],
        ),
        ("arms:\n  - {rates: full,\n     rates: none}\n", ["says 'rates' twice, in lines 2 and 3"]),
    ],
    ids=["broken", "colon", "unsafe tag", "list", "empty", "a field twice", "a field of an arm twice"],
)
def test_no_specification(folder: Path, written: str, says: list[str]) -> None:
    (folder / "s.yaml").write_text(written)
    run_refused(says, folder)


@pytest.mark.parametrize("spec", ["quickstrat", "missing.yaml", ".", "x" * 400])
def test_no_such_specification(folder: Path, spec: str) -> None:
    says = [
        f"spec {spec!r} is neither a file nor a built-in study",
        "give a YAML file or one of ['paper-full', ",
    ]
    assert_refused("study", "run", spec, "--store", "out.sqlite", says=says, folder=folder)


def test_a_specification_that_is_no_text(folder: Path) -> None:
    (folder / "s.yaml").write_bytes(b"\xff\xfe\x00")
    run_refused(["spec 's.yaml' cannot be read", "give a YAML file in UTF-8"], folder)


@pytest.mark.parametrize("size", [0, -3])
def test_population_size(folder: Path, size: int) -> None:
    says = [f"population size {size} must be at least 1"]
    run_refused(says, folder, "--population-size", size)


def test_options_that_are_no_numbers(folder: Path) -> None:
    run_refused(["--population-size", "'many'"], folder, "--population-size", "many")
    run_refused(["--device", "'tpu'", "'auto', 'cpu', 'cuda'"], folder, "--device", "tpu")


def test_checkpoints_at_no_interval(folder: Path) -> None:
    for minutes in ("-1", "nan", "inf", "often"):
        says = f"--checkpoint-minutes {minutes!r} is neither 'never' nor a number of at least 0"
        run_refused([says], folder, "--checkpoint-minutes", minutes)


def test_cuda_where_there_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run_refused(["device 'cuda' was asked for", "choose cpu or auto"], folder, "--device", "cuda")


def stop(folder: Path) -> Path:
    """A store whose study was interrupted before its second population."""

    def listen(state: Any) -> None:
        if state.population == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny_source("text.txt"), folder / "part.sqlite", listener=listen)
    return folder / "part.sqlite"


def test_going_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    part = stop(folder)
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        says = ["device 'cuda' was asked for", "choose cpu or auto"]
        assert_refused("study", "resume", part, "--device", "cuda", says=says, folder=folder)
    (folder / "s.yaml").write_text(tiny_text("text.txt", seeds=[5]))
    says = ["store 'part.sqlite' belongs to another specification ('tiny')", "give another --store"]
    run_refused(says, folder, "--store", "part.sqlite")
    (folder / "text.txt").write_text("another text\n" * 500)
    says = ["corpus 'text.txt' is not the text that store", "restore it or begin another store"]
    assert_refused("study", "resume", part, says=says, folder=folder)
    (folder / "text.txt").unlink()
    assert_refused("study", "resume", part, says=["corpus 'text.txt' does not exist"], folder=folder)


def no_file(path: Path, finished: Path) -> list[str]:
    return ["store 'x' does not exist", "study run SPEC --store x"]


def a_folder(path: Path, finished: Path) -> list[str]:
    path.mkdir()
    return ["store 'x' cannot be read: it is a folder", "give a store's file"]


def a_text(path: Path, finished: Path) -> list[str]:
    path.write_text("width,rate\n8,0.5\n")
    return ["store 'x' is not an SQLite file", "give another name"]


def an_empty_file(path: Path, finished: Path) -> list[str]:
    path.touch()
    return ["store 'x' is not an SQLite file", "give another name"]


def another_database(path: Path, finished: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
    return ["'x' is an SQLite file but not a study's store", "it was left as it is"]


def another_version(path: Path, finished: Path) -> list[str]:
    shutil.copy(finished, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    return [
        "store 'x' has schema version 7",
        "this widthwise reads the versions 2, 3",
        "use the widthwise that wrote it, or another",
    ]


def a_damaged_store(path: Path, finished: Path) -> list[str]:
    path.write_bytes(finished.read_bytes()[:4096])
    return ["store 'x' cannot be read: ", "malformed", "it was left as it is"]


def a_store_with_a_broken_page(path: Path, finished: Path) -> list[str]:
    """One whose rows of `host` became zeros: they are read, and make no sense."""
    with closing(sqlite3.connect(finished)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'host'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray(finished.read_bytes())
    content[(page - 1) * size + 100 : page * size] = bytes(size - 100)
    path.write_bytes(content)
    return ["store 'x' is damaged (", "it was left as it is: restore it from a copy"]


MAKERS = [
    a_folder,
    a_text,
    an_empty_file,
    another_database,
    another_version,
    a_damaged_store,
    a_store_with_a_broken_page,
]
COMMANDS = {
    "resume": ["study", "resume", "x"],
    "report": ["study", "report", "x", "--out", "report"],
    "verdict": ["study", "verdict", "x", "--require", "mup-full"],
    "export": ["study", "export", "x", "--out", "t.csv"],
    "run": ["study", "run", "s.yaml", "--store", "x", "--device", "cpu"],
}


@pytest.mark.parametrize(
    ("name", "make"),
    [(name, make) for name in COMMANDS for make in (no_file, *MAKERS) if (name, make) != ("run", no_file)],
)
def test_no_store(folder: Path, finished: Path, make: Callable[[Path, Path], list[str]], name: str) -> None:
    assert_refused(*COMMANDS[name], says=make(folder / "x", finished), folder=folder)


def test_the_stores_folder_is_missing(folder: Path) -> None:
    run_refused(
        ["folder 'deep' of the store does not exist", "make it first"], folder, "--store", "deep/s.sqlite"
    )


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_a_folder_that_nobody_can_write_to(folder: Path) -> None:
    says = ["store '/proc/s.sqlite' cannot be written", "choose another folder"]
    run_refused(says, folder, "--store", "/proc/s.sqlite")
    assert not Path("/proc/s.sqlite").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o555)
    run_refused(["cannot be written", "choose another folder"], folder, "--store", "closed/s.sqlite")


def test_a_file_system_that_is_read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = stop(folder)
    real = os.open

    def read_only(path: Any, flags: int, *args: Any, **keywords: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *args, **keywords)

    monkeypatch.setattr(os, "open", read_only)
    says = ["cannot be written", "Read-only file system", "choose another folder"]
    run_refused(says, folder)
    assert_refused("study", "resume", part, "--device", "cpu", says=says, folder=folder)


def test_a_second_writer(folder: Path) -> None:
    from widthwise.study.store import writing

    part = stop(folder)
    with writing(part):
        result = command("study", "resume", part, "--device", "cpu")
        assert result.exit_code == 2
        assert "is being written by another process; wait for it" in result.stderr
    assert command("study", "resume", part, "--device", "cpu").exit_code == 0


def test_unknown_prescription(folder: Path, finished: Path) -> None:
    says = ["--require 'mup'", "choose one of ['standard-global', 'mup-full']"]
    assert_refused("study", "verdict", finished, "--require", "mup", says=says, folder=finished.parent)


@pytest.mark.parametrize("name", ["report", "verdict"])
@pytest.mark.parametrize("populations", [0, 4])
def test_too_little_finished(folder: Path, name: str, populations: int) -> None:
    invented_store(folder / "x", wide(), valley(DRIFT), populations=populations)
    says = [
        "study 'tiny' has finished no two widths of a prescription yet",
        "`widthwise study resume` goes on with it",
    ]
    assert_refused(*COMMANDS[name], says=says, folder=folder)


def test_exports(folder: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(finished, folder / "x")
    export = ["study", "export", "x"]
    says = ["--format parquet needs --out FILE"]
    assert_refused(*export, "--format", "parquet", says=says, folder=folder)
    says = ["--format", "'xlsx'", "'csv', 'parquet'"]
    assert_refused(*export, "--format", "xlsx", says=says, folder=folder)
    says = ["--out 'x' is the store itself", "choose another file"]
    assert_refused(*export, "--out", "x", says=says, folder=folder)
    says = ["'deep/t.csv' cannot be written: No such file or directory", "choose another file"]
    assert_refused(*export, "--out", "deep/t.csv", says=says, folder=folder)
    (folder / "taken").mkdir()
    says = ["'taken' cannot be written: Is a directory", "choose another file"]
    assert_refused(*export, "--out", "taken", says=says, folder=folder)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    says = ["Parquet needs pyarrow: pip install 'widthwise[parquet]'", "or export csv"]
    assert_refused(*export, "--format", "parquet", "--out", "t.parquet", says=says, folder=folder)


def test_a_report_where_a_file_is(folder: Path, finished: Path) -> None:
    shutil.copy(finished, folder / "x")
    says = ["text.txt is a file", "name another folder"]
    assert_refused("study", "report", "x", "--out", "text.txt", says=says, folder=folder)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, ["t.csv: there is no such file", "give the path of a CSV table"]),
        (b"", ["t.csv: the file is empty", "width, prescription, rate, seed, loss"]),
        (b"width,rate\n8,0.5\n", ["no column 'prescription', 'seed', 'loss'", "may be called"]),
        (b"width,prescription,rate,seed,loss\n", ["a header and no rows", "add one row per training run"]),
        (b"width,prescription,rate,seed,loss\n8,p,0,0,2\n", ["row 2", "'rate' is '0'", "positive"]),
        (b"width,prescription,rate,seed,loss\n8,p,x,0,2\n", ["row 2", "'rate' is 'x'", "must be a number"]),
        (b"width,prescription,rate,seed,loss\n8,p,1,0\n", ["row 2", "4 fields where the header has 5"]),
        (b"\xff\xfe", ["is not UTF-8", "save the table as UTF-8 CSV"]),
    ],
    ids=["missing", "empty", "columns", "header", "zero", "word", "short row", "binary"],
)
def test_a_broken_table(folder: Path, content: bytes | None, says: list[str]) -> None:
    if content is not None:
        (folder / "t.csv").write_bytes(content)
    assert_refused("transfer", "t.csv", "--out", "report", says=says, folder=folder)


def test_a_table_and_its_options(folder: Path, finished: Path) -> None:
    assert command("study", "export", finished, "--out", "t.csv").exit_code == 0
    says = ["the base width is 9", "8, 16, 32", "choose one below the largest"]
    assert_refused("transfer", "t.csv", "--base-width", 9, says=says, folder=folder)
    assert_refused(
        "transfer", "t.csv", "--margin", 0, says=["the margin is 0", "must be positive"], folder=folder
    )
    assert_refused(
        "transfer", ".", says=["this is a directory", "give the path of a CSV table"], folder=folder
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["frob"],
        ["study", "frob"],
        ["study", "run", "s.yaml"],
        ["study", "verdict", "x"],
        ["study", "report", "x"],
    ],
)
def test_a_command_line_that_is_incomplete(folder: Path, arguments: list[str]) -> None:
    assert_refused(*arguments, says=["Usage: "], folder=folder)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["study", "run", "--help"], f"estimate, for a new store; {SECONDS_LIMIT / 60:g} unless said"),
        (["study", "resume", "--help"], f"over {SHARE:.0%} of the time; 0".replace("%", " %")),
        (["study", "resume", "--help"], f"none in between; {CHECKPOINT_SECONDS / 60:g} unless said"),
        (["study", "verdict", "--help"], f"given up; {MARGIN}, which is 1 %, unless said"),
        (["study", "report", "--help"], f"given up; {MARGIN}, which is 1 %, unless said"),
        (["transfer", "--help"], f"given up; {MARGIN}, which is 1 %, unless said"),
    ],
)
def test_help_states_the_defaults_that_stand(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.setenv("TERMINAL_WIDTH", "400")
    monkeypatch.setenv("COLUMNS", "400")
    result = command(*arguments)
    assert result.exit_code == 0
    assert says in " ".join(result.stdout.split())


def test_the_tiny_study_is_good(folder: Path) -> None:
    """What the refusals above are measured against: the same call without its mistake succeeds."""
    (folder / "s.yaml").write_text(tiny_text("text.txt", arms=tiny()["arms"]))
    result = command("study", "run", "s.yaml", "--store", "out.sqlite", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
