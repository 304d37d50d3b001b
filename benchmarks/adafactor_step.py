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
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
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
from _record import RESULTS, Row, attempted, failed, row
from _timing import emptied
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

MEMBER = 8 * [(384, 128), (128, 128), (512, 128), (128, 512), (128,), (128,)]
"""1.6 M parameters."""


def smoke() -> Setting:
    """Enough to run every line on a CPU."""
    return Setting(torch.device("cpu"), [(136, 128), (1025,)], [(128, 136), (8,)], 2, [(128, 128), (8,)], 1)


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
    yield require("tensors unlike when repeated", unlike(*again), 0)


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
        label = "nearest" if rounding is None else "stochastic"
        # A float32 that differs in its last places falls on the other side about once in 2^14.
        yield require(f"bfloat16, {label}: share of weights unlike", share_unlike(*sides), 2e-3)


def flags(setting: Setting) -> Iterator[Row]:
    yield check_flags(lambda leaves: Adafactor(leaves, lr=0.1, fused=True), (160, 136), setting, draw)


def capture(setting: Setting) -> Iterator[Row]:
    if setting.cuda:  # graphs are CUDA's
        make = lambda leaves, rate: Adafactor(leaves, lr=rate, fused=True)  # noqa: E731
        yield check_capture(make, [(200, 136), (77,)], setting, draw)


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
    changed = 0
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
            changed += not torch.equal(leaf.detach(), tensors.parameters[i][p])
    yield require("population: weights against float64", far, steps * 2**-22)
    yield require("population: members unlike themselves alone", changed, 0)


# --- how fast it is ---------------------------------------------------------------------------------------------------


def copy_rows(setting: Setting) -> Iterator[Row]:
    """A copy of as many bytes as a step reads, 8 for each parameter."""
    yield row("device copy", copy_rate(setting, 2 * sum(map(prod, setting.shapes))) / 1e12, "TB/s")


def torch_adafactor(leaves: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(leaves, lr=1e-2, foreach=True)


def ours(variant: str) -> Make:
    return lambda leaves: Adafactor(leaves, lr=1e-2, fused=True, **VARIANTS[variant])


def bandwidth_rows(title: str, shapes: Sequence[tuple[int, ...]], setting: Setting) -> Iterator[Row]:
    """Every variant on one list of tensors, and torch's foreach."""
    count = sum(map(prod, shapes))
    label = f"{title} ({count / 1e6:.0f} M parameters, {len(shapes)} tensors)"
    base, host = measure(torch_adafactor, shapes, setting)
    name = "torch.optim.Adafactor foreach"
    yield row(f"{label}: {name}", BYTES * count / base / 1e12, "TB/s", "itself", 1.0)
    yield row(f"{label}: {name}: until the call returns", host * 1e3, "ms")
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
    yield row("bfloat16, few large tensors: Adafactor fused", moved / time / 1e12, "TB/s")


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
                    yield row(label, BYTES * count / time / 1e12, "TB/s")
                except Exception as error:
                    yield failed(label, error)
    finally:
        adafactor_fused.TILE, adafactor_fused.SCALED_TILE = used


def population_rows(setting: Setting) -> Iterator[Row]:
    """All members in one set of launches, beside the plain update, operation by operation."""
    count = setting.members * sum(map(prod, setting.member))
    label = f"population of {setting.members} x {count / setting.members / 1e6:.2f} M"
    rates = [torch.full((setting.members,), 1e-3, device=setting.device) for _ in setting.member]
    with emptied(setting.device):
        tensors = population(setting, setting.member, setting.members)
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

        base = setting.seconds(plain)
    yield row(f"{label}: plain update", BYTES * count / base / 1e12, "TB/s", "itself", 1.0)
    for variant, switches in VARIANTS.items():
        with emptied(setting.device):
            fused, constants = FusedAdafactor(), AdafactorConstants(**switches)
            tensors = population(setting, setting.member, setting.members)
            time = setting.seconds(
                lambda: fused.step(tensors, constants=constants, rate=rates, batch_dims=1)  # noqa: B023
            )
        yield row(
            f"{label}: fused, {variant}", BYTES * count / time / 1e12, "TB/s", "plain update", base / time
        )


PARTS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "numbers": check_numbers,
    "bfloat16 numbers": check_bfloat16,
    "flags": flags,
    "population numbers": check_population,
    "capture": capture,
    "copy": copy_rows,
    "few": few_rows,
    "many": many_rows,
    "population": population_rows,
    "tiles": tile_rows,
    "bfloat16": bfloat16_rows,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, measure, print, and keep the record if asked; 1 if a part failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the record to this file")
    parser.add_argument("--write", action="store_true", help="keep the record under benchmarks/results")
    parser.add_argument("--smoke", action="store_true", help="a tiny run on the CPU, with TRITON_INTERPRET=1")
    parser.add_argument("--skip", nargs="*", default=[], choices=list(PARTS), help="leave parts out")
    given = parser.parse_args(arguments)
    setting = smoke() if given.smoke else large(MEMBER)
    print("backends: fused = Triton kernels, foreach = torch._foreach_*", flush=True)
    chosen = {name: part for name, part in PARTS.items() if name not in given.skip}
    rows = [item for name, part in chosen.items() for item in attempted(name, partial(part, setting))]
    tile = f"{adafactor_fused.TILE}, with parameter scaling {adafactor_fused.SCALED_TILE}"
    found = optimizer_record("adafactor_step", setting, rows, tile=tile)
    print(json.dumps(found, indent=2))
    keep(found, given.json, RESULTS / "adafactor_step.json" if given.write else None)
    return int(any("error" in item for item in rows))


if __name__ == "__main__":
    sys.exit(main())
