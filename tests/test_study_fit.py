"""How trials of one shape run on a GPU that is only named: the shortest step, shards, and distinct starts."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from study_example import tiny_plan, tiny_source
from widthwise.study import fitting_sizes
from widthwise.study.fit import LAUNCH_SECONDS, SHARDED_SHARE, Fit, fit
from widthwise.study.gpu import GPUS, Gpu
from widthwise.study.runner import train_recipe


def fitted(gpu: Gpu = GPUS["h200"], *, trials: int = 4, starts: int = 1, **changes: Any) -> Fit:
    measure = tiny_source(**changes).spec.measure
    recipe = train_recipe(tiny_plan(**changes).trials[0].recipe, measure)
    found = fit(recipe, gpu, trials=trials, corpus_bytes=1000, seeds=1, starts=starts)
    assert found is not None
    return found


def test_the_shortest_step_is_as_long_as_the_model_is_deep() -> None:
    model = {"kind": "transformer", "depth": 3, "head_dim": 4, "context": 8}
    assert fitted(model=model).floor_seconds == pytest.approx(3 * LAUNCH_SECONDS)
    assert fitted(GPUS["cpu"], model=model).floor_seconds == 0


def test_a_sharded_model_keeps_its_share_of_one_gpus_rate() -> None:
    """Beside a GPU of as much memory as it takes: 0.8 of the rate is 1 / 0.8 of the seconds."""
    wide: dict[str, Any] = {
        "model": {"kind": "transformer", "depth": 8, "head_dim": 128, "context": 8},
        "widths": [16384],
        "training": {"steps": 4, "batch": 8},
    }
    sharded, alone = fitted(**wide), fitted(replace(GPUS["h200"], bytes=10**13), trials=1, **wide)
    assert (sharded.gpus > 1, alone.gpus) == (True, 1)
    assert (sharded.micro_batches, sharded.recompute) == (alone.micro_batches, alone.recompute)
    assert sharded.step_seconds == pytest.approx(alone.step_seconds / SHARDED_SHARE)


def test_there_are_no_more_starts_than_trials() -> None:
    measure = {"alignment": "every 2 steps"}
    two, many = (fitted(trials=2, starts=starts, measure=measure).bytes for starts in (2, 100))
    assert two == many > fitted(trials=2, starts=1, measure=measure).bytes


def asked(monkeypatch: pytest.MonkeyPatch, *, split: int, members: int | None = None) -> dict[str, Any]:
    """What a rule asks of the training room for 7 trials, or of the one that splits tensors."""
    told: dict[str, Any] = {}

    def answer(*_: object, **given: Any) -> SimpleNamespace:
        told.update(given)
        plan = SimpleNamespace(micro_batches=1, recompute=False)
        return SimpleNamespace(members=4, activations=plan)

    monkeypatch.setattr("widthwise.train.population_for", answer)
    monkeypatch.setattr(fitting_sizes, "sharded_size", answer)
    sizes = fitting_sizes.FittingSizes(
        torch.device("cpu"),
        corpus_bytes=1000,
        data_seeds=2,
        members=members,
        minutes=3,
        sharing=4,
        split=split,
        starts=5,
        places=2,
    )
    sizes(tiny_plan().trials[0].recipe, 7)
    names = ("seconds_limit", "at_most", "members", "sharing", "data_seeds", "starts")
    return {name: told[name] for name in names}


@pytest.mark.parametrize("split", [1, 2])
def test_a_rule_passes_on_what_it_was_given(split: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three minutes are 180 seconds; 7 trials over two places are four at most in each."""
    expected = {
        "seconds_limit": 180,
        "at_most": 4,
        "members": None,
        "sharing": 4,
        "data_seeds": 2,
        "starts": 5,
    }
    assert asked(monkeypatch, split=split) == expected
    # An exact size is no bound that the places share: of 7 trials three train side by side.
    exact = expected | {"at_most": 7, "members": 3}
    assert asked(monkeypatch, split=split, members=3) == exact


def test_a_cpu_takes_no_more_than_pays_there() -> None:
    sizes = fitting_sizes.FittingSizes(torch.device("cpu"), corpus_bytes=0, data_seeds=1)
    assert sizes._at_most(1000, cuda=False) == fitting_sizes.POPULATION_SIZE
    assert sizes._at_most(1000, cuda=True) == 1000
