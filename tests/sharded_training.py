"""What each process of `test_wide_sharded.py` runs, under torchrun: `python sharded_training.py FOLDER PHASE`.

Whole trainings, with what is measured on the way, dropped members and checkpoints, against one process alone.
"""

import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from populations import (
    ADAM_UPDATE,
    ATAN2_UPDATE,
    CPU,
    LETTERS,
    letter_corpus,
    make_recipe,
    mlp,
    numbers,
    train,
    transformer,
)
from widthwise.models import ReferenceModel
from widthwise.records import Since
from widthwise.scaling import Anchor, Gauge
from widthwise.theory import MUP, STANDARD, Parameterization
from widthwise.train import (
    ActivationPlan,
    AlignmentPlan,
    Checkpoints,
    LossLimit,
    Member,
    Outcome,
    Population,
    Recipe,
    Revision,
    initial_parameters,
    matrix_layers,
)
from widthwise.train.alignment import log_gains
from widthwise.train.compaction import RecordInMemory
from widthwise.train.coordinates import coordinates
from widthwise.train.epsilon import epsilon_reports
from widthwise.train.placement import WholeTensors
from widthwise.train.reference import current_reference, initial_reference
from widthwise.wide.processes import gathered_texts, process_group
from widthwise.wide.sharded_population import ShardedPopulation
from widthwise.wide.train_sharded import train_sharded

STEPS = 40
"""Members are looked at after 20."""
MODEL = transformer(16, depth=2)
RATES = (0.02, 1e4, 0.05, 3e4, 1e5)
"""Three of five diverge at once, so that the other two go on alone from step 20 on."""


def recipe_of(model: ReferenceModel = MODEL) -> Recipe:
    """7 validation windows: two processes do not share them evenly."""
    plain = make_recipe(model, ADAM_UPDATE, steps=STEPS, validation_windows=7)
    plan = AlignmentPlan(every=10, layers=matrix_layers(model), tokens=16, since=(Since.START, Since.UPDATE))
    return replace(plain, alignment=plan, loss_limit=LossLimit(margin=3.0, steps=5))


def members(
    model: ReferenceModel = MODEL, rates: Sequence[float] = RATES, parameterization: Parameterization = MUP
) -> list[Member]:
    """With multipliers, a weight decay, and two seeds of each kind."""
    found = []
    for i, rate in enumerate(rates):
        plain = numbers(
            model,
            learning_rate=rate,
            parameterization=parameterization,
            anchor=Anchor.ABSOLUTE,
            gauge=Gauge.EXPLICIT,
        )
        decayed = {name: replace(n, decay=0.01) for name, n in plain.items()}
        found.append(Member(decayed, 3 + i % 2, 5 + i % 2))
    return found


