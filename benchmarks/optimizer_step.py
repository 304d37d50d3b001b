"""Adam-atan2's step: that it is right on this device, and then how fast it is beside what PyTorch offers.

usage: PYTHONPATH=src python benchmarks/optimizer_step.py [--write] [--smoke]

It prints the JSON record; `--write` also keeps it as benchmarks/results/optimizer_step.json. `--smoke`, with
TRITON_INTERPRET=1, runs the same program on a CPU with a few small tensors. Needs torch, numpy and triton;
adam-atan2-pytorch is another baseline where it is installed.

Any check that fails ends the run with exit code 1 before anything is timed. Baselines are measured in the same run on
the same tensors. Bandwidth counts 28 bytes for each parameter: weight, gradient and two moments read, weight and two
moments written, in float32.
"""

import argparse
import gc
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from math import pi, prod
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from widthwise.optim import (
    ROOT,
    SQUARED,
    AdamAtan2,
    AdamAtan2Update,
    AdamUpdate,
    AdamW,
    MemberUpdate,
    ParameterScaling,
    PopulationStep,
    SgdUpdate,
    StochasticRounding,
    WeightDecay,
    kernel_math,
    moment_kernel,
)
from widthwise.optim.moment_kernel import kernels

REPOSITORY = Path(__file__).resolve().parent.parent
BYTES = 28
FORMS = {"squared": SQUARED, "root": ROOT}
TILES = ((512, 1, 4), (512, 2, 4), (512, 4, 4), (512, 8, 4), (1024, 4, 8), (1024, 1, 4))
"""Tiles, tiles a block, and warps that are tried; `moment_kernel` says which are used."""

Row = dict[str, object]


@dataclass(frozen=True)
class Setting:
    """Where and how large."""

    device: torch.device
    shapes: list[tuple[int, ...]]
    many: list[tuple[int, ...]]
    members: int
    member_size: int
    repeats: int

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()


def large() -> Setting:
    """436 M parameters in a few large tensors; 340 M in 2,305 of mixed sizes; 64 members of 1.6 M."""
    width = 2048
    few: list[tuple[int, ...]] = [(32101, 1024)]
    for _ in range(8):
        few += [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]
    return Setting(torch.device("cuda"), few, blocks(384, 192), 64, 1_600_000, 7)


def smoke() -> Setting:
    """Enough to run every line on a CPU."""
    return Setting(torch.device("cpu"), [(33, 40), (1025,)], blocks(8, 2), 4, 100, 2)


def blocks(width: int, count: int) -> list[tuple[int, ...]]:
    """A Transformer's tensors, biases and gains among them, with an odd vocabulary."""
    found: list[tuple[int, ...]] = [(4099, width)]
    for _ in range(count):
        for rows, columns in ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width)):
            found += [(rows, columns), (rows,)]
        found += [(width,)] * 4
    return found


