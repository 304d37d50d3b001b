"""Adam-atan2's step: that it is right on this device, and then how fast it is beside what PyTorch offers.

usage: PYTHONPATH=src python benchmarks/optimizer_step.py [--json FILE] [--write] [--smoke]

It prints the JSON record; `--write` also keeps it as benchmarks/results/optimizer_step.json. `--smoke`, with
TRITON_INTERPRET=1, runs the same program on a CPU with a few small tensors. Needs torch, numpy and triton;
adam-atan2-pytorch is another baseline where it is installed.

Any check that fails ends the run with exit code 1 before anything is timed. Baselines are measured in the same run on
the same tensors. Bandwidth counts 28 bytes for each parameter: weight, gradient and two moments read, weight and two
moments written, in float32.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from math import pi, prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from _optimizer_bench import (
    CheckFailedError,
    Make,
    Setting,
    check_capture,
    check_flags,
    copy_rate,
    difference,
    keep,
    large,
    measure,
    optimizer_record,
    require,
    share_unlike,
    unlike,
)
from _record import RESULTS, Row, printed, row
from _timing import emptied
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

BYTES = 28
FORMS = {"squared": SQUARED, "root": ROOT}
TILES = ((512, 1, 4), (512, 2, 4), (512, 4, 4), (512, 8, 4), (1024, 4, 8), (1024, 1, 4))
"""Tiles, tiles a block, and warps that are tried; `moment_kernel` says which are used."""


def smoke() -> Setting:
    """Enough to run every line on a CPU."""
    return Setting(torch.device("cpu"), [(33, 40), (1025,)], [(9,), (4, 7)], 4, [(100,)], 1)


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
                raise CheckFailedError(f"{name}, {form_name}: finite gradients are reported")
        for rounding in (None, StochasticRounding(seed=7)):
            more = {} if rounding is None else {"rounding": rounding}
            sides = [
                steps_of({**common, **more, **how}, device, dtype=torch.bfloat16, steps=steps)[0]
                for how in ({"fused": True}, {"foreach": False, "fused": False})
            ]
            label = "nearest" if rounding is None else "stochastic"
            # A float32 that differs in its last place falls on the other side about once in 2^15.
            yield require(
                f"bfloat16, {form_name}, {label}: share of weights unlike", share_unlike(*sides), 2e-3
            )


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
            changed = sum(unlike(run[0], other) for other in run[1:])
            yield require(
                f"{name}, {form_name}: tensors changed by 2^{powers[0]} to 2^{powers[-1]}", changed, 0
            )


def flags(setting: Setting) -> Iterator[Row]:
    yield check_flags(lambda leaves: AdamAtan2(leaves, lr=0.1, fused=True), (5000,), setting, draw)


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


def capture(setting: Setting) -> Iterator[Row]:
    if setting.cuda:  # graphs are CUDA's
        make = lambda leaves, rate: AdamAtan2(leaves, lr=rate, second_moment=ROOT, fused=True)  # noqa: E731
        yield check_capture(make, ODD_SHAPES, setting, draw)


# --- how fast it is ---------------------------------------------------------------------------------------------------


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
        yield row(f"{label}: {name}: until the call returns", host * 1e3, "ms")


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
    shape = (setting.members, *setting.member[0])
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
        yield require(f"population, {name}: tensors changed by a member's NaN", unlike(*ends[1:]), 0)


def population_rows(setting: Setting, copy: float) -> Iterator[Row]:
    """Every update of a population through the kernels, and one operation by operation."""
    numel = setting.members * prod(setting.member[0])
    label = f"population of {setting.members} x {prod(setting.member[0])}"
    for name, (update, moved) in UPDATES.items():
        for fused in (True, False):
            with emptied(setting.device):
                rate = moved * numel / setting.seconds(population_setting(update, setting, fused))
            how = "fused" if fused else "plain"
            target = 0.9 if fused and name == "Adam-atan2" else None
            yield row(
                f"{label}: {name} {how}, {moved} bytes a parameter", rate / 1e12, "TB/s", "device copy",
                rate / copy, target,
            )  # fmt: skip


CHECKS = (check_arctangent, check_numbers, check_powers, flags, check_population, capture)


def rows_of(setting: Setting) -> list[Row]:
    """Checks, then times."""
    rows = [item for check in CHECKS for item in printed(check(setting))]
    copy = copy_rate(setting, 4 * sum(map(prod, setting.shapes)))  # as many bytes as a step reads
    rows += printed([row("device copy", copy / 1e12, "TB/s")])
    rows += printed(bandwidth_rows("few large tensors", setting.shapes, setting, copy, True))
    rows += printed(bandwidth_rows("many tensors", setting.many, setting, copy, True))
    rows += printed(tile_rows(setting, copy))
    return rows + printed(population_rows(setting, copy))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, measure, print, and keep the record if asked; 1 if a check fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the record to this file")
    parser.add_argument("--write", action="store_true", help="keep the record under benchmarks/results")
    parser.add_argument("--smoke", action="store_true", help="a tiny run on the CPU, with TRITON_INTERPRET=1")
    given = parser.parse_args(arguments)
    setting = smoke() if given.smoke else large([(1_600_000,)])
    print("backends: fused = Triton kernels, foreach = torch._foreach_*", flush=True)
    try:
        rows = rows_of(setting)
    except CheckFailedError as error:
        print(f"FAILED: {error}", flush=True)
        return 1
    found = optimizer_record("optimizer_step", setting, rows)
    print(json.dumps(found, indent=2))
    keep(found, given.json, RESULTS / "optimizer_step.json" if given.write else None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
