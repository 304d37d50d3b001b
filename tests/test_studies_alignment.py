"""The alignment experiment: its studies are valid and as large as was planned, and its parts fit together."""

import math
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from house_rules import SOURCE
from widthwise.analysis import Interval, Observation
from widthwise.study import parse_spec
from widthwise.study.expand import StudyPlan, expand
from widthwise.study.rates_choice import RatesByRole
from widthwise.theory import PRESCRIPTIONS

STUDY = SOURCE.parent.parent / "studies" / "alignment"
sys.path.insert(0, str(STUDY))

import plan  # noqa: E402
from jobs import all_jobs  # noqa: E402
from loss_tables import blocks  # noqa: E402
from rate_tables import Drift, mean_miss  # noqa: E402
from summarize import PAGE, main, replaced  # noqa: E402

CONFIG = plan.load_config(STUDY / "base.yaml")
CASES = plan.cases(CONFIG)
FOUND = plan.Found(-7, 0.5, -6)
EXPONENTS = {"alpha": "7/10", "omega": "1/2", "u": "3/5"}
SPELLED = {"hidden": EXPONENTS, "readout": EXPONENTS}


def own() -> dict[str, tuple[object, object]]:
    spelled = {name: {"name": name, **SPELLED} for name in ("measured", "readout")}
    return {name: (one, RatesByRole.model_validate(one).prescription) for name, one in spelled.items()}


def planned(case: plan.Case, study: str, **options: object) -> StudyPlan:
    text = plan.write_spec(CONFIG, case, study, corpus="python-stdlib", **options)  # pyright: ignore
    return expand(parse_spec(text).spec, corpus="0" * 64, population_size=64)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_study_is_valid_and_within_the_budget(case: plan.Case) -> None:
    """Seconds of an H100 by the stated cost of a model; six cases on four devices have about 460 s each."""
    seeds, widths = CONFIG["seeds"], CONFIG["large_widths"]
    studies = [
        planned(case, "coarse", widths=[128], arms=plan.coarse_arms(CONFIG, case), seeds=[0]),
        planned(case, "base", widths=[128], arms=plan.base_arms(CONFIG, case, -7), seeds=seeds),
        planned(case, "small", widths=[256], arms=plan.preset_arms(CONFIG, case, FOUND, 256), seeds=seeds),
        planned(
            case,
            "measure",
            widths=CONFIG["measured_widths"],
            arms=plan.measured_arms(CONFIG, -7),
            seeds=seeds,
            measured=True,
        ),
        planned(
            case, "transferred", widths=widths[-1:], arms=plan.transferred_arms(FOUND, own()), seeds=[1, 2]
        ),
        *(
            planned(
                case, f"large-{n}", widths=[n], arms=plan.large_arms(CONFIG, case, FOUND, n, own()), seeds=[0]
            )
            for n in widths
        ),
    ]
    seconds = sum(
        CONFIG["seconds_per_million_tokens"][trial.recipe["model"]["width"]] * 2.048
        for study in studies
        for trial in study.trials
    )
    assert seconds < 300
    assert sum(len(study.trials) for study in studies) > 150


@pytest.mark.parametrize(("case", "width", "name"), list(product(CASES, (256, 1024), plan.PRESETS)))
def test_a_window_holds_both_predictions_inside_it(case: plan.Case, width: int, name: str) -> None:
    grid = plan.window(case, CONFIG, PRESCRIPTIONS[name], width=width, x=-7)
    low, high = (int(grid[end].removeprefix("2^")) for end in ("lowest", "highest"))
    octaves = math.log2(width / 128)
    for drift in case.drifts(PRESCRIPTIONS[name]):
        assert low + 1 < -7 - drift * octaves < high
    assert 4 <= high - low <= 7


def test_jobs_wait_for_what_they_need_and_the_longest_of_a_kind_comes_first() -> None:
    jobs = all_jobs(CONFIG, CASES)
    assert [job.rank for job in jobs] == sorted(job.rank for job in jobs)
    at = {job.name: i for i, job in enumerate(jobs)}
    assert len(at) == len(jobs) == 3 + 6 * (1 + 2 + 1) + 1 + 2 * 3
    assert all(at[name] < at[job.name] for job in jobs for name in job.needs)
    assert [job.name for job in jobs if not job.needs] == [
        f"{o}-standard-base" for o in ("adam", "adafactor", "sgd")
    ]


def test_the_noise_of_arms_against_seeds_by_hand() -> None:
    """Means 0 and 1 of the arms, 1/2, 0 and 1 of the seeds: residuals 0, 1/2, -1/2 and 0, -1/2, 1/2; freedom 1 x 2."""
    losses = {"a": (0.0, 0.0, 0.0), "b": (1.0, 0.0, 2.0)}
    runs = [Observation(arm, 1024, 0.1, s, x) for arm, row in losses.items() for s, x in enumerate(row)]
    found, sigma, freedom = blocks(runs)
    assert freedom == 2
    assert sigma == pytest.approx(math.sqrt(1.0 / 2), rel=1e-15)
    assert np.array_equal(found["b"], losses["b"])
    again = [*runs, *(Observation("twin", 1024, 0.1, s, x) for s, x in enumerate(losses["a"]))]
    assert blocks(again)[1:] == (sigma, freedom)  # the same runs under another name count once


def test_the_mean_miss_by_hand() -> None:
    """Moved -2 and -1 over 3 octaves, foreseen -1/2 and 0 a doubling: misses -1/2 and -1, ends as far as theirs."""
    found = [
        Drift("a", Interval(-2.0, -2.5, -1.0), "", {"full": (-0.75, -0.5, -0.5)}, None),
        Drift("b", Interval(-1.0, -1.5, -0.5), "", {"full": (0.0, 0.0, 0.0)}, None),
    ]
    assert mean_miss(found, "full", 3.0) == "-0.75 (-1.25 to +0.38), meets 1"
    assert mean_miss(found, "measured", 3.0) == "-"


def test_the_page_holds_the_tables_of_the_stores(capsys: pytest.CaptureFixture[str]) -> None:
    """After other stores: `python studies/alignment/summarize.py studies/alignment/stores.tar.gz --write`."""
    assert main([str(STUDY / "stores.tar.gz")]) == 0
    printed = capsys.readouterr().out
    page = PAGE.read_text("utf-8")
    assert replaced(page, printed.removesuffix("\n")) == page
    assert "| base | 81 | 81 | 81, 25 diverged, 3 ruined | 81, 25 diverged, 3 ruined |" in printed
    with pytest.raises(ValueError, match="once each"):
        replaced("", printed)


def test_what_was_not_run_is_said_to_be_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert "| adafactor-mup | - | 1024 | not run |" in capsys.readouterr().out


@pytest.mark.slow
def test_the_whole_experiment_at_a_small_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, str(STUDY / "run.py"), "--smoke", "--gpus", "0", "--cases", "adam-standard"]
    command += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--minutes", "5"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, timeout=400)
    assert "adam-standard-64: done" in (tmp_path / "out" / "log.txt").read_text()
    assert main([str(tmp_path / "out" / "stores.tar.gz"), "--smoke"]) == 0
    printed = capsys.readouterr().out
    for title in ("Measured exponents", "How far the best rate moved", "Differences at the largest width"):
        assert f"### {title}" in printed
    assert "| adam-standard | measured - (full" in printed  # alone, or as the nearest preset
