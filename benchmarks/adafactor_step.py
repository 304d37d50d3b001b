"""Adafactor's step: that it is right on this device, and then how fast it is beside torch.optim.Adafactor.

usage: PYTHONPATH=src python benchmarks/adafactor_step.py [--json FILE] [--write] [--smoke] [--skip PART ...]

It prints the JSON record; `--json FILE` also keeps it there, `--write` as benchmarks/results/adafactor_step.json.
`--smoke`, with TRITON_INTERPRET=1, runs the same program on a CPU with a few small tensors. Needs torch, numpy, triton.

A check or a measurement that fails becomes a row with an `error` and does not stop the others; the exit code is then 1.
Baselines are measured in the same run on the same tensors. Bandwidth counts 12 bytes for each parameter, what any
optimizer without a second moment of the weights' size must move: gradient and weight read, weight written. What really
moves is more, since gradients (and with parameter scaling, weights) are read again: rows `bytes moved` say how much.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
import triton
from torch import Tensor

from widthwise.optim import (
    Adafactor,
    AdafactorConstants,
    AdafactorUpdate,
    StochasticRounding,
    adafactor_fused,
)
from widthwise.optim.adafactor_fused import FusedAdafactor
from widthwise.optim.adafactor_single import adafactor_step, initial_state
from widthwise.optim.adafactor_tables import Tensors, Tile
from widthwise.optim.weight_decay import WeightDecay

REPOSITORY = Path(__file__).resolve().parent.parent
BYTES = 12
TILES = (
    Tile(16, 128, 8, 4),
    Tile(8, 128, 16, 4),
    Tile(8, 128, 32, 4),
    Tile(8, 128, 8, 4),
    Tile(4, 128, 32, 4),
    Tile(4, 256, 16, 4),
    Tile(8, 256, 16, 4),
    Tile(32, 128, 4, 8),
)
"""What is tried besides those in use, of `adafactor_fused`: rows, columns, steps, warps."""

VARIANTS: dict[str, dict[str, Any]] = {
    "clipping and scaling": {},
    "clipping": {"parameter_scaling": None},
    "scaling": {"clipping_threshold": None},
    "neither": {"clipping_threshold": None, "parameter_scaling": None},
}
MOVED = {"clipping and scaling": 24, "clipping": 20, "scaling": 20, "neither": 16}
"""Bytes for each float32 parameter: passes over gradients (3 with clipping, else 2), over weights for their size, and
weights read and written."""

TARGETS = {"clipping and scaling": 5, "clipping": 5, "scaling": 7, "neither": 7}
"""Times torch.optim.Adafactor's foreach form, which always clips and scales."""

Row = dict[str, object]


@dataclass(frozen=True)
class Setting:
    """Where and how large."""

    device: torch.device
    shapes: list[tuple[int, ...]]
    many: list[tuple[int, ...]]
    members: int
    population: list[tuple[int, ...]]
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
    member: list[tuple[int, ...]] = []
    for _ in range(8):
        member += [(384, 128), (128, 128), (512, 128), (128, 512), (128,), (128,)]
    return Setting(torch.device("cuda"), few, blocks(384, 192), 64, member, 7)


def smoke() -> Setting:
    """Enough to run every line on a CPU."""
    return Setting(torch.device("cpu"), [(136, 128), (1025,)], [(128, 136), (8,)], 2, [(128, 128), (8,)], 1)


def blocks(width: int, count: int) -> list[tuple[int, ...]]:
    """A Transformer's tensors, biases and gains among them, with an odd vocabulary."""
    found: list[tuple[int, ...]] = [(4099, width)]
    for _ in range(count):
        for rows, columns in ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width)):
            found += [(rows, columns), (rows,)]
        found += [(width,)] * 4
    return found


