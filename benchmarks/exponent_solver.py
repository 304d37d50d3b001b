"""How long certified learning-rate exponents take, against the integer program that others solve for them.

    pip install pulp                           the baseline's modeller with CBC; nothing else needs it
    python benchmarks/exponent_solver.py            prints the JSON record
    python benchmarks/exponent_solver.py --write    also keeps it as benchmarks/results/exponent_solver.json

The problems are chains with measured alignment (fixed seeds), in the standard parameterization. The baselines write the
same conditions once more, apart from the package: as an integer program, every r and G an exact minimum chosen by
binary variables with a big constant; and as the linear program, which shows what the form alone gains. Candidate and
baselines alternate, problem by problem, in one process. Targets are held against CPU time, CBC's process included: on
an idle machine it is the clock's, on a shared one it does not count the others; medians are reported, and the clock's.
Totals must agree to 1e-6.
"""

import argparse
import gc
import importlib.metadata
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

ROOT = Path(__file__).resolve().parent.parent
SIZES = (3, 10, 30, 100)
OPTIMIZERS = (ADAM, SGD, ADAFACTOR)
PROBLEMS = 15
PRESET_REPEATS = 200
LIMIT_SECONDS = 300
BIG = 20
"""No two bounds of a minimum lie further apart at any optimum here; a larger constant would only loosen CBC's form."""
AGREEMENT = 1e-6
LARGEST_MILLISECONDS, LEAST_RATIO = 20, 20


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


def row(
    name: str, value: float, unit: str, baseline: str | None, ratio: float | None, target: str | None
) -> dict[str, Any]:
    """One row of the results."""
    entry = {
        "name": name,
        "value": value,
        "unit": unit,
        "baseline": baseline,
        "ratio": ratio,
        "target": target,
    }
    print(*(part for part in entry.values() if part is not None), sep=" | ", file=sys.stderr, flush=True)
    return entry


def chain_rows(optimizer: OptimizerRule, hidden: int) -> Iterator[dict[str, Any]]:
    """Candidate and baselines on the problems of one size."""
    candidates: list[Found] = []
    sources: list[str] = []
    others: Mapping[bool, list[Found]] = {True: [], False: []}
    for seed in range(PROBLEMS):
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
    target = f"<= {LARGEST_MILLISECONDS} ms, ratio >= {LEAST_RATIO}" if hidden == SIZES[-1] else None
    counts = ", ".join(f"{sources.count(source)} by {source}" for source in sorted(set(sources)))
    value, big, linear = map(milliseconds, (candidates, others[True], others[False]))
    yield row(
        f"{name}, CPU time, median of {PROBLEMS} problems ({counts})",
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
        f"{name}, CPU time, slowest of {PROBLEMS} problems",
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
        None,
    )


def preset_row(optimizer: OptimizerRule) -> dict[str, Any]:
    """The closed form on the paper's chain of three roles."""
    solution = solve(STANDARD, optimizer, FULL)
    seconds: list[float] = []
    for _ in range(PRESET_REPEATS):
        start = cpu_seconds()
        solve(STANDARD, optimizer, FULL)
        seconds.append(cpu_seconds() - start)
    name = f"{optimizer.name}, preset ({solution.certificate.source}): certified solve, CPU time"
    return row(f"{name}, median of {PRESET_REPEATS}", round(1e6 * median(seconds), 1), "us", None, None, None)


def record() -> dict[str, Any]:
    """The benchmark's one JSON form."""
    load = os.getloadavg()
    command = "widthwise exponents"
    rows = [cold_start.row(command, cold_start.CANDIDATES[command]), *map(preset_row, OPTIMIZERS)]
    assert "scipy" not in sys.modules, "a preset needs no scipy"
    certified(ADAM, problem(3, 0), 3)  # the first solve by HiGHS imports scipy
    rows += [entry for optimizer in OPTIMIZERS for hidden in SIZES for entry in chain_rows(optimizer, hidden)]
    return {
        "benchmark": "exponent_solver",
        "machine": {
            "system": platform.platform(),
            "processor": processor(),
            "cores": os.cpu_count(),
            "load average before and after, 1 minute": [round(load[0], 2), round(os.getloadavg()[0], 2)],
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("widthwise", "scipy", "pulp")},
            "HiGHS": highs_version(),
            "CBC": cbc_version(),
        },
        "commit": commit(),
        "rows": rows,
    }


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


def commit() -> str:
    """The commit that is checked out, marked if the tree differs from it."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> None:
    """Measure, print, and keep the record if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the record under benchmarks/results")
    write = parser.parse_args().write
    text = json.dumps(record(), indent=2)
    print(text)
    if write:
        (ROOT / "benchmarks" / "results" / "exponent_solver.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
