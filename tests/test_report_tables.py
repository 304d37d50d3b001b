"""A study beside the paper on a page: sizes held to the models, cost by hand, policies for epsilon, Table E1."""

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from study_example import invented_store, wide
from test_report_page import Reader
from widthwise.analysis import ArmLabel, fit_table
from widthwise.models import MLP, Transformer
from widthwise.records import PopulationRow, StoredStudy, read_study
from widthwise.report import PageData, make_figures, render_page, study_page_data
from widthwise.report.cost_table import cost_page_table
from widthwise.report.model_size import parameter_count, token_flops
from widthwise.report.page_table import PageRow, as_page_table
from widthwise.report.paper_tables import evaluation_page_table
from widthwise.study import arm_axes

SOURCE = wide(
    anchor="absolute",
    widths=[8, 16, 32, 64],
    arms=[
        {"parameterization": ["standard", "mup"], "rates": ["global", "full"]},
        {"parameterization": "mup", "rates": "full", "epsilon": [{"per_layer": 1e-12}, {"atan2": {}}]},
    ],
    learning_rates={"lowest": "2^-13", "highest": "2^-4"},
)


def loss(arm: str, width: int, rate: float, seed: int) -> float | None:
    octaves = math.log2(width / 8)
    u = math.log2(rate) - (-7.3 - (octaves if "global" in arm else 0.0))
    better = 0.01 * octaves if "per-layer" in arm or "atan2" in arm else 0.0
    jitter = random.Random(f"{arm}/{width}/{rate}/{seed}").gauss(0, 3e-4)
    return None if u > 3.2 else 2 + 0.5 ** (octaves / 2) - better + 0.03 * u**2 + jitter


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "s.sqlite"
    invented_store(path, SOURCE, loss)
    return path


@pytest.fixture(scope="module")
def study(store: Path) -> StoredStudy:
    return read_study(store)


@pytest.fixture(scope="module")
def data(store: Path) -> PageData:
    return study_page_data(store, labels={n: ArmLabel(**axes) for n, axes in arm_axes(SOURCE.text).items()})


def test_sizes_are_the_models() -> None:
    transformer = {"kind": "transformer", "depth": 3, "width": 48, "context": 20, "head_dim": 16}
    model = Transformer(vocabulary=256, **{k: v for k, v in transformer.items() if k != "kind"})
    assert parameter_count(transformer) == model.parameter_count
    mlp = {"kind": "mlp", "depth": 2, "width": 24, "window": 5, "context": 12, "vocabulary": 100}
    assert parameter_count(mlp) == MLP(**{k: v for k, v in mlp.items() if k != "kind"}).parameter_count
    assert parameter_count({"kind": "own"}) is token_flops({"kind": "own"}) is None


def test_arithmetic_is_the_trainers(study: StoredStudy) -> None:
    from widthwise.study.runner import train_recipe
    from widthwise.train.throughput import step_flops

    recipe = json.loads(study.trials[1].recipe)
    a_step = step_flops(train_recipe(recipe))
    found = token_flops(recipe["model"])
    assert found is not None
    assert found * recipe["batch"] * recipe["model"]["context"] == pytest.approx(a_step, rel=1e-12)


def test_cost_by_hand(study: StoredStudy) -> None:
    """Two trials of 4 steps of 2 x 8 tokens, one of which diverged at step 3, in 2 seconds; then all of it twice."""
    diverged = next(t for t in study.trials.values() if t.step is not None)
    whole = next(t for t in study.trials.values() if t.step is None)
    first = study.populations[0]
    revision = replace(first.revisions[0], trials=(whole.id, diverged.id))
    population = replace(first, revisions=(revision,), seconds=2.0, host=1)
    table = cost_page_table(replace(study, populations=(population, replace(population, id=2))))
    assert table is not None
    assert table.columns[1:6] == ("populations", "trials", "seconds", "tokens", "tokens a second")
    everything = table.rows[-1]
    assert everything.head == "all"
    assert everything.entries[:5] == ("2", "4", "4.00", "224", "56.0")
    assert table.rows[-2].head == "host 1: invented"
    assert table.rows[-2].entries == everything.entries
    pending: tuple[PopulationRow, ...] = ()
    assert cost_page_table(replace(study, populations=pending)) is None


def test_the_policies_of_epsilon_are_compared_at_every_width(data: PageData) -> None:
    (figure,) = [f for f in make_figures(data) if f.name == "loss-by-epsilon"]
    assert {row["panel"] for row in figure.rows} == {"adam mup full"}
    assert {row["policy"] for row in figure.rows} == {"constant", "per-layer", "atan2"}
    costs = {(row["policy"], row["width"]): row["cost"] for row in figure.rows}
    for width in (16, 32, 64):
        # invented: a hundredth a doubling; two seeds of 3e-4 each and the fit at each rate leave about 1e-3
        assert costs["constant", width] == pytest.approx(0.01 * math.log2(width / 8), abs=1.5e-3)
        assert min(costs[policy, width] for policy in ("constant", "per-layer", "atan2")) == 0
    assert all(row["low"] < row["cost"] < row["high"] for row in figure.rows)


def test_losses_stand_over_parameters(data: PageData) -> None:
    (figure,) = [f for f in make_figures(data) if f.name == "loss-against-size"]
    assert {row["panel"] for row in figure.rows} == {"adam", "adam-atan2"}
    sizes = {row["width"]: row["size"] for row in figure.rows}
    assert sizes[64] == Transformer(width=64, depth=1, head_dim=4, vocabulary=256, context=8).parameter_count
    bare = replace(data, labels={}, parameters={})
    (figure,) = [f for f in make_figures(bare) if f.name == "loss-against-size"]
    assert {row["size"] for row in figure.rows} == {8, 16, 32, 64}
    assert not [f for f in make_figures(bare) if f.name == "loss-by-epsilon"]


def test_the_page_has_the_tables(data: PageData) -> None:
    reader = Reader(render_page(data))
    ids = [a["id"] for a in reader.all("h2")]
    assert [name for name in ids if name in ("evaluation", "metrics", "sensitivity", "cost")] == [
        "evaluation", "metrics", "sensitivity", "cost"
    ]  # fmt: skip
    for text in (
        "adam standard, paper",
        "2.576",
        "full, epsilon per-layer",
        "full, no epsilon",
        "tokens a second",
        "octaves from best to edge",
    ):
        assert text in reader.text
    rows = [
        a
        for a in reader.all("tr")
        if a.get("data-prescription") == "mup-full" and a.get("data-width") == "64"
    ]
    assert len(rows) == 2  # of the optima, and of what a wrong rate costs
    assert all(a.get("scope") in ("row", "col") for a in reader.all("th"))


def test_two_arms_of_one_setting_leave_the_table_out(data: PageData) -> None:
    table = fit_table(data.observations)
    assert evaluation_page_table(table, data.labels) is not None
    assert evaluation_page_table(table, dict.fromkeys(data.labels, data.labels["mup-full"])) is None
    assert evaluation_page_table(table, {}) is None
    alone = evaluation_page_table(table, data.labels, published=False)
    assert alone is not None
    assert not any("paper" in row.head for row in alone.rows)
    assert "Everett" not in alone.caption


def test_an_empty_column_is_left_out() -> None:
    rows = [PageRow("a", ("1", "", "x")), PageRow("b", ("2", "", ""))]
    table = as_page_table("t", "T", "", ("of", "one", "two", "three"), rows)
    assert table is not None
    assert table.columns == ("of", "one", "three")
    assert [row.entries for row in table.rows] == [("1", "x"), ("2", "")]
    assert as_page_table("t", "T", "", ("of",), []) is None
