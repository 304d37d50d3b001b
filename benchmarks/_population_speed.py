"""Tokens a second: populations against the plain loop, this engine alone, and the device's ceilings.

The contestants of a row live at the same time and take turns, so that clocks and neighbours slow all alike.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from _population_case import Case, Prepared, Scale, backends, contest, engine_contestant, plain_contestant
from _record import Row, row
from _roofline import FUSED, FUSED_MLP, UNFUSED, kernels_of, roofline_seconds
from _roofline_rates import Ceilings, square
from _timing import Times, forget

from widthwise.models import Transformer

SECONDS_TO_PREPARE = 60
SHARE_OF_ROOFLINE = 0.8
LISTS = {"unfused": UNFUSED, "fused MLP": FUSED_MLP, "fused MLP and loss": FUSED}
PLAIN = "plain compiled loop"

Backends = dict[str, dict[str, str]]


def _model(width: int, vocabulary: int, context: int, *, head_dim: int = 128, depth: int = 8) -> Transformer:
    return Transformer(width, depth, head_dim, vocabulary, context)


SMALL = (
    Case(_model(128, 256, 256), 16, 52, 40, 5),
    Case(_model(256, 256, 256), 16, 52, 22, 3),
    Case(_model(512, 256, 256), 16, 26, 6, 1.5),
    Case(_model(1024, 256, 256), 16, 13, 2.3, 1.1),
    Case(_model(64, 256, 256, head_dim=64), 16, 104),
)
LARGE_VOCABULARY = (
    Case(_model(128, 32101, 512), 64, 8, 2),
    Case(_model(512, 32101, 512), 64, 4, 1.3),
    Case(_model(1024, 32101, 512), 64, 2, 1.15),
    Case(_model(512, 32101, 512, head_dim=64, depth=6), 64, 4),  # NanoDO's published shape
)
"""As many members as may fit: where they do not, half as many are tried."""

SINGLE = tuple(
    Case(_model(width, vocabulary, 512), batch, 1, None, share)
    for vocabulary in (256, 32101)
    for width, batch, share in ((1024, 64, 0.62), (2048, 32, 0.72), (4096, 16, 0.77))
)
"""Alone: `required_alone` is the share of the large square product's rate."""

TINY = Case(Transformer(32, 2, 16, 256, 16), 2, 3, 1, 1)
TINY_LARGE = Case(Transformer(32, 2, 16, 700, 16), 2, 3, 1)


def population_rows(part: str, case: Case, scale: Scale, ceilings: Ceilings, ran: Backends) -> Iterator[Row]:
    """One case of the tables of small and of large vocabularies.

    Args:
        ran: gets the kernels of the population's step, by the row's label.
    """
    case, together, memory = _largest_that_fits(case, scale)
    alone, plain = engine_contestant(case, 1, scale), plain_contestant(case, scale)
    contestants = {"together": together, "alone": alone, "plain": plain}
    times = contest(contestants, scale)
    label = f"{part}: {case.label}"
    crowd = f"{label}: P={case.members}"
    ran[crowd] = backends(together.run, scale.device)
    dead = together.dead
    del together, alone, plain  # the graphs' memory goes with them
    prepared = {name: each.seconds for name, each in contestants.items()}
    contestants.clear()
    forget(scale.device)
    yield from plain_rows(label, times["plain"])
    yield row(
        f"{label}: P=1, a step", times["alone"].median, "ms", PLAIN,
        times["plain"].median / times["alone"].median,
    )  # fmt: skip
    yield from _crowd_rows(crowd, case, times, ceilings)
    step = times["together"].median / 1e3
    for name, fusion in LISTS.items():
        kernels = kernels_of(case.model, members=case.members, batch=case.batch, fusion=fusion)
        least = roofline_seconds(kernels, ceilings.rates(kernels))
        target = SHARE_OF_ROOFLINE if fusion is UNFUSED else None
        yield row(f"{crowd}: roofline, {name}", least * 1e3, "ms", "a step", least / step, target)
    for name, words in (("together", f"P={case.members}"), ("alone", "P=1"), ("plain", PLAIN)):
        target = None if name == "plain" else f"<= {SECONDS_TO_PREPARE}"
        yield row(f"{label}: {words}: compile, prove and record", prepared[name], "s", target=target)
    yield row(f"{crowd}: peak memory", memory, "GiB")
    yield row(f"{crowd}: members that are not finite at the end", dead, "members", target="0")
    forget(scale.device)


