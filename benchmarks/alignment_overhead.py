"""What measuring alignment costs a population's training: time at one measurement in 100 steps, and memory.

usage: PYTHONPATH=src python benchmarks/alignment_overhead.py [--json FILE] [--smoke]

Populations of bfloat16 Transformers as training runs them, recorded on CUDA, 16 x 256 tokens a member and step; all 33
layers, a probe of 256 tokens. Turns of some steps alone, of the same number of steps and one measurement, in turn; the
cost of a measurement is the median over rounds of their difference, its share that cost over 100 steps. Members that
all begin from seeds of their own (as many references as members) are the worst case; four seeds are what a study of
rates has. What a measurement holds is torch's peak of allocated bytes during one, beyond what stood. `--smoke` runs
every line on a CPU, small. About a minute and a half on one H200. Needs torch, numpy and triton.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from statistics import median

import torch
from _population_case import (
    LARGE,
    SMOKE,
    WARM_STEPS,
    Case,
    Scale,
    crowd_of,
    population_step,
    random_text,
    recipe_for,
)
from _population_speed import SMALL, TINY
from _record import Row, attempted, machine, make_record, row, versions, write_json
from _timing import Step, forget, interleaved, timed

from widthwise.train import AlignmentPlan, Execution, TrainingStep, matrix_layers, member_memory
from widthwise.train.alignment_recorder import AlignmentRecorder

EVERY = 100
"""Steps from one measurement to the next."""
ROUNDS = 7
SECONDS = 0.5
MOST = 40
"""About how long a turn is, and its largest number of steps."""
WIDTHS = (128, 512, 1024)
SEEDS = 4
TARGET = 2.0
MIB = 2**20
SAID = {"own": "every member a seed of its own", "shared": f"{SEEDS} seeds"}


@dataclass(frozen=True)
class Turn:
    """Some steps, and a measurement after them or none."""

    step: Step
    steps: int
    measure: Step | None

    def __call__(self) -> None:
        """One turn."""
        for _ in range(self.steps):
            self.step()
        if self.measure is not None:
            self.measure()


def overhead_rows(case: Case, scale: Scale) -> Iterator[Row]:
    """One population: a step, a measurement of each kind, its share of training, and its bytes."""
    turns = len(SAID) + 1
    room = Scale(
        scale.device, rounds=turns * (ROUNDS + 3), seconds=scale.seconds, most=MOST if scale.cuda else 2
    )
    training, step = population_step(case, case.members, room, scale.fast)
    label = f"{case.label}: P={case.members}"
    recorders: dict[str, AlignmentRecorder] = {}
    for kind in SAID:
        before = allocated(scale)
        recorders[kind] = recorder(case, training, seeds=case.members if kind == "own" else SEEDS)
        if scale.cuda:
            yield row(f"{label}: kept of W_0, {SAID[kind]}", (allocated(scale) - before) / MIB, "MiB")
    for _ in range(WARM_STEPS if scale.cuda else 1):
        step()
    for each in recorders.values():
        each.after(1)
    yield from memory_rows(label, case, recorders, scale)
    steps = min(room.most, max(1, ceil(SECONDS / timed(step, scale.device, 1)))) if scale.cuda else 1
    contestants: dict[str, Step] = {"alone": Turn(step, steps, None)}
    contestants |= {kind: Turn(step, steps, measuring(each)) for kind, each in recorders.items()}
    rounds = ROUNDS if scale.cuda else scale.rounds
    times = interleaved(contestants, device=scale.device, rounds=rounds, seconds=0.0, most=1)
    alone = times["alone"]
    yield row(f"{label}: a step", alone.median / steps, "ms")
    for kind, said in SAID.items():
        pairs = zip(times[kind].samples, alone.samples, strict=True)
        cost = median(with_one - without for with_one, without in pairs)
        yield row(f"{label}: a measurement, {said}", cost, "ms")
        share = 100 * cost / (EVERY * alone.median / steps)
        yield row(
            f"{label}: one in {EVERY} steps, {said}", share, "%", "the steps alone", None, f"<= {TARGET:g}"
        )


def recorder(case: Case, training: TrainingStep, *, seeds: int) -> AlignmentRecorder:
    """What measures a population at step 0; every layer.

    The weights are those of members with seeds of their own: with fewer, the numbers mean nothing, and cost the same.
    """
    plan = AlignmentPlan(every=1, layers=matrix_layers(case.model))
    recipe = replace(recipe_for(case.model, case.batch, 1), alignment=plan)
    members = [replace(m, init_seed=m.init_seed % seeds) for m in crowd_of(case.model, case.members)]
    return AlignmentRecorder(plan, recipe, members, training.population, random_text(case.model.vocabulary))


def measuring(each: AlignmentRecorder) -> Step:
    """One measurement."""
    return lambda: each.after(1)


def memory_rows(
    label: str, case: Case, recorders: dict[str, AlignmentRecorder], scale: Scale
) -> Iterator[Row]:
    """The bytes of one measurement beyond what stands, beside what is predicted of them."""
    if not scale.cuda:
        return
    plan = AlignmentPlan(every=1, layers=matrix_layers(case.model))
    recipe = replace(recipe_for(case.model, case.batch, 1), alignment=plan)
    (moment,) = (m for m in member_memory(recipe, Execution()).between if m.name == "measuring")
    predicted = case.members * moment.bytes / MIB
    for kind, each in recorders.items():
        torch.cuda.synchronize()
        before = allocated(scale)
        torch.cuda.reset_peak_memory_stats()
        each.after(1)
        torch.cuda.synchronize()
        found = (torch.cuda.max_memory_allocated() - before) / MIB
        name = f"{label}: held while measuring, {SAID[kind]}"
        yield row(name, found, "MiB", "predicted", predicted / found, ">= 1")


def allocated(scale: Scale) -> int:
    """Bytes of tensors on the device."""
    return torch.cuda.memory_allocated() if scale.cuda else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every row as it comes; keep them if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args(arguments)
    scale = LARGE if torch.cuda.is_available() and not given.smoke else SMOKE
    cases = [c for c in SMALL if c.model.width in WIDTHS] if scale.cuda else [TINY]
    rows: list[Row] = []
    for case in cases:
        rows += attempted(case.label, lambda case=case: overhead_rows(case, scale))
        forget(scale.device)
    if given.json is not None:
        accelerator = torch.cuda.get_device_name() if scale.cuda else None
        known = versions("torch", "triton", "numpy")
        write_json(
            given.json,
            make_record("alignment_overhead", rows, machine=machine(accelerator), versions=known),
        )
    return int(any("error" in item for item in rows))


if __name__ == "__main__":
    sys.exit(main())