def draw(shape: Sequence[int], seed: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal entries between 1/4 and 4 in size."""
    generator = torch.Generator(device=device).manual_seed(seed)
    values = torch.randn(tuple(shape), generator=generator, device=device)
    return (values.sign() * values.abs().clamp(0.25, 4.0)).to(dtype)


# --- that it is right -------------------------------------------------------------------------------------------------

ODD_SHAPES = [(), (1,), (0,), (7,), (1024,), (1025,), (33, 129), (3, 5, 7, 11)]


def steps_of(
    arguments: dict[str, Any], device: torch.device, *, dtype: torch.dtype, steps: int, power: int = 0
) -> tuple[list[Tensor], AdamAtan2]:
    """The weights after some steps on odd shapes, one of them beginning at an odd address."""
    leaves = [torch.nn.Parameter(draw(shape, i, device, dtype)) for i, shape in enumerate(ODD_SHAPES)]
    leaves.append(torch.nn.Parameter(draw((2050,), 99, device, dtype)[1:]))
    optimizer = AdamAtan2(leaves, lr=0.05, **arguments)
    for t in range(1, steps + 1):
        for i, leaf in enumerate(leaves):
            leaf.grad = draw(leaf.shape, 1000 * t + i, device, dtype) * 2.0**power
        optimizer.step()
    return [leaf.detach() for leaf in leaves], optimizer


def exact(steps: int, device: torch.device, decay: float) -> list[Tensor]:
    """The formula as it is written, in float64, for the weights of `steps_of`."""
    results: list[Tensor] = []
    shapes = [*ODD_SHAPES, (2049,)]
    starts = [draw(shape, i, device) for i, shape in enumerate(ODD_SHAPES)]
    starts.append(draw((2050,), 99, device)[1:])
    for i, (shape, start) in enumerate(zip(shapes, starts, strict=True)):
        theta, m, v = start.double(), torch.zeros_like(start).double(), torch.zeros_like(start).double()
        for t in range(1, steps + 1):
            g = draw(shape, 1000 * t + i, device).double()
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g * g
            angle = torch.atan2(m / (1 - 0.9**t), 2 * (v / (1 - 0.999**t)).sqrt())
            theta = theta - 0.05 * 1.5 * angle - 0.05 * decay * theta
        results.append(theta)
    return results


def require(name: str, value: float, limit: float) -> Row:
    """A row for a check; ends the program if it fails."""
    print(f"check: {name}: {value:.3g} (at most {limit:.3g})", flush=True)
    if not value <= limit:
        sys.exit(f"FAILED: {name}: {value} is more than {limit}")
    return row(f"check: {name}", value, "largest difference", "reference", None, limit)


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    pairs = [(a.double(), b.double()) for a, b in zip(found, expected, strict=True) if a.numel()]
    return max((a - b).abs().max().item() for a, b in pairs)


def check_numbers(setting: Setting) -> Iterator[Row]:
    """Fused and foreach against float64; the two forms; decay; bfloat16 to the bit of the plain implementation."""
    device, steps = setting.device, 5 if setting.cuda else 2
    for form_name, form in FORMS.items():
        common = {"a": 1.5, "b": 2.0, "second_moment": form, "weight_decay": WeightDecay.coupled(0.1)}
        expected = exact(steps, device, 0.1)
        for name, how in (("fused", {"fused": True}), ("foreach", {"foreach": True})):
            found, optimizer = steps_of({**common, **how}, device, dtype=torch.float32, steps=steps)
            # Weights below 8 round by 2^-22 a step, angles (below pi / 2) by some 2^-20 through the moments.
            limit = steps * (2**-22 + 0.05 * 1.5 * 2**-19)
            yield require(f"{name}, {form_name}: weights against float64", difference(found, expected), limit)
            if optimizer.non_finite():
                sys.exit(f"FAILED: {name}, {form_name}: finite gradients are reported")
        for rounding in (None, StochasticRounding(seed=7)):
            more = {} if rounding is None else {"rounding": rounding}
            sides = [
                steps_of({**common, **more, **how}, device, dtype=torch.bfloat16, steps=steps)[0]
                for how in ({"fused": True}, {"foreach": False, "fused": False})
            ]
            unlike = [(a != b).float().mean().item() for a, b in zip(*sides, strict=True) if a.numel() > 1000]
            label = "nearest" if rounding is None else "stochastic"
            # A float32 that differs in its last place falls on the other side about once in 2^15.
            yield require(f"bfloat16, {form_name}, {label}: share of weights unlike", max(unlike), 2e-3)


def check_powers(setting: Setting) -> Iterator[Row]:
    """Every power of two of the gradients leaves every bit of the weights."""
    ranges = {"root": range(-100, 101), "squared": range(-40, 51)}
    for form_name, powers in ranges.items():
        for name, how in (("fused", {"fused": True}), ("foreach", {"foreach": True})):
            arguments = {"second_moment": FORMS[form_name], "b": 3.0, **how}
            tried = powers if setting.cuda else powers[:: len(powers) - 1]
            run = [
                steps_of(arguments, setting.device, dtype=torch.float32, steps=3, power=k)[0]
                for k in (0, *tried)
            ]
            unlike = sum(
                not torch.equal(a, b) for other in run[1:] for a, b in zip(run[0], other, strict=True)
            )
            yield require(
                f"{name}, {form_name}: tensors changed by 2^{powers[0]} to 2^{powers[-1]}", unlike, 0
            )


def check_flags(setting: Setting) -> Iterator[Row]:
    """A NaN in the last block of a tensor is on record, and only there."""
    leaves = [torch.nn.Parameter(draw((5000,), i, setting.device)) for i in range(3)]
    optimizer = AdamAtan2(leaves, lr=0.1, fused=True)
    for t in (1, 2):
        for leaf in leaves:
            leaf.grad = torch.ones_like(leaf)
            if t == 2 and leaf is leaves[1]:
                leaf.grad[4999] = float("nan")
        optimizer.step()
    found = [(entry.index, entry.step) for entry in optimizer.non_finite()]
    yield require("a NaN gradient is reported where and when it came", float(found != [(1, 2)]), 0)


@triton.jit
def apply_arctangent(x_at, y_at, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_at + place, kernel_math._arctangent(tl.load(x_at + place)))


def check_arctangent(setting: Setting) -> Iterator[Row]:
    """Units in the last place on this device, over 2^-30 to 2^30."""
    kernels()
    x = torch.exp2(torch.linspace(-30, 30, 1 << 20 if setting.cuda else 1 << 12, device=setting.device))
    y = torch.empty_like(x)
    apply_arctangent[(len(x) // 1024,)](x, y, BLOCK=1024, enable_fp_fusion=False)
    true = np.arctan(x.double().cpu().numpy())
    units = np.abs(y.cpu().numpy() - true) / np.spacing(true.astype(np.float32))
    yield require("arctangent: units in the last place", float(units.max()), 4)


def check_capture(setting: Setting) -> Iterator[Row]:
    """A CUDA graph whose gradients lie at addresses of its own, with a changing rate, gives the eager steps' bits."""
    results: list[list[Tensor]] = []
    for captured in (False, True):
        leaves = [torch.nn.Parameter(draw(shape, i, setting.device)) for i, shape in enumerate(ODD_SHAPES)]
        rate = torch.tensor(0.1, device=setting.device)
        optimizer = AdamAtan2(leaves, lr=rate, second_moment=ROOT, fused=True)
        gradients = [torch.zeros_like(leaf) for leaf in leaves]
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient
        optimizer.step()
        graph = torch.cuda.CUDAGraph()
        if captured:
            gradients = [torch.zeros_like(leaf) for leaf in leaves]
            for leaf, gradient in zip(leaves, gradients, strict=True):
                leaf.grad = gradient
            with torch.cuda.graph(graph):
                optimizer.step()
        for t in range(1, 6):
            rate.fill_(0.01 * t)
            for i, gradient in enumerate(gradients):
                gradient.copy_(draw(gradient.shape, 100 * t + i, setting.device))
            graph.replay() if captured else optimizer.step()
        results.append([leaf.detach() for leaf in leaves])
    unlike = sum(not torch.equal(a, b) for a, b in zip(*results, strict=True))
    yield require("tensors unlike after a captured step", unlike, 0)


# --- how fast it is ---------------------------------------------------------------------------------------------------


def row(name: str, value: float, unit: str, baseline: str, ratio: float | None, target: object = None) -> Row:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "baseline": baseline,
        "ratio": ratio,
        "target": target,
    }


