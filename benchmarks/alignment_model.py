"""What `measure_alignment` costs on an ordinary model, and how exact it is on an accelerator.

usage: PYTHONPATH=src python benchmarks/alignment_model.py [--json FILE] [--smoke]

A decoder in plain PyTorch, trained by a compiled step in bfloat16 autocast with fused AdamW. Turns of some steps alone
and of as many steps and one measurement, in turn: a measurement's cost is the median over rounds of their difference,
its share that cost over 100 steps. The probe is a part of the batch. W_0 lies on the device, on the host, or is drawn
again from its seed. Memory is torch's peak of allocated bytes during one measurement, beyond what stood. A breakdown
follows: the time by what the device does (torch.profiler, which slows the host), and the host's own, which is what a
measurement takes where the arithmetic is next to nothing: as many layers of width 64, 16 tokens. Fidelity: the same
weights and probe in float32 on the device, with and without `torch.compile`, and in float64 on the host. Below 100
seconds on one H200; the record is written after every width. `--smoke` runs every line on a CPU, small. Needs torch.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, isnan
from pathlib import Path
from statistics import median

import torch
from _record import Row, attempted, machine, make_record, row, versions, write_json
from _timing import forget, interleaved, timed
from torch import Tensor, nn
from torch.nn import functional as F

from widthwise.measure import AlignmentReport, Redraw, Reference, Snapshot, measure_alignment
from widthwise.scaling.seeding import seeded

EVERY, TARGET = 100, 2.0
ROUNDS, SECONDS = 3, 0.4
HEAD = 64
TINY = 64
MIB = 2**20
WORK = {
    "products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "norms": ("aten::linalg_vector_norm",),
    "casts and copies, float64 ones for norms among them": ("aten::copy_",),
    "from the host": ("Memcpy HtoD",),
    "to the host": ("Memcpy DtoH",),
}
"""What a measurement does -> how the profiler's names for it begin; `aten::copy_` has the host's copies in it."""
FIDELITY = 1e-3
"""Of a log gain: float32 inputs that went through 8 layers are good to 1e-5 or so, and their change to that over it."""


@dataclass(frozen=True)
class Scale:
    """What is trained, and where."""

    device: torch.device
    widths: tuple[int, ...]
    layers: int
    vocabulary: int
    batch: int
    length: int
    probes: tuple[int, ...]


LARGE = Scale(torch.device("cuda"), (1024, 2048), 8, 32_768, 16, 1024, (1, 4))
SMOKE = Scale(torch.device("cpu"), (32,), 2, 64, 2, 16, (1,))


class Block(nn.Module):
    """Attention and an MLP, each behind a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        met = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        x = x + self.out(met.transpose(1, 2).flatten(-2))
        return x + self.down(F.gelu(self.up(self.norms[1](x))))


