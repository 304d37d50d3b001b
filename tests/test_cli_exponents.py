"""`widthwise exponents`."""

import hashlib
import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from study_example import command
from test_house_import_weight import HEAVY, loaded_by, tops
from widthwise.theory import (
    ADAM,
    FULL,
    MUP,
    NONE,
    NTK,
    PARETO_OVER_FULL,
    SGD,
    STANDARD,
    Alignment,
    Lexicographic,
    Logits,
    Role,
    chain,
    pareto_corners,
    solve,
)

PUBLISHED = Path(__file__).with_name("data") / "exponents_everett2024.json"
CELL = ["parameterization", "optimizer", "alignment", "role", "a", "b", "c", "g"]
LAYER = [*CELL, "layer", "r", "unconstrained"]
EXPLAINED = [*LAYER, "why", "binding", "total", "unique", "proposed_by", "certified"]
OPTION_FREE = {
    "table": "90344809473a1f77354e740096739108d3fd3112e11c381cb4423658d633b441",
    "json": "6727454ade63e83b136ddc0c79b5d54263cced75480a59b7afeea0535daaf1be",
}
"""SHA-256 of what the command has printed without other options since its first release, at 80 columns."""


def cells(*options: object) -> list[dict[str, Any]]:
    result = command("exponents", "--format", "json", *options)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def text(monkeypatch: pytest.MonkeyPatch, *options: object, columns: int = 80) -> list[str]:
    """The lines of a table, at a width that they must respect."""
    monkeypatch.setenv("COLUMNS", str(columns))
    result = command("exponents", *options)
    assert result.exit_code == 0, result.stderr
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert max(map(len, lines)) <= columns
    return lines


def row(lines: list[str], name: str) -> list[str]:
    """The words of the first line that begins with a layer's name."""
    return next(line.split() for line in lines if line.split()[:1] == [name])


def thousandths(alpha: int, omega: int, u: int) -> Alignment:
    return Alignment("own", *(Fraction(number, 1000) for number in (alpha, omega, u)))


def refused(*options: object) -> str:
    """The one message of a refusal."""
    result = command("exponents", *options)
    assert result.exit_code == 2, (result.stdout, result.exception)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def test_json_is_the_published_table() -> None:
    found = cells()
    published = json.loads(PUBLISHED.read_text())["cells"]
    assert len(found) == 4 * 3 * 2 * 3  # parameterizations, optimizers, alignments, roles
    assert all(list(row) == CELL for row in found)
    assert sorted(found, key=str) == sorted(published, key=str)


