"""Alignment in a study: asked for in a specification, measured by every trial, kept in the store, resumed."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from study_example import DIGEST, one_thread, tiny, tiny_plan, tiny_source, train, write_corpus
from widthwise.records import (
    AlignmentPoint,
    LayerRow,
    Since,
    StoredStudy,
    read_alignment,
    read_layers,
    read_study,
)
from widthwise.study import parse_spec, resume_study, run_study
from widthwise.study.expand import build_model, model_roles
from widthwise.study.run_state import RunState
from widthwise.study.store import StoreWriter, create_store, writing
from widthwise.study.trial_result import TrialResult
from widthwise.train import AlignmentPlan, checkpoint_timer

LAYERS = ("attention.qkv", "attention.output", "mlp.up", "mlp.down")
NAMES = (*(f"blocks.0.{layer}" for layer in LAYERS), "readout")
SHORT = {"alignment": "every 2 steps"}


def plan_of(measure: dict[str, Any], **changes: Any) -> AlignmentPlan:
    """What the training room is told at width 8."""
    spec = tiny_source(measure=measure, **changes).spec
    model = build_model(spec, 8)
    assert spec.measure is not None
    return spec.measure.alignment.plan(model, model_roles(model))


@pytest.mark.parametrize(
    "measure",
    [
        {"alignment": {"every": 2, "layers": "all"}},
        {"alignment": "every 2 steps", "layers": "all"},
        {"alignment": " every 2 steps "},
        {"alignment": {"every": 2}, "layers": ["all"]},
        {"alignment": {"every": 2, "since": "start", "tokens": 256}},
    ],
)
def test_forms_of_the_same(measure: dict[str, Any]) -> None:
    assert plan_of(measure) == AlignmentPlan(2, NAMES)


@pytest.mark.parametrize(
    ("layers", "chosen"),
    [
        ("one per role", ["blocks.1.mlp.up", "readout"]),
        ("one block", [*(f"blocks.1.{layer}" for layer in LAYERS), "readout"]),
        (["readout", "blocks.2.mlp.up"], ["blocks.2.mlp.up", "readout"]),
        ("blocks.*.mlp.up", [f"blocks.{block}.mlp.up" for block in range(3)]),
    ],
)
def test_some_layers(layers: object, chosen: list[str]) -> None:
    model = {"kind": "transformer", "depth": 3, "head_dim": 4, "context": 8}
    found = plan_of({"alignment": {"every": 1, "layers": layers}}, model=model)
    assert list(found.layers) == chosen


@pytest.mark.parametrize(
    ("measure", "says"),
    [
        ({"alignment": "often"}, "'often' is not understood; write `every 50 steps`"),
        ({"alignment": {"every": 0}}, "measure.alignment.every: .*greater than or equal to 1"),
        ({"alignment": {"every": 5}}, "5 is more than the 4 steps of training: nothing would be measured"),
        ({"alignment": {"every": 1, "layers": ["all", "readout"]}}, "'all' stands alone"),
        ({"alignment": {"every": 1, "layers": ["readout", "readout"]}}, "name one twice"),
        ({"alignment": {"every": 1, "since": "now"}}, "measure.alignment.since"),
        (
            {"alignment": {"every": 1, "layers": "all"}, "layers": "all"},
            "measure.layers: there is no such field",
        ),
        ({"loss": 1}, "measure.alignment: is missing"),
    ],
)
def test_mistakes(measure: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        tiny_source(measure=measure)


def test_a_layer_that_is_not_there_is_named_before_anything_is_written(tmp_path: Path) -> None:
    measure = {"alignment": {"every": 1, "layers": ["readout", "token_embedding"]}}
    source = tiny_source(write_corpus(tmp_path), measure=measure)
    with pytest.raises(
        ValueError, match=r"\['token_embedding'\] are no layers that multiply .* 'blocks.\*.mlp.up'"
    ):
        run_study(source, tmp_path / "s.sqlite", device="cpu")
    assert not (tmp_path / "s.sqlite").exists()


def test_what_is_measured_is_no_part_of_an_identity() -> None:
    plain, measured = tiny_plan(), tiny_plan(measure=SHORT)
    assert plain.trials == measured.trials
    assert plain.populations == measured.populations
    assert plain.layers == ()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores of one study, with and without measuring."""
    place = tmp_path_factory.mktemp("measured")
    corpus = write_corpus(place)
    train(tiny_source(corpus), place / "plain.sqlite")
    train(
        tiny_source(corpus, measure={"alignment": {"every": 2, "since": ["start", "update"]}}),
        place / "s.sqlite",
    )
    return place


