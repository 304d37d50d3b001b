"""The alignment experiment goes on: with the stores of an earlier run, after a crash, and up to its time."""

import sys
import tarfile
import time
from pathlib import Path

import pytest

from house_rules import SOURCE
from widthwise.records import read_study
from widthwise.study import parse_spec

STUDY = SOURCE.parent.parent / "studies" / "alignment"
sys.path.insert(0, str(STUDY))

import plan  # noqa: E402
from jobs import Drive, Job, all_jobs, device_of, is_done  # noqa: E402
from plan import Case, Found  # noqa: E402
from run import unpack  # noqa: E402
from stored import Stores, best_rate  # noqa: E402
from worker import own_rates  # noqa: E402

CONFIG = plan.load_config(STUDY / "base.yaml")
CORPUS = "/tmp/alignment/corpus.txt"
"""As the specifications of the stores name it."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    folder = tmp_path_factory.mktemp("stores")
    unpack(STUDY / "stores.tar.gz", folder)
    return Stores(folder, CONFIG)


def test_the_stores_are_of_the_studies_that_are_planned_today(stores: Stores) -> None:
    """Else a second run would refuse them. The first of each kind; the base width's tell the others' rates."""
    adam, sgd = Case("adam", "standard"), Case("sgd", "standard")
    for case in (adam, sgd):
        found = stores.found(case, more=False)
        assert isinstance(found, Found)
        own = own_rates(stores.path(case, "measure"), "mid")
        x = round(best_rate(list(stores.rows(case, "coarse")))[0])
        expected = {
            "coarse": plan.coarse_arms(CONFIG, case),
            "base": plan.base_arms(CONFIG, case, x),
            "measure": plan.measured_arms(CONFIG, found.x),
            "small": plan.preset_arms(CONFIG, case, found, 256),
            "transferred": plan.transferred_arms(found, own),
            "large-1024": plan.large_arms(CONFIG, case, found, 1024, own),
        }
        for study, arms in expected.items():
            begun = parse_spec(read_study(stores.path(case, study)).spec).spec
            text = plan.write_spec(
                CONFIG,
                case,
                study,
                corpus=CORPUS,
                widths=list(begun.widths),
                arms=arms,
                seeds=list(begun.seeds),
                measured=study == "measure",
            )
            assert parse_spec(text).spec == begun, study


def test_the_base_width_is_the_same_under_every_parameterization(stores: Stores) -> None:
    """What lets an optimizer's cases share it: the first run made it twice, and no loss differs in a bit."""
    for optimizer in ("adam", "sgd"):
        both = [
            {t.identity: t.validation_loss for t in read_study(stores.folder / name).trials.values()}
            for name in (f"{optimizer}-standard-base.sqlite", f"{optimizer}-mup-base.sqlite")
            if (stores.folder / name).exists()
        ]
        assert all(one == both[0] for one in both)
        assert len(both[0]) == 81


def test_what_is_complete_is_done(stores: Stores) -> None:
    done = {job.name for job in all_jobs(CONFIG, plan.cases(CONFIG)) if is_done(CONFIG, job, stores.folder)}
    assert {"sgd-standard-base", "adam-mup-small", "adam-standard-1024", "sgd-standard-768"} <= done
    assert not {"sgd-mup-more", "sgd-mup-finer-1024"} & done


def test_stores_that_are_there_stay_and_other_files_are_refused(tmp_path: Path) -> None:
    work, tar = tmp_path / "work", tmp_path / "stores.tar.gz"
    work.mkdir()
    (tmp_path / "a.sqlite").write_text("packed")
    with tarfile.open(tar, "w:gz") as packed:
        for name in ("a.sqlite", "b.sqlite"):
            packed.add(tmp_path / "a.sqlite", name)
    (work / "a.sqlite").write_text("old")
    assert unpack(tar, work) == ["b.sqlite"]
    assert ((work / "a.sqlite").read_text(), (work / "b.sqlite").read_text()) == ("old", "packed")
    with tarfile.open(tar, "w:gz") as packed:
        packed.add(tmp_path / "a.sqlite", "../a.sqlite")
    with pytest.raises(ValueError, match="no store"):
        unpack(tar, work)


def test_a_slot_is_one_of_the_devices_that_may_be_seen() -> None:
    assert [device_of(slot, "2,5") for slot in ("gpu0.0", "gpu1.0", "gpu1.1")] == ["2", "5", "5"]
    assert device_of("gpu3.1", "") == "3"


def drive(tmp_path: Path, script: str, *, seconds: float = 30) -> list[str]:
    """Two jobs, the second needing the first, each this script."""
    case = Case("adam", "standard")
    jobs = [Job(case, "base", (), 2.0), Job(case, "small", ("adam-standard-base",), 1.0)]
    path = tmp_path / "job.py"
    path.write_text(
        f"import os, sys, time\nfrom pathlib import Path\nwork = Path({str(tmp_path)!r})\n{script}"
    )
    deadline = time.monotonic() + seconds
    lines = Drive([sys.executable, str(path)], tmp_path, ["cpu"], deadline).run(jobs, set())
    return [line.partition("s  ")[2].partition(" after")[0] for line in lines]


def test_a_job_that_crashes_is_tried_once_more(tmp_path: Path) -> None:
    once = "if not (work / 'seen').exists():\n    (work / 'seen').touch()\n    os.kill(os.getpid(), 11)\n"
    assert drive(tmp_path, once) == [
        "adam-standard-base: crashed (-11), tried again",
        "adam-standard-base: done",
        "adam-standard-small: done",
    ]
    assert (tmp_path / "adam-standard-small.done").exists()


def test_a_job_that_fails_takes_those_that_need_it_along(tmp_path: Path) -> None:
    assert drive(tmp_path, "sys.exit(3)") == [
        "adam-standard-small: not begun: adam-standard-base failed",
        "adam-standard-base: failed (3)",
    ]


def test_what_is_at_work_when_the_time_is_up_is_stopped(tmp_path: Path) -> None:
    assert drive(tmp_path, "time.sleep(60)", seconds=1) == [
        "adam-standard-base: stopped: the time is up",
        "adam-standard-small: not begun: the time is up",
    ]
