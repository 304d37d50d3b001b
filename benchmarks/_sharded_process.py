"""What each process of `sharded.py` runs, under torchrun: `_sharded_process.py FOLDER PHASE [--smoke] [--width N]`.

`several` compares all processes with one alone, which rank 0 is while the others wait, then measures speed and memory
of both; `one` goes on, alone, from the checkpoint that several wrote. Rank 0 writes its rows to FOLDER/PHASE.json, each
as it comes: an error ends every process.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from _record import Row, print_row, row
from _wide_model import OPTIMIZERS, Shape, plan_of
from torch import Tensor

from widthwise.optim import AdamUpdate, ParameterScaling
from widthwise.scaling import resolve
from widthwise.train import (
    WHOLE,
    ActivationPlan,
    Member,
    Population,
    Precision,
    Recipe,
    WarmupCosine,
    execution_for,
    matrix_layers,
)
from widthwise.train.alignment import log_gains
from widthwise.train.memory import running_terms
from widthwise.train.placement import WholeTensors
from widthwise.train.reference import initial_reference
from widthwise.wide import sharded_bytes, sharded_memory
from widthwise.wide.processes import process_group
from widthwise.wide.sharded_checkpoint import load_sharded_, save_sharded
from widthwise.wide.sharded_training import ShardedTraining

STEPS, HALF = 20, 10
CLOSE = 1e-5
"""Of a float32 loss: sums are taken in another order, and twenty steps of Adam enlarge that."""

MEASURED = 1e-9
PREDICTED = "0.97 to 1.08"
"""Of memory; see `tests/test_wide_sharded_memory.py`."""
CPU_SHAPE = Shape(depth=2, head_dim=16, vocabulary=96, context=16, base_width=32)
GPU_SHAPE = Shape(depth=2, vocabulary=2048, context=128, base_width=256)
SPEED_SHAPE = Shape()
WARM_UP, TIMED = 4, 10


def recipe_of(shape: Shape, width: int, optimizer: str, *, batch: int, precision: Precision) -> Recipe:
    """A recipe of one of the four optimizers, or of Adam with parameter scaling."""
    update = (
        AdamUpdate(0.9, 0.98, ParameterScaling(0.01))
        if optimizer == "adam-ps"
        else OPTIMIZERS[optimizer].update
    )
    schedule = WarmupCosine(steps=STEPS, warmup=2, floor=1.0)
    return Recipe(shape.model(width), update, schedule, batch, precision, 1, 1)


def members_of(shape: Shape, width: int, optimizer: str, count: int) -> list[Member]:
    """Members of several rates and seeds, standard parameterization."""
    chosen = OPTIMIZERS["adafactor" if optimizer == "adam-ps" else optimizer]
    plan = plan_of(shape, width, "standard", chosen.rule)
    base = {"sgd": 0.03, "adafactor": 0.01, "adam-ps": 0.01}.get(optimizer, 1e-3)
    rates = [base * 2.0**i for i in range(count)]
    return [Member(resolve(plan, learning_rate=x, epsilon=1e-15), i, 0) for i, x in enumerate(rates)]


def tokens_of(shape: Shape, batch: int, step: int, members: int, device: torch.device) -> Tensor:
    """Uniform token ids, the same for every member, [P, B, T + 1]."""
    generator = torch.Generator().manual_seed(step)
    drawn = torch.randint(shape.vocabulary, (batch, shape.context + 1), generator=generator)
    return drawn.to(device).expand(members, -1, -1)


class Alone:
    """`train.Population` in one process, stepped as `ShardedTraining` is."""

    def __init__(
        self, recipe: Recipe, members: list[Member], device: torch.device, plan: ActivationPlan = WHOLE
    ) -> None:
        self.recipe, self.steps = recipe, 0
        self.population = Population(recipe, members, device, activations=plan)
        self._passes = self.population.passes()

    def step(self, tokens_PxBxT1: Tensor) -> Tensor:
        """Its losses before the step."""
        self.steps += 1
        losses_P, gradients = self._passes.run(self.population.leaves(), tokens_PxBxT1)
        self.population.optimizer.step_(gradients, factor=self.recipe.schedule.factor(self.steps))
        return losses_P


def only_rank_0(work: Callable[[], object]) -> None:
    """Others wait."""
    if dist.get_rank() == 0:
        work()
    dist.barrier()


def free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest relative difference."""
    return float(((found - expected).abs() / expected.abs()).max())