def draw(shape: Sequence[int], seed: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Normal entries, each row of a size of its own, so that factors are not all alike."""
    generator = torch.Generator(device=device).manual_seed(seed)
    values = torch.randn(tuple(shape), generator=generator, device=device)
    if values.dim() > 1:
        values *= torch.rand((*shape[:-1], 1), generator=generator, device=device) + 0.1
    return values.to(dtype)


# --- that it is right -------------------------------------------------------------------------------------------------

ODD_SHAPES: list[tuple[int, ...]] = [
    (),
    (1,),
    (0,),
    (1025,),
    (129, 257),
    (300, 136),
    (3, 128, 130),
    (130, 3, 140),
]
SMOKE_SHAPES: list[tuple[int, ...]] = [(), (0,), (65,), (129, 131), (128, 136)]


def options(variant: str) -> dict[str, Any]:
    return {"weight_decay": WeightDecay(0.1, 1e-3), **VARIANTS[variant]}


def steps_of(
    arguments: dict[str, Any], setting: Setting, *, dtype: torch.dtype, steps: int
) -> tuple[list[Tensor], Adafactor]:
    """The weights after some steps on odd shapes."""
    shapes = ODD_SHAPES if setting.cuda else SMOKE_SHAPES
    leaves = [torch.nn.Parameter(draw(s, i, setting.device, dtype)) for i, s in enumerate(shapes)]
    optimizer = Adafactor(leaves, lr=0.05, **arguments)
    for t in range(1, steps + 1):
        for i, leaf in enumerate(leaves):
            leaf.grad = draw(leaf.shape, 1000 * t + i, setting.device, dtype)
        optimizer.step()
    return [leaf.detach() for leaf in leaves], optimizer


def exact(steps: int, setting: Setting, variant: str, extra: dict[str, Any]) -> list[Tensor]:
    """The reference in float64, for the weights of `steps_of`."""
    results: list[Tensor] = []
    constants = AdafactorConstants(**{**VARIANTS[variant], **extra})
    for i, shape in enumerate(ODD_SHAPES if setting.cuda else SMOKE_SHAPES):
        theta = draw(shape, i, setting.device).double()
        state = initial_state(theta, constants=constants)
        for t in range(1, steps + 1):
            g = draw(shape, 1000 * t + i, setting.device).double()
            decay = WeightDecay(0.1, 1e-3).fraction(0.05)
            theta, state = adafactor_step(
                theta, g, state, constants=constants, rate=0.05, step=t, decay=decay
            )
        results.append(theta)
    return results


class CheckFailedError(Exception):
    """A number beyond its limit."""


def require(name: str, value: float, limit: float) -> Row:
    """A row for a check.

    Raises:
        CheckFailedError: it fails.
    """
    if not value <= limit:
        raise CheckFailedError(f"{name}: {value} is more than {limit}")
    return row(f"check: {name}", value, "largest difference", "reference", None, limit)


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    pairs = [(a.double(), b.double()) for a, b in zip(found, expected, strict=True) if a.numel()]
    return max((a - b).abs().max().item() for a, b in pairs)


def check_numbers(setting: Setting) -> Iterator[Row]:
    """Fused against float64, with every switch; equal bits when repeated."""
    steps = 5 if setting.cuda else 1
    for variant in VARIANTS:
        for extra in ({}, {"momentum": 0.9}, {"factored": False}) if setting.cuda else ({},):
            found, optimizer = steps_of(
                {**options(variant), **extra, "fused": True}, setting, dtype=torch.float32, steps=steps
            )
            # Weights below 8 round by 2^-22 a step. Unclipped updates are below 100 (a small factor), 2^-19 of them.
            limit = steps * (2**-22 + 0.05 * 100 * 2**-19)
            label = ", ".join([variant, *extra])
            yield require(
                f"{label}: weights against float64",
                difference(found, exact(steps, setting, variant, extra)),
                limit,
            )
            if optimizer.non_finite():
                raise CheckFailedError(f"{label}: finite gradients are reported")
    again = [
        steps_of({**options("clipping and scaling"), "fused": True}, setting, dtype=torch.float32, steps=2)[0]
        for _ in range(2)
    ]
    unlike = sum(not torch.equal(a, b) for a, b in zip(*again, strict=True))
    yield require("tensors unlike when repeated", unlike, 0)


def check_bfloat16(setting: Setting) -> Iterator[Row]:
    """bfloat16 weights to the bit of the plain implementation, nearly all of them."""
    for rounding in (None, StochasticRounding(seed=7)):
        more = {} if rounding is None else {"rounding": rounding}
        sides = [
            steps_of(
                {**options("clipping and scaling"), **more, "fused": fused},
                setting,
                dtype=torch.bfloat16,
                steps=1,
            )[0]
            for fused in (True, False)
        ]
        unlike = [(a != b).float().mean().item() for a, b in zip(*sides, strict=True) if a.numel() > 1000]
        label = "nearest" if rounding is None else "stochastic"
        # A float32 that differs in its last places falls on the other side about once in 2^14.
        yield require(f"bfloat16, {label}: share of weights unlike", max(unlike), 2e-3)


def check_flags(setting: Setting) -> Iterator[Row]:
    """A NaN in the last row of a tensor is on record, and only there."""
    leaves = [torch.nn.Parameter(draw((160, 136), i, setting.device)) for i in range(3)]
    optimizer = Adafactor(leaves, lr=0.1, fused=True)
    for t in (1, 2):
        for leaf in leaves:
            leaf.grad = torch.ones_like(leaf)
            if t == 2 and leaf is leaves[1]:
                leaf.grad[159, 135] = float("nan")
        optimizer.step()
    found = [(entry.index, entry.step) for entry in optimizer.non_finite()]
    yield require("a NaN gradient is reported where and when it came", float(found != [(1, 2)]), 0)


def check_capture(setting: Setting) -> Iterator[Row]:
    """A captured step, replayed with rates and gradients that change, to the bit of the eager one."""
    results: list[list[Tensor]] = []
    for captured in (False, True):
        leaves = [torch.nn.Parameter(draw(s, i, setting.device)) for i, s in enumerate([(200, 136), (77,)])]
        rate = torch.tensor(0.1, device=setting.device)
        optimizer = Adafactor(leaves, lr=rate, fused=True)
        gradients = [draw(leaf.shape, 50 + i, setting.device) for i, leaf in enumerate(leaves)]
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


def population(setting: Setting, shapes: Sequence[tuple[int, ...]], members: int) -> Tensors:
    """[P, ...] tensors with their states, for `FusedAdafactor`."""
    parameters = [0.02 * draw((members, *shape), i, setting.device) for i, shape in enumerate(shapes)]
    gradients = [draw(x.shape, 500 + i, setting.device) for i, x in enumerate(parameters)]
    states = []
    for x in parameters:
        state = initial_state(x, constants=AdafactorConstants(), batch_dims=1)
        zeros = {name: torch.zeros(members, device=setting.device) for name in ("step", "non_finite_step")}
        states.append({**state, **zeros})
    return Tensors(parameters, gradients, states, list(range(len(shapes))))


def check_population(setting: Setting) -> Iterator[Row]:
    """Every member to the bit of itself alone; all of them against the reference in float64."""
    members, shapes = 3, [(130, 136), (2, 128, 129), (65,)] if setting.cuda else [(128, 136), (9,)]
    tensors = population(setting, shapes, members)
    start = [x.clone() for x in tensors.parameters]
    rates = [torch.tensor([0.1, 0.01, 0.0], device=setting.device) for _ in shapes]
    steps = 3 if setting.cuda else 1
    fused, rest = FusedAdafactor(), []
    for _ in range(steps):
        rest = fused.step(tensors, constants=AdafactorConstants(), rate=rates, batch_dims=1)
    yield require("population: tensors that the kernels leave", len(rest), 0)
    unlike = 0
    update = AdafactorUpdate()
    far = 0.0
    for i, x in enumerate(start):
        theta, state, g = x.double(), update.initial_state(x.double()), tensors.gradients[i].double()
        for t in range(1, steps + 1):
            theta, state = update.step(theta, g, state, step=t, rate=rates[i].double(), epsilon=rates[i])
        far = max(far, (theta - tensors.parameters[i]).abs().max().item())
        for p in range(members):
            leaf = torch.nn.Parameter(x[p].clone())
            leaf.grad = tensors.gradients[i][p].clone()
            optimizer = Adafactor([leaf], lr=rates[i][p].item(), fused=True)
            for _ in range(steps):
                optimizer.step()
            unlike += not torch.equal(leaf.detach(), tensors.parameters[i][p])
    yield require("population: weights against float64", far, steps * 2**-22)
    yield require("population: members unlike themselves alone", unlike, 0)


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


@contextmanager
def emptied(setting: Setting) -> Iterator[None]:
    """What a candidate held is given back before the next one starts, also when it fails."""
    try:
        yield
    finally:
        gc.collect()
        if setting.cuda:
            torch.cuda.empty_cache()


Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


def torch_adafactor(leaves: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(leaves, lr=1e-2, foreach=True)


def ours(variant: str) -> Make:
    return lambda leaves: Adafactor(leaves, lr=1e-2, fused=True, **VARIANTS[variant])


def measure(
    make: Make, shapes: Sequence[tuple[int, ...]], setting: Setting, dtype: torch.dtype = torch.float32
) -> tuple[float, float]:
    """Seconds a step, and seconds of the host."""
    with emptied(setting):
        leaves = [
            torch.nn.Parameter(torch.randn(s, device=setting.device, dtype=dtype) * 0.02) for s in shapes
        ]
        for leaf in leaves:
            leaf.grad = torch.randn_like(leaf) * 1e-3
        optimizer = make(leaves)
        return seconds(optimizer.step, setting), host_seconds(optimizer.step, setting)


def copy_rows(setting: Setting) -> Iterator[Row]:
    """Bytes read and written in a second by a copy of as many bytes as a step reads, 8 for each parameter."""
    with emptied(setting):
        source = torch.randn(2 * sum(map(prod, setting.shapes)), device=setting.device)
        target = torch.empty_like(source)
        copy = 2 * source.nbytes / seconds(lambda: target.copy_(source), setting)
        yield row("device copy", copy / 1e12, "TB/s", "none", None)


def bandwidth_rows(title: str, shapes: Sequence[tuple[int, ...]], setting: Setting) -> Iterator[Row]:
    """Every variant on one list of tensors, and torch's foreach."""
    count = sum(map(prod, shapes))
    label = f"{title} ({count / 1e6:.0f} M parameters, {len(shapes)} tensors)"
    base, host = measure(torch_adafactor, shapes, setting)
    name = "torch.optim.Adafactor foreach"
    yield row(f"{label}: {name}", BYTES * count / base / 1e12, "TB/s", "itself", 1.0)
    yield row(f"{label}: {name}: until the call returns", host * 1e3, "ms", "none", None)
    for variant in VARIANTS:
        time, host = measure(ours(variant), shapes, setting)
        yield row(
            f"{label}: Adafactor fused, {variant}",
            BYTES * count / time / 1e12,
            "TB/s",
            name,
            base / time,
            TARGETS[variant],
        )
        yield row(f"{label}: Adafactor fused, {variant}: a step", time * 1e3, "ms", name, base / time)
        yield row(
            f"{label}: Adafactor fused, {variant}: bytes moved",
            MOVED[variant] * count / time / 1e12,
            "TB/s",
            "none",
            None,
        )
        yield row(
            f"{label}: Adafactor fused, {variant}: until the call returns", host * 1e3, "ms", "none", None
        )


def few_rows(setting: Setting) -> Iterator[Row]:
    yield from bandwidth_rows("few large tensors", setting.shapes, setting)


def many_rows(setting: Setting) -> Iterator[Row]:
    yield from bandwidth_rows("many tensors", setting.many, setting)


def bfloat16_rows(setting: Setting) -> Iterator[Row]:
    """bfloat16 weights and gradients: 6 bytes a parameter instead of 12."""
    count = sum(map(prod, setting.shapes))
    time, _ = measure(ours("clipping and scaling"), setting.shapes, setting, torch.bfloat16)
    moved = BYTES // 2 * count
    yield row("bfloat16, few large tensors: Adafactor fused", moved / time / 1e12, "TB/s", "none", None)


def tile_rows(setting: Setting) -> Iterator[Row]:
    """Other tiles than the one that is used; one that does not run is a row with its error."""
    count = sum(map(prod, setting.shapes))
    used = adafactor_fused.TILE, adafactor_fused.SCALED_TILE
    try:
        for tile in TILES if setting.cuda else TILES[:1]:
            for variant in ("clipping and scaling", "neither"):
                label = f"tile {tile.rows} x {tile.columns}, {tile.steps} down, {tile.warps} warps: {variant}"
                adafactor_fused.TILE = adafactor_fused.SCALED_TILE = tile
                try:
                    time, _ = measure(ours(variant), setting.shapes, setting)
                    yield row(label, BYTES * count / time / 1e12, "TB/s", "none", None)
                except Exception as error:
                    yield failed(label, error)
    finally:
        adafactor_fused.TILE, adafactor_fused.SCALED_TILE = used


def population_rows(setting: Setting) -> Iterator[Row]:
    """All members in one set of launches, beside the plain update, operation by operation."""
    count = setting.members * sum(map(prod, setting.population))
    label = f"population of {setting.members} x {count / setting.members / 1e6:.2f} M"
    rates = [torch.full((setting.members,), 1e-3, device=setting.device) for _ in setting.population]
    with emptied(setting):
        tensors = population(setting, setting.population, setting.members)
        update, places = AdafactorUpdate(), range(len(tensors.parameters))

        def plain() -> None:
            for i in places:
                state = {k: v for k, v in tensors.states[i].items() if k.startswith("v")}
                update.step(
                    tensors.parameters[i],
                    tensors.gradients[i],
                    state,
                    step=3,
                    rate=rates[i],
                    epsilon=rates[i],
                )

        base = seconds(plain, setting)
    yield row(f"{label}: plain update", BYTES * count / base / 1e12, "TB/s", "itself", 1.0)
    for variant, switches in VARIANTS.items():
        with emptied(setting):
            fused, constants = FusedAdafactor(), AdafactorConstants(**switches)
            tensors = population(setting, setting.population, setting.members)
            time = seconds(
                lambda: fused.step(tensors, constants=constants, rate=rates, batch_dims=1),  # noqa: B023
                setting,
            )
        yield row(
            f"{label}: fused, {variant}", BYTES * count / time / 1e12, "TB/s", "plain update", base / time
        )


def versions() -> dict[str, str]:
    found = {"torch": torch.__version__, "triton": triton.__version__}
    return {**found, "python": platform.python_version(), "cuda": str(torch.version.cuda)}


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def failed(name: str, error: Exception) -> Row:
    """A row for what could not be checked or measured."""
    text = f"{type(error).__name__}: {error}"
    return {**row(name, float("nan"), "", "none", None), "value": None, "error": text[:500]}


PARTS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "numbers": check_numbers,
    "bfloat16 numbers": check_bfloat16,
    "flags": check_flags,
    "population numbers": check_population,
    "capture": check_capture,
    "copy": copy_rows,
    "few": few_rows,
    "many": many_rows,
    "population": population_rows,
    "tiles": tile_rows,
    "bfloat16": bfloat16_rows,
}