class Decoder(nn.Module):
    """Token ids to logits."""

    def __init__(self, width: int, scale: Scale) -> None:
        super().__init__()
        self.embed = nn.Embedding(scale.vocabulary, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(scale.layers))
        self.norm, self.readout = nn.LayerNorm(width), nn.Linear(width, scale.vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.readout(self.norm(x))


def build(width: int, scale: Scale) -> nn.Module:
    """A fresh model on the device."""
    with torch.device(scale.device):
        return Decoder(width, scale)


def tokens_for(scale: Scale) -> Tensor:
    """One batch."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(scale.vocabulary, (scale.batch, scale.length), generator=generator).to(scale.device)


def train_step(model: nn.Module, tokens: Tensor, *, compiled: bool = True) -> Callable[[], None]:
    """A step of training as people run it."""
    cuda = tokens.is_cuda
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=cuda)
    run = torch.compile(model) if cuda and compiled else model

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(tokens.device.type, dtype=torch.bfloat16, enabled=cuda):
            loss = F.cross_entropy(run(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()

    return step


def cost_rows(width: int, scale: Scale) -> Iterator[Row]:
    """Time and memory of a measurement beside training."""
    with seeded(0):
        model = build(width, scale)
    references: dict[str, Reference] = {
        "on the device": Snapshot.of(model),
        "on the host": Snapshot.of(model, device="cpu"),
        "drawn again": Redraw.of(model, lambda: build(width, scale), seed=0),
    }
    tokens = tokens_for(scale)
    step = train_step(model, tokens)
    for _ in range(3):
        step()
    cuda = scale.device.type == "cuda"
    steps = max(1, ceil(SECONDS / timed(step, scale.device, 2) * 2)) if cuda else 1

    def measuring(reference: Reference, sequences: int) -> Callable[[], AlignmentReport]:
        def measure() -> AlignmentReport:
            with torch.autocast(scale.device.type, dtype=torch.bfloat16, enabled=cuda):
                return measure_alignment(
                    model, tokens[:sequences], reference=reference, spectral_iterations=0
                )

        return measure

    def turn(measure: Callable[[], object] | None) -> Callable[[], None]:
        def run() -> None:
            for _ in range(steps):
                step()
            if measure is not None:
                measure()

        return run

    cases = {
        f"{sequences} of {scale.batch} sequences, W_0 {where}": measuring(reference, sequences)
        for sequences in scale.probes
        for where, reference in references.items()
        if sequences == scale.probes[-1] or reference is references["on the device"]
    }
    for measure in cases.values():
        measure()
    contestants = {"alone": turn(None)} | {name: turn(measure) for name, measure in cases.items()}
    times = interleaved(contestants, device=scale.device, rounds=ROUNDS if cuda else 1, seconds=0.0, most=1)
    alone = times["alone"]
    yield row(f"D={width}: a step", alone.median / steps, "ms")
    for name, measure in cases.items():
        pairs = zip(times[name].samples, alone.samples, strict=True)
        cost = median(with_one - without for with_one, without in pairs)
        yield row(f"D={width}: a measurement, {name}", cost, "ms")
        share = 100 * cost / (EVERY * alone.median / steps)
        yield row(
            f"D={width}: one in {EVERY} steps, {name}", share, "%", "the steps alone", None, f"<= {TARGET:g}"
        )
        if cuda:
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            measure()
            torch.cuda.synchronize()
            held = torch.cuda.max_memory_allocated() - before
            yield row(f"D={width}: held while measuring, {name}", held / MIB, "MiB")
    for name, measure in cases.items():
        yield from breakdown(f"D={width}: {name}", measure, scale.device)


def breakdown(name: str, measure: Callable[[], object], device: torch.device) -> Iterator[Row]:
    """Where one measurement's time goes, by the profiler."""
    cuda = device.type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if cuda:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profiler:
        seconds = timed(measure, device, 1)
    yield row(f"{name}: a measurement under the profiler", 1e3 * seconds, "ms")
    spent = {
        event.key: (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e3
        for event in profiler.key_averages()
    }
    calls = sum(event.count for event in profiler.key_averages() if event.key.startswith("aten::"))
    yield row(f"{name}: operations", calls, "calls")
    busy = sum(time for key, time in spent.items() if key.startswith("aten::"))
    yield row(f"{name}: operations, {'on the device' if cuda else 'on the host'}", busy, "ms")
    for work, keys in WORK.items():
        yield row(f"{name}: {work}", sum(t for key, t in spent.items() if key.startswith(keys)), "ms")


def host_rows(scale: Scale) -> Iterator[Row]:
    """A measurement's time where there is next to nothing to compute."""
    tiny = replace(scale, widths=(TINY,), vocabulary=TINY, batch=1, length=16)
    with seeded(0):
        model = build(TINY, tiny)
    references: dict[str, Reference] = {
        "on the device": Snapshot.of(model),
        "on the host": Snapshot.of(model, device="cpu"),
        "drawn again": Redraw.of(model, lambda: build(TINY, tiny), seed=0),
    }
    tokens = tokens_for(tiny)
    train_step(model, tokens, compiled=False)()
    for where, reference in references.items():

        def measure(reference: Reference = reference) -> None:
            with torch.autocast(tiny.device.type, dtype=torch.bfloat16):
                measure_alignment(model, tokens, reference=reference, spectral_iterations=0)

        times = [1e3 * timed(measure, tiny.device, 1) for _ in range(6)][1:]
        yield row(f"the host alone, {scale.layers} layers of width {TINY}, W_0 {where}", median(times), "ms")


def fidelity_rows(scale: Scale) -> Iterator[Row]:
    """The largest difference of a log gain from the same in float64 on the host."""
    width = scale.widths[0] // 4
    with seeded(1):
        model = build(width, scale)
    start = Snapshot.of(model)
    tokens = tokens_for(scale)[:2]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = {"eager": measure_alignment(model, tokens, reference=start)}
    compiled = torch.compile(model, backend="aot_eager") if scale.device.type == "cuda" else model
    with torch.no_grad():
        compiled(tokens)
    found["compiled"] = measure_alignment(compiled, tokens, reference=start)
    changed = sum(not torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    yield row("tensors that two measurements changed", changed, "tensors", None, None, "0")
    exact_model = Decoder(width, scale).double()
    exact_model.load_state_dict(kept)
    exact_start = {name: tensor.cpu().double() for name, tensor in start.tensors.items()}
    exact = measure_alignment(exact_model, tokens.cpu(), reference=exact_start)
    for name, report in found.items():
        pairs = list(zip(report.gains(), exact.gains(), strict=True))
        undefined = sum(isnan(ours.log_gain) != isnan(theirs.log_gain) for ours, theirs in pairs)
        worst = max(
            abs(ours.log_gain - theirs.log_gain) for ours, theirs in pairs if not isnan(theirs.log_gain)
        )
        yield row(
            f"{name}: largest difference of a log gain",
            worst,
            "",
            "float64 on the host",
            None,
            f"< {FIDELITY:g}",
        )
        yield row(f"{name}: undefined in one and not in the other", undefined, "gains", "float64", None, "0")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every row as it comes; keep them if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args(arguments)
    scale = LARGE if torch.cuda.is_available() and not given.smoke else SMOKE
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "host": lambda: host_rows(scale),
        **{f"D={width}": partial(cost_rows, width, scale) for width in scale.widths},
        "fidelity": lambda: fidelity_rows(scale),
    }
    rows: list[Row] = []
    accelerator = torch.cuda.get_device_name() if scale.device.type == "cuda" else None
    for name, part in parts.items():
        rows += attempted(name, part)
        forget(scale.device)
        if given.json is not None:
            write_json(
                given.json,
                make_record(
                    "alignment_model", rows, machine=machine(accelerator), versions=versions("torch")
                ),
            )
    return int(any("error" in item for item in rows))


if __name__ == "__main__":
    sys.exit(main())