def correctness(device: torch.device, folder: Path, *, smoke: bool) -> Iterator[Row]:
    """Losses of twenty float32 steps by five optimizers, a checkpoint half way, and alignment."""
    shape, width, batch = (CPU_SHAPE, 32, 4) if smoke else (GPU_SHAPE, 256, 8)
    count = dist.get_world_size()
    for optimizer in ("adam", "sgd", "adam-atan2", "adam-ps", "adafactor"):
        recipe = recipe_of(shape, width, optimizer, batch=batch, precision=Precision.FLOAT32)
        crowd = members_of(shape, width, optimizer, 2)
        batches = [tokens_of(shape, batch, step, 2, device) for step in range(STEPS)]
        training = ShardedTraining(recipe, crowd, device)
        losses: list[Tensor] = []
        for step, tokens in enumerate(batches):
            if step == HALF and optimizer == "adam":
                save_sharded(training, folder / "adam")
            losses.append(training.step(tokens))
        found = torch.stack(losses).double()
        expected = torch.zeros_like(found)
        if dist.get_rank() == 0:
            alone = Alone(recipe, crowd, device)
            expected = torch.stack([alone.step(tokens) for tokens in batches]).double()
        dist.broadcast(expected, 0)
        if optimizer == "adam" and dist.get_rank() == 0:
            (folder / "adam.json").write_text(json.dumps(expected.tolist()))
        yield row(
            f"{count} processes against one, {optimizer}: largest relative difference of {STEPS} float32 losses",
            relative(found, expected), "", "one process", target=f"<= {CLOSE:g}",
        )  # fmt: skip
        yield row(
            f"  {optimizer}: loss, first and last step",
            float(found[-1].mean()),
            "nats",
            float(found[0].mean()),
        )
        free()
    yield alignment(device, shape, width, batch)
    free()


def alignment(device: torch.device, shape: Shape, width: int, batch: int) -> Row:
    """Of the same weights: gathered from parts, against whole."""
    recipe = recipe_of(shape, width, "adam", batch=batch, precision=Precision.FLOAT32)
    crowd = members_of(shape, width, "adam", 2)
    ours, alone = ShardedTraining(recipe, crowd, device).population, Population(recipe, crowd, device)
    start = initial_reference(recipe, crowd, ours.parameters, placement=ours.placement)
    exact_start = initial_reference(recipe, crowd, alone.parameters)
    draws = torch.Generator().manual_seed(7)
    for name, whole in alone.parameters.items():
        change = (torch.randn(whole.shape, generator=draws) * 0.01).to(device)
        whole += change
        ours.parameters[name] += ours.shards.part(name, change)
    probe = tokens_of(shape, 2, 99, 1, device)[0, :, :-1]
    options = {"multipliers": alone.multipliers, "probe_BxT": probe, "layers": matrix_layers(recipe.model)}
    found = log_gains(recipe.model, WholeTensors(ours.parameters, ours.shards), start, **options)
    expected = log_gains(recipe.model, alone.parameters, exact_start, **options)
    worst = float((found - expected).abs().nan_to_num().max())
    assert bool((found.isnan() == expected.isnan()).all())
    return row(
        "log alignment ratios of the same weights: largest difference",
        worst,
        "",
        "one process",
        target=f"<= {MEASURED:g}",
    )


def speed(device: torch.device, width: int, *, smoke: bool) -> Iterator[Row]:
    """Steps of the same whole batch, on all processes and on one."""
    shape, batch = (CPU_SHAPE, 4) if smoke else (SPEED_SHAPE, 64)
    precision = Precision.FLOAT32 if smoke else Precision.BFLOAT16
    recipe = recipe_of(shape, width, "adam", batch=batch, precision=precision)
    recipe = replace(recipe, schedule=replace(recipe.schedule, steps=WARM_UP + TIMED))
    crowd = members_of(shape, width, "adam", 1)
    count = dist.get_world_size()
    plan = ActivationPlan(1 if smoke else 2)  # of 32 sequences at most: what one device alone has room for
    found = timed(ShardedTraining(recipe, crowd, device, activations=plan).step, shape, batch, device)
    free()
    measured = {"": (recipe, plan, found[1])}
    again = replace(plan, recompute=True)
    for label, way in (("", recipe), (", float32", replace(recipe, precision=Precision.FLOAT32))):
        training = ShardedTraining(way, crowd, device, activations=again)
        measured[f", recomputed{label}"] = (way, again, timed(training.step, shape, batch, device)[1])
        del training
        free()
    alone: list[tuple[list[float], int]] = []
    only_rank_0(lambda: alone.append(timed(Alone(recipe, crowd, device, plan).step, shape, batch, device)))
    if not alone:
        return
    tokens = batch * shape.context
    ours, theirs = (tokens / median(seconds) for seconds, _ in (found, alone[0]))
    name = f"D={width}, {recipe.model.parameter_count / 1e6:.0f} M parameters, {precision.value}"
    yield row(f"{name}: tokens a step", float(tokens), "tokens")
    yield row(f"{name}: one process", theirs, "tokens/s")
    yield row(
        f"{name}: {count} processes, {dist.get_backend()}", ours, "tokens/s", "one process", ours / theirs
    )
    for label, (seconds, _) in (("one process", alone[0]), (f"{count} processes", found)):
        yield row(f"{name}: a step, {label}, fastest and slowest", min(seconds), "s", max(seconds))
    yield row(f"{name}: peak memory a device, one process", alone[0][1] / 2**30, "GiB")
    yield from predictions(name, measured, device)