def seconds(step: Callable[[], object], setting: Setting) -> float:
    """The median over batches of steps that follow one another, so that the host works ahead as it does in training."""
    batch = 20 if setting.cuda else 1
    for _ in range(5 if setting.cuda else 1):
        step()
    setting.synchronize()
    times: list[float] = []
    for _ in range(setting.repeats):
        started = perf_counter()
        if setting.cuda:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            for _ in range(batch):
                step()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3 / batch)
        else:
            step()
            times.append(perf_counter() - started)
    return median(times)


def host_seconds(step: Callable[[], object], setting: Setting) -> float:
    """The median time until a step's call returns."""
    times: list[float] = []
    for _ in range(setting.repeats):
        setting.synchronize()
        started = perf_counter()
        step()
        times.append(perf_counter() - started)
    setting.synchronize()
    return median(times)


def leaves_of(shapes: Sequence[tuple[int, ...]], device: torch.device) -> list[torch.nn.Parameter]:
    leaves = [torch.nn.Parameter(torch.randn(shape, device=device) * 0.02) for shape in shapes]
    for leaf in leaves:
        leaf.grad = torch.randn_like(leaf) * 1e-3
    return leaves


Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]

BASELINES: dict[str, Make] = {
    "torch AdamW fused": lambda leaves: torch.optim.AdamW(leaves, lr=1e-3, fused=True),
    "torch AdamW foreach": lambda leaves: torch.optim.AdamW(leaves, lr=1e-3, foreach=True),
}
if find_spec("adam_atan2_pytorch") is not None:
    from adam_atan2_pytorch import AdamAtan2 as OtherAdamAtan2

    BASELINES["adam-atan2-pytorch"] = lambda leaves: OtherAdamAtan2(leaves, lr=1e-3)