def same_outcomes(found: Sequence[Outcome], expected: Sequence[Outcome]) -> None:
    """Statuses alike, losses to 1e-6. Alignment is of weights that float32 rounds in another order for 40 steps."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.divergence == theirs.divergence
        assert [step for step, _ in ours.curve] == [step for step, _ in theirs.curve]
        if theirs.validation_loss is None:
            continue  # losses of 1e7 on the way down from a rate of 1e4 are any run's own
        losses, others = ([x for _, x in one.curve] for one in (ours, theirs))
        torch.testing.assert_close(torch.tensor(losses), torch.tensor(others), rtol=1e-6, atol=0)
        assert ours.validation_loss is not None
        assert abs(ours.validation_loss / theirs.validation_loss - 1) < 1e-6
        assert [(p.step, p.layer, p.since) for p in ours.alignment] == [
            (p.step, p.layer, p.since) for p in theirs.alignment
        ]
        for point, other in zip(ours.alignment, theirs.alignment, strict=True):
            for gain, exact in ((point.alpha, other.alpha), (point.omega, other.omega), (point.u, other.u)):
                assert (gain is None) == (exact is None)
                assert gain is None or exact is None or abs(gain - exact) < 1e-4, (point, other)


def trainings_are_the_same() -> None:
    """A Transformer whose members diverge, in pieces of one sequence; an MLP."""
    pieces = ActivationPlan(4, recompute=True)
    first = is_one_alone(recipe_of(), members(), activations=pieces)
    assert [one.divergence is None for one in first] == [True, False, True, False, False]
    chain = mlp(8, depth=2)
    is_one_alone(recipe_of(chain), members(chain, (0.02, 0.05)))


def is_one_alone(recipe: Recipe, crowd: Sequence[Member], **options: Any) -> Sequence[Outcome]:
    """All processes end with the same bits; the first one compares them with those of one process alone."""
    found = train_sharded(recipe, crowd, letter_corpus(), device=CPU, **options)
    assert len(set(gathered_texts(repr(found), CPU))) == 1
    if dist.get_rank() == 0:
        same_outcomes(found, train(recipe, crowd, letter_corpus()))
    return found


def measurements_are_the_same() -> None:
    """Alignment of the same weights, to 1e-9: W_0 kept as parts on the device or on the host, or drawn again."""
    recipe, crowd = recipe_of(), members(rates=(0.02, 0.05, 0.01))
    ours, alone = ShardedPopulation(recipe, crowd, CPU), Population(recipe, crowd, CPU)
    probe = torch.randint(LETTERS, (3, 8), generator=torch.Generator().manual_seed(1))
    starts = [
        initial_reference(recipe, crowd, ours.parameters, placement=ours.placement, **room)
        for room in ({}, {"device_bytes": 0}, {"device_bytes": 0, "host_bytes": 0})
    ]
    start = initial_reference(recipe, crowd, alone.parameters)
    draws = torch.Generator().manual_seed(7)
    for name, whole in alone.parameters.items():
        change = torch.randn(whole.shape, generator=draws) * 0.01
        whole += change
        ours.parameters[name] += ours.shards.part(name, change)
    options = {"multipliers": alone.multipliers, "probe_BxT": probe, "layers": matrix_layers(MODEL)}
    exact = log_gains(MODEL, alone.parameters, start, **options)
    assert exact.isfinite().sum() > 0.9 * exact.numel()
    held = WholeTensors(ours.parameters, ours.shards)
    for reference in starts:
        torch.testing.assert_close(
            log_gains(MODEL, held, reference, **options), exact, rtol=1e-9, atol=1e-9, equal_nan=True
        )
    before = current_reference(ours.parameters, placement=ours.placement)
    for name, start_of in initial_parameters(recipe, crowd, CPU).items():
        assert before.tensor(name).shape == start_of.shape


def reports_are_the_same() -> None:
    """Coordinates and the epsilon report of one state, to 1e-9: after three steps of one process, taken over."""
    model = transformer(32, depth=1)
    for update in (ADAM_UPDATE, ATAN2_UPDATE):
        recipe, crowd = make_recipe(model, update, steps=STEPS), members(model, (0.02, 0.05))
        ours, alone = ShardedPopulation(recipe, crowd, CPU), Population(recipe, crowd, CPU)
        start = initial_reference(recipe, crowd, ours.parameters, placement=ours.placement)
        exact_start = initial_reference(recipe, crowd, alone.parameters)
        gradients: dict[str, torch.Tensor] = {}
        for step in range(3):
            tokens = torch.randint(LETTERS // 2, (1, 4, 9), generator=torch.Generator().manual_seed(step))
            _, gradients = alone.passes().run(alone.leaves(), tokens.expand(2, -1, -1))
            alone.optimizer.step_(gradients, factor=1.0)
        ours.restore_({
            key: ours.shards.part(key.split("/")[1], value) if "/" in key else value
            for key, value in alone.optimizer.snapshot().items()
        })  # fmt: skip
        found = epsilon_reports(ours, crowd, epsilon=1e-3)
        expected = epsilon_reports(alone, crowd, epsilon=1e-3)
        assert [report.rows for report in found] == [report.rows for report in expected]
        below = [(row.below, row.untouched) for row in expected[0].rows]
        assert any(some for some, _ in below), below
        assert any(never for _, never in below), below
        options = {"step": 3, "probe_BxT": tokens[0, :, :-1]}
        parts = {name: ours.shards.part(name, g) for name, g in gradients.items()}
        for points, exact in zip(
            coordinates(ours, start, gradients=parts, **options),
            coordinates(alone, exact_start, gradients=gradients, **options),
            strict=True,
        ):
            assert [point.tensor for point in points] == list(model.tensors())
            for point, other in zip(points, exact, strict=True):
                for field, value in asdict(other).items():
                    if isinstance(value, float):
                        assert abs(getattr(point, field) / value - 1) < 1e-9, (point, other)


def an_infinite_part_is_everyones() -> None:
    """A moment that overflows in the last process's part alone is found by all, at the same step."""
    recipe, crowd = recipe_of(), members(rates=(0.02, 0.05))
    population = ShardedPopulation(recipe, crowd, CPU)
    nothing = {name: torch.zeros_like(part) for name, part in population.parameters.items()}
    population.optimizer.step_(nothing, factor=1.0)
    if dist.get_rank() == dist.get_world_size() - 1:
        nothing["readout"][1, 0, 0] = torch.inf
    for _ in range(2):
        population.optimizer.step_(nothing, factor=1.0)
    assert [found_P.tolist() for found_P in population.optimizer.non_finite_steps()] == [[0, 2], [0, 2]]