def predictions(
    name: str, measured: dict[str, tuple[Recipe, ActivationPlan, int]], device: torch.device
) -> Iterator[Row]:
    """Peaks against what is predicted: the member's memory, and what of the program's PyTorch allocates."""
    count = dist.get_world_size()
    for label, (recipe, plan, peak_bytes) in measured.items():
        runs = replace(execution_for(recipe, device), activations=replace(plan, micro_batches=1))
        allocated = sum(term.bytes for term in running_terms(runs) if term.name != "loaded kernels")
        member = sharded_memory(replace(recipe, batch=recipe.batch // count), runs, count).bytes
        peak, planned = peak_bytes / 2**30, (member + allocated) / 2**30
        yield row(f"{name}: peak memory a device, {count} processes{label}", peak, "GiB")
        yield row(
            f"{name}: as the planner says{label}",
            planned,
            "GiB",
            "measured",
            planned / peak if peak else None,
            target=PREDICTED,
        )
    recipe = measured[""][0]
    budget = sharded_bytes(recipe.model, recipe.update, batch=recipe.batch, gpus=count) / 2**30
    yield row(
        f"{name}: as `wide.sharded_bytes` says, in float32, in the pieces that take least", budget, "GiB"
    )


def timed(
    step: Callable[[Tensor], Tensor], shape: Shape, batch: int, device: torch.device
) -> tuple[list[float], int]:
    """The seconds of steps after the first few, and the most bytes that were allocated."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds: list[float] = []
    for i in range(WARM_UP + TIMED):
        tokens = tokens_of(shape, batch, i, 1, device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        loss = float(step(tokens).sum())
        seconds.append(time.perf_counter() - began)
        assert loss < 100, loss
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return seconds[WARM_UP:], peak


def goes_on(device: torch.device, folder: Path, *, smoke: bool) -> Iterator[Row]:
    """The second half of the training with Adam, in this process alone, from the others' checkpoint."""
    shape, width, batch = (CPU_SHAPE, 32, 4) if smoke else (GPU_SHAPE, 256, 8)
    recipe = recipe_of(shape, width, "adam", batch=batch, precision=Precision.FLOAT32)
    training = ShardedTraining(recipe, members_of(shape, width, "adam", 2), device)
    load_sharded_(training, folder / "adam")
    losses = [
        training.step(tokens_of(shape, batch, step, 2, device)) for step in range(training.steps, STEPS)
    ]
    expected = torch.tensor(json.loads((folder / "adam.json").read_text()), dtype=torch.float64)[HALF:]
    found = torch.stack(losses).double().cpu()
    name = "a checkpoint of several processes goes on in one: largest relative difference of a loss"
    yield row(name, relative(found, expected), "", "one process, undisturbed", target=f"<= {CLOSE:g}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("phase", choices=("several", "one"))
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    with process_group("cpu" if options.smoke else "cuda") as device:
        rows: list[Row] = []
        smoke = options.smoke
        found = (
            goes_on(device, options.folder, smoke=smoke)
            if options.phase == "one"
            else chain(
                correctness(device, options.folder, smoke=smoke),
                speed(device, 64 if smoke else options.width, smoke=smoke),
            )
        )
        for item in found:
            rows.append(item)
            if dist.get_rank() == 0:
                print_row(item)
                (options.folder / f"{options.phase}.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
