"""`widthwise study claims`: axes from a specification, a document and JSON from a store, and bad input."""

import json
import math
import random
from pathlib import Path

import pytest

from benchmark_modules import BENCHMARKS
from study_example import command, invented_store, snapshot, tiny_source, wide
from test_report_alignment import measured_store
from widthwise.records import read_study, unfinished
from widthwise.study import arm_axes
from widthwise.study.spec_file import SpecSource


def paper_spec() -> SpecSource:
    return wide(
        anchor="absolute",
        arms=[
            {"parameterization": ["standard", "mup"], "rates": ["global", "full"]},
            {
                "parameterization": ["standard", "mup"],
                "rates": "full",
                "constants": {"hidden": 2, "readout": 4},
            },
            {
                "parameterization": "mup",
                "rates": "full",
                "epsilon": [1e-9, {"per_layer": 1e-12}, {"atan2": {}}],
            },
            {"parameterization": "standard", "rates": "global", "horizon": ["compute-optimal", 8]},
            {"parameterization": "standard", "rates": "global", "optimizer": {"kind": "sgd"}},
        ],
    )


def test_axes_of_a_specification() -> None:
    axes = arm_axes(paper_spec().text)
    short = {
        name: "/".join(value for axis, value in values.items() if axis != "weight_decay")
        for name, values in axes.items()
    }
    assert list(short.values()) == [
        "standard/adam/global/default/constant/fixed",
        "standard/adam/full/default/constant/fixed",
        "mup/adam/global/default/constant/fixed",
        "mup/adam/full/default/constant/fixed",
        "standard/adam/full/optimal/constant/fixed",
        "mup/adam/full/optimal/constant/fixed",
        "mup/adam/full/default/constant 1e-09/fixed",
        "mup/adam/full/default/per-layer/fixed",
        "mup/adam-atan2/full/default/none/fixed",
        "standard/adam/global/default/constant/compute-optimal",
        "standard/adam/global/default/constant/8-steps",
        "standard/sgd/global/default/constant/fixed",
    ]
    assert len(set(short.values())) == len(short)
    assert {values["weight_decay"] for values in axes.values()} == {"none"}


def test_several_bases_say_their_numbers() -> None:
    arms = [
        {"parameterization": "mup", "rates": "full", "epsilon": [{"per_layer": 1e-12}, {"per_layer": 1e-6}]}
    ]
    epsilons = [axes["epsilon"] for axes in arm_axes(wide(arms=arms).text).values()]
    assert epsilons == ["per-layer 1e-12", "per-layer 1e-06"]


