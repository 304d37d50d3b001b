"""`widthwise study claims`: axes from a specification, a document and JSON from a store, and bad input."""

import json
import math
import random
from pathlib import Path

import pytest

from study_example import command, invented_store, snapshot, tiny_source, wide
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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Standard beats muP by 0.1, its global rate falls as width^-1 and costs 0.05, tuned constants gain muP more."""
    path = tmp_path_factory.mktemp("claims") / "s.sqlite"

    def loss(arm: str, width: int, rate: float, seed: int) -> float:
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

    arms = paper_spec().spec.arms
    invented_store(
        path,
        wide(
            anchor="absolute",
            arms=[a.model_dump(mode="json", exclude_none=True) for a in arms[:2]],
            learning_rates={"lowest": "2^-14", "highest": "2^-4"},
        ),
        loss,
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
