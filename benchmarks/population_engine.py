"""The population engine on one GPU beside a plain compiled model trained one at a time, at several widths.

usage: PYTHONPATH=src python benchmarks/population_engine.py [--out FILE.json] [--smoke]

Three programs train the same architecture on the same number of tokens a step, in one process, in turn: an ordinary
nn.Module under torch.compile with fused AdamW and bfloat16 autocast; this package's engine with one member; and with P
members. Correctness first: the losses of recorded steps against those of the same steps run one operation at a time,
and of a population run twice. `--smoke` runs every line on a CPU, small and uncompiled. Needs torch, numpy and triton.
"""

import argparse
import gc
import json
import platform
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from widthwise.models import Transformer
from widthwise.optim import AdamUpdate
from widthwise.scaling import TRANSFORMER_ROLES, assign_roles, make_reference_plan, resolve
from widthwise.theory import ADAM, FULL_RATES, STANDARD
from widthwise.train import Corpus, Engine, Member, Population, Precision, Recipe, TrainingStep, WarmupCosine
from widthwise.train.batches import Batches
from widthwise.train.step_graph import relative_difference, stepper

REPEATS = 5
Row = dict[str, object]


@dataclass(frozen=True)
class Case:
    """One row of the table: a width, how many members, and what the plain loop is to be beaten by."""

    width: int
    members: int
    required: float


@dataclass(frozen=True)
class Setting:
    """What all cases share."""

    device: torch.device
    depth: int
    head_dim: int
    batch: int
    context: int
    vocabulary: int
    steps: int
    cases: tuple[Case, ...]

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def tokens(self) -> int:
        return self.batch * self.context


LARGE = Setting(
    torch.device("cuda"), 8, 128, 16, 256, 256, 20,
    (Case(128, 52, 40), Case(256, 52, 22), Case(512, 26, 6), Case(1024, 13, 2.3)),
)  # fmt: skip
SMOKE = Setting(torch.device("cpu"), 2, 16, 2, 16, 256, 2, (Case(32, 3, 1),))


class Block(nn.Module):
    """Pre-norm attention and MLP, without biases."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.heads = width // head_dim
        self.norm1, self.norm2 = (nn.LayerNorm(width, bias=False) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(a.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Plain(nn.Module):
    """The same Transformer as anyone would write it."""

    def __init__(self, setting: Setting, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(setting.vocabulary, width)
        self.position = nn.Parameter(torch.randn(setting.context, width))
        self.blocks = nn.ModuleList([Block(width, setting.head_dim) for _ in range(setting.depth)])
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, setting.vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens[:, :-1]) + self.position
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1).float(), tokens[:, 1:].flatten())


def plain_loop(setting: Setting, width: int) -> Callable[[], object]:
    """A step of the ordinary loop."""
    torch.manual_seed(0)
    model = Plain(setting, width).to(setting.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=setting.cuda)
    shape = (8, setting.batch, setting.context + 1)
    tokens = torch.randint(0, setting.vocabulary, shape, device=setting.device)
    forward = torch.compile(model) if setting.cuda else model
    count = 0

    def step() -> None:
        nonlocal count
        optimizer.zero_grad()
        with torch.autocast(setting.device.type, torch.bfloat16):
            loss = forward(tokens[count % 8])
        loss.backward()
        optimizer.step()
        count += 1

    return step


def random_text(setting: Setting) -> Corpus:
    tokens = np.random.default_rng(0).integers(0, setting.vocabulary, 1 << 20, dtype=np.uint8)
    return Corpus(name="random", train=tokens, validation=tokens[: 1 << 16], digest="")


def training_step(
    setting: Setting, case: Case, members: int, engine: Engine, steps: int
) -> tuple[TrainingStep, Callable[[], int]]:
    """A population's next steps, and what runs them."""
    model = Transformer(case.width, setting.depth, setting.head_dim, setting.vocabulary, setting.context)
    recipe = Recipe(
        model=model,
        update=AdamUpdate(0.9, 0.95),
        schedule=WarmupCosine(steps, 1),
        batch=setting.batch,
        precision=Precision.BFLOAT16,
        validation_windows=1,
        curve_points=1,
    )
    plan = make_reference_plan(
        assign_roles(model.tensors(), TRANSFORMER_ROLES),
        width=case.width,
        base_width=case.width,
        parameterization=STANDARD,
        optimizer=ADAM,
        prescription=FULL_RATES,
    )
    crowd = [
        Member(resolve(plan, learning_rate=2.0 ** (-8 - i / 4), epsilon=1e-12), init_seed=i, data_seed=0)
        for i in range(members)
    ]
    population = Population(recipe, crowd, setting.device)
    corpus = random_text(setting)
    batches = Batches(
        corpus, [0], steps=steps, batch=setting.batch, context=setting.context, device=setting.device
    )
    stream_P = torch.zeros(members, dtype=torch.long, device=setting.device)
    step = TrainingStep(recipe, population, batches, stream_P, losses=engine.losses(population))
    return step, stepper(step, engine)