def invented_loss(arm: str, width: int, rate: float, seed: int) -> float:
    octaves = math.log2(width / 8)
    best = -7.3 - (octaves if "global" in arm else 0.0)
    level = (
        2
        + 0.5 ** (octaves / 2)
        + (0.1 if "mup" in arm else 0.0)
        + (0.05 + 0.01 * octaves) * ("global" in arm)
    )
    level -= {"standard": 0.01, "mup": 0.05}[arm.split("-")[0]] if "optimal" in arm else 0.0
    jitter = random.Random(f"{arm}/{width}/{rate}/{seed}").gauss(0, 2e-4)
    return level + 0.03 * (math.log2(rate) - best) ** 2 + jitter


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Standard beats muP by 0.1, its global rate falls as width^-1 and costs 0.05, tuned constants gain muP more."""
    path = tmp_path_factory.mktemp("claims") / "s.sqlite"
    arms = paper_spec().spec.arms
    invented_store(
        path,
        wide(
            anchor="absolute",
            arms=[a.model_dump(mode="json", exclude_none=True) for a in arms[:2]],
            learning_rates={"lowest": "2^-14", "highest": "2^-4"},
        ),
        invented_loss,
    )
    return path


def test_claims_as_json(store: Path) -> None:
    before = snapshot(store.parent)
    result = command("study", "claims", store, "--format", "json")
    assert result.exit_code == 0, result.stderr
    standings = {claim["number"]: claim["standing"] for claim in json.loads(result.stdout)}
    assert list(standings) == list(range(1, 17))
    assert {n for n, s in standings.items() if s == "holds"} == {4, 5, 6, 7}
    assert {n for n, s in standings.items() if s == "does not hold"} == set()
    measured = json.loads(result.stdout)[3]["conditions"][0]["measured"]
    assert measured["estimate"] == pytest.approx(
        -0.1, abs=1e-3
    )  # five standard errors of two seeds of 2e-4 each
    assert measured["low"] < -0.1 + 1e-3 < measured["high"] + 2e-3
    assert snapshot(store.parent) == before


def test_claims_as_a_document(store: Path) -> None:
    result = command("study", "claims", store)
    assert result.exit_code == 0, result.stderr
    text = result.stdout
    assert "| 4 | Standard with full-alignment rates beats muP" in text
    assert "**holds**" in text
    assert "the study has no adam ntk global" in text
    # theory's exponents, ours, and the paper's two fits
    row = next(line for line in text.splitlines() if line.startswith("| standard-global |"))
    assert "| -1 | -1/2 |" in row
    assert row.endswith("| −0.94, −0.95 |")
    assert "| adam | standard | paper, 16384 | 2.625 | 2.576 | 2.572 |" in text
    assert "| widths | 128 to 16,384, fourteen of them | 8, 16, 32 |" in text
    assert "| tiny | 6 of 6 | 352 completed | 0.01 |" in text  # 44 populations of half a second
    assert "three widths determine the loss law" in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_a_store_of_too_little_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    invented_store(path, tiny_source(), lambda *_: 2.0, populations=0)
    result = command("study", "claims", path)
    assert result.exit_code == 2
    assert "tiny': no prescription has finished all of its widths" in result.stderr
    assert result.stdout == ""


# Several stores, and stores that are not finished


def part(
    path: Path, arms: list[dict[str, object]], *, populations: int | None = None, **changes: object
) -> Path:
    rates = {"lowest": "2^-14", "highest": "2^-4"}
    source = wide(anchor="absolute", arms=arms, learning_rates=rates, **changes)
    invented_store(path, source, invented_loss, populations=populations)
    return path


DEFAULT: dict[str, object] = {"parameterization": ["standard", "mup"], "rates": ["global", "full"]}
TUNED: dict[str, object] = {
    "parameterization": ["standard", "mup"], "rates": "full", "constants": ["default", {"hidden": 2, "readout": 4}]
}  # fmt: skip


def verdicts(*arguments: object) -> dict[int, dict[str, object]]:
    result = command("study", "claims", *arguments, "--format", "json")
    assert result.exit_code == 0, result.stderr
    return {claim["number"]: claim for claim in json.loads(result.stdout)}


def test_two_stores_are_one_table(store: Path, tmp_path: Path) -> None:
    """What the first decides alone, the second does not change; what needs both is decided."""
    main = part(tmp_path / "a.sqlite", [DEFAULT])
    tuned = part(tmp_path / "b.sqlite", [TUNED], name="tuned")
    alone, both, whole = verdicts(main), verdicts(main, tuned), verdicts(store)
    assert alone[5]["standing"] == alone[7]["standing"] == "not run yet"
    for number in (4, 6):
        assert both[number]["standing"] == alone[number]["standing"] == "holds"
    assert {n: v["standing"] for n, v in both.items()} == {n: v["standing"] for n, v in whole.items()}
    # a setting that both have counts once: the first's runs, 3 widths, 11 rates, 2 seeds of two prescriptions
    assert both[4]["trials"] == alone[4]["trials"] == 2 * 66
    text = command("study", "claims", main, tuned).stdout
    assert text.startswith("# tiny, tuned, beside the paper")
    assert "| standard-full-optimal |" in text
    assert "(tuned) |" not in text


def test_settings_of_one_name_and_two_meanings_are_told_apart(tmp_path: Path) -> None:
    main = part(tmp_path / "a.sqlite", [{"name": "x", "parameterization": "standard", "rates": "full"}])
    other = part(
        tmp_path / "b.sqlite", [{"name": "x", "parameterization": "mup", "rates": "full"}], name="other"
    )
    text = command("study", "claims", main, other).stdout
    assert "| x (other) |" in text
    assert verdicts(main, other)[4]["standing"] != "not run yet"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"training": {"steps": 5, "batch": 2}}, r"steps [4] and [5]"),
        ({"training": {"steps": 4, "batch": 3}}, "batch 2 and 3"),
        ({"base_width": 16}, "base width 8 and 16"),
        ({"optimizer": {"kind": "adam", "epsilon": 1e-9}}, "epsilon 1e-12 and 1e-09"),
        ({"model": {"kind": "transformer", "depth": 2, "head_dim": 4, "context": 8}}, "'depth': 1"),
    ],
)
def test_stores_that_differ_are_refused(tmp_path: Path, changes: dict[str, object], what: str) -> None:
    main = part(tmp_path / "a.sqlite", [DEFAULT])
    other = part(tmp_path / "b.sqlite", [TUNED], name="other", **changes)
    result = command("study", "claims", main, other)
    assert result.exit_code == 2
    assert "studies 'tiny' and 'other' are not to be compared" in result.stderr
    assert what in result.stderr
    assert result.stdout == ""


def test_a_study_is_judged_as_far_as_it_goes(tmp_path: Path) -> None:
    """Only muP is trained at width 32, whose last population waits: what rests on it is not judged, whatever it has."""
    arms: list[dict[str, object]] = [
        {"parameterization": "standard", "rates": ["global", "full"], "widths": [8, 16]},
        {"parameterization": "mup", "rates": "full"},
    ]
    whole = part(tmp_path / "w.sqlite", arms)
    partial = part(tmp_path / "p.sqlite", arms, populations=len(read_study(whole).populations) - 1)
    assert unfinished(read_study(partial)) == {("mup-full", 32)}
    before, after = verdicts(partial), verdicts(whole)
    assert before[4]["standing"] == "not run yet"
    assert after[4]["standing"] == before[6]["standing"] == after[6]["standing"] == "holds"
    assert before[4]["trials"] == 2 * 2 * 11  # of standard alone
    text = command("study", "claims", partial).stdout
    assert "Not finished:\n\n* width 32: mup-full\n" in text
    assert "| tiny | 2 of 3 |" in text
    assert "mup-full |" not in text
    assert "Not finished" not in command("study", "claims", whole).stdout


def test_evidence_decides_what_no_study_can(store: Path) -> None:
    records = [BENCHMARKS / "results" / name for name in ("wide_check.json", "claims_check.json")]
    without, found = verdicts(store), verdicts(store, "--evidence", records[0], "--evidence", records[1])
    assert {without[n]["standing"] for n in (11, 14)} == {"not run yet"}
    assert {found[n]["standing"] for n in (11, 14)} == {"holds"}
    assert {n for n in found if found[n] != without[n]} == {11, 14, 15}
    result = command("study", "claims", store, "--evidence", store)
    assert result.exit_code == 2
    assert f"evidence {str(store)!r}: " in result.stderr


def test_the_text_in_words(store: Path) -> None:
    text = command("study", "claims", store, "--text", "twelve old books").stdout
    assert "| text | C4, English | twelve old books (SHA-256 0000000000000000) |" in text


def test_alignment_is_read_from_the_study(tmp_path: Path) -> None:
    """Exponents of 0.9 in hidden layers and 0.6 in the readout at every step: intermediate, and without change."""
    path = measured_store(tmp_path / "s.sqlite", anchor="absolute")
    conditions = {c["what"]: c for c in verdicts(path)[15]["conditions"]}  # pyright: ignore
    for role, exponent in (("hidden", 0.9), ("readout", 0.6)):
        found = conditions[f"exponent of alpha, {role}, mean over training, standard"]
        assert found["standing"] == "holds"
        assert found["measured"]["estimate"] == pytest.approx(exponent, abs=1e-9)
    # muP has no arm with one global rate
    assert conditions["exponent of alpha, hidden, mean over training, mup"]["standing"] == "not run yet"


def test_a_width_of_few_rates_leaves_open_what_needs_it(tmp_path: Path) -> None:
    """As a sweep may end that ran into a limit: two rates of muP at the largest width, whose losses say no optimum."""
    rates = {"lowest": "2^-14", "highest": "2^-4", "windows": {32: ["2^-8", "2^-7"]}}
    arms: list[dict[str, object]] = [
        {"parameterization": "standard", "rates": ["global", "full"]},
        {"parameterization": "mup", "rates": ["global", "full"], "learning_rates": rates},
    ]
    path = part(tmp_path / "s.sqlite", arms)
    found = verdicts(path)
    assert found[6]["standing"] == "holds"
    assert found[4]["standing"] == "not decidable at this scale"
    (condition,) = found[4]["conditions"]  # pyright: ignore[reportGeneralTypeIssues]
    assert condition["reason"] == "no bracketed optimum where one is needed"
    text = command("study", "claims", path).stdout
    assert "| mup-full |" in text
