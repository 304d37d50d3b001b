"""The page of what was measured over widths: power laws that are put in come out, with the multipliers as written."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from study_example import DIGEST, command, tiny_source
from study_script import study_script
from widthwise.records import Magnitude, SizePoint, Spread, TrialStatus, read_study
from widthwise.report.epsilon_shares import epsilon_shares
from widthwise.report.measured_sizes import MeasuredSizes, Quantity, measured_sizes
from widthwise.report.widths_page import widths_page
from widthwise.study import SpecSource
from widthwise.study.expand import expand
from widthwise.study.store import create_store, writing
from widthwise.study.trial_result import TrialResult

WIDTHS = (16, 32, 64)
FOLDED = {"embedding": 0.25, "hidden": 0.75, "vector": 1.25, "readout": 0.125}
"""The powers of the invented gradients of folded weights: n^(-power)."""


def source(**changes: object) -> SpecSource:
    fields: dict[str, object] = {
        "name": "widths <b>of</b> a & b",
        "widths": list(WIDTHS),
        "base_width": 32,
        "anchor": "absolute",
        "gauge": "explicit",
        "seeds": [0],
        "learning_rates": [0.01],
        "arms": [{"parameterization": ["standard", "ntk", "mup", "mean-field"], "rates": "full"}],
        "training": {"steps": 4, "batch": 2, "form": "layer-major"},
        "measure": {"alignment": "every 4 steps", "sizes": True},
    }
    return tiny_source(**{**fields, **changes})


def invented(path: Path, given: SpecSource, *, size: float = 1.0, ended: int | None = None) -> None:
    """A store whose folded gradients are size n^(-power), and sqrt(v_hat) half below and half above that, by a bin."""
    plan = expand(given.spec, corpus=DIGEST, population_size=1)
    create_store(path, name=given.spec.name, spec=given.text, corpus=DIGEST, plan=plan)
    width = {cell.trial: cell.width for cell in plan.cells}
    with writing(path) as writer:
        writer.register_host({"machine": "invented"})
        for id_, (trial,) in enumerate(plan.populations[:ended], start=1):
            n = width[trial]
            sizes: list[SizePoint] = []
            spreads: list[Spread] = []
            for row in plan.tensors:
                if row.width != n:
                    continue
                g = size * n ** -FOLDED[row.role]
                sizes += [
                    SizePoint(1, row.name, g),
                    SizePoint(4, row.name, g / 2, 1.0, 0.1 / n, None, None, None, 0.3),
                ]
                spreads.append(
                    Spread(
                        4, row.name, Magnitude.SECOND_MOMENT, g, zeros=7, first=4 * 127 - 1, counts=(50, 50)
                    )
                )
            result = TrialResult(
                trial, TrialStatus.COMPLETED, None, None, 5.0, ((4, 5.0),), (), tuple(sizes), tuple(spreads)
            )
            writer.finish_population(id_, [result], seconds=0.5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("widths") / "s.sqlite"
    invented(path, source())
    return path


@pytest.fixture(scope="module")
def measured(store: Path) -> MeasuredSizes:
    return measured_sizes(store)


MULTIPLIER = {
    ("standard", "embedding"): 0.0, ("standard", "hidden"): 0.0, ("standard", "readout"): 0.0,
    ("ntk", "embedding"): 0.0, ("ntk", "hidden"): 0.5, ("ntk", "readout"): 0.5,
    ("mup", "embedding"): -0.5, ("mup", "hidden"): 0.0, ("mup", "readout"): 0.5,
    ("mean-field", "embedding"): 0.0, ("mean-field", "hidden"): 0.5, ("mean-field", "readout"): 1.0,
}  # fmt: skip
"""a of Everett et al. 2024, table 1: the forward pass multiplies by n^(-a)."""

GRADIENT = {
    ("standard", "embedding"): 0.5, ("standard", "hidden"): 0.5, ("standard", "readout"): 0.0,
    ("ntk", "embedding"): 0.5, ("ntk", "hidden"): 1.0, ("ntk", "readout"): 0.5,
    ("mup", "embedding"): 0.5, ("mup", "hidden"): 1.0, ("mup", "readout"): 0.5,
    ("mean-field", "embedding"): 1.0, ("mean-field", "hidden"): 1.5, ("mean-field", "readout"): 1.0,
}  # fmt: skip
"""g of the same: gradients are n^(-g)."""


def test_sizes_are_those_of_the_weights_as_the_parameterization_has_them(measured: MeasuredSizes) -> None:
    seen = 0
    for one in measured.sizes:
        role = "embedding" if one.role == "position" else one.role
        a = MULTIPLIER.get((one.arm.parameterization, role), 0.0)
        folded = {Quantity.GRADIENT: FOLDED[role], Quantity.SECOND_MOMENT: FOLDED[role], Quantity.CHANGE: 1.0}
        if one.quantity not in folded:
            assert one.quantity is Quantity.OUTPUT_CHANGE
            assert all(sized.value == 0.3 for sized in one.sizes)
            continue
        power = folded[one.quantity] + (-a if one.quantity is Quantity.CHANGE else a)
        unit = 0.1 if one.quantity is Quantity.CHANGE else 1.0
        for sized in one.sizes:
            assert sized.value == pytest.approx(unit * sized.width**-power, rel=1e-12)
        seen += 1
    assert seen == 4 * 5 * 3


def test_theory_is_the_published_table(measured: MeasuredSizes) -> None:
    for one in measured.sizes:
        role = "embedding" if one.role == "position" else one.role
        key = (one.arm.parameterization, role)
        if one.quantity is Quantity.GRADIENT and key in GRADIENT:
            assert one.theory == -GRADIENT[key]
        if one.quantity is Quantity.CHANGE and role == "hidden":
            assert one.theory == -1 + MULTIPLIER[key]  # Adam, full alignment: 1 - a
        assert one.bound == (one.quantity is Quantity.OUTPUT_CHANGE)


def test_slopes_are_put_in_the_table(store: Path) -> None:
    (table,) = (t for t in widths_page(store).tables if t.name == "gradients")
    rows = {(row.head, row.entries[0], row.entries[1]): row.entries for row in table.rows}
    assert rows["mean-field", "hidden", "gradient at the start"][2:] == (
        "−1.5",
        "−1.250",
        "−1.250 to −1.250",
        "0.250",
        "3",
    )
    assert rows["mup", "readout", "median of √v̂"][2:4] == ("−0.5", "−0.625")
    assert len(rows) == 4 * 5 * 2


@pytest.mark.parametrize(
    ("parameterization", "role"), [("standard", "hidden"), ("mean-field", "hidden"), ("mup", "embedding")]
)
def test_what_an_epsilon_exceeds(tmp_path: Path, parameterization: str, role: str) -> None:
    """sqrt(v_hat) as the parameterization has it is s n^(-(power + a)): of 1e-9, the share by its place in two bins."""
    given = source(arms=[{"parameterization": parameterization, "rates": "full"}])
    a, g = MULTIPLIER[parameterization, role], GRADIENT[parameterization, role]
    power = FOLDED[role] + a
    size = 1e-9 * 32**power * 1.125  # at width 32 epsilon is 8/9 of the edge between the bins
    invented(tmp_path / "s.sqlite", given, size=size)
    found = {
        one.width: one for one in epsilon_shares(measured_sizes(tmp_path / "s.sqlite")) if one.role == role
    }
    assert sorted(found) == list(WIDTHS)
    for width, one in found.items():
        root = size * width**-power
        assert one.median == pytest.approx(root, rel=1e-12)  # the edge of the two bins, at 7/8 and 5/4 of it
        for name, epsilon in (
            ("1e-9", 1e-9),
            ("1e-15", 1e-15),
            ("1e-9 per layer", 1e-9 * (width / 32) ** -g),
        ):
            place = epsilon / root
            below = 0.5 * min(1, max(0, (place - 0.875) / 0.125)) + 0.5 * min(1, max(0, (place - 1) / 0.25))
            assert one.below[name] == pytest.approx(below, abs=1e-9), (width, name)
            assert one.near[name] == (0.0 if name == "1e-15" else 1.0)
    assert found[32].below["1e-9"] == pytest.approx(0.5 * (8 / 9 - 0.875) / 0.125)
    assert math.isclose(found[32].below["1e-9 per layer"], found[32].below["1e-9"])


def test_the_command_writes_the_page_alone(store: Path, tmp_path: Path) -> None:
    """There is one rate at each width: no report of best rates."""
    found = command("study", "report", store, "--out", tmp_path / "out")
    assert found.exit_code == 0, found.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "epsilon-shares.png",
        "epsilon-shares.svg",
        "gradients.png",
        "gradients.svg",
        "widths.html",
    ]
    page = (tmp_path / "out" / "widths.html").read_text()
    assert "<b>of</b>" not in page
    assert "widths &lt;b&gt;of&lt;/b&gt; a &amp; b" in page
    for title in (
        "Gradients against the width",
        "epsilon exceeds",
        "Coordinates",
        "What it cost",
        "Specification",
    ):
        assert title in page


def test_a_store_with_nothing_measured_yet_says_so(tmp_path: Path) -> None:
    invented(tmp_path / "s.sqlite", source(), ended=0)
    found = command("study", "report", tmp_path / "s.sqlite", "--out", tmp_path / "out")
    assert found.exit_code == 2
    assert "has no measured sizes yet" in found.stderr
    assert not (tmp_path / "out").exists()


def test_part_of_a_study_has_slopes_of_what_there_is(tmp_path: Path) -> None:
    """Two widths make no slope; the page says how many there are."""
    invented(tmp_path / "s.sqlite", source(), ended=8)
    page = widths_page(tmp_path / "s.sqlite")
    (table,) = (t for t in page.tables if t.name == "gradients")
    assert {row.entries[4] for row in table.rows} == {"a slope needs 3 widths, and there are 2"}
    assert "trials: 4 pending, 8 completed" in page.head[0]


def test_a_run_of_one_rate_ends_in_words(store: Path) -> None:
    found = command("study", "resume", store, "--device", "cpu")
    assert found.exit_code == 0, found.stderr
    assert "12 trials, one rate each: `widthwise study report` shows what was measured" in found.stdout
    assert replace(read_study(store), hosts=()).trials


def test_the_tables_of_the_document(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store of which every second moment is twice as large has half the ratio."""
    main = study_script("paper-widths", "tables").main
    invented(tmp_path / "double.sqlite", source(), size=2.0)
    assert main([str(store), "--formats", str(tmp_path / "double.sqlite")]) == 0
    text = capsys.readouterr().out
    assert (
        "| mean-field | hidden | gradient at the start | −1.5 | −1.250 | −1.250 to −1.250 | 0.250 | 3 |"
        in text
    )
    assert "| adam | mup | 64 | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 |" in text
    assert "The largest difference of 12 final losses is 0 nats." in text
