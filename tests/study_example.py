"""A tiny study, stores with invented losses, and the command in process: for tests of studies and the command line."""

import hashlib
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner, Result

from widthwise.records import StoredStudy, TrialStatus
from widthwise.study import SpecSource, parse_spec, run_study
from widthwise.study.expand import StudyPlan, expand
from widthwise.study.run import Listener
from widthwise.study.store import create_store, writing
from widthwise.study.trial_result import TrialResult

DIGEST = "0" * 64
"""Stands for a corpus' hash where no text is read."""

Loss = Callable[[str, int, float, int], float | None]
"""(arm, width, rate, seed) -> the final loss, or None for a run that diverged."""


def text(words: int = 2000) -> str:
    """Lines of six words, the same every time."""
    rng = random.Random(0)
    vocabulary = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
    drawn = [rng.choice(vocabulary) for _ in range(words)]
    return "".join(" ".join(drawn[i : i + 6]) + "\n" for i in range(0, words, 6))


def write_corpus(folder: Path) -> Path:
    path = folder / "text.txt"
    path.write_text(text())
    return path


def tiny(corpus: Path | str = "text.txt", **changes: Any) -> dict[str, Any]:
    """The specification's fields: 4 cells of width 8 and 8 of width 16 per seed, 24 trials; `None` drops a field."""
    fields = {
        "name": "tiny",
        "model": {"kind": "transformer", "depth": 1, "head_dim": 4, "context": 8},
        "widths": [8, 16],
        "arms": [
            {"parameterization": "standard", "rates": "global"},
            {"parameterization": "mup", "rates": "full"},
        ],
        "optimizer": {"kind": "adam", "epsilon": 1e-12},
        "learning_rates": {"lowest": "2^-8", "highest": "2^-5"},
        "seeds": [0, 1],
        "training": {"steps": 4, "batch": 2},
        "corpus": str(corpus),
        "validation_windows": 4,
    }
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def tiny_text(corpus: Path | str = "text.txt", **changes: Any) -> str:
    return yaml.safe_dump(tiny(corpus, **changes), sort_keys=False)


def tiny_source(corpus: Path | str = "text.txt", **changes: Any) -> SpecSource:
    return parse_spec(tiny_text(corpus, **changes))


def tiny_plan(*, population_size: int = 4, digest: str = DIGEST, **changes: Any) -> StudyPlan:
    return expand(tiny_source(**changes).spec, corpus=digest, population_size=population_size)


@contextmanager
def one_thread() -> Iterator[None]:
    """Small tensors on one torch thread: several would wait for one another, and could round differently."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    source: SpecSource, store: Path, *, population_size: int = 4, listener: Listener | None = None
) -> StoredStudy:
    with one_thread():
        return run_study(source, store, device="cpu", population_size=population_size, listener=listener)


def command(*arguments: object) -> Result:
    """Run `widthwise` in this process; `result.stderr` and `result.stdout` hold what it printed."""
    from widthwise.cli import app

    with one_thread():
        return CliRunner().invoke(app, [str(argument) for argument in arguments])


def snapshot(folder: Path) -> dict[str, str]:
    """Everything below a folder: relative path -> hash of the content, or `folder`."""
    return {
        path.relative_to(folder).as_posix(): "folder"
        if path.is_dir()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
    }


def wide(**changes: Any) -> SpecSource:
    """The tiny study with the three widths and nine rates that an analysis can use."""
    spread = {"widths": [8, 16, 32], "learning_rates": {"lowest": "2^-12", "highest": "2^-4"}}
    return tiny_source(**{**spread, **changes})


def valley(drift: dict[str, float], *, noise: float = 0.001) -> Loss:
    """A parabola in log2(rate) whose minimum, 2^-7 at width 8, moves by `drift` octaves per doubling of the width."""

    def loss(arm: str, width: int, rate: float, seed: int) -> float:
        best = -7 + drift[arm] * math.log2(width / 8)
        jitter = random.Random(f"{arm if width > 8 else ''}/{width}/{rate}/{seed}").gauss(0, noise)
        return 2 + 0.03 * (math.log2(rate) - best) ** 2 + jitter

    return loss


def invented_store(
    path: Path, source: SpecSource, loss: Loss, *, populations: int | None = None
) -> StudyPlan:
    """Write a store as a run would, with losses made up; only the first `populations` of it if that is given."""
    plan = expand(source.spec, corpus=DIGEST, population_size=8)
    create_store(path, name=source.spec.name, spec=source.text, corpus=DIGEST, plan=plan)
    point = {}
    for cell in plan.cells:
        point.setdefault(cell.trial, (cell.arm, cell.width, cell.learning_rate, cell.seed))
    with writing(path) as writer:
        writer.register_host({"machine": "invented"})
        for id_, trials in enumerate(plan.populations[:populations], start=1):
            results = [ended(trial, loss(*point[trial])) for trial in trials]
            writer.finish_population(id_, results, seconds=0.5)
    return plan


def ended(trial: int, loss: float | None) -> TrialResult:
    """The result of a trial that trained to a loss, or diverged at step 3."""
    if loss is None:
        return TrialResult(trial, TrialStatus.DIVERGED, "non-finite loss", 3, None, ((2, 5.5),))
    return TrialResult(trial, TrialStatus.COMPLETED, None, None, loss, ((2, loss + 1), (4, loss)))
