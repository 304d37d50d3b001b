"""Several processes that share one device, as people run small models side by side, beside one process's population.

Each process builds its contestant and waits; all start at once and train for the same time. Without MPS, so the device
serves one process at a time. As a program of its own this file is one such process:

    python benchmarks/_population_processes.py plain|engine --members P --seconds S [--smoke]
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from _population_case import LARGE, SMOKE, Case, Scale, engine_contestant, plain_contestant
from _population_speed import PLAIN, SMALL, TINY
from _record import Row, row
from _timing import synchronize

PROCESSES = 4
SECONDS = 4.0


def process_rows(part: str, scale: Scale) -> Iterator[Row]:
    """Tokens a second over all processes, against one process of the same, and a population against four."""
    case = _case(scale)
    label = f"{part}: {case.label}"
    many = PROCESSES if scale.cuda else 2
    found: dict[tuple[str, int], float] = {}
    kinds = {"plain": PLAIN, **({"engine": "engine at P=1"} if scale.cuda else {})}
    for kind, words in kinds.items():
        for count in (1, many):
            found[kind, count] = sum(tokens_a_second(kind, 1, count, scale))
        one, all_ = found[kind, 1], found[kind, many]
        yield row(f"{label}: one process, {words}", one / 1e6, "M/s")
        yield row(f"{label}: {many} processes, {words}", all_ / 1e6, "M/s", "one process of them", all_ / one)
    (together,) = tokens_a_second("engine", case.members, 1, scale)
    for kind, words in kinds.items():
        yield row(
            f"{label}: one process, P={case.members}", together / 1e6, "M/s", f"{many} processes, {words}",
            together / found[kind, many],
        )  # fmt: skip


def _case(scale: Scale) -> Case:
    return SMALL[0] if scale.cuda else TINY


def tokens_a_second(kind: str, members: int, processes: int, scale: Scale) -> list[float]:
    """What each of some processes trains in the same seconds.

    Raises:
        RuntimeError: a process fails; what it said is in the message.
    """
    seconds = SECONDS if scale.cuda else 0.05
    command = [sys.executable, str(Path(__file__).resolve()), kind, "--members", str(members)]
    command += ["--seconds", str(seconds), *([] if scale.cuda else ["--smoke"])]
    children = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        for _ in range(processes)
    ]
    try:
        for child in children:
            _answer(child)  # that it is ready
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        return [float(_answer(child)["tokens_per_second"]) for child in children]
    finally:
        for child in children:
            _end(child)


def _answer(child: "subprocess.Popen[str]") -> dict[str, float]:
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(
        f"a process ended with code {child.wait()} before it answered; its error is printed above"
    )


def _end(child: "subprocess.Popen[str]") -> None:
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()
    try:
        child.wait(timeout=30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def main() -> None:
    """One process: prepare, say so, wait for a line, train for some seconds, say how much."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=("plain", "engine"))
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    scale = SMOKE if given.smoke else _long(LARGE, given.seconds)
    case = _case(scale)
    plain = given.kind == "plain"
    run = (plain_contestant(case, scale) if plain else engine_contestant(case, given.members, scale)).run
    print(json.dumps({"ready": True}), flush=True)
    if not sys.stdin.readline():
        return  # nobody is left to ask
    started, steps = perf_counter(), 0
    while steps < scale.rounds * scale.most and perf_counter() - started < given.seconds:
        run()
        steps += 1
        if steps % 8 == 0 or given.smoke:
            synchronize(scale.device)  # or the host would queue far more than the seconds hold
    synchronize(scale.device)
    tokens = steps * given.members * case.tokens
    print(json.dumps({"tokens_per_second": tokens / (perf_counter() - started)}), flush=True)


def _long(scale: Scale, seconds: float) -> Scale:
    """A horizon that no process reaches: no step of a batch of any size takes less than 0.2 ms."""
    return Scale(scale.device, scale.rounds, scale.seconds, most=int(seconds / 2e-4 / scale.rounds) + 1)


if __name__ == "__main__":
    main()