def test_the_store_holds_every_trial(folder: Path) -> None:
    study, found = read_study(folder / "s.sqlite"), read_alignment(folder / "s.sqlite")
    some = list(found)[::2]
    assert read_alignment(folder / "s.sqlite", trials=some) == {trial: found[trial] for trial in some}
    assert read_alignment(folder / "s.sqlite", trials=[]) == {}
    assert set(found) == set(study.trials)
    for points in found.values():
        assert [(p.step, p.layer, p.since) for p in points] == [
            (step, name, Since.START) for step in (2, 4) for name in NAMES
        ]
        assert all(None not in (p.alpha, p.omega, p.u, p.product) for p in points)
    assert read_layers(folder / "s.sqlite") == tuple(
        LayerRow(
            width, name, "readout" if name == "readout" else "hidden", width * (4 if "down" in name else 1)
        )
        for width in (8, 16)
        for name in NAMES
    )


def test_the_last_update_is_a_series_of_its_own(folder: Path) -> None:
    start, update = (read_alignment(folder / "s.sqlite", since=since) for since in Since)
    assert set(start) == set(update)
    assert all(p.since is Since.UPDATE for points in update.values() for p in points)
    assert [p.product for p in start[1]] == [
        p.product for p in update[1]
    ]  # that of W z, whatever it is compared with
    assert all(a.alpha != b.alpha for a, b in zip(start[1], update[1], strict=True))


def test_training_is_the_same_to_the_bit(folder: Path) -> None:
    one, other = (read_study(folder / name).trials for name in ("plain.sqlite", "s.sqlite"))
    assert one == other
    assert read_alignment(folder / "plain.sqlite") == {}
    assert read_layers(folder / "plain.sqlite") == ()


def test_nothing_but_sqlite_is_needed(folder: Path) -> None:
    """The queries that stand in the schema's text and in docs/alignment.md."""
    with closing(sqlite3.connect(folder / "s.sqlite")) as connection:
        rows = connection.execute(
            "SELECT step, name, exp(alpha), exp(omega), exp(u) FROM alignment JOIN layer ON layer.id = layer "
            "WHERE trial = 1 AND since = 'start' ORDER BY name, step"
        ).fetchall()
        ratios = connection.execute(
            "SELECT width, role, step, avg(alpha / ln(fan_in)) FROM alignment JOIN layer ON layer.id = layer "
            "WHERE since = 'start' GROUP BY width, role, step"
        ).fetchall()
    assert [row[:3] for row in ratios] == [
        (width, role, step) for width in (8, 16) for role in ("hidden", "readout") for step in (2, 4)
    ]
    assert all(0 < ratio < 1.2 for *_, ratio in ratios)
    assert len(rows) == 2 * len(NAMES)
    assert all(0 < gain < 1e3 for _, _, *gains in rows for gain in gains)


def test_a_population_in_other_parts_measures_the_same(folder: Path) -> None:
    """Members alone: each population of one."""
    alone = folder / "alone.sqlite"
    corpus = folder / "text.txt"
    measure = {"alignment": {"every": 2, "since": ["start", "update"]}}
    train(tiny_source(corpus, measure=measure), alone, population_size=1)
    together, apart = read_alignment(folder / "s.sqlite"), read_alignment(alone)
    for trial, points in together.items():
        for one, other in zip(points, apart[trial], strict=True):
            # Trained alone and measured alone: weights agree to rounding, log gains to what that is of small changes.
            assert gains(one) == pytest.approx(gains(other), abs=1e-4)


def gains(point: AlignmentPoint) -> list[float]:
    found = [point.alpha, point.omega, point.u, point.product]
    return [value for value in found if value is not None]


