"""What an epsilon report costs beside training: one report over one training step, and its share at every 100 steps.

    PYTHONPATH=src python benchmarks/epsilon_report.py [--device cuda] [--width N] [--layers N] [--write] [--smoke]

A Transformer's tensors with AdamW, an ordinary forward and backward pass between the steps. On CUDA the report's time
is measured with and without what the device still has to do, since it waits for it once. `--write` keeps the record as
benchmarks/results/epsilon_report-DEVICE.json. The baseline of every row is a training step of the same run.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import torch
from _record import RESULTS, Row, machine, make_record, printed, row, versions, write_json
from _timing import timed
from torch import Tensor, nn
from torch.nn import functional as F

from widthwise import ADAM, STANDARD, ScalingPlan, make_plan
from widthwise.measure import measure_epsilon

VOCABULARY = 4096
EVERY = 100
TARGET = "<= 0.02"


class Block(nn.Module):
    """Attention and an MLP behind their norms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 64
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shape legend: B sequences, T positions, D width."""
        B, T, D = x.shape
        q, k, v = self.qkv(self.norms[0](x)).view(B, T, 3, self.heads, 64).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, D)
        x = x + self.output(mixed)
        return x + self.down(F.gelu(self.up(self.norms[1](x))))


class Model(nn.Module):
    """A table, blocks, a readout."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of every position."""
        return self.readout(self.norm(self.blocks(self.table(tokens))))


def peak_memory(action: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that an action needs on top of what is there; None off CUDA."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    action()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def rows_of(options: argparse.Namespace) -> Iterator[Row]:
    """One model: a training step, a report without and with a plan."""
    device = torch.device(options.device)
    plan: ScalingPlan = make_plan(
        lambda width: Model(width, options.layers), width=options.width, base_width=64, parameterization=STANDARD,
        optimizer=ADAM, widths=sorted({64, 128, 192, options.width}), initializer_widths=(64, 128, 192),
    )  # fmt: skip
    torch.manual_seed(0)
    model = Model(options.width, options.layers).to(device)
    optimizer = torch.optim.AdamW(plan.param_groups(model, learning_rate=1e-3))
    tokens = torch.randint(VOCABULARY, (options.batch, options.context + 1), device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(tokens[:, :-1])
        F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    def seconds(action: Callable[[], object]) -> float:
        """The median, the device having nothing to do before and after."""
        return median(timed(action, device, 1) for _ in range(options.repeats))

    for _ in range(2):
        step()
        measure_epsilon(optimizer, plan)
    train = seconds(step)
    parameters = sum(p.numel() for p in model.parameters())
    label = f"{parameters / 1e6:.1f} M parameters in {len(list(model.parameters()))} tensors, width {options.width}"
    yield row(
        f"training step of {options.batch * options.context} tokens; {label}", round(train, 6), "s", None
    )
    for name, given in (("report", None), ("report with a plan", plan)):
        found = seconds(lambda given=given: measure_epsilon(optimizer, given))
        yield row(f"{name}; {label}", round(found, 6), "s", round(train, 6), round(found / train, 4))
        share = round(found / (EVERY * train), 6)
        what = f"{name}, every {EVERY} steps, share of training time; {label}"
        yield row(what, share, "fraction", None, target=TARGET)
    extra = peak_memory(lambda: measure_epsilon(optimizer, plan), device)
    if extra is not None:
        state = parameters * 8 / 2**20
        ratio = round(extra / 2**20 / state, 4)
        yield row(f"memory of a report; {label}", round(extra / 2**20, 6), "MiB", round(state, 6), ratio)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--width", type=int, default=256, help="a multiple of 64; 1024 or more says something on a GPU"
    )
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a model of one layer, once")
    options = parser.parse_args(arguments)
    if options.smoke:
        options.width, options.layers, options.batch, options.context, options.repeats = 64, 1, 2, 16, 1
    device = torch.device(options.device)
    record = make_record(
        "epsilon_report",
        printed(rows_of(options)),
        machine=machine(torch.cuda.get_device_name() if device.type == "cuda" else None),
        versions=versions("torch"),
        threads=torch.get_num_threads(),
    )
    print(json.dumps(record, indent=1))
    if options.write:
        write_json(RESULTS / f"epsilon_report-{device.type}.json", record)


if __name__ == "__main__":
    main()
