"""How long certified learning-rate exponents take, against the integer program that others solve for them.

    pip install pulp    the baseline's modeller with CBC; nothing else needs it
    PYTHONPATH=src python benchmarks/exponent_solver.py [--write] [--smoke]

It prints the JSON record; `--write` also keeps it as benchmarks/results/exponent_solver.json.

The problems are chains with measured alignment (fixed seeds), in the standard parameterization. The baselines write the
same conditions once more, apart from the package: as an integer program, every r and G an exact minimum chosen by
binary variables with a big constant; and as the linear program, which shows what the form alone gains. Candidate and
baselines alternate, problem by problem, in one process. Targets are held against CPU time, CBC's process included: on
an idle machine it is the clock's, on a shared one it does not count the others; medians are reported, and the clock's.
Totals must agree to 1e-6.
"""

import argparse
import gc
import json
import os
import platform
import random
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import cold_start
import pulp
from _record import RESULTS, Record, Row, machine, make_record, printed, row, versions, write_json

from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    FULL,
    SGD,
    STANDARD,
    Alignment,
    OptimizerRule,
    PerLayerAlignment,
    Role,
    Solution,
    chain,
    solve,
)

OPTIMIZERS = (ADAM, SGD, ADAFACTOR)
LIMIT_SECONDS = 300
BIG = 20
"""No two bounds of a minimum lie further apart at any optimum here; a larger constant would only loosen CBC's form."""
AGREEMENT = 1e-6
LARGEST_MILLISECONDS, LEAST_RATIO = 20, 20


@dataclass(frozen=True)
class Size:
    """How much is measured: hidden layers of the chains, problems of each, repeats of a preset and of a cold start."""

    chains: tuple[int, ...]
    problems: int
    presets: int
    starts: int


FULL_SIZE = Size((3, 10, 30, 100), 15, 200, cold_start.REPEATS)
SMOKE = Size((3,), 1, 2, 1)


@dataclass(frozen=True)
class Found:
    """One answer: the sum of c, its seconds by the clock and its CPU seconds."""

    total: float
    seconds: float
    cpu_seconds: float


class Stopwatch:
    """Time by the clock and on the CPU, child processes included; nobody collects another's garbage."""

    def __init__(self) -> None:
        gc.collect()
        self.cpu = cpu_seconds()
        self.start = perf_counter()

    def read(self) -> tuple[float, float]:
        """Both since the start."""
        return perf_counter() - self.start, cpu_seconds() - self.cpu