def test_stopped_and_resumed_is_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of a population, after a measurement: what the checkpoint holds comes into the store."""
    monkeypatch.setattr(sys.modules["widthwise.train.train_population"], "_POLL", 2)
    monkeypatch.setattr(checkpoint_timer, "SHARE", 1.0)
    corpus = write_corpus(tmp_path)
    source = parse_spec(tiny_text_measured(corpus))

    def run(store: Path, stop: bool) -> StoredStudy:
        def listener(state: RunState) -> None:
            if stop and state.population == 2 and state.step == 4:
                raise KeyboardInterrupt

        with one_thread():
            return run_study(
                source, store, device="cpu", population_size=6, listener=listener, checkpoint_seconds=0.0
            )

    whole = run(tmp_path / "whole.sqlite", stop=False)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "s.sqlite", stop=True)
    assert (tmp_path / "s.sqlite.checkpoints").exists()
    with one_thread():
        resumed = resume_study(tmp_path / "s.sqlite", device="cpu")
    assert resumed.trials == whole.trials
    assert read_alignment(tmp_path / "s.sqlite") == read_alignment(tmp_path / "whole.sqlite")


def tiny_text_measured(corpus: Path) -> str:
    import yaml

    changes = {"training": {"steps": 6, "batch": 2}, "widths": [8], "measure": SHORT}
    return yaml.safe_dump(tiny(corpus, **changes), sort_keys=False)


def test_three_hundred_trials_are_a_few_megabytes(tmp_path: Path) -> None:
    """33 layers at 10 points, four numbers each: 99,000 rows of some 55 bytes."""
    path = tmp_path / "s.sqlite"
    plan = tiny_plan(
        model={"kind": "transformer", "depth": 8, "head_dim": 4, "context": 8},
        learning_rates={"lowest": "2^-9", "highest": "2^-5"},
        seeds=list(range(20)),
        population_size=1000,
        measure={"alignment": "every 1 step"},
    )
    assert len(plan.trials) == 300
    create_store(path, name="n", spec="s", corpus=DIGEST, plan=plan)
    empty = path.stat().st_size
    names = [layer.name for layer in plan.layers if layer.width == 8]
    assert len(names) == 33
    points = tuple(
        AlignmentPoint(50 * step, name, Since.START, 1 / step, 2 / step, None if step < 3 else 0.1, 0.7)
        for step in range(1, 11)
        for name in names
    )
    with writing(path) as writer:
        for number, population in enumerate(plan.populations, start=1):
            results = [invented(trial, points) for trial in population]
            writer.finish_population(number, results, seconds=1.0)
    assert read_alignment(path)[300] == points
    megabytes = (path.stat().st_size - empty) / 2**20
    assert megabytes < 6, megabytes


def invented(trial: int, points: tuple[AlignmentPoint, ...]) -> TrialResult:
    from widthwise.records import TrialStatus

    return TrialResult(trial, TrialStatus.COMPLETED, None, None, 2.0, (), points)


OLD = Path(__file__).parent / "data" / "store_schema_2.sql"


def of_schema_2(path: Path) -> Path:
    """A store as version 2 wrote it: its own tables, and the rows that a new one would have."""
    fresh = path.with_name("fresh.sqlite")
    create_store(fresh, name="tiny", spec="text", corpus=DIGEST, plan=tiny_plan())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(
            f"PRAGMA application_id = 0x77777365; PRAGMA user_version = 2; {OLD.read_text()}"
        )
        connection.execute("ATTACH ? AS fresh", (str(fresh),))
        tables = [
            name for (name,) in connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")
        ]
        for table in tables:
            if table != "measurement":
                columns = ", ".join(
                    name for _, name, *_ in connection.execute(f"PRAGMA main.table_info({table})")
                )
                connection.execute(
                    f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM fresh.{table}"
                )
    return path


def tables_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in names}


def test_a_store_of_schema_2_is_read_as_it_is_and_written_as_one_of_3(tmp_path: Path) -> None:
    path = of_schema_2(tmp_path / "s.sqlite")
    before = path.read_bytes()
    study = read_study(path)
    assert (study.name, len(study.trials)) == ("tiny", 24)
    assert read_alignment(path) == {}
    assert path.read_bytes() == before
    with writing(path) as writer:
        assert isinstance(writer, StoreWriter)
    assert tables_of(path) == tables_of(tmp_path / "fresh.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert read_study(path) == study
