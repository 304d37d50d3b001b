"""What happens to a recorded step on the way: compaction, a stop, a batch in pieces, too little memory; needs CUDA."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from widthwise.models import Transformer
from widthwise.optim import AdamUpdate
from widthwise.records import PopulationStatus, TrialStatus
from widthwise.scaling import TRANSFORMER_ROLES, assign_roles, make_reference_plan, resolve
from widthwise.study import parse_spec, run_study
from widthwise.theory import ADAM, FULL_RATES, STANDARD
from widthwise.train import (
    WHOLE,
    ActivationPlan,
    Checkpoints,
    Corpus,
    Engine,
    Member,
    Outcome,
    Precision,
    Recipe,
    Revision,
    WarmupCosine,
    checkpoint_timer,
    train_population,
)
from widthwise.train.compaction import RecordInMemory
from widthwise.train.stage import Stage

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("error"),  # a record that is refused warns
]

STEPS, LOOK = 80, 20
MODEL = Transformer(width=128, depth=2, head_dim=64, vocabulary=256, context=64)
DEAD = 1e30
EVERYBODY = (0, 1, 2, 3)


def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    words = rng.integers(97, 123, size=(50, 5), dtype=np.uint8)
    text = words[rng.integers(50, size=20_000)].reshape(-1)
    return Corpus(name="words", train=text[:80_000], validation=text[80_000:], digest="")


def recipe() -> Recipe:
    return Recipe(MODEL, AdamUpdate(0.9, 0.98), WarmupCosine(STEPS, 8), 8, Precision.BFLOAT16, 8, STEPS)


def members(rates: Sequence[float]) -> list[Member]:
    plan = make_reference_plan(
        assign_roles(MODEL.tensors(), TRANSFORMER_ROLES),
        width=MODEL.width,
        base_width=64,
        parameterization=STANDARD,
        optimizer=ADAM,
        prescription=FULL_RATES,
    )
    return [
        Member(resolve(plan, learning_rate=rate, epsilon=1e-12), init_seed=i, data_seed=i % 2)
        for i, rate in enumerate(rates)
    ]


HEALTHY = members([2.0**-7, 2.0**-8, 2.0**-9, 2.0**-10])
RUINED = members([2.0**-7, DEAD, 2.0**-9, DEAD])


def train(crowd: Sequence[Member], *, captured: bool = True, **options: Any) -> tuple[Outcome, ...]:
    engine = Engine(captured=captured)
    return train_population(recipe(), crowd, corpus(), device=torch.device("cuda"), engine=engine, **options)


def curve(outcome: Outcome) -> list[float]:
    return [loss for _, loss in outcome.curve]


def test_the_living_go_on_under_a_record_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit until then; afterwards two members' products may be summed in another order than four's."""
    monkeypatch.setattr(Stage, "compaction_pays", lambda *_: True)
    record = RecordInMemory(Revision(0, EVERYBODY))
    compacted = train(RUINED, record=record)
    assert record.revisions() == [Revision(0, EVERYBODY), Revision(LOOK, (0, 2))]
    monkeypatch.setattr(Stage, "compaction_pays", lambda *_: False)
    whole = train(RUINED)
    for position in EVERYBODY:
        one, other = compacted[position], whole[position]
        assert (one.divergence is None) == (other.divergence is None) == (position in (0, 2))
        assert curve(one)[:LOOK] == curve(other)[:LOOK]
        # Roundings of bfloat16 (2^-8) differ from there on, in single entries: 60 steps of it, in the mean loss.
        np.testing.assert_allclose(curve(one), curve(other), rtol=1e-2)


@pytest.mark.parametrize("crowd", [HEALTHY, RUINED], ids=["whole", "compacted"])
def test_a_stopped_training_goes_on_to_the_same_bits(
    crowd: Sequence[Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernels add in a fixed order and a replay is the step, so that a restart changes nothing at all."""
    monkeypatch.setattr(Stage, "compaction_pays", lambda *_: True)
    monkeypatch.setattr(checkpoint_timer, "SHARE", 1.0)

    def stop(step: int) -> None:
        if step == 2 * LOOK:
            raise KeyboardInterrupt

    kept = Checkpoints(tmp_path / "p", every_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        train(crowd, checkpoints=kept, progress=stop)
    assert train(crowd, checkpoints=kept) == train(crowd)


@pytest.mark.parametrize(
    "activations",
    [ActivationPlan(4), ActivationPlan(1, recompute=True), ActivationPlan(2, recompute=True)],
    ids=["pieces", "recomputed", "both"],
)
def test_pieces_and_recomputing_are_recorded_too(activations: ActivationPlan) -> None:
    found = train(HEALTHY, activations=activations)
    assert found == train(HEALTHY, activations=activations, captured=False)
    for one, other in zip(found, train(HEALTHY, activations=WHOLE), strict=True):
        # Sums over other pieces round differently; 80 steps of it, in the mean loss.
        np.testing.assert_allclose(curve(one), curve(other), rtol=1e-2)


def test_a_proof_against_a_copy_on_the_host_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    on_device = train(HEALTHY)
    asked: list[int] = []

    def on_host(*_: Any, copied: int, **__: Any) -> torch.device:
        asked.append(copied)
        return torch.device("cpu")

    monkeypatch.setattr(sys.modules[Stage.__module__], "copy_device", on_host)
    assert train(HEALTHY) == on_device
    # Of each of 4 members: weights and two moments in float32; bfloat16 copies of what is multiplied, in two blocks
    # 12 x 128^2 entries and the readout's 256 x 128, not of the looked up tables and the norms' gains.
    state, copies = 12 * 467_584, 2 * (2 * 12 * 128**2 + 256 * 128)
    # 80 losses, two flags for each of 16 tensors, three findings and the count of steps; one count for all is 8 bytes.
    watched = 4 * (80 + 2 * 16 + 3 + 1)
    assert asked == [4 * (state + copies + watched) + 8]


@pytest.fixture
def little_memory() -> Iterator[None]:
    """700 MiB beyond what this process's allocator holds: four of the members below, not eight.

    What other processes hold on the device does not count: the allocator's limit is this process's own.
    """
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 700 * 2**20) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_what_does_not_fit_goes_on_in_parts_that_do(tmp_path: Path) -> None:
    """Eight members of about 150 MiB: the allocator itself refuses, while the step is proven or recorded."""
    text = tmp_path / "text.txt"
    text.write_bytes(b"\n".join(row.tobytes() for row in corpus().train.reshape(-1, 50)))
    source = parse_spec(
        f"""
        name: little memory
        model: {{kind: transformer, depth: 4, head_dim: 128, context: 256}}
        widths: [256]
        arms: [{{parameterization: standard, rates: full}}]
        optimizer: {{kind: adam}}
        learning_rates: {{lowest: 2^-14, highest: 2^-7}}
        seeds: [0]
        training: {{steps: 24, batch: 16, precision: bfloat16}}
        corpus: {text}
        epochs: 2
        """
    )
    with pytest.warns(UserWarning, match="do not fit on the device together"):
        study = run_study(source, tmp_path / "store.sqlite", device="cuda", population_size=8)
    assert {trial.status for trial in study.trials.values()} == {TrialStatus.COMPLETED}
    assert study.populations[0].status is PopulationStatus.SPLIT
    assert len([p for p in study.populations if p.status is PopulationStatus.COMPLETED]) >= 2


def test_looks_come_as_often_as_these_tests_take_it() -> None:
    assert sys.modules["widthwise.train.train_population"]._POLL == LOOK  # type: ignore[attr-defined]
