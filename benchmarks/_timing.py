"""Times of steps: medians, on a device that works ahead of its host or beside others in turn."""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from statistics import median
from time import perf_counter

import torch

Step = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Milliseconds a step, one entry for each round."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.samples)

    @property
    def least(self) -> float:
        """The fastest round."""
        return min(self.samples)

    @property
    def most(self) -> float:
        """The slowest round."""
        return max(self.samples)


def synchronize(device: torch.device) -> None:
    """Wait for a CUDA device; nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(step: Step, device: torch.device, count: int) -> float:
    """Seconds by the clock for `count` steps that follow one another, the device idle before and after."""
    synchronize(device)
    started = perf_counter()
    for _ in range(count):
        step()
    synchronize(device)
    return perf_counter() - started


def interleaved(
    contestants: Mapping[str, Step], *, device: torch.device, rounds: int, seconds: float, most: int
) -> dict[str, Times]:
    """The contestants in turn, round by round, so that a machine that slows down slows all of them.

    Args:
        contestants: steps that have been warmed up.
        rounds: how often each has its turn.
        seconds: about how long a turn is; each contestant's number of steps is fixed before the first round.
        most: the largest number of steps of a turn. In all, a contestant runs at most (rounds + 1) * most + 1 steps.
    """
    counts = {name: _steps_for(step, device, seconds, most) for name, step in contestants.items()}
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, step in contestants.items():
            samples[name].append(timed(step, device, counts[name]) / counts[name] * 1e3)
    return {name: Times(tuple(found)) for name, found in samples.items()}


def _steps_for(step: Step, device: torch.device, seconds: float, most: int) -> int:
    one = timed(step, device, 1)
    few = max(1, min(most, ceil(0.2 * seconds / one)))
    return max(1, min(most, ceil(seconds * few / timed(step, device, few))))


def device_seconds(step: Step, device: torch.device, *, repeats: int) -> float:
    """The median of batches of steps, by the device's own clock: the host works ahead, as it does in training."""
    cuda = device.type == "cuda"
    batch = 20 if cuda else 1
    for _ in range(5 if cuda else 1):
        step()
    synchronize(device)
    times: list[float] = []
    for _ in range(repeats):
        if not cuda:
            times.append(timed(step, device, 1))
            continue
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(batch):
            step()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / batch)
    return median(times)


def host_seconds(step: Step, device: torch.device, *, repeats: int) -> float:
    """The median time until a step's call returns, the device idle before it."""
    times: list[float] = []
    for _ in range(repeats):
        synchronize(device)
        started = perf_counter()
        step()
        times.append(perf_counter() - started)
    synchronize(device)
    return median(times)


def recorded_seconds(step: Step, device: torch.device, *, launches: int = 10, repeats: int = 5) -> float:
    """Seconds of one launch without the host's part: several launches in one CUDA graph, the median of its replays."""
    step()
    if device.type != "cuda":
        return median(timed(step, device, 1) for _ in range(repeats))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(launches):
            step()
    graph.replay()
    return median(timed(graph.replay, device, 3) / 3 / launches for _ in range(repeats))


def copy_rate(device: torch.device, numel: int) -> float:
    """Bytes read and written in a second by a copy of float32 numbers, with their signs turned.

    By a kernel: a plain copy in a recorded graph is left to the driver, which takes half again as long on an H200.

    Args:
        numel: of the source; larger than any cache.
    """
    source = torch.randn(numel, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / recorded_seconds(lambda: torch.neg(source, out=target), device)


@contextmanager
def emptied(device: torch.device) -> Iterator[None]:
    """What a candidate held is given back before the next one starts, also when it fails."""
    try:
        yield
    finally:
        forget(device)


def forget(device: torch.device) -> None:
    """Give back what nothing refers to any more, compiled programs among it."""
    gc.collect()
    torch._dynamo.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
