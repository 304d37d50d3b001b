"""The parts of `wide_check.py`: each yields rows, and keeps what was seen of every case."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import fsum, isfinite, log
from typing import Any

import torch
from _record import Row, failed, row
from _wide_model import (
    OPTIMIZERS,
    PARAMETERIZATION_NAMES,
    Shape,
    Tokens,
    by_role,
    epsilon_statistics,
    measured,
    model_flops,
    plan_of,
    root_mean_square,
    training,
)
from torch import Tensor

from widthwise.measure.slope import LEVEL, SlopeInterval, slope, slope_interval, student_quantile
from widthwise.optim import StateFormat
from widthwise.wide import EXACT, Place, Storage, Watch, layer_major_budget

Sizes = dict[tuple[str, int, int], dict[str, float]]
"""(parameterization, width, seed) -> each role's size."""

ROLES = ("embedding", "position", "hidden", "vector", "readout")


@dataclass
class Check:
    """What a run of the script may do, and what it has seen.

    Args:
        trained: the widths of the part `optimizers`.
        micro_sequences: the sequences of a piece.
        repeated_to: the largest width at which gradients are measured under every seed.
        optimizer: of the part `largest`.
        text, fidelity_width, long_steps: of the part `fidelity`.
        deadline: by `time.monotonic`.
        save: called after every case.
    """

    shape: Shape
    widths: tuple[int, ...]
    tokens: Tokens
    device: torch.device
    micro_sequences: int
    few_sequences: int
    steps: int
    deadline: float
    repeated_to: int
    text: Tokens
    fidelity_width: int
    long_steps: int
    optimizer: str
    trained: tuple[int, ...]
    seeds: tuple[int, ...] = (0, 1)
    cases: list[dict[str, Any]] = field(default_factory=list)
    save: Callable[[], None] = lambda: None
    _last: tuple[int, float] = (1, 0.0)

    @contextmanager
    def case(self, part: str, width: int, **more: Any) -> Iterator[dict[str, Any]]:
        """One case: what it finds is kept, its memory given back, and its time remembered for the next estimate."""
        started = time.monotonic()
        found: dict[str, Any] = {"part": part, "width": width, **more}
        try:
            yield found
        finally:
            if self.device.type == "cuda":
                gc.collect()
                torch.cuda.empty_cache()
            found["wall seconds"] = round(time.monotonic() - started, 2)
            self._last = (width, time.monotonic() - started)
            self.cases.append(found)
            self.save()
            print(f"  {part} {width} {more}: {found['wall seconds']} s", flush=True)

    def has_time(self, width: int, share: float = 1.0) -> bool:
        """Whether a case like the last, of another width, would end in time: work grows as the square of the width."""
        last_width, seconds = self._last
        need = share * seconds * max(1.0, (width / last_width) ** 2)
        return time.monotonic() + need < self.deadline

    def forget(self) -> None:
        """The last case says nothing of the next."""
        self._last = (1, 0.0)


