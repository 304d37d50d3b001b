"""What a population's memory is predicted to be, beside what is allocated while it trains.

usage: PYTHONPATH=src python benchmarks/population_memory.py [--out FILE.json] [--widths N ...] [--smoke]

For each width, vocabulary and optimizer a population of a few members is trained for some steps as `train_population`
would do it, recorded and compiled in bfloat16. Predicted are the members' and the program's bytes (without loaded
kernels, which are no tensors); measured are torch's peak of allocated bytes in training, and reserved bytes after
validation. Micro-batches and recomputing have rows of their own. `--smoke` runs every line on a CPU, small and plain,
where nothing is measured. Needs torch, numpy and triton.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from widthwise.models import Transformer
from widthwise.optim import (
    AdafactorConstants,
    AdafactorUpdate,
    AdamAtan2Update,
    AdamUpdate,
    MemberUpdate,
    ParameterScaling,
    SgdUpdate,
)
from widthwise.scaling import TensorNumbers
from widthwise.train import (
    WHOLE,
    ActivationPlan,
    Corpus,
    Engine,
    Member,
    Population,
    Precision,
    Recipe,
    TrainingStep,
    WarmupCosine,
    execution_for,
    member_memory,
    program_memory,
)
from widthwise.train.batches import Batches
from widthwise.train.memory import LOADED
from widthwise.train.step_graph import stepper

SCALING = ParameterScaling(1e-8)
UPDATES: dict[str, MemberUpdate] = {
    "sgd": SgdUpdate(0.9),
    "adam": AdamUpdate(0.9, 0.98),
    "adam-atan2": AdamAtan2Update(0.9, 0.98, 1.0, 1.0),
    "adam-ps": AdamUpdate(0.9, 0.98, SCALING),
    "adafactor": AdafactorUpdate(AdafactorConstants(parameter_scaling=SCALING)),
}
STEPS = 12
CORPUS_TOKENS = 1 << 20
GIB = 2**30
Row = dict[str, object]


@dataclass(frozen=True)
class Case:
    """One population."""

    width: int
    members: int
    vocabulary: int
    update: str
    activations: ActivationPlan = WHOLE
    batch: int = 16
    context: int = 256
    depth: int = 8

    @property
    def label(self) -> str:
        plan = self.activations
        parts = [f"D={self.width}, P={self.members}, V={self.vocabulary}, {self.update}"]
        parts += [f"{self.batch}x{self.context}"]
        parts += [f"{plan.micro_batches} micro-batches"] if plan.micro_batches > 1 else []
        parts += ["recomputed"] if plan.recompute else []
        return ", ".join(parts)


def cases() -> Iterator[Case]:
    """Every optimizer at two widths, Adam and Adafactor at all of them, and what makes steps smaller."""
    members = {64: 64, 128: 52, 256: 32, 512: 16, 1024: 8, 2048: 3}
    for width, count in members.items():
        for update in UPDATES if width in (128, 1024) else ("adam", "adafactor"):
            yield Case(width, count, 256, update)
    for width, count in {64: 8, 128: 8, 512: 6, 2048: 2}.items():
        yield Case(width, count, 32101, "adam")
    large = Case(512, 2, 256, "adam", batch=256, context=512)
    for plan in (WHOLE, ActivationPlan(4), ActivationPlan(recompute=True), ActivationPlan(4, recompute=True)):
        yield replace(large, activations=plan)


SMOKE = (
    Case(32, 3, 256, "adam", batch=2, context=16, depth=2),
    Case(32, 2, 256, "adafactor", ActivationPlan(2, recompute=True), batch=2, context=16, depth=2),
)


def recipe_of(case: Case) -> Recipe:
    head = min(case.width, 128)
    model = Transformer(case.width, case.depth, head, case.vocabulary, case.context)
    return Recipe(
        model=model,
        update=UPDATES[case.update],
        schedule=WarmupCosine(STEPS, 1),
        batch=case.batch,
        precision=Precision.BFLOAT16,
        validation_windows=case.batch,
        curve_points=1,
    )


def text(case: Case) -> Corpus:
    tokens = np.random.default_rng(0).integers(0, 256, CORPUS_TOKENS, dtype=np.uint8)
    return Corpus(name="random", train=tokens, validation=tokens[: 1 << 18], digest="")


def measured(case: Case, device: torch.device, engine: Engine) -> tuple[int, int]:
    """Peak of allocated bytes in training, and reserved bytes after validation; 0 on a CPU."""
    cuda = device.type == "cuda"
    recipe = recipe_of(case)
    each = {name: TensorNumbers(0.02, 1.0, 1e-3, 1e-9) for name in recipe.model.tensors()}
    crowd = [Member(each, init_seed=i, data_seed=0) for i in range(case.members)]
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else 0
    population = Population(recipe, crowd, device, activations=case.activations)
    batches = Batches(text(case), [0], steps=STEPS, batch=case.batch, context=case.context, device=device)
    stream_P = torch.zeros(case.members, dtype=torch.long, device=device)
    step = TrainingStep(recipe, population, batches, stream_P, losses=engine.losses(population))
    run, done = stepper(step, engine), 0
    while done < STEPS:
        done += run()
    peak = torch.cuda.max_memory_allocated() - before if cuda else 0
    windows = torch.zeros(case.batch, case.context + 1, dtype=torch.long, device=device)
    population.validation_losses(windows)
    return peak, torch.cuda.memory_reserved() - before if cuda else 0


def rows_of(case: Case, device: torch.device) -> Iterator[Row]:
    """Predicted and measured bytes of one population, in GiB."""
    cuda = device.type == "cuda"
    engine = Engine(captured=cuda, compiled=cuda)
    recipe = recipe_of(case)
    execution = execution_for(recipe, device, activations=case.activations, engine=engine)
    each = member_memory(recipe, execution)
    program = program_memory(recipe, execution, corpus_bytes=CORPUS_TOKENS, data_seeds=1).bytes
    program -= LOADED if cuda else 0
    training, whole = (program + case.members * bytes_ for bytes_ in (each.training, each.bytes))
    peak, reserved = measured(case, device, engine)
    for name, found, expected in (
        ("allocated in training", peak, training),
        ("reserved after validation", reserved, whole),
    ):
        yield {
            "name": f"{case.label}: {name}",
            "value": expected / GIB,
            "unit": "GiB",
            "baseline": f"measured {found / GIB:.4g} GiB" if cuda else "not measured on a CPU",
            "ratio": expected / found if found else None,
            "target": None,
        }


def forget() -> None:
    gc.collect()
    torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def write(out: Path, rows: list[Row], machine: str) -> None:
    """The record, whole or not at all."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    record = {
        "benchmark": "population_memory",
        "machine": machine,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "commit": commit.stdout.strip() or "unknown",
        "rows": rows,
    }
    temporary = out.with_name(f".{out.name}.new")
    temporary.write_text(json.dumps(record, indent=1) + "\n")
    os.replace(temporary, out)


def main() -> None:
    """Predict, measure, print, and keep the record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--widths", type=int, nargs="*")
    options = parser.parse_args()
    device = torch.device("cpu" if options.smoke else "cuda")
    machine = f"{platform.machine()} CPU, smoke" if options.smoke else torch.cuda.get_device_name()
    rows: list[Row] = []
    for case in SMOKE if options.smoke else cases():
        if options.widths and case.width not in options.widths:
            continue
        try:
            for row in rows_of(case, device):
                rows.append(row)
                ratio = "" if row["ratio"] is None else f", {row['ratio']:.3f} of it"
                print(
                    f"{row['name']}: predicted {row['value']:.4g} GiB, {row['baseline']}{ratio}", flush=True
                )
        except torch.OutOfMemoryError as error:
            print(f"{case.label}: out of memory: {str(error).splitlines()[0]}", flush=True)
        forget()
        if options.out is not None:
            write(options.out, rows, machine)


if __name__ == "__main__":
    main()
