"""A study's alignment on its page: exponents that were put in come out, in the table and in the figures."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from study_example import DIGEST, ended, invented_store, valley, wide
from widthwise.records import AlignmentPoint, LayerRow, Since, best_runs, read_study
from widthwise.report import PageData, make_figures, render_page, study_page_data
from widthwise.report.alignment_figures import EXPONENT
from widthwise.report.alignment_table import alignment_rows
from widthwise.study.expand import expand
from widthwise.study.store import create_store, writing

DRIFT = {"standard-global": -1.0, "mup-full": 0.0}
LOSS = valley(DRIFT, noise=0)
TRUTH = {
    "hidden": {"alpha": 0.9, "omega": 0.5, "u": 0.75},
    "readout": {"alpha": 0.6, "omega": 0.5, "u": 0.55},
}
STEPS = (2, 4)
Gain = Callable[[LayerRow, str, int, int], float | None]
"""(layer, quantity, seed, step) -> log gain."""


def law(layer: LayerRow, quantity: str, seed: int, step: int) -> float:
    """A power law with a constant of each layer's own, and a seed that lies off by as much at every width."""
    constant = -0.3 - 0.01 * len(layer.name) + 0.02 * seed
    return constant + TRUTH[layer.role][quantity] * math.log(layer.width) + 0.001 * step


def measured_store(path: Path, gain: Gain = law, **changes: object) -> Path:
    source = wide(measure={"alignment": "every 2 steps"}, **changes)
    plan = expand(source.spec, corpus=DIGEST, population_size=8)
    create_store(path, name=source.spec.name, spec=source.text, corpus=DIGEST, plan=plan)
    cells = {cell.trial: cell for cell in plan.cells}
    with writing(path) as writer:
        for id_, trials in enumerate(plan.populations, start=1):
            results = []
            for trial in trials:
                cell = cells[trial]
                points = tuple(
                    AlignmentPoint(
                        step,
                        layer.name,
                        Since.START,
                        *(gain(layer, q, cell.seed, step) for q in TRUTH["hidden"]),
                        0.0,
                    )
                    for step in STEPS
                    for layer in plan.layers
                    if layer.width == cell.width
                )
                result = ended(trial, LOSS(cell.arm, cell.width, cell.learning_rate, cell.seed))
                results.append(replace(result, alignment=points))
            writer.finish_population(id_, results, seconds=0.5)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PageData:
    return study_page_data(measured_store(tmp_path_factory.mktemp("s") / "s.sqlite"))


def test_the_runs_are_those_of_each_widths_best_rate(tmp_path: Path) -> None:
    study = read_study(measured_store(tmp_path / "s.sqlite"))
    found = best_runs(study, "standard-global")
    assert [(one.width, one.learning_rate) for one in found] == [(8, 2**-7), (16, 2**-8), (32, 2**-9)]
    assert [sorted(one.trials) for one in found] == [[0, 1]] * 3
    losses = {study.trials[trial].validation_loss for one in found for trial in one.trials.values()}
    assert losses == {2.0}


def test_seeds_added_at_the_best_rate_move_no_choice(tmp_path: Path) -> None:
    """As a sweep does it: seed 0 at every rate, seed 1, which is worse by 0.5, at its best."""
    best = {"standard-global": -1.0, "mup-full": 0.0}
    path = tmp_path / "s.sqlite"
    invented_store(
        path, wide(), lambda arm, width, rate, seed: valley(best, noise=0)(arm, width, rate, 0) + seed / 2
    )
    study = read_study(path)
    chosen = {(one.width, one.learning_rate) for one in best_runs(study, "mup-full")}
    cells = tuple(
        cell
        for cell in study.cells
        if cell.arm == "mup-full" and (cell.seed == 0 or (cell.width, cell.learning_rate) in chosen)
    )
    found = best_runs(replace(study, cells=cells), "mup-full")
    assert {(one.width, one.learning_rate) for one in found} == chosen
    assert [sorted(one.trials) for one in found] == [[0, 1]] * 3


def test_a_width_without_a_rate_that_trained_is_left_out(tmp_path: Path) -> None:
    """At width 16 every rate lost one of its seeds."""
    path = tmp_path / "s.sqlite"
    invented_store(path, wide(), lambda arm, width, rate, seed: None if (width, seed) == (16, 1) else 2.0)
    assert [one.width for one in best_runs(read_study(path), "mup-full")] == [8, 32]