def record(setting: Setting, skipped: Sequence[str]) -> dict[str, object]:
    """Checks, then times; a part that fails leaves a row that says so."""
    rows: list[Row] = []
    for name, part in PARTS.items():
        if name in skipped or (name == "capture" and not setting.cuda):
            continue
        started = perf_counter()
        try:
            for item in part(setting):
                rows.append(item)
                print_row(item)
        except Exception as error:
            traceback.print_exc()
            rows.append(failed(name, error))
            print_row(rows[-1])
        print(f"  ({name}: {perf_counter() - started:.0f} s)", flush=True)
    return {
        "benchmark": "adafactor_step",
        "machine": torch.cuda.get_device_name() if setting.cuda else f"{platform.machine()} CPU, interpreted",
        "versions": versions(),
        "commit": commit(),
        "tile": f"{adafactor_fused.TILE}, with parameter scaling {adafactor_fused.SCALED_TILE}",
        "rows": rows,
    }


def print_row(item: Row) -> None:
    if "error" in item:
        print(f"FAILED {item['name']}: {item['error']}", flush=True)
        return
    ratio = "" if item["ratio"] is None else f"  {item['ratio']:.3f} of {item['baseline']}"
    print(f"{item['name']}: {item['value']:.4g} {item['unit']}{ratio}", flush=True)


def keep(target: Path, text: str) -> None:
    """The file at once or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(target.name + ".part")
    beside.write_text(text + "\n")
    os.replace(beside, target)


def main() -> None:
    """Check, measure, print, and keep the record if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the record to this file")
    parser.add_argument("--write", action="store_true", help="keep the record under benchmarks/results")
    parser.add_argument("--smoke", action="store_true", help="a tiny run on the CPU, with TRITON_INTERPRET=1")
    parser.add_argument("--skip", nargs="*", default=[], choices=list(PARTS), help="leave parts out")
    given = parser.parse_args()
    print(f"backends: {versions()}; fused = Triton kernels, foreach = torch._foreach_*", flush=True)
    found = record(smoke() if given.smoke else large(), given.skip)
    text = json.dumps(found, indent=2)
    print(text)
    if given.json is not None:
        keep(given.json, text)
    if given.write:
        keep(REPOSITORY / "benchmarks" / "results" / "adafactor_step.json", text)
    if any("error" in item for item in found["rows"]):  # type: ignore[union-attr]
        sys.exit(1)


if __name__ == "__main__":
    main()