def held_out_losses_are_of_the_parts_as_they_are() -> None:
    """A readout of zeros knows nothing: ln V, whatever was computed before."""
    population = ShardedPopulation(recipe_of(), members(rates=(0.02, 0.05)), CPU)
    windows = torch.randint(LETTERS, (3, 9), generator=torch.Generator().manual_seed(2))
    assert (population.validation_losses(windows) != math.log(LETTERS)).all()
    population.parameters["readout"].zero_()
    expected = torch.full((2,), math.log(LETTERS), dtype=torch.float64)
    torch.testing.assert_close(population.validation_losses(windows), expected, rtol=1e-6, atol=0)


class KilledError(Exception):
    """A training that was killed."""


class Seen(RecordInMemory):
    """A record that knows where training began."""

    began = -1

    def begin(self, step: int) -> None:
        self.began = step


def train_until(folder: Path, last: int) -> None:
    """Killed at a step: the checkpoint is of the look before."""

    def stop(done: int) -> None:
        if done >= last:
            raise KilledError

    try:
        train_sharded(
            long_recipe(),
            members(),
            letter_corpus(),
            device=CPU,
            progress=stop,
            checkpoints=Checkpoints(folder, 0.0),
        )
    except KilledError:
        return
    raise AssertionError("it was not stopped")


def long_recipe() -> Recipe:
    return replace(recipe_of(), schedule=replace(recipe_of().schedule, steps=60), curve_points=60)


def goes_on(folder: Path) -> None:
    """From a checkpoint of another number of processes: as if it had never been stopped; of another run: anew."""
    record = Seen(Revision(0, tuple(range(len(RATES)))))
    record.revise(Revision(20, (0, 2)))
    found = train_sharded(
        long_recipe(),
        members(),
        letter_corpus(),
        device=CPU,
        checkpoints=Checkpoints(folder, 1e9),
        record=record,
    )
    assert record.began == 20, record.began
    same_outcomes(found, train(long_recipe(), members(), letter_corpus()))
    other = Seen(Revision(0, (0, 1)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_sharded(
            long_recipe(),
            members(rates=(0.02, 0.05), parameterization=STANDARD),
            letter_corpus(),
            device=CPU,
            checkpoints=Checkpoints(folder, 1e9),
            record=other,
        )
    assert other.began == 0
    told = [str(one.message) for one in caught if "is not used" in str(one.message)]
    assert len(told) == (dist.get_rank() == 0), told
    assert not told or "is another run's: it has members" in told[0], told


def same_as_one() -> None:
    """All that needs no second start of processes; `wide_processes.py` runs it among its own."""
    measurements_are_the_same()
    reports_are_the_same()
    an_infinite_part_is_everyones()
    held_out_losses_are_of_the_parts_as_they_are()
    trainings_are_the_same()


def main(folder: Path, phase: str) -> None:
    torch.set_num_threads(1)
    with process_group("cpu"):
        match phase:
            case "train":
                train_until(folder / "population-1", 40)
            case "resume":
                goes_on(folder / "population-1")
    sys.stdout.write(f"{phase} done\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