def test_exponents_that_were_put_in_come_out(data: PageData) -> None:
    """Slopes exactly, whatever each layer's constant; ratios of one width are off by constant / ln(fan-in)."""
    assert [arm.prescription for arm in data.alignment] == ["standard-global", "mup-full"]
    for arm in data.alignment:
        assert arm.missing == ""
        for one in (*arm.steps.exponents, *arm.mean.exponents):
            assert one.exponent.value == pytest.approx(TRUTH[one.name][one.quantity], abs=1e-12)
        assert {ratio.progress for ratio in arm.steps.ratios} == set(STEPS)
        hidden = next(
            r for r in arm.steps.ratios if r.role == "hidden" and r.quantity == "alpha" and r.width == 8
        )
        assert hidden.estimate < 0.8
        assert hidden.layers == 4


def test_the_table(data: PageData) -> None:
    rows = alignment_rows(data)
    assert [(row.prescription, row.role) for row in rows] == [
        (name, role) for name in DRIFT for role in ("hidden", "readout")
    ]
    assert [entry.text for entry in rows[0].entries] == ["0.90", "0.50", "0.75"]
    assert rows[0].measured == "widths 8, 16, 32; 2 seeds, 4 layers"
    assert rows[1].measured == "widths 8, 16, 32; 2 seeds, 1 layer"


def test_the_figures(data: PageData) -> None:
    found = {figure.name: figure for figure in make_figures(data) if figure.name.startswith("alignment")}
    assert list(found) == [
        "alignment-steps-hidden", "alignment-steps-readout", "alignment-widths-hidden", "alignment-widths-readout",
    ]  # fmt: skip
    figure = found["alignment-steps-hidden"]
    views = dict.fromkeys(row["view"] for row in figure.rows)
    assert list(views) == [EXPONENT, *(f"ratios at width {width}" for width in (8, 16, 32))]
    shown = [row for row in figure.rows if row["view"] == EXPONENT and row["prescription"] == "mup-full"]
    values = {(row["quantity"], row["x"]): row["value text"] for row in shown if row["kind"] == "value"}
    assert values == {
        (quantity, step): f"{exponent:.2f}"
        for quantity, exponent in TRUTH["hidden"].items()
        for step in STEPS
    }
    assert [row["value"] for row in shown if row["kind"] == "reference"] == [0.5, 0.75, 1.0]
    assert figure.image_note == f"Shown: {EXPONENT}."
    widths = [row for row in found["alignment-widths-readout"].rows if row["kind"] == "value"]
    assert {row["x"] for row in widths} == {8, 16, 32}
    assert all(row["low"] < row["value"] < row["high"] for row in widths)  # two seeds


def test_the_page_has_them_and_one_without_has_none(data: PageData) -> None:
    page = render_page(data)
    assert '<h2 id="alignment">Alignment exponents</h2>' in page
    assert '<h2 id="figure-alignment-steps-hidden">Alignment over training: hidden layers</h2>' in page
    without = render_page(replace(data, alignment=()))
    assert "Alignment exponents" not in without
    assert "Alignment over training" not in without


def test_two_widths_have_ratios_and_no_exponents(tmp_path: Path) -> None:
    data = study_page_data(measured_store(tmp_path / "s.sqlite", widths=[8, 16]))
    arm = data.alignment[0]
    assert arm.missing == "an exponent needs 3 widths, and there are 2"
    assert arm.steps.exponents == arm.mean.exponents == ()
    assert arm.steps.ratios
    (first, *_) = alignment_rows(data)
    assert (first.entries[0].text, first.entries[0].note) == ("—", arm.missing)
    figure = next(figure for figure in make_figures(data) if figure.name == "alignment-steps-hidden")
    assert figure.image_note == "Shown: ratios at width 16."
    render_page(data)


def test_undefined_is_said_and_never_drawn(tmp_path: Path) -> None:
    """u of the readout is undefined at one width, step and seed."""

    def gap(layer: LayerRow, quantity: str, seed: int, step: int) -> float | None:
        lost = (layer.role, quantity, layer.width, seed, step) == ("readout", "u", 16, 1, 4)
        return None if lost else law(layer, quantity, seed, step)

    data = study_page_data(measured_store(tmp_path / "s.sqlite", gap))
    (_, readout, *_) = alignment_rows(data)
    assert [entry.text for entry in readout.entries] == ["0.60", "0.50", "—"]
    assert "readout is undefined at width 16" in readout.entries[2].note
    figure = next(figure for figure in make_figures(data) if figure.name == "alignment-steps-readout")
    drawn = {(row["view"], row["quantity"], row["x"]) for row in figure.rows if row["kind"] == "value"}
    assert ("ratios at width 16", "u", 2) in drawn
    assert ("ratios at width 16", "u", 4) not in drawn
    assert (EXPONENT, "u", 2) in drawn
    assert (EXPONENT, "u", 4) not in drawn