def cpu_seconds() -> float:
    """This process's CPU time and that of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def problem(hidden: int, seed: int) -> PerLayerAlignment:
    """Measured alignment of a chain: alpha, u ~ N(0.8, 0.1), omega ~ N(0.5, 0.03), multiples of 1/1000."""
    draw = random.Random(1000 * hidden + seed)

    def normal(mean: float, deviation: float) -> Fraction:
        return Fraction(round(1000 * draw.gauss(mean, deviation)), 1000)

    names = [layer.name for layer in chain(hidden).layers if layer.role is not Role.EMBEDDING]
    return PerLayerAlignment(
        "measured",
        {
            name: Alignment(name, alpha=normal(0.8, 0.1), omega=normal(0.5, 0.03), u=normal(0.8, 0.1))
            for name in names
        },
    )


def certified(optimizer: OptimizerRule, alignment: PerLayerAlignment, hidden: int) -> tuple[Found, Solution]:
    """The candidate, from the network on."""
    watch = Stopwatch()
    solution = solve(STANDARD, optimizer, alignment, network=chain(hidden))
    return Found(float(solution.total), *watch.read()), solution


class Baseline:
    """The conditions in the standard parameterization, written for PuLP.

    Args:
        exact: whether r and G are exact minima, by binaries; otherwise they lie below their bounds.
    """

    def __init__(
        self, optimizer: OptimizerRule, alignment: PerLayerAlignment, hidden: int, *, exact: bool
    ) -> None:
        self.model = pulp.LpProblem("exponents", pulp.LpMinimize)
        self.exact = exact
        sgd, scaled = optimizer is SGD, optimizer is ADAFACTOR
        names = [f"hidden_{i}" for i in range(1, hidden + 1)]
        least = 0 if scaled else None
        c = {name: pulp.LpVariable(f"c_{name}", least) for name in ("embedding", *names, "readout")}
        self.model += pulp.lpSum(c.values())
        gradient: Any = 0
        if sgd:
            gradient = self.minimum("G", [0.5, c["readout"]], least=None)
        before = self.minimum("r_embedding", [gradient + c["embedding"]])
        for name in names:
            own = alignment.layers[name.replace("_", ".")]
            size = gradient + c[name] + (0.5 if scaled else 0)
            before = self.minimum(f"r_{name}", bounds(own, size, before))
        size = c["readout"] + (0.5 if scaled else 0)
        self.minimum("r_readout", bounds(alignment.layers["readout"], size, before))

    def minimum(self, name: str, values: Sequence[Any], *, least: float | None = 0) -> Any:
        """A variable that is the least of some values."""
        variable = pulp.LpVariable(name, least)
        for value in values:
            self.model += variable <= value
        if self.exact and len(values) == 1:
            self.model += variable >= values[0]
        elif self.exact:
            chosen = [pulp.LpVariable(f"{name}_is_{k}", cat="Binary") for k in range(len(values))]
            self.model += pulp.lpSum(chosen) == 1
            for value, this in zip(values, chosen, strict=True):
                self.model += variable >= value - BIG * (1 - this)
        return variable

    def solve(self) -> float:
        """The smallest sum of c."""
        self.model.solve(pulp.PULP_CBC_CMD(msg=False, timeLimit=LIMIT_SECONDS, gapRel=0))
        if self.model.sol_status != pulp.LpSolutionOptimal:
            raise RuntimeError(f"CBC proved no optimum within {LIMIT_SECONDS} s")
        return float(str(pulp.value(self.model.objective)))


def bounds(own: Alignment, size: Any, before: Any) -> list[Any]:
    """What a layer's change lies below: its update, its update on its input's change, its initial weights on that."""
    return [size - float(own.alpha), size + before - float(own.u), before + 0.5 - float(own.omega)]


def baseline(optimizer: OptimizerRule, alignment: PerLayerAlignment, hidden: int, *, exact: bool) -> Found:
    """A baseline, from the model on."""
    watch = Stopwatch()
    total = Baseline(optimizer, alignment, hidden, exact=exact).solve()
    return Found(total, *watch.read())


def milliseconds(
    found: Sequence[Found], pick: Callable[[Found], float] = lambda one: one.cpu_seconds
) -> float:
    return round(1000 * median(map(pick, found)), 3)


def chain_rows(optimizer: OptimizerRule, hidden: int, problems: int) -> Iterator[Row]:
    """Candidate and baselines on the problems of one size."""
    candidates: list[Found] = []
    sources: list[str] = []
    others: Mapping[bool, list[Found]] = {True: [], False: []}
    for seed in range(problems):
        alignment = problem(hidden, seed)
        found, solution = certified(optimizer, alignment, hidden)
        candidates.append(found)
        sources.append(solution.certificate.source)
        for exact, answers in others.items():
            answers.append(baseline(optimizer, alignment, hidden, exact=exact))
            gap = abs(answers[-1].total - found.total)
            if gap > AGREEMENT:
                raise RuntimeError(
                    f"{optimizer.name}, {hidden} hidden layers, seed {seed}: totals differ by {gap}"
                )
    name = f"{optimizer.name}, {hidden} hidden layers: certified solve"
    target = (
        f"<= {LARGEST_MILLISECONDS} ms, ratio >= {LEAST_RATIO}" if hidden == FULL_SIZE.chains[-1] else None
    )
    counts = ", ".join(f"{sources.count(source)} by {source}" for source in sorted(set(sources)))
    value, big, linear = map(milliseconds, (candidates, others[True], others[False]))
    yield row(
        f"{name}, CPU time, median of {problems} problems ({counts})",
        value,
        "ms",
        f"big-M integer program by CBC: {big} ms",
        round(big / value, 1),
        target,
    )
    slowest, big_slowest = (
        round(1000 * max(one.cpu_seconds for one in found), 3) for found in (candidates, others[True])
    )
    yield row(
        f"{name}, CPU time, slowest of {problems} problems",
        slowest,
        "ms",
        f"big-M integer program by CBC: {big_slowest} ms",
        round(big_slowest / slowest, 1),
        None,
    )
    clock, big_clock = (milliseconds(found, lambda one: one.seconds) for found in (candidates, others[True]))
    yield row(
        f"{name}, by the clock, median",
        clock,
        "ms",
        f"big-M integer program by CBC: {big_clock} ms",
        round(big_clock / clock, 1),
        None,
    )
    yield row(
        f"{name}, against the linear program by CBC",
        value,
        "ms",
        f"{linear} ms",
        round(linear / value, 1),
    )


def preset_row(optimizer: OptimizerRule, repeats: int) -> Row:
    """The closed form on the paper's chain of three roles."""
    solution = solve(STANDARD, optimizer, FULL)
    seconds: list[float] = []
    for _ in range(repeats):
        start = cpu_seconds()
        solve(STANDARD, optimizer, FULL)
        seconds.append(cpu_seconds() - start)
    name = f"{optimizer.name}, preset ({solution.certificate.source}): certified solve, CPU time"
    return row(f"{name}, median of {repeats}", round(1e6 * median(seconds), 1), "us", None)