@pytest.mark.parametrize("output", list(OPTION_FREE))
def test_without_options_not_a_byte_changes(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = command("exponents", "--format", output)
    assert hashlib.sha256(result.stdout_bytes).hexdigest() == OPTION_FREE[output]


def test_table_shows_what_is_fixed_and_the_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = text(monkeypatch, columns=120)
    for header in (
        "embedding, hidden, readout",
        "multiplier n^-a",
        "init n^-b",
        "gradient n^-g",
        "rate n^-c",
    ):
        assert any(header in line for line in lines)
    rows = [[cell.split() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    assert [["mup"], ["-1/2", "0", "1/2"], ["1/2", "1/2", "1/2"], ["1/2", "1", "1/2"]] in rows
    assert [["standard"], ["adam"], ["full"], ["0", "1", "1"]] in rows
    assert [["mup"], ["adam"], ["none"], ["1/2", "1/2", "0"]] in rows
    assert len(rows) == 4 + 4 * 3 * 2


def test_filters_keep_the_cells_of_the_whole_table() -> None:
    whole = cells()
    assert cells("--optimizer", "adam") == [cell for cell in whole if cell["optimizer"] == "adam"]
    two = cells("--parameterization", "mup", "--parameterization", "ntk", "--parameterization", "mup")
    order = ["mup", "ntk"]
    assert two == sorted(
        (cell for cell in whole if cell["parameterization"] in order),
        key=lambda cell: order.index(cell["parameterization"]),
    )
    assert cells("--alignment", "none") == [cell for cell in whole if cell["alignment"] == "none"]


def test_muon_is_adam_outside_hidden_layers() -> None:
    muon = {
        (c["alignment"], c["role"]): c["c"] for c in cells("--optimizer", "muon", "--parameterization", "mup")
    }
    adam = {
        (c["alignment"], c["role"]): c["c"] for c in cells("--optimizer", "adam", "--parameterization", "mup")
    }
    hidden = {key: rate for key, rate in muon.items() if key[1] == "hidden"}
    # e = 1/2 and alpha = 1/2 whatever is assumed: c = alpha - a - e = 0 with a = 0.
    assert hidden == {("full", "hidden"): "0", ("none", "hidden"): "0"}
    assert {**muon, **hidden} == {**adam, **hidden}


def test_filters_show_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = text(monkeypatch, "--parameterization", "ntk", "--optimizer", "sgd", "--alignment", "mid")
    rows = [[cell.split() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    # c = max(alpha, u) - 2a - g at r = 0, with G = 1/2: -1/2; 3/4 - 1 - 1/2; 3/4 - 1.
    assert rows[1] == [["ntk"], ["sgd"], ["mid"], ["-1/2", "-3/4", "-1/4"]]
    assert len(rows) == 2


@pytest.mark.parametrize("written", ["1,1/2,0.75", "1.0,0.5,3/4", " 1 , .5 , 3/4 "])
def test_alignment_is_read_exactly(written: str) -> None:
    found = cells("--alignment", written, "--optimizer", "adam", "--parameterization", "standard")
    assert [cell["c"] for cell in found] == ["0", "1", "1"]
    assert {cell["alignment"] for cell in found} == {"1,1/2,3/4"}


def test_decimals_are_no_floats() -> None:
    (_, hidden, _) = cells(
        "--alignment", "0.1,0.5,0.1", "--optimizer", "adam", "--parameterization", "standard"
    )
    assert hidden["c"] == "1/10"  # the float 0.1 is 3602879701896397/36028797018963968


def test_long_fractions_stand_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--alignment", "0.931,0.512,0.957", "--optimizer", "adam", "--parameterization", "standard")
    lines = text(monkeypatch, *options)
    alignment = thousandths(931, 512, 957)
    solution = solve(STANDARD, ADAM, alignment)
    assert row(lines, "hidden") == ["hidden", "0", "1/2", str(solution.rate("hidden")), "1/2", "3/250"]
    assert str(solution["hidden"].r) == "3/250"


def test_a_parameterization_of_ones_own() -> None:
    pairs = ("--embedding", "-1/2,0.5", "--hidden", "0,1/2", "--readout", "0.5,1/2")
    own = cells(*pairs)
    mup = cells("--parameterization", "mup")
    assert [{**cell, "parameterization": "mup"} for cell in own] == mup
    assert {cell["parameterization"] for cell in own} == {"custom"}


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_depth(depth: int) -> None:
    found = cells("--depth", depth, "--parameterization", "mup", "--optimizer", "sgd", "--alignment", "none")
    solution = solve(MUP, SGD, NONE, network=chain(depth))
    assert all(list(cell) == LAYER for cell in found)
    assert [cell["layer"] for cell in found] == [layer.name for layer in chain(depth).layers]
    assert [cell["c"] for cell in found] == [str(layer.c) for layer in solution.layers.values()]
    assert [cell["r"] for cell in found] == [str(layer.r) for layer in solution.layers.values()]
    assert [cell["unconstrained"] for cell in found] == [False] * (depth + 2)


def test_a_deep_chain_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--depth", 98, "--parameterization", "mup", "--optimizer", "adam", "--alignment", "full")
    for more in ((), ("--explain",)):
        lines = text(monkeypatch, *options, *more)
        assert row(lines, "hidden.1-98")[1:5] == ["0", "1/2", "1", "1"]
        assert len(lines) < 20
        assert lines[0] == "mup, adam, alignment full: total c = 99"  # 1/2 + 98 + 1/2


def test_layers_that_differ_have_lines_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    options = (
        "--depth",
        3,
        "--parameterization",
        "standard",
        "--optimizer",
        "adam",
        "--alignment",
        "1,3/4,1",
    )
    lines = text(monkeypatch, *options)
    # omega = 3/4 amplifies every change by n^(1/4): r = 1, 3/4, 1/2, 1/4 before the readout.
    slack = [row(lines, name)[-1] for name in ("embedding", "hidden.1", "hidden.2", "hidden.3")]
    assert slack == ["1", "3/4", "1/2", "1/4"]


def test_an_unconstrained_rate_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--parameterization", "standard", "--optimizer", "adam", "--logits", "controlled")
    for cell in cells(*options):
        assert cell["unconstrained"] is (cell["role"] == "readout")
        assert (cell["c"] is None) is cell["unconstrained"]
    lines = text(monkeypatch, *options, "--depth", 12)
    assert row(lines, "readout") == ["readout", "0", "1/2", "unconstrained", "0"]
    bounded = cells(*options[:-1], "bounded")
    assert all(cell["c"] is not None for cell in bounded)


def test_controlled_logits_are_the_solvers() -> None:
    options = ("--parameterization", "standard", "--optimizer", "sgd", "--alignment", "full")
    found = {cell["layer"]: cell["c"] for cell in cells(*options, "--logits", "controlled")}
    solution = solve(STANDARD, SGD, FULL, logits=Logits.CONTROLLED)
    assert found == {name: str(layer.c) for name, layer in solution.layers.items()}
    assert found != {cell["role"]: cell["c"] for cell in cells(*options)}


@pytest.mark.parametrize(
    ("option", "preference"),
    [
        ("readout", Lexicographic((Role.READOUT,))),
        ("hidden,embedding", Lexicographic((Role.HIDDEN, Role.EMBEDDING))),
        ("pareto", PARETO_OVER_FULL),
    ],
)
def test_preferences(option: str, preference: Any) -> None:
    measured = "0.5,0.5,0.9"
    alignment = thousandths(500, 500, 900)
    problem = ("--parameterization", "mup", "--optimizer", "sgd", "--alignment", measured)
    found = [cell["c"] for cell in cells(*problem, "--prefer", option)]
    solution = solve(MUP, SGD, alignment, prefer=preference)
    assert found == [str(layer.c) for layer in solution.layers.values()]


def test_preferences_differ() -> None:
    problem = ("--parameterization", "mup", "--optimizer", "sgd", "--alignment", "none")
    found = [
        tuple(cell["c"] for cell in cells(*problem, "--prefer", option)) for option in ("total", "readout")
    ]
    assert found == [("0", "-1/2", "0"), ("1/2", "0", "-1/2")]


def test_slack() -> None:
    problem = ("--parameterization", "ntk", "--optimizer", "adam", "--alignment", "1/2,1/2,1")
    free = {cell["layer"]: cell["r"] for cell in cells(*problem, "--prefer", "readout", "--slack", "10")}
    bound = {cell["layer"]: cell["r"] for cell in cells(*problem, "--prefer", "readout", "--slack", "0.25")}
    alignment = thousandths(500, 500, 1000)
    solution = solve(NTK, ADAM, alignment, prefer=Lexicographic((Role.READOUT,)), slack=Fraction(1, 4))
    assert bound == {name: str(layer.r) for name, layer in solution.layers.items()}
    assert bound["hidden"] == "1/4"
    assert free["hidden"] == "1/2"


def test_corners(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ("--parameterization", "mup", "--optimizer", "sgd", "--alignment", "none", "--corners")
    found = cells(*problem)
    assert [list(cell) for cell in found] == [[*LAYER, "corner", "all_corners"]] * 6
    assert [cell["corner"] for cell in found] == [1, 1, 1, 2, 2, 2]
    assert [cell["c"] for cell in found] == ["0", "-1/2", "0", "1/2", "0", "-1/2"]
    # The readout's change at both: with r_L = 0 and G = a + b = 1 its update 2a + c - 1/2 is 1/2, then 0; the second
    # has G = 2a + c = 1/2, so that the features' rates are those of the smaller exponent.
    assert [cell["r"] for cell in found] == ["0", "0", "1/2", "0", "0", "0"]
    assert all(cell["all_corners"] for cell in found)
    lines = text(monkeypatch, *problem)
    assert [line.split() for line in lines[-3:]] == [
        ["corner", "total", "c"],
        ["1", "-1/2", "embedding", "0,", "hidden", "-1/2,", "readout", "0"],
        ["2", "0", "embedding", "1/2,", "hidden", "0,", "readout", "-1/2"],
    ]


def test_the_preferred_corner_comes_first() -> None:
    problem = ("--parameterization", "mup", "--optimizer", "sgd", "--alignment", "none")
    solution = solve(MUP, SGD, NONE)
    assert len(pareto_corners(solution).corners) == 2
    found = cells(*problem, "--corners", "--prefer", "readout")
    assert [cell["c"] for cell in found][:3] == ["1/2", "0", "-1/2"]


def test_explanations_in_json() -> None:
    found = cells("--parameterization", "standard", "--optimizer", "adam", "--alignment", "full", "--explain")
    assert all(list(cell) == EXPLAINED for cell in found)
    hidden = found[1]
    assert hidden["why"] == "hidden rate limited by the update meeting aligned activations (alpha = 1)"
    assert hidden["binding"][0] == {"condition": "update", "exponent": "1", "through": None, "price": "1"}
    assert [hidden[key] for key in EXPLAINED[-4:]] == ["2", True, "the closed form", True]


def test_explanations_of_corners() -> None:
    problem = ("--parameterization", "mup", "--optimizer", "sgd", "--alignment", "none")
    found = cells(*problem, "--corners", "--explain")
    keys = [*LAYER, "corner", "all_corners", *EXPLAINED[-6:]]
    assert all(list(cell) == keys for cell in found)
    for cell in found:
        assert all((cell[key] is None) is (cell["corner"] == 2) for key in EXPLAINED[-6:])


def test_explanations_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ("--parameterization", "mup", "--optimizer", "sgd", "--alignment", "none", "--explain")
    lines = text(monkeypatch, *problem, columns=120)
    assert lines[0] == "mup, sgd, alignment none: total c = -1/2"
    first = row(lines, "hidden")
    assert first[:5] == ["hidden", "0", "1/2", "-1/2", "1"]
    assert " ".join(first[5:]) == "rate limited by the update meeting independent activations (alpha = 1/2)"
    assert "update (alpha = 1/2): price 1" in [line.strip() for line in lines]
    assert (
        lines[-1] == "no other rates are as good; proposed by the closed form, certified in exact arithmetic"
    )


def test_a_condition_without_an_exponent_is_explained_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedding contracts nothing that grows: its own update limits it, and no alignment comes in."""
    lines = text(monkeypatch, "--parameterization", "mup", "--optimizer", "adam", "--explain", columns=120)
    assert "update: price 1" in [line.strip() for line in lines]
    assert not any("None" in line for line in lines)


def test_explanations_where_other_rates_are_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    # u > alpha: the readout's c falls by as much as the hidden layer's rises when that gives up slack.
    problem = ("--parameterization", "standard", "--optimizer", "adam", "--alignment", "1/2,1/2,1")
    lines = text(monkeypatch, *problem, "--explain", columns=120)
    alignment = thousandths(500, 500, 1000)
    assert not solve(STANDARD, ADAM, alignment).unique
    assert lines[-1].startswith("other rates are as good; ")
    assert any("the update meeting the change of its input (u = 1)" in line for line in lines)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--explain",),
        ("--depth", 100),
        ("--optimizer", "adam-atan2", "--logits", "controlled", "--depth", 12),
        ("--alignment", "0.931,0.512,0.957", "--depth", 3, "--optimizer", "adafactor"),
    ],
)
def test_no_layer_or_number_is_broken(
    monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], columns: int
) -> None:
    lines = text(monkeypatch, *options, columns=columns)
    assert not any("…" in line for line in lines)
    if options:
        for before, line in pairwise(lines):
            if before.startswith("layer "):
                assert line.split()[0] == "embedding"


REFUSED: dict[str, tuple[tuple[object, ...], list[str]]] = {
    "unknown format": (("--format", "yaml"), ["'yaml'", "'table', 'json'"]),
    "unknown parameterization": (
        ("--parameterization", "mu-p"),
        ["--parameterization 'mu-p' is unknown", "['standard', 'ntk', 'mup', 'mean-field']"],
    ),
    "unknown optimizer": (("--optimizer", "adamw"), ["--optimizer 'adamw' is unknown", "'adam-ps', 'muon']"]),
    "unknown alignment": (
        ("--alignment", "some"),
        ["--alignment 'some' is unknown", "['full', 'mid', 'none']", "ALPHA,OMEGA,U"],
    ),
    "two exponents": (("--alignment", "1,1/2"), ["'1,1/2' is not of the form ALPHA,OMEGA,U", "1,1/2,3/4"]),
    "NaN": (("--alignment", "nan,1/2,1"), ["--alignment: 'nan' is no exact number", "1/2 or 0.5"]),
    "infinity": (("--alignment", "1,inf,1"), ["--alignment: 'inf' is no exact number"]),
    "nothing": (("--alignment", "1,,1"), ["--alignment: '' is no exact number"]),
    "a huge power": (("--slack", "1e999999999"), ["--slack: '1e999999999' is no exact number"]),
    "division by zero": (("--slack", "1/0"), ["--slack: '1/0' is no exact number"]),
    "negative slack": (("--slack", "-1/2"), ["slack -1/2 must not be negative"]),
    "negative depth": (("--depth", -1), ["'--depth'", "-1 is not in the range x>=0"]),
    "depth is no number": (("--depth", "deep"), ["'--depth'", "'deep'"]),
    "unknown logits": (("--logits", "free"), ["'free'", "'bounded', 'controlled'"]),
    "unknown preference": (
        ("--prefer", "best"),
        ["--prefer 'best' is unknown", "total or pareto", "['embedding', 'hidden', 'readout']"],
    ),
    "role twice": (("--prefer", "hidden,readout,hidden"), ["names a role twice", "hidden, readout, hidden"]),
    "role that is not there": (
        ("--prefer", "hidden", "--depth", 0),
        ["standard, sgd, full: ", "the role 'hidden', of which the network has no layer"],
    ),
    "unbounded": (
        ("--prefer", "readout,embedding", "--logits", "controlled", "--optimizer", "sgd"),
        ["standard, sgd, full: ", "the preference has no optimum", "name the readout last"],
    ),
    "infeasible": (
        ("--alignment", "1,1,1", "--slack", "0", "--optimizer", "adam"),
        # Both the hidden layer and the readout amplify by n^(1/2): the embedding has to give up 1.
        ["standard, adam, 1,1,1: ", "no rates satisfy the bound on slack", "loosened by 1"],
    ),
    "one pair of three": (
        ("--embedding", "0,0"),
        ["--embedding without --hidden --readout", "all three pairs"],
    ),
    "name and pairs": (
        ("--parameterization", "mup", "--hidden", "0,1/2"),
        ["--parameterization 'mup' and --hidden contradict each other"],
    ),
    "no pair": (
        ("--embedding", "0", "--hidden", "0,1/2", "--readout", "0,1/2"),
        ["--embedding '0' is not of the form A,B", "0,1/2"],
    ),
    "unstable embedding": (
        ("--embedding", "0,1/2", "--hidden", "0,1/2", "--readout", "0,1/2"),
        ["not stable at initialization", "embedding a + b = 1/2, must be 0"],
    ),
    "unstable readout": (
        ("--embedding", "0,0", "--hidden", "0,1/2", "--readout", "0,0.499"),
        ["not stable at initialization", "readout a + b = 499/1000, must be at least 1/2"],
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_bad_input_is_one_message(name: str) -> None:
    options, says = REFUSED[name]
    message = refused(*options)
    for part in says:
        assert part in message
    assert message.count("\n") == 1 or message.startswith("Usage")


@pytest.mark.parametrize("options", [(), ("--explain",), ("--depth", "4", "--format", "json")])
def test_presets_load_nothing_heavy(options: tuple[str, ...]) -> None:
    assert not tops(loaded_by("-m", "widthwise", "exponents", *options)) & HEAVY
