"""Rates from a finished study: which runs are read, the exponents they give, and the specification they end in."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from house_rules import SOURCE
from study_example import (
    Loss,
    command,
    invented_store,
    tiny_source,
    tiny_text,
    train,
    valley,
    wide,
    write_corpus,
)
from test_house_docs import python_blocks
from widthwise.analysis import Weighting
from widthwise.records import LayerRow, StoredStudy, SweepRow, TrialStatus, read_study
from widthwise.study import SpecSource, StudySpec, load_spec, measured_series, parse_spec, with_measured
from widthwise.study.estimate import estimate_study
from widthwise.study.expand import expand, expand_arms
from widthwise.study.gpu import gpu_named
from widthwise.study.measured_rates import MeasuredStore, read_measured
from widthwise.study.measured_spec import measured_rates_spec, with_measured_from
from widthwise.study.measured_text import measured_text
from widthwise.theory import (
    ADAM,
    MUP,
    STANDARD,
    Alignment,
    PerLayerAlignment,
    RateInterval,
    Role,
    prescribed_exponent,
)

DRIFTS = {"standard-global": -1.0, "mup-full": 0.0}
LAYERS = (
    "blocks.0.attention.qkv",
    "blocks.0.attention.output",
    "blocks.0.mlp.up",
    "blocks.0.mlp.down",
    "readout",
)
TRUTH = {"hidden": (0.8, 0.5, 0.6), "readout": (0.6, 0.5, 0.7)}
"""alpha, omega, u."""


@dataclass(frozen=True)
class Point:
    """One measurement as the reader gives it."""

    step: int
    layer: str
    alpha: float | None
    omega: float | None
    u: float | None


Series = Mapping[int, tuple[Point, ...]]


def measurements(study: StoredStudy, arm: str = "standard-global", skip: tuple[int, ...] = ()) -> Series:
    """Every trial of an arm: after step 2 exponents of 1/4 less, which weigh nothing or half of all."""
    widths = {cell.trial: cell.width for cell in study.cells if cell.arm == arm and cell.width not in skip}
    return {
        trial: tuple(point(step, layer, width) for step in (2, 4) for layer in LAYERS)
        for trial, width in widths.items()
    }


def point(step: int, layer: str, width: int) -> Point:
    exponents = TRUTH["readout" if layer == "readout" else "hidden"]
    early = 0.25 if step == 2 else 0.0
    return Point(step, layer, *((x - early) * math.log(width) - 0.3 for x in exponents))


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a store with invented losses and measurements."""

    def make(loss: Loss | None = None, **changes: object) -> Path:
        path = tmp_path / "small.sqlite"
        invented_store(path, wide(), valley(DRIFTS) if loss is None else loss)
        series = measurements(read_study(path), **changes)  # pyright: ignore[reportArgumentType]
        monkeypatch.setattr(
            measured_series,
            "read_alignment",
            lambda store, trials: {t: series[t] for t in trials if t in series},
        )
        layers = [
            LayerRow(width, name, "readout" if name == "readout" else "hidden", width)
            for width in (8, 16, 32)
            for name in LAYERS
        ]
        monkeypatch.setattr(measured_series, "read_layers", lambda store: layers)
        return path

    return make


def values(found: MeasuredStore, role: str) -> tuple[float, ...]:
    own = found.roles[role]
    return own.alpha.value, own.omega.value, own.u.value


def test_the_exponents_of_an_arm_come_back(measured: Callable[..., Path]) -> None:
    """The invented curve stands at its first value up to step 2 and falls from there: the last measurement is all."""
    found = read_measured(measured(), arm="standard-global")
    for role, truth in TRUTH.items():
        assert values(found, role) == pytest.approx(truth, abs=1e-9)
    assert (found.series.parameterization, found.series.optimizer) == (STANDARD, ADAM)
    assert found.series.seeds == (0, 1)
    assert found.weighting is Weighting.LOSS_DECREASE
    assert set(found.layers) == set(LAYERS)
    assert found.solution.interval("hidden").value == Fraction(4, 5)
    assert found.nearest.nearest == "mid"
    assert prescribed_exponent(STANDARD, ADAM, found.prescription, Role.READOUT) == Fraction(7, 10)


