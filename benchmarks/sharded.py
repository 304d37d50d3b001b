"""Sharded training over the GPUs of this host, through NCCL, against one GPU: the same numbers, speed and memory.

    PYTHONPATH=src python benchmarks/sharded.py [--processes 2] [--width 2048] [--out FILE] [--smoke]

Correctness: width 256, two members, 20 steps in float32 under five optimizers, each loss against one process alone;
alignment of the same weights; a checkpoint of several processes goes on in one. Speed: one model of `--width` with Adam
in bfloat16, the paper's depth, vocabulary and context, 64 sequences a step in all, median of ten steps; on one GPU
`train.Population` steps the same batch, operation by operation in both. Peak memory, also of recomputed blocks and of
these in float32, is held against what the planner says (`wide.sharded_memory`). `--smoke` runs two gloo processes on
a CPU.

Writes `benchmarks/results/sharded.json`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from _record import RESULTS, Row, failed, machine, make_record, versions, write_json

PROCESS = Path(__file__).with_name("_sharded_process.py")
SECONDS = 240
"""After which a run of some processes is given up: one that waits for another waits for ever."""


def run(processes: int, folder: Path, phase: str, more: list[str]) -> list[Row]:
    """The rows of one phase; one row that says so if it failed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    started = subprocess.Popen(
        [*command, str(PROCESS), str(folder), phase, *more],
        env={"OMP_NUM_THREADS": "4", **os.environ},
    )
    problem: Exception | None = None
    try:
        if code := started.wait(SECONDS):
            problem = RuntimeError(f"exit code {code}")
    except subprocess.TimeoutExpired as error:
        problem = error
        started.terminate()  # it ends its processes, which a kill would leave behind
        started.wait(30)
    path = folder / f"{phase}.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    return rows if problem is None else [*rows, failed(f"{processes} processes, {phase}", problem)]


def main(arguments: list[str] | None = None) -> int:
    """Run both phases; 1 if anything failed. A smoke run without `--out` prints its record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--out", type=Path, help="by default benchmarks/results/sharded.json")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args(arguments)
    more = ["--width", str(options.width), *(["--smoke"] if options.smoke else [])]
    with TemporaryDirectory() as folder:
        rows = run(options.processes, Path(folder), "several", more)
        rows += run(1, Path(folder), "one", more)
    device = None if options.smoke else f"{options.processes} {torch.cuda.get_device_name()}"
    record = make_record(
        "sharded", rows, machine=machine(device), versions=versions("torch", "triton", "numpy", "widthwise")
    )
    if options.smoke and options.out is None:
        print(json.dumps(record, indent=2))
    else:
        out = options.out or RESULTS / "sharded.json"
        write_json(out, record)
        print(f"wrote {out}")
    return int(any("error" in item for item in rows))


if __name__ == "__main__":
    sys.exit(main())
