"""Stores as large as a whole study of the paper: real specification, trials and schema, invented losses.

`write_large_store(path, large_spec())` writes one of 53,070 trials in a quarter of a minute.
"""

import json
import math
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from widthwise.records import CellRow
from widthwise.study.expand import StudyPlan, expand
from widthwise.study.spec_file import SpecSource, parse_spec
from widthwise.study.store import create_store

OPTIMIZERS = ("adam", "adam-ps", "adafactor", "sgd")
RATES = ("global", "full", "none", "mid")
DIGEST = "0" * 64
_DRIFT = {"global": -0.8, "full": 0.02, "none": 0.35, "mid": 0.15}
_LEVEL = {"standard": 0.0, "ntk": 0.02, "mup": 0.04, "mean-field": 0.07}
_OPTIMIZER_LEVEL = {"adam": 0.0, "adam-ps": -0.01, "adafactor": 0.01, "sgd": 0.6}


WIDTHS = (64, 128, 192, 256, 384, 512, 768, 1024)


def large_spec(*, seeds: int = 6, widths: tuple[int, ...] = WIDTHS) -> SpecSource:
    """64 arms (4 optimizers, 4 parameterizations, 4 prescriptions), 8 widths, 25 rates, 6 seeds: 76,800 cells."""
    fields: dict[str, Any] = {
        "name": "large",
        "model": {"kind": "transformer", "depth": 2, "head_dim": 32, "context": 64},
        "widths": list(widths),
        "base_width": widths[0],
        "anchor": "absolute",
        "arms": [
            {
                "parameterization": ["standard", "ntk", "mup", "mean-field"],
                "rates": list(RATES),
                "optimizer": {"kind": kind},
            }
            for kind in OPTIMIZERS
        ],
        "optimizer": {"kind": "adam"},
        "learning_rates": {"lowest": "2^-14", "highest": "2^-2", "per_octave": 2},
        "seeds": list(range(seeds)),
        "training": {"steps": 1000, "batch": 16},
        "corpus": "text.txt",
    }
    return parse_spec(yaml.safe_dump(fields, sort_keys=False))


def invented_loss(cell: CellRow, kind: str, parameterization: str, rates: str) -> float | None:
    """A valley whose best rate drifts with the width as its prescription says; None where the run diverges."""
    octaves = math.log2(cell.width / 64)
    rng = random.Random(f"{cell.trial}/{cell.seed}")
    u = math.log2(cell.learning_rate) - (-8 + _DRIFT[rates] * octaves / 2)
    if u > 4.5 + rng.random():
        return None
    loud = 0.02 if kind == "sgd" else 0.002
    level = 2.4 + _LEVEL[parameterization] + _OPTIMIZER_LEVEL[kind] + 0.9 * 2 ** (-0.35 * octaves)
    return level + 0.02 * (math.exp(0.5 * u) - 0.5 * u - 1) / 0.25 + loud * rng.gauss(0, 1)


def write_large_store(
    path: Path, source: SpecSource, *, done: float = 1.0, population_size: int = 64
) -> StudyPlan:
    """Write a store as a run would have left it.

    Args:
        done: the share of populations that are completed.
    """
    plan = expand(source.spec, corpus=DIGEST, population_size=population_size)
    create_store(path, name=source.spec.name, spec=source.text, corpus=DIGEST, plan=plan)
    arms = {arm.name: arm for arm in plan.arms}
    first: dict[int, CellRow] = {}
    for cell in plan.cells:
        first.setdefault(cell.trial, cell)
    losses = {
        trial: invented_loss(
            cell,
            arms[cell.arm].optimizer.kind,
            arms[cell.arm].parameterization.name,
            arms[cell.arm].prescription.name,
        )
        for trial, cell in first.items()
    }
    completed = plan.populations[: round(done * len(plan.populations))]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        facts = {"machine": "invented", "device": "NVIDIA H200", "torch": "2.11.0"}
        connection.execute(
            "INSERT INTO host VALUES (1, '2026-01-01T00:00:00+00:00', ?)", (json.dumps(facts),)
        )
        for id_, trials in enumerate(completed, start=1):
            _finish(connection, id_, trials, {trial: losses[trial] for trial in trials}, first)
        connection.execute("COMMIT")
    return plan


def _finish(
    connection: sqlite3.Connection,
    population: int,
    trials: tuple[int, ...],
    losses: dict[int, float | None],
    cells: dict[int, CellRow],
) -> None:
    for trial in trials:
        loss = losses[trial]
        steps = range(40, 1001, 40) if loss is not None else range(40, 320, 40)
        end = 4.0 if loss is None else loss
        points = [(trial, step, end + 3 * math.exp(-step / 150)) for step in steps]
        connection.executemany("INSERT INTO curve VALUES (?, ?, ?)", points)
        if loss is None:
            connection.execute(
                "UPDATE trial SET status = 'diverged', reason = 'non-finite loss', step = 300 WHERE id = ?",
                (trial,),
            )
        else:
            connection.execute(
                "UPDATE trial SET status = 'completed', validation_loss = ? WHERE id = ?", (loss, trial)
            )
    seconds = 1e-4 * len(trials) * max(cells[trial].width for trial in trials)
    connection.execute(
        "UPDATE population SET status = 'completed', host = 1, seconds = ? WHERE id = ?",
        (seconds, population),
    )