def test_other_weights_count_the_early_measurement(measured: Callable[..., Path]) -> None:
    found = read_measured(measured(), arm="standard-global", weighting=Weighting.EQUAL)
    assert values(found, "hidden") == pytest.approx((0.675, 0.375, 0.475), abs=1e-9)


def test_each_width_is_read_at_its_own_best_rate(measured: Callable[..., Path]) -> None:
    """The optimum moves by an octave at each doubling: 2^-7, 2^-8, 2^-9."""
    found = read_measured(measured(), arm="standard-global")
    assert found.series.rates == {8: 2.0**-7, 16: 2.0**-8, 32: 2.0**-9}


def test_a_rate_that_one_seed_did_not_survive_is_not_best(measured: Callable[..., Path]) -> None:
    plain = valley(DRIFTS)

    def loss(arm: str, width: int, rate: float, seed: int) -> float | None:
        return None if rate == 2.0**-7 and width == 8 and seed == 1 else plain(arm, width, rate, seed)

    assert read_measured(measured(loss), arm="standard-global").series.rates[8] in (2.0**-6, 2.0**-8)


@pytest.mark.parametrize(
    ("changes", "arm", "message"),
    [
        ({}, None, r"it has the arms \['standard-global', 'mup-full'\]; say which one's alignment"),
        ({}, "mine", r"it has no arm 'mine'"),
        ({}, "mup-full", r"alignment was measured at 1 width\(s\) \[8\] of \[8, 16, 32\]"),
        (
            {"skip": (8, 16, 32)},
            "standard-global",
            "no alignment was measured under arm 'standard-global'; run",
        ),
        (
            {"skip": (8,)},
            "standard-global",
            r"alignment was measured at 2 width\(s\) \[16, 32\] of \[8, 16, 32\]; a ratio at one width",
        ),
    ],
)
def test_a_store_that_does_not_say_is_refused(
    measured: Callable[..., Path], changes: dict[str, object], arm: str | None, message: str
) -> None:
    path = measured(**changes)
    with pytest.raises(ValueError, match=rf"store '.*small\.sqlite': {message}"):
        read_measured(path, arm=arm)