def milliseconds(step: Callable[[], object], setting: Setting, count: int) -> float:
    """The median over batches of steps that follow one another."""
    times: list[float] = []
    for _ in range(REPEATS):
        synchronize(setting)
        started = perf_counter()
        for _ in range(count):
            step()
        synchronize(setting)
        times.append((perf_counter() - started) / count * 1e3)
    return median(times)


def synchronize(setting: Setting) -> None:
    if setting.cuda:
        torch.cuda.synchronize()


def forget() -> None:
    gc.collect()
    torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measured(setting: Setting, case: Case, members: int) -> tuple[float, float, float]:
    """Milliseconds a step, seconds until the first steps were done, and GiB."""
    engine = Engine(captured=setting.cuda, compiled=setting.cuda)
    started = perf_counter()
    _, run = training_step(setting, case, members, engine, 2 + (REPEATS + 1) * setting.steps + 8)
    run()
    synchronize(setting)
    prepared = perf_counter() - started
    found = milliseconds(run, setting, setting.steps)
    memory = torch.cuda.max_memory_allocated() / 2**30 if setting.cuda else 0.0
    return found, prepared, memory


def fidelity(setting: Setting, case: Case) -> Iterator[Row]:
    """Losses of eight steps: recorded and compiled against plain, and plain against plain again."""
    members = min(case.members, 4)
    losses: list[Tensor] = []
    for engine in (Engine(), Engine(), Engine(captured=setting.cuda, compiled=setting.cuda)):
        step, run = training_step(setting, case, members, engine, 8)
        done = 0
        while done < 8:
            done += run()
        losses.append(step.losses_LxP.clone())
        forget()
    yield row(f"D={case.width}: losses of a recorded and compiled step", relative_difference(losses[2], losses[0]),
              "relative", "the plain step", None)  # fmt: skip
    yield row(f"D={case.width}: losses of the plain step", relative_difference(losses[1], losses[0]),
              "relative", "the plain step again", None)  # fmt: skip


def row(
    name: str, value: float, unit: str, baseline: str, ratio: float | None, target: float | None = None
) -> Row:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "baseline": baseline,
        "ratio": ratio,
        "target": target,
    }


def rows_of(setting: Setting, case: Case) -> Iterator[Row]:
    """Everything about one width."""
    yield from fidelity(setting, case)
    forget()
    step = plain_loop(setting, case.width)
    for _ in range(5 if setting.cuda else 1):
        step()
    before = milliseconds(step, setting, setting.steps)
    del step
    forget()
    alone, alone_prepared, _ = measured(setting, case, 1)
    forget()
    if setting.cuda:
        torch.cuda.reset_peak_memory_stats()
    together, prepared, memory = measured(setting, case, case.members)
    forget()
    step = plain_loop(setting, case.width)
    for _ in range(5 if setting.cuda else 1):
        step()
    after = milliseconds(step, setting, setting.steps)
    del step
    forget()
    plain = median([before, after])
    rate = case.members * setting.tokens / together * 1e3
    label = f"D={case.width}, P={case.members}"
    yield row(f"D={case.width}: plain compiled loop, first time", before, "ms", "none", None)
    yield row(f"D={case.width}: plain compiled loop, second time", after, "ms", "none", None)
    yield row(f"D={case.width}, P=1: engine", alone, "ms", "plain compiled loop", plain / alone)
    yield row(f"{label}: engine, a step", together, "ms", "none", None)
    yield row(f"{label}: member-tokens", rate / 1e6, "M/s", "plain compiled loop",
              plain * case.members / together, case.required)  # fmt: skip
    yield row(f"{label}: member-tokens", rate / 1e6, "M/s", "engine at P=1", alone * case.members / together)
    flops = 6 * (12 * setting.depth * case.width**2 + setting.vocabulary * case.width)
    flops += 6 * setting.depth * setting.context * case.width
    yield row(f"{label}: model arithmetic", flops * rate / 1e12, "TFLOP/s", "none", None)
    yield row(f"{label}: compile, prove and record", prepared, "s", "none", None, 60)
    yield row(f"D={case.width}, P=1: compile, prove and record", alone_prepared, "s", "none", None, 60)
    yield row(f"{label}: peak memory", memory, "GiB", "none", None)


def main() -> None:
    """Check, measure, print, and keep the record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--widths", type=int, nargs="*")
    options = parser.parse_args()
    setting = SMOKE if options.smoke else LARGE
    rows: list[Row] = []
    for case in setting.cases:
        if options.widths and case.width not in options.widths:
            continue
        for found in rows_of(setting, case):
            rows.append(found)
            ratio = "" if found["ratio"] is None else f"  {found['ratio']:.3g} of {found['baseline']}"
            print(f"{found['name']}: {found['value']:.4g} {found['unit']}{ratio}", flush=True)
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        record = {
            "benchmark": "population_engine",
            "machine": torch.cuda.get_device_name() if setting.cuda else f"{platform.machine()} CPU, smoke",
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
            "commit": commit.stdout.strip() or "unknown",
            "rows": rows,
        }
        if options.out is not None:
            options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
