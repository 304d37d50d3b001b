"""What an epsilon report costs beside training: one report over one training step, and its share at every 100 steps.

    python benchmarks/epsilon_report.py [--device cuda] [--width N] [--layers N] [--write]

A Transformer's tensors with AdamW, an ordinary forward and backward pass between the steps. On CUDA the report's time
is measured with and without what the device still has to do, since it waits for it once. `--write` keeps the record as
benchmarks/results/epsilon_report-DEVICE.json. The baseline of every row is a training step of the same run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from widthwise import ADAM, STANDARD, ScalingPlan, make_plan  # noqa: E402
from widthwise.measure import measure_epsilon  # noqa: E402

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


def median_time(action: Callable[[], object], repeats: int, wait: Callable[[], None]) -> float:
    """Seconds, the device having nothing to do before and after."""
    times = []
    for _ in range(repeats):
        wait()
        start = perf_counter()
        action()
        wait()
        times.append(perf_counter() - start)
    return median(times)


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


def rows_of(options: argparse.Namespace) -> list[dict[str, Any]]:
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

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(2):
        step()
        measure_epsilon(optimizer, plan)
    train = median_time(step, options.repeats, wait)
    parameters = sum(p.numel() for p in model.parameters())
    label = f"{parameters / 1e6:.1f} M parameters in {len(list(model.parameters()))} tensors, width {options.width}"
    rows = [
        row(f"training step of {options.batch * options.context} tokens; {label}", train, "s", None, None)
    ]
    for name, given in (("report", None), ("report with a plan", plan)):
        seconds = median_time(lambda given=given: measure_epsilon(optimizer, given), options.repeats, wait)
        rows.append(row(f"{name}; {label}", seconds, "s", train, None))
        share = seconds / (EVERY * train)
        rows.append(
            row(
                f"{name}, every {EVERY} steps, share of training time; {label}",
                share,
                "fraction",
                None,
                TARGET,
            )
        )
    extra = peak_memory(lambda: measure_epsilon(optimizer, plan), device)
    if extra is not None:
        rows.append(row(f"memory of a report; {label}", extra / 2**20, "MiB", parameters * 8 / 2**20, None))
    return rows


def row(name: str, value: float, unit: str, baseline: float | None, target: str | None) -> dict[str, Any]:
    """One row of the results."""
    ratio = None if baseline is None else round(value / baseline, 4)
    shown = None if baseline is None else round(baseline, 6)
    return {
        "name": name, "value": round(value, 6), "unit": unit, "baseline": shown, "ratio": ratio, "target": target,
    }  # fmt: skip


def main() -> None:
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
    options = parser.parse_args()
    described = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    cuda = options.device.startswith("cuda")
    gpu = f", {torch.cuda.get_device_name()}" if cuda else f", {torch.get_num_threads()} threads"
    record = {
        "benchmark": "epsilon_report",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{gpu}",
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "commit": described.stdout.strip() or "unknown",
        "rows": rows_of(options),
    }
    text = json.dumps(record, indent=1) + "\n"
    print(text, end="")
    if options.write:
        path = HERE / "results" / f"epsilon_report-{torch.device(options.device).type}.json"
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