def record(size: Size) -> Record:
    """The benchmark's one JSON form."""
    load = os.getloadavg()[0]
    command = "widthwise exponents"
    rows = [cold_start.start_row(command, cold_start.CANDIDATES[command], repeats=size.starts)]
    rows += printed(preset_row(optimizer, size.presets) for optimizer in OPTIMIZERS)
    assert "scipy" not in sys.modules, "a preset needs no scipy"
    certified(ADAM, problem(3, 0), 3)  # the first solve by HiGHS imports scipy
    for optimizer in OPTIMIZERS:
        for hidden in size.chains:
            rows += printed(chain_rows(optimizer, hidden, size.problems))
    return make_record(
        "exponent_solver",
        rows,
        machine=f"{machine()}, {processor()}",
        versions={**versions("widthwise", "scipy", "pulp"), "HiGHS": highs_version(), "CBC": cbc_version()},
        load=f"{load:.2f} before, {os.getloadavg()[0]:.2f} after, 1 minute",
    )


def processor() -> str:
    """The name of the CPU."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def highs_version() -> str:
    """HiGHS as scipy carries it: what its own banner says."""
    code = "from scipy.optimize import linprog; linprog([1.0], bounds=(0, 1), options={'disp': True})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    found = re.search(r"HiGHS\s+(?:version\s+)?([0-9.]+)", done.stdout)
    return found[1] if found else "unknown"


def cbc_version() -> str:
    """CBC as PuLP carries it."""
    done = subprocess.run([pulp.PULP_CBC_CMD().path, "quit"], capture_output=True, text=True, check=False)
    found = re.search(r"Version:\s*(\S+)", done.stdout)
    return found[1] if found else "unknown"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and keep the record if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the record under benchmarks/results")
    parser.add_argument("--smoke", action="store_true", help="one problem of the smallest size")
    given = parser.parse_args(arguments)
    found = record(SMOKE if given.smoke else FULL_SIZE)
    print(json.dumps(found, indent=2))
    if given.write:
        write_json(RESULTS / "exponent_solver.json", found, indent=2)


if __name__ == "__main__":
    main()
