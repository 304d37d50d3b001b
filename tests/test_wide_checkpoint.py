"""Layer-major checkpoints: training goes on bit for bit, and nothing but its own run is taken on."""

from pathlib import Path

import pytest
import torch

from populations import ADAM_UPDATE, CPU, LETTERS, make_recipe, numbers, transformer
from widthwise.optim import AdafactorConstants, AdafactorUpdate, MemberUpdate
from widthwise.scaling import Anchor, Gauge
from widthwise.theory import MUP, STANDARD, Parameterization
from widthwise.train import Member
from widthwise.wide import LayerMajor, Storage
from widthwise.wide.layer_checkpoint import load_layer_major_, save_layer_major

MODEL = transformer(16, depth=2)
FACTORED = AdafactorUpdate(AdafactorConstants(min_dim_size_to_factor=8))


def training(
    update: MemberUpdate = ADAM_UPDATE,
    parameterization: Parameterization = STANDARD,
    storage: Storage = Storage(micro_batches=2),  # noqa: B008
) -> LayerMajor:
    run = numbers(
        MODEL,
        learning_rate=0.03,
        parameterization=parameterization,
        anchor=Anchor.ABSOLUTE,
        gauge=Gauge.EXPLICIT,
    )
    return LayerMajor(make_recipe(MODEL, update, steps=8), Member(run, 3, 5), CPU, storage)


def batch(step: int) -> torch.Tensor:
    return torch.randint(LETTERS, (4, 9), generator=torch.Generator().manual_seed(step))


@pytest.mark.parametrize("update", [ADAM_UPDATE, FACTORED])
def test_goes_on_bit_for_bit(update: MemberUpdate, tmp_path: Path) -> None:
    undisturbed = training(update)
    losses = [undisturbed.step(batch(step)) for step in range(1, 7)]
    stopped = training(update)
    for step in range(1, 4):
        stopped.step(batch(step))
    save_layer_major(stopped, tmp_path / "model")
    resumed = training(update)
    load_layer_major_(resumed, tmp_path / "model")
    assert resumed.steps == 3
    assert [resumed.step(batch(step)) for step in range(4, 7)] == losses[3:]
    for name, weight in undisturbed.weights.items():
        assert torch.equal(resumed.weights[name], weight)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"parameterization": MUP},
            r"it has members\[0\]\.numbers\.token_embedding\.init = 1\.0, this run .* = 0\.25;",
        ),
        ({"update": FACTORED}, r"update = AdamUpdate\(.*this run update = AdafactorUpdate"),
        (
            {"storage": Storage(rounding_seed=1)},
            r"storage\.rounding_seed = 0, this run storage\.rounding_seed = 1",
        ),
    ],
)
def test_another_run_is_refused(other: dict[str, object], message: str, tmp_path: Path) -> None:
    """By the first number in which they differ; the training stays as it was."""
    save_layer_major(training(), tmp_path / "model")
    refusing = training(**other)  # type: ignore[arg-type]
    before = {name: weight.clone() for name, weight in refusing.weights.items()}
    with pytest.raises(ValueError, match=message):
        load_layer_major_(refusing, tmp_path / "model")
    assert all(torch.equal(weight, before[name]) for name, weight in refusing.weights.items())


def test_what_is_damaged_or_missing(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with pytest.raises(FileNotFoundError):
        load_layer_major_(training(), path)
    save_layer_major(training(), path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="is not usable: its SHA-256 is not that of its content"):
        load_layer_major_(training(), path)