def test_an_undefined_role_is_refused(measured: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = measured()
    series = {
        trial: tuple(
            Point(p.step, p.layer, None if p.layer == "readout" else p.alpha, p.omega, p.u) for p in points
        )
        for trial, points in measurements(read_study(path)).items()
    }
    monkeypatch.setattr(
        measured_series, "read_alignment", lambda store, trials: {t: series[t] for t in trials if t in series}
    )
    with pytest.raises(
        ValueError, match="'readout': alpha is undefined: readout is undefined at every width"
    ):
        read_measured(path, arm="standard-global")


def test_a_study_without_a_trained_width_is_refused(measured: Callable[..., Path]) -> None:
    plain = valley(DRIFTS)
    path = measured(lambda arm, width, rate, seed: None if width == 16 else plain(arm, width, rate, seed))
    with pytest.raises(
        ValueError, match="no learning rate at width 16 that trained to its end with every seed"
    ):
        read_measured(path, arm="standard-global")


def test_an_arm_that_is_not_finished_is_refused(
    measured: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials that wait, and a sweep that has not come to a width yet."""
    path = measured()
    study = read_study(path)
    assert read_measured(path, arm="standard-global").series.rates
    last = max(c.trial for c in study.cells if (c.arm, c.width) == ("standard-global", 32))
    waiting = replace(study.trials[last], status=TrialStatus.PENDING, validation_loss=None)
    begun = replace(study, trials={**study.trials, last: waiting})
    swept = replace(study, sweeps=(SweepRow("standard-global", 64), SweepRow("mup-full", 32)))
    for partial, width in ((begun, 32), (swept, 64)):
        monkeypatch.setattr(measured_series, "read_study", lambda store, partial=partial: partial)
        with pytest.raises(ValueError, match=f"arm 'standard-global' has not finished width {width}"):
            read_measured(path, arm="standard-global")


# In a specification


def large(path: Path, **rates: object) -> str:
    arms = [{"parameterization": "standard", "rates": ["full", {"measured": str(path), **rates}]}]
    return tiny_text(widths=[8, 32], arms=arms)


def test_a_specification_reads_the_store_and_keeps_fractions(measured: Callable[..., Path]) -> None:
    path = measured()
    source = parse_spec(large(path, arm="standard-global"))
    full, mine = expand_arms(source.spec)
    assert [full.name, mine.name] == ["standard-full", "standard-measured"]
    alignment = mine.prescription.alignment
    assert isinstance(alignment, PerLayerAlignment)
    hidden = alignment.layers["hidden"]
    assert hidden == Alignment("measured at hidden", Fraction(4, 5), Fraction(1, 2), Fraction(3, 5))
    assert mine.row().predicted_full == "-3/10"  # the readout's 7/10 against full alignment's 1
    path.unlink()
    again = parse_spec(source.text)  # what the store keeps needs no other file
    assert again.spec == source.spec
    assert "measured in" in source.text
    assert "hidden alpha = 0.800 (0.800 to 0.800)" in source.text
    assert yaml.safe_load(source.text)["arms"][0]["rates"][1] == {
        "name": "measured",
        "hidden": {"alpha": "4/5", "omega": "1/2", "u": "3/5"},
        "readout": {"alpha": "3/5", "omega": "1/2", "u": "7/10"},
    }


def test_the_rates_reach_the_trials(measured: Callable[..., Path]) -> None:
    """Width 32 is four times the base: hidden rates fall by 4^(4/5), the readout's by 4^(7/10)."""
    source = parse_spec(large(measured(), arm="standard-global", name="mine"))
    plan = expand(source.spec, corpus="0" * 64, population_size=8)
    trials = {trial.id: trial for trial in plan.trials}
    cell = next(c for c in plan.cells if (c.arm, c.width, c.learning_rate) == ("standard-mine", 32, 2.0**-8))
    tensors = trials[cell.trial].recipe["tensors"]
    assert tensors["blocks.*.mlp.up"][1] == pytest.approx(
        2.0**-8 * 4**-0.8, rel=1e-11
    )  # recipes keep 12 digits
    assert tensors["readout"][1] == pytest.approx(2.0**-8 * 4**-0.7, rel=1e-11)


GIVEN = {"measured": "given", "arm": "standard-global"}


def waiting() -> SpecSource:
    """Rates of two arms that are measured in a store which is named later."""
    arms = [{"parameterization": ["standard", "mup"], "rates": ["full", GIVEN]}]
    return parse_spec(tiny_text(widths=[8, 32], arms=arms))


def test_a_store_that_is_given_later(measured: Callable[..., Path]) -> None:
    """What comes of it is what a specification that names the store says."""
    path, source = measured(), waiting()
    assert [arm.name for arm in expand_arms(source.spec)] == [
        "standard-full", "standard-measured", "mup-full", "mup-measured"
    ]  # fmt: skip
    with pytest.raises(
        ValueError, match=r"rates of arms \['standard-measured', 'mup-measured'\] are yet to be measured"
    ):
        expand(source.spec, corpus="0" * 64, population_size=8)
    filled = with_measured(source, path)
    arms = [
        {
            "parameterization": ["standard", "mup"],
            "rates": ["full", {"measured": str(path), "arm": "standard-global"}],
        }
    ]
    assert filled.spec == parse_spec(tiny_text(widths=[8, 32], arms=arms)).spec
    assert all(arm.measured for arm in expand_arms(filled.spec))
    assert "hidden alpha = 0.800 (0.800 to 0.800)" in filled.text
    rates = [{"measured": str(path), "arm": "standard-global"}, GIVEN]
    named = with_measured_from({"arms": [{"parameterization": "standard", "rates": rates}]}, "elsewhere")
    assert [one["measured"] for one in named["arms"][0]["rates"]] == [str(path), "elsewhere"]
    with pytest.raises(
        ValueError, match=r"no arm of the specification has `rates: \{measured: given, arm: NAME\}`"
    ):
        with_measured(filled, path)


def test_what_waits_for_a_store_is_planned_without_it() -> None:
    """As many trials as any rates of their own would have: 2 widths, 4 rates, 2 seeds, where at the base width all of
    a parameterization's prescriptions are one run."""
    estimate = estimate_study(waiting().spec, gpu_named("h200"))
    assert (estimate.arms, estimate.cells) == (4, 64)
    assert estimate.trials == expected_trials(waiting().spec)


def expected_trials(spec: StudySpec) -> int:
    own = {"name": "own", "hidden": {"alpha": "2/3", "u": "2/3"}, "readout": {"alpha": "2/3", "u": "2/3"}}
    arms = [{"parameterization": ["standard", "mup"], "rates": ["full", own]}]
    known = parse_spec(tiny_text(widths=list(spec.widths), arms=arms)).spec
    return len(expand(known, corpus="0" * 64, population_size=8).trials)


def test_rates_that_wait_are_checked_too() -> None:
    for rates, message in (
        ({"measured": "given", "name": "full"}, "is the name of a prescription"),
        ({"measured": "given", "width": 8}, "there is no such field here"),
        ({"measured": 3}, "store '3' does not exist"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_spec(tiny_text(arms=[{"parameterization": "standard", "rates": rates}]))


def test_a_run_without_the_store_is_refused_at_the_terminal(tmp_path: Path) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text(waiting().text)
    write_corpus(tmp_path)
    result = command(
        "study", "run", spec, "--corpus", tmp_path / "text.txt", "--store", tmp_path / "o.sqlite"
    )
    assert result.exit_code == 2
    assert "run with --measured FILE" in result.stderr
    assert not (tmp_path / "o.sqlite").exists()


def test_a_run_takes_its_rates_from_the_store_at_the_terminal(tmp_path: Path, trained: Path) -> None:
    """And goes on, later, without it."""
    spec, store = tmp_path / "s.yaml", tmp_path / "o.sqlite"
    given = {"measured": "given", "arm": "standard-mid"}
    arms = [{"parameterization": "standard", "rates": given}]
    spec.write_text(tiny_text(write_corpus(tmp_path), widths=[8, 16], arms=arms, seeds=[0]))
    result = command("study", "run", spec, "--measured", trained, "--store", store)
    assert result.exit_code == 0, result.stderr
    study = read_study(store)
    assert [arm.name for arm in study.arms] == ["standard-measured"]
    assert parse_spec(study.spec).spec == with_measured(load_spec(str(spec)), trained).spec
    assert all(trial.status is TrialStatus.COMPLETED for trial in study.trials.values())


def test_round_trip_of_the_rates(measured: Callable[..., Path]) -> None:
    found = read_measured(measured(), arm="standard-global")
    text = tiny_text(arms=[{"parameterization": "mup", "rates": measured_rates_spec(found, name="mine")}])
    (arm,) = expand_arms(parse_spec(text).spec)
    for role in Role:
        expected = prescribed_exponent(MUP, ADAM, found.prescription, role)
        assert prescribed_exponent(MUP, ADAM, arm.prescription, role) == expected


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"arm": "mine"}, r"arms\.0\.rates\.1: store '.*': it has no arm 'mine'"),
        ({"arm": "mup-full"}, r"arms\.0\.rates\.1: store '.*': alignment was measured at 1 width\(s\) \[8\]"),
        ({"width": 8}, r"arms\.0\.rates\.1: 'width' is no field of measured rates; they are"),
        (
            {"arm": "standard-global", "weighting": "mine"},
            r"weighting: 'mine' must be one of loss-decrease, ",
        ),
        ({"arm": "standard-global", "name": "full"}, "'full' is the name of a prescription; give another"),
    ],
)
def test_mistakes_in_measured_rates(
    measured: Callable[..., Path], rates: dict[str, object], message: str
) -> None:
    path = measured()
    with pytest.raises(ValueError, match=message):
        parse_spec(large(path, **rates))


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"arms\.0\.rates\.1: store '.*none\.sqlite' does not exist"):
        parse_spec(large(tmp_path / "none.sqlite"))


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"hidden": {"alpha": "x", "u": 1}, "readout": "full"}, "must be a fraction such as 7/10"),
        ({"hidden": {"alpha": "1/0", "u": 1}, "readout": "full"}, "must be a fraction such as 7/10"),
        ({"hidden": "half", "readout": "full"}, "Input should be 'full', 'mid' or 'none'"),
        ({"hidden": "full"}, r"arms\.0\.rates\.0\.readout: is missing"),
    ],
)
def test_rates_by_role_that_are_not_well_formed(rates: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_spec(tiny_text(arms=[{"parameterization": "mup", "rates": rates}]))


def test_rates_by_role_that_are_a_presets_are_the_same_trials() -> None:
    """A trial is its numbers, whatever they are called."""
    by_role = {"hidden": {"alpha": 1, "omega": 0.5, "u": 1}, "readout": "full"}
    arms = [{"parameterization": "mup", "rates": ["full", by_role]}]
    plan = expand(parse_spec(tiny_text(arms=arms)).spec, corpus="0" * 64, population_size=8)
    served = {(c.arm, c.width, c.learning_rate, c.seed): c.trial for c in plan.cells}
    for (arm, *rest), trial in served.items():
        if arm == "mup-full":
            assert served["mup-measured", *rest] == trial


# In words


HIDDEN = "0.80 (0.80 to 0.80) 0.50 0.60 (0.60 to 0.60) 0.80 1 3/4 1/2"


def test_the_text_says_exponents_rates_and_presets(measured: Callable[..., Path]) -> None:
    """Worked by hand: standard, Adam: c = max(alpha, u); every layer has its role's exponents here."""
    lines = measured_text(read_measured(measured(), arm="standard-global")).splitlines()
    assert lines[0] == "arm standard-global: standard parameterization, adam"
    assert lines[1] == "widths 8 at 2^-7, 16 at 2^-8, 32 at 2^-9; 2 seeds; 95 % intervals"
    rows = {line.split()[0]: line.split()[1:] for line in lines[5:] if line}
    assert rows["hidden"][-3:] == rows["readout"][-3:] == ["1", "3/4", "1/2"]
    assert rows["embedding"] == ["-", "-", "-", "0.00", "0", "0", "0"]
    assert " ".join(rows["hidden"]) == HIDDEN
    assert rows["blocks.0.mlp.up"][0] == "0.80"
    assert lines[-1] == "no preset lies within the intervals; nearest: mid."


def test_the_text_keeps_to_a_terminal_and_says_the_same(measured: Callable[..., Path]) -> None:
    found = read_measured(measured(), arm="standard-global")
    whole, parts = measured_text(found), measured_text(found, columns=80)
    assert max(map(len, whole.splitlines())) > 80 >= max(map(len, parts.splitlines()))
    assert set(parts.split()) == set(whole.split())
    for line in ("hidden                       0.60 (0.60 to 0.60)  0.80", "hidden     1     3/4  1/2"):
        assert line in parts


# A study that was run, and the documentation


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three widths, two seeds, with what training measured."""
    folder = tmp_path_factory.mktemp("trained")
    changes = {
        "widths": [8, 16, 32],
        "arms": [{"parameterization": "standard", "rates": "mid"}],
        "learning_rates": {"lowest": "2^-8", "highest": "2^-7"},
        "training": {"steps": 12, "batch": 2},
        "measure": {"alignment": "every 4 steps"},
    }
    train(tiny_source(write_corpus(folder), **changes), folder / "small.sqlite")
    return folder / "small.sqlite"


def test_a_trained_store_gives_rates(trained: Path) -> None:
    """What these few steps measure is noise; that every exponent is defined and bounded is not."""
    found = read_measured(trained)
    assert found.series.arm == "standard-mid"
    assert sorted({row.progress for row in found.series.rows}) == [1 / 3, 2 / 3, 1.0]
    assert {row.fan_in for row in found.series.rows if row.layer == "blocks.0.mlp.down"} == {32, 64, 128}
    for own in (*found.roles.values(), *found.layers.values()):
        for one in (own.alpha, own.omega, own.u):
            assert one.low <= one.value <= one.high <= 1
    assert found.solution.interval("hidden").high <= 1
    assert set(found.roles) == {"hidden", "readout"}
    rates = {layer: float(rate.value) for layer, rate in found.layer_rates.items()}
    assert len(set(rates.values())) == len(LAYERS)


def test_a_layers_rate_is_of_its_own_exponents(measured: Callable[..., Path]) -> None:
    """Standard, Adam: c = max(alpha, u) of the layer, whatever those of its role are."""
    found = read_measured(measured(), arm="standard-global")
    slope = replace(found.roles["hidden"].alpha, value=0.9, low=0.85, high=0.95)
    steep = replace(found.layers["blocks.0.mlp.up"], alpha=slope)
    changed = replace(found, layers={**found.layers, "blocks.0.mlp.up": steep})
    assert changed.layer_rates["blocks.0.mlp.up"] == RateInterval(*map(Fraction, ("17/20", "9/10", "19/20")))
    assert changed.layer_rates["blocks.0.mlp.down"] == found.solution.interval("hidden")


def test_the_documentation_runs(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (SOURCE.parent.parent / "docs" / "measured-rates.md").read_text()
    monkeypatch.chdir(trained.parent)
    scope: dict[str, object] = {"__name__": "docs"}
    for place, block in python_blocks(text).items():
        exec(compile(block, f"docs/measured-rates.md {place}", "exec"), scope)
    small, *arms = re.findall(r"^```yaml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert parse_spec(small).spec.measure is not None
    for arm in arms:
        fields = {**yaml.safe_load(small), **yaml.safe_load(arm)}
        assert parse_spec(yaml.safe_dump(fields)).spec.arms


# At the terminal


def test_the_command_prints_what_a_store_measured(trained: Path) -> None:
    result = command("align", "--store", trained)
    assert result.exit_code == 0
    assert "arm standard-mid: standard parameterization, adam" in result.stdout
    assert "hidden" in result.stdout
    written = json.loads(command("align", "--store", trained, "--format", "json").stdout)
    found = read_measured(trained)
    assert written["nearest"] == found.nearest.nearest
    assert Fraction(written["roles"]["hidden"]["c"]["value"]) == found.solution.interval("hidden").value
    assert set(written["layers"]) == set(found.layers)
    equal = json.loads(
        command("align", "--store", trained, "--format", "json", "--weighting", "equal").stdout
    )
    assert equal["weighting"] == "equal"
    assert equal["roles"] != written["roles"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "none.sqlite"], "store 'none.sqlite' does not exist"),
        (["--store", "none.sqlite", "--widths", "8,16,32"], "--store reads what a study measured"),
        (
            ["--store", "none.sqlite", "--weighting", "mine"],
            "--weighting 'mine' is unknown; choose one of loss-",
        ),
        ([], "give your model and the widths to train it at"),
        (["models:build"], "give your model and the widths to train it at"),
        (["models:build", "--widths", "8,16,32", "--arm", "x"], "--arm and --weighting are for what a study"),
    ],
)
def test_mistakes_at_the_terminal(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("align", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_measured_nothing_is_refused_at_the_terminal(tmp_path: Path) -> None:
    invented_store(tmp_path / "plain.sqlite", wide(), valley(DRIFTS))
    result = command("align", "--store", tmp_path / "plain.sqlite", "--arm", "mup-full")
    assert result.exit_code == 2
    assert "no alignment was measured under arm 'mup-full'" in " ".join(result.stderr.split())