CANDIDATES: dict[str, Make] = {
    "Adam-atan2 fused squared": lambda leaves: AdamAtan2(leaves, lr=1e-3, fused=True, second_moment=SQUARED),
    "Adam-atan2 fused root": lambda leaves: AdamAtan2(leaves, lr=1e-3, fused=True, second_moment=ROOT),
    "Adam-atan2 foreach squared": lambda leaves: AdamAtan2(
        leaves, lr=1e-3, foreach=True, second_moment=SQUARED
    ),
    "Adam-atan2 foreach root": lambda leaves: AdamAtan2(leaves, lr=1e-3, foreach=True, second_moment=ROOT),
    "AdamW fused root": lambda leaves: AdamW(leaves, lr=1e-3, fused=True),
    "AdamW fused root, parameter scaling": lambda leaves: AdamW(
        leaves, lr=1e-3, fused=True, parameter_scaling=ParameterScaling()
    ),
}


@contextmanager
def emptied(setting: Setting) -> Iterator[None]:
    """What a candidate held is given back before the next one starts."""
    yield
    gc.collect()
    if setting.cuda:
        torch.cuda.empty_cache()


def measure(make: Make, shapes: Sequence[tuple[int, ...]], setting: Setting) -> tuple[float, float]:
    """Seconds a step, and seconds of the host."""
    with emptied(setting):
        optimizer = make(leaves_of(shapes, setting.device))
        return seconds(optimizer.step, setting), host_seconds(optimizer.step, setting)


def copy_bandwidth(setting: Setting) -> float:
    """Bytes read and written in a second by a copy of as many bytes as a step reads, 16 for each parameter."""
    with emptied(setting):
        source = torch.randn(4 * sum(map(prod, setting.shapes)), device=setting.device)
        target = torch.empty_like(source)
        return 2 * source.nbytes / seconds(lambda: target.copy_(source), setting)


def bandwidth_rows(
    title: str, shapes: Sequence[tuple[int, ...]], setting: Setting, copy: float, targets: bool
) -> Iterator[Row]:
    """Every optimizer on one list of tensors."""
    moved = BYTES * sum(map(prod, shapes))
    label = f"{title} ({moved / BYTES / 1e6:.0f} M parameters, {len(shapes)} tensors)"
    found = {name: measure(make, shapes, setting) for name, make in {**BASELINES, **CANDIDATES}.items()}
    adamw = found["torch AdamW fused"][0]
    for name, (time, host) in found.items():
        rate = moved / time
        ours = targets and "atan2 fused" in name
        yield row(f"{label}: {name}", rate / 1e12, "TB/s", "device copy", rate / copy, 0.97 if ours else None)
        yield row(
            f"{label}: {name}: a step",
            time * 1e3,
            "ms",
            "torch AdamW fused",
            adamw / time,
            1.19 if ours else None,
        )
        yield row(f"{label}: {name}: until the call returns", host * 1e3, "ms", "none", None)


def tile_rows(setting: Setting, copy: float) -> Iterator[Row]:
    """Other sizes of tiles and blocks than those that are used."""
    moved = BYTES * sum(map(prod, setting.shapes))
    used = (moment_kernel.TILE, moment_kernel.CHUNK, moment_kernel.WARPS)
    for sizes in TILES if setting.cuda else TILES[:1]:
        moment_kernel.TILE, moment_kernel.CHUNK, moment_kernel.WARPS = sizes
        for name in ("Adam-atan2 fused squared", "Adam-atan2 fused root"):
            rate = moved / measure(CANDIDATES[name], setting.shapes, setting)[0]
            tile, chunk, warps = sizes
            yield row(
                f"{chunk} tiles of {tile}, {warps} warps: {name}", rate / 1e12, "TB/s", "device copy",
                rate / copy,
            )  # fmt: skip
    moment_kernel.TILE, moment_kernel.CHUNK, moment_kernel.WARPS = used


UPDATES: dict[str, tuple[MemberUpdate, int]] = {
    "Adam-atan2": (AdamAtan2Update(beta1=0.9, beta2=0.98, a=4 / pi, b=1.0), 28),
    "Adam": (AdamUpdate(beta1=0.9, beta2=0.98), 28),
    "Adam with parameter scaling": (
        AdamUpdate(beta1=0.9, beta2=0.98, parameter_scaling=ParameterScaling()),
        32,
    ),
    "SGD with momentum": (SgdUpdate(momentum=0.9), 20),
}
"""A population's updates, and the bytes that each has to move for a parameter."""


def population_setting(update: MemberUpdate, setting: Setting, fused: bool) -> Callable[[], object]:
    """A step of 64 members, each a matrix of 1.6 M parameters."""
    shape = (setting.members, setting.member_size)
    parameters, gradients = ({"w": draw(shape, seed, setting.device)} for seed in (0, 1))
    rates = {"w": torch.full(shape[:1], 1e-3, device=setting.device)}
    step = PopulationStep(update, parameters, rates=rates, epsilons=rates, fused=fused)
    factor = torch.ones((), device=setting.device)
    return lambda: step.step_(gradients, factor=factor)