def largest(check: Check) -> Iterator[Row]:
    """The largest width: steps of a usual batch, and two of eight times as many tokens.

    The first of these allocates pinned host memory for the block inputs of 28 more pieces, 34 GB at width 16384.
    """
    width, shape = max(check.widths), check.shape
    sequences = 4 * check.micro_sequences
    storage = Storage(micro_batches=4, boundaries=Place.HOST)
    with check.case("largest", width, optimizer=check.optimizer) as found:
        with measured(check.device) as start:
            run = training(
                shape, width, "standard", check.optimizer, storage,
                device=check.device, sequences=sequences, steps=check.steps + 3,
            )  # fmt: skip
        losses: list[float] = []
        seconds: list[float] = []
        peaks: list[float] = []
        for step in range(1, check.steps + 2):
            tokens = check.tokens.batch(step, sequences)
            with measured(check.device) as stretch:
                losses.append(float(run.step(tokens)))
            seconds.append(stretch["seconds"])
            peaks.append(stretch.get("peak GiB", 0.0))
        large = check.tokens.batch(0, 8 * sequences)
        with measured(check.device) as first:
            large_losses = [float(run.step(large))]
        with measured(check.device) as stretch:
            large_losses.append(float(run.step(large)))
        found |= {
            "parameters": run.model.parameter_count,
            "losses": losses,
            "seconds": seconds,
            "peaks GiB": peaks,
            "init": start,
            "large": {
                **stretch,
                "first seconds": first["seconds"],
                "tokens": large[:, 1:].numel(),
                "losses": large_losses,
            },
        }
        usual = sorted(seconds[1:])[len(seconds[1:]) // 2]
        tokens = sequences * shape.context
        flops = model_flops(run.model, 1)
        del run
    name = f"D={width}, standard, {check.optimizer} in few bits"
    budget = layer_major_budget(
        shape.model(width), OPTIMIZERS[check.optimizer].update, storage, batch=sequences
    )
    yield row(f"{name}: memory as planned", budget.total / 2**30, "GiB")
    yield row(f"{name}: optimizer steps", float(len(losses) + 2), "steps", target=">= 10")
    finite = sum(map(isfinite, [*losses, *large_losses]))
    yield row(f"{name}: losses that are finite", float(finite), "steps")
    yield row(f"{name}: parameters", float(found["parameters"]), "parameters")
    yield row(f"{name}: initialization", start["seconds"], "s")
    yield row(f"{name}: tokens a step", float(tokens), "tokens", target=">= 16000")
    yield row(f"{name}: a step", usual, "s")
    yield row(f"{name}: peak memory", max(peaks), "GiB", target="<= 130")
    yield row(f"{name}: tokens a second", tokens / usual, "tokens/s")
    yield row(f"{name}: model TFLOP/s", flops * tokens / usual / 1e12, "TFLOP/s", target=">= 400")
    count = found["large"]["tokens"]
    yield row(f"{name}: large batch, tokens", float(count), "tokens", target=">= 131072")
    yield row(f"{name}: large batch, the first step, with its host memory", first["seconds"], "s")
    yield row(f"{name}: large batch, a step", stretch["seconds"], "s")
    yield row(f"{name}: large batch, peak memory", stretch.get("peak GiB"), "GiB", target="<= 130")
    yield row(f"{name}: large batch, model TFLOP/s", flops * count / stretch["seconds"] / 1e12, "TFLOP/s")


def gradients(check: Check) -> Iterator[Row]:
    """Gradient sizes at the start by role, and their powers of the width against -g.

    The first seed at every width that there is time for, the others at the widths that are cheap.
    """
    sizes: Sizes = {}
    check.forget()
    for seed in check.seeds:
        for width in check.widths:
            if seed != check.seeds[0] and width > check.repeated_to:
                continue
            for name in PARAMETERIZATION_NAMES:
                if not check.has_time(width):
                    continue
                with check.case("gradients", width, parameterization=name, seed=seed) as found:
                    sizes[name, width, seed] = _first_gradients(check, width, name, seed)
                    found["rms"] = sizes[name, width, seed]
    for name in PARAMETERIZATION_NAMES:
        first, *_ = check.seeds
        yield from _exponents(
            check, sizes, name, [w for w in check.widths if (name, w, first) in sizes], (first,)
        )
        shared = [w for w in check.widths if all((name, w, seed) in sizes for seed in check.seeds)]
        yield from _exponents(check, sizes, name, shared, check.seeds)


def _first_gradients(check: Check, width: int, name: str, seed: int) -> dict[str, float]:
    sequences = check.few_sequences
    run = training(
        check.shape, width, name, None, Storage(),
        device=check.device, sequences=sequences, steps=1, seed=seed,
    )  # fmt: skip
    seen: dict[str, float] = {}
    watch = Watch(gradient=lambda tensor, g: seen.__setitem__(tensor, root_mean_square(g)))
    run.observe(check.tokens.batch(1, sequences, seed), watch)
    return by_role(plan_of(check.shape, width, name, OPTIMIZERS["sgd"].rule), seen)


def _exponents(
    check: Check, sizes: Sizes, name: str, widths: list[int], seeds: tuple[int, ...]
) -> Iterator[Row]:
    """Each role's power of the width: with several seeds, an interval over them, else over the widths' residuals."""
    label = f"gradients, {name}, {len(seeds)} seeds" if len(seeds) > 1 else f"gradients, {name}"
    if len(widths) < 3:
        yield failed(label, ValueError(f"{len(widths)} widths had time: three are needed for a slope"))
        return
    plan = plan_of(check.shape, widths[0], name, OPTIMIZERS["adam"].rule)
    theory = {r.role.value: -float(r.exponents.g) for r in plan.rows.values()}
    theory["position"] = theory["embedding"]
    for role in ROLES:
        values = [[sizes[name, width, seed][role] for width in widths] for seed in seeds]
        if any(value <= 0 for line in values for value in line):
            yield failed(f"{label}, {role}", ValueError("a gradient is zero or not a number"))
            continue
        found = slope_interval(widths, values) if len(seeds) > 1 else residual_interval(widths, values[0])
        yield {
            **row(f"{label}, {role}: power of the width", found.estimate, "power", baseline="theory, -g"),
            "low": found.low, "high": found.high, "theory": theory[role], "widths": widths, "seeds": len(seeds),
        }  # fmt: skip


def residual_interval(widths: Sequence[int], values: Sequence[float]) -> SlopeInterval:
    """The least-squares slope of log value on log width, its 95 % interval from what the line leaves over.

    Example:
        >>> residual_interval((1, 2, 4, 8), (1.0, 2.0, 4.0, 8.0))
        SlopeInterval(estimate=1.0, low=1.0, high=1.0)
    """
    x, y = [[log(value) for value in line] for line in (widths, values)]
    middle = fsum(x) / len(x)
    spread = fsum((a - middle) ** 2 for a in x)
    estimate = slope(widths, values)
    level = fsum(y) / len(y)
    left = fsum((b - level - estimate * (a - middle)) ** 2 for a, b in zip(x, y, strict=True))
    half = student_quantile(LEVEL, len(x) - 2) * (left / (len(x) - 2) / spread) ** 0.5
    return SlopeInterval(estimate, estimate - half, estimate + half)


def optimizers(check: Check) -> Iterator[Row]:
    """Ten steps of each optimizer under each parameterization: losses, activations, epsilon, memory, speed."""
    check.forget()
    done = 0
    for width in check.trained:
        for name in PARAMETERIZATION_NAMES:
            for optimizer in OPTIMIZERS:
                if not check.has_time(width):
                    continue
                state = {"parameterization": name, "optimizer": optimizer, "state": "8-bit"}
                with check.case("optimizers", width, **state) as found:
                    found |= _few_steps(check, width, name, optimizer, Storage())
                done += found["finite"]
                yield row(
                    f"D={width}, {name}, {optimizer}: loss after {check.steps} steps",
                    found["losses"][-1] if found["finite"] else None, "nats", baseline="first step",
                    ratio=found["losses"][-1] / found["losses"][0] if found["finite"] else None,
                )  # fmt: skip
    yield row("optimizers: cases that trained", float(done), "cases", target=">= 224")


def formats(check: Check) -> Iterator[Row]:
    """Adam's second moments in both formats of state at three small widths: what 8 bits add to what is read off."""
    check.forget()
    for width in check.widths[:3]:
        roots: dict[StateFormat, dict[str, dict[str, float]]] = {}
        losses: dict[StateFormat, float] = {}
        for state in StateFormat:
            with check.case("formats", width, state=state.value) as found:
                found |= _few_steps(check, width, "mean-field", "adam", replace(Storage(), state=state))
            roots[state], losses[state] = found["epsilon"], found["losses"][-1]
        for role, exact in roots[StateFormat.FLOAT32].items():
            ours = roots[StateFormat.EIGHT_BIT][role]["sqrt v_hat"]
            yield row(
                f"D={width}, mean-field, Adam, {role}: median of sqrt(v_hat) in 8 bits", ours, "",
                baseline="float32 state", ratio=ours / exact["sqrt v_hat"],
            )  # fmt: skip
        yield row(
            f"D={width}, mean-field, Adam: loss in 8 bits", losses[StateFormat.EIGHT_BIT], "nats",
            baseline="float32 state", ratio=losses[StateFormat.EIGHT_BIT] / losses[StateFormat.FLOAT32],
        )  # fmt: skip


def _few_steps(check: Check, width: int, name: str, optimizer: str, storage: Storage) -> dict[str, Any]:
    sequences = check.few_sequences
    run = training(
        check.shape, width, name, optimizer, storage,
        device=check.device, sequences=sequences, steps=check.steps,
    )  # fmt: skip
    first = check.tokens.batch(1, sequences)
    begun, ended = Activations(), Activations()
    losses: list[float] = []
    with measured(check.device) as stretch:
        for step in range(1, check.steps + 1):
            watch = Watch(activation=begun) if step == 1 else Watch()
            losses.append(float(run.step(check.tokens.batch(step, sequences), watch=watch)))
    last = float(run.loss(first, watch=Watch(activation=ended)))
    plan = plan_of(check.shape, width, name, OPTIMIZERS[optimizer].rule)
    return {
        "losses": losses,
        "first batch again": last,
        "finite": all(map(isfinite, [*losses, last])),
        "tokens": sequences * check.shape.context,
        **stretch,
        "activations": begun.sizes,
        "activations' changes": {n: root_mean_square(x - begun.kept[n]) for n, x in ended.kept.items()},
        "epsilon": epsilon_statistics(run, plan),
    }


class Activations:
    """The residual stream's size at each block, and some tokens of it."""

    TOKENS = 256

    def __init__(self) -> None:
        self.sizes: dict[str, float] = {}
        self.kept: dict[str, Tensor] = {}

    def __call__(self, name: str, x_1xNxD: Tensor) -> None:
        self.kept[name] = x_1xNxD[0, : self.TOKENS].float().cpu()
        self.sizes[name] = root_mean_square(x_1xNxD)


def fidelity(check: Check) -> Iterator[Row]:
    """Training in few bits against float32 weights and state, on text: three seeds of each, their last losses."""
    check.forget()
    steps, width, sequences = check.long_steps, check.fidelity_width, 2 * check.few_sequences
    ends: dict[str, list[float]] = {"float32": [], "few bits": []}
    for seed in range(3):
        for label, storage in (("float32", EXACT), ("few bits", Storage(rounding_seed=seed))):
            if not check.has_time(width):
                yield failed(f"fidelity, {label}, seed {seed}", ValueError("no time was left"))
                continue
            with check.case("fidelity", width, storage=label, seed=seed) as found:
                run = training(
                    check.shape, width, "standard", "adam", storage,
                    device=check.device, sequences=sequences, steps=steps, seed=seed,
                )  # fmt: skip
                losses = [
                    float(run.step(check.text.batch(step, sequences, seed))) for step in range(1, steps + 1)
                ]
                found["losses"] = losses[:: max(1, steps // 50)]
                ends[label].append(fsum(losses[-(steps // 8) :]) / (steps // 8))
                found["end"] = ends[label][-1]
                del run
    exact, ours = ends["float32"], ends["few bits"]
    if len(ours) == len(exact) == 3:
        yield row(
            f"D={width}, {steps} steps: loss in few bits, mean of 3 seeds", fsum(ours) / 3, "nats",
            baseline="float32 weights and state", ratio=fsum(ours) / fsum(exact),
        )  # fmt: skip
        apart = max(abs(a - b) for a, b in zip(ours, exact, strict=True))
        spread = max(exact) - min(exact)
        yield row(
            f"D={width}, {steps} steps: largest difference of a seed's loss", apart, "nats",
            baseline="spread of 3 seeds in float32", ratio=apart / spread, target="<= spread",
        )  # fmt: skip


PARTS: dict[str, Callable[[Check], Iterator[Row]]] = {
    "largest": largest,
    "gradients": gradients,
    "optimizers": optimizers,
    "formats": formats,
    "fidelity": fidelity,
}