def plain_rows(label: str, times: Times) -> Iterator[Row]:
    """The host-bound loop varies: its median, its fastest round and its slowest."""
    yield row(f"{label}: {PLAIN}, a step", times.median, "ms")
    yield row(f"{label}: {PLAIN}, fastest round", times.least, "ms")
    yield row(f"{label}: {PLAIN}, slowest round", times.most, "ms")


def _crowd_rows(crowd: str, case: Case, times: dict[str, Times], ceilings: Ceilings) -> Iterator[Row]:
    """A population's step, its tokens a second, and its arithmetic."""
    P, together = case.members, times["together"].median
    rate = P * case.tokens / together * 1e3
    yield row(f"{crowd}: a step", together, "ms")
    for name, baseline, target in (
        ("plain", PLAIN, case.required),
        ("alone", "engine at P=1", case.required_alone),
    ):
        yield row(
            f"{crowd}: member-tokens", rate / 1e6, "M/s", baseline, P * times[name].median / together, target
        )
    arithmetic = P * case.flops / together * 1e3
    yield row(
        f"{crowd}: model arithmetic", arithmetic / 1e12, "TFLOP/s", f"{ceilings.size}^3 product",
        arithmetic / ceilings.matmul,
    )  # fmt: skip


def _largest_that_fits(case: Case, scale: Scale) -> tuple[Case, Prepared, float]:
    """The case with as many members as memory holds, halved until it does, its contestant, and its GiB at the peak."""
    while True:
        try:
            if scale.cuda:
                torch.cuda.reset_peak_memory_stats()
            together = engine_contestant(case, case.members, scale)
            memory = torch.cuda.max_memory_allocated() / 2**30 if scale.cuda else 0.0
            return case, together, memory
        except torch.OutOfMemoryError:
            if case.members == 1:
                raise
            print(
                f"{case.label}: {case.members} members do not fit; {case.members // 2} are tried", flush=True
            )
        case = replace(case, members=case.members // 2)
        forget(scale.device)  # out of the handler, which keeps the failed attempt's tensors alive


def single_rows(part: str, case: Case, scale: Scale, ceilings: Ceilings, ran: Backends) -> Iterator[Row]:
    """One model at a time: the share of the large square product's rate, which takes its turn with the others."""
    product = square(scale.device, ceilings.size)
    alone, plain = engine_contestant(case, 1, scale), plain_contestant(case, scale)
    contestants = {"product": Prepared(product, 0.0), "alone": alone, "plain": plain}
    times = contest(contestants, scale)
    label = f"{part}: {case.label}"
    ran[f"{label}: P=1"] = backends(alone.run, scale.device)
    prepared = alone.seconds
    del alone, plain
    contestants.clear()
    forget(scale.device)
    ceiling = 2.0 * ceilings.size**3 / times["product"].median * 1e3
    name = f"{ceilings.size}^3 product"
    yield row(f"{label}: {name}", ceiling / 1e12, "TFLOP/s")
    yield from plain_rows(label, times["plain"])
    for words, key, target in (("P=1", "alone", case.required_alone), (PLAIN, "plain", None)):
        rate = case.flops / times[key].median * 1e3
        yield row(f"{label}: {words}: model arithmetic", rate / 1e12, "TFLOP/s", name, rate / ceiling, target)
    step = times["alone"].median
    yield row(f"{label}: P=1, a step", step, "ms", PLAIN, times["plain"].median / step)
    kernels = kernels_of(case.model, members=1, batch=case.batch)
    least = roofline_seconds(kernels, ceilings.rates(kernels)) * 1e3
    yield row(f"{label}: P=1: roofline, unfused", least, "ms", "a step", least / step)
    yield row(f"{label}: P=1: compile, prove and record", prepared, "s", target=f"<= {SECONDS_TO_PREPARE}")
    forget(scale.device)