def check_population(setting: Setting) -> Iterator[Row]:
    """The kernels against the plain updates, odd sizes, several tensors; a NaN stays with its member."""
    shapes = {"gain": (3, 7), "odd": (3, 33, 129), "matrix": (3, 64, 512)}
    for name, (update, _) in UPDATES.items():
        ends: list[list[Tensor]] = []
        for fused, broken in ((False, False), (True, False), (True, True)):
            parameters = {
                key: draw(shape, i, setting.device) for i, (key, shape) in enumerate(shapes.items())
            }
            rates = {key: torch.tensor([0.01, 0.1, 0.3], device=setting.device) for key in shapes}
            step = PopulationStep(update, parameters, rates=rates, epsilons=rates, fused=fused)
            for t in range(1, 4):
                gradients = {
                    key: draw(shape, 100 * t + i, setting.device)
                    for i, (key, shape) in enumerate(shapes.items())
                }
                if broken:
                    gradients["odd"][1, 5] = float("nan")
                step.step_(gradients, factor=torch.tensor(0.5, device=setting.device))
            ends.append([step.parameters[key][[0, 2]] for key in shapes])
        yield require(f"population, {name}: kernels against the plain update", difference(*ends[:2]), 2**-14)
        unlike = sum(not torch.equal(a, b) for a, b in zip(*ends[1:], strict=True))
        yield require(f"population, {name}: tensors changed by a member's NaN", unlike, 0)


def population_rows(setting: Setting, copy: float) -> Iterator[Row]:
    """Every update of a population through the kernels, and one operation by operation."""
    numel = setting.members * setting.member_size
    label = f"population of {setting.members} x {setting.member_size}"
    for name, (update, moved) in UPDATES.items():
        for fused in (True, False):
            with emptied(setting):
                rate = moved * numel / seconds(population_setting(update, setting, fused), setting)
            how = "fused" if fused else "plain"
            target = 0.9 if fused and name == "Adam-atan2" else None
            yield row(
                f"{label}: {name} {how}, {moved} bytes a parameter", rate / 1e12, "TB/s", "device copy",
                rate / copy, target,
            )  # fmt: skip


def versions() -> dict[str, str]:
    found = {"torch": torch.__version__, "triton": triton.__version__, "numpy": np.__version__}
    return {**found, "python": platform.python_version(), "cuda": str(torch.version.cuda)}


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def record(setting: Setting) -> dict[str, object]:
    """Checks, then times."""
    rows: list[Row] = []

    def keep(found: Iterator[Row]) -> None:
        started = perf_counter()
        for item in found:
            rows.append(item)
            if not str(item["name"]).startswith("check"):
                ratio = "" if item["ratio"] is None else f"  {item['ratio']:.3f} of {item['baseline']}"
                print(f"{item['name']}: {item['value']:.4g} {item['unit']}{ratio}", flush=True)
        print(f"  ({perf_counter() - started:.0f} s)", flush=True)

    for check in (check_arctangent, check_numbers, check_powers, check_flags, check_population):
        keep(check(setting))
    if setting.cuda:
        keep(check_capture(setting))
    copy = copy_bandwidth(setting)
    rows.append(row("device copy", copy / 1e12, "TB/s", "none", None))
    print(f"device copy: {copy / 1e12:.3f} TB/s", flush=True)
    keep(bandwidth_rows("few large tensors", setting.shapes, setting, copy, True))
    keep(bandwidth_rows("many tensors", setting.many, setting, copy, True))
    keep(tile_rows(setting, copy))
    keep(population_rows(setting, copy))
    return {
        "benchmark": "optimizer_step",
        "machine": torch.cuda.get_device_name() if setting.cuda else f"{platform.machine()} CPU, interpreted",
        "versions": versions(),
        "commit": commit(),
        "rows": rows,
    }


def main() -> None:
    """Check, measure, print, and keep the record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the record under benchmarks/results")
    parser.add_argument("--smoke", action="store_true", help="a tiny run on the CPU, with TRITON_INTERPRET=1")
    options = parser.parse_args()
    setting = smoke() if options.smoke else large()
    print(f"backends: {versions()}; fused = Triton kernels, foreach = torch._foreach_*", flush=True)
    text = json.dumps(record(setting), indent=2)
    print(text)
    if options.write:
        target = REPOSITORY / "benchmarks" / "results" / "optimizer_step.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text + "\n")


if __name__ == "__main__":
    main()
