"""Runs the experiment: every case's studies, several devices at a time, until they are done or the time is up.

    python studies/alignment/run.py --corpus gutenberg.txt.xz --work /tmp/alignment --out out --minutes 7.5
    python studies/alignment/run.py --smoke --work /tmp/smoke --out /tmp/smoke-out        # two cores, some minutes

A job is a part of one case (`jobs.py`), done in a process of its own (`worker.py`); a process on a device takes the
first one that is ready. A second run goes on with the stores of the first, those in `--work` or those of a file that a
first one made, `--resume-from`; what is complete is not looked at again. At the end `--out` holds `stores.tar.gz` and
`log.txt`, with the seconds of every store; `summarize.py` makes tables of them.
"""

import argparse
import contextlib
import lzma
import shutil
import sqlite3
import sys
import tarfile
import time
from pathlib import Path

import plan
from jobs import Drive, all_jobs, is_done
from plan import Case, Config

HERE = Path(__file__).resolve().parent


def plain_corpus(source: str, work: Path) -> str:
    """The corpus as a file that every process can read at once: an .xz is unpacked, once."""
    if not source.endswith(".xz"):
        return source
    target = work / "corpus.txt"
    if not target.exists():
        partial = target.with_suffix(".partial")
        with lzma.open(source) as packed, partial.open("wb") as plain:
            shutil.copyfileobj(packed, plain, 1 << 24)
        partial.rename(target)
    return str(target)


def unpack(tar: Path, work: Path) -> list[str]:
    """Put the stores of an earlier run where they are gone on with; those that are there stay. Returns the new ones.

    Raises:
        ValueError: a name that is no store's.
    """
    new: list[str] = []
    with tarfile.open(tar) as packed:
        for member in packed.getmembers():
            if not member.isfile() or "/" in member.name or not member.name.endswith(".sqlite"):
                raise ValueError(
                    f"{tar}: {member.name!r} is no store; give the stores.tar.gz of an earlier run"
                )
        for member in packed.getmembers():
            if not (work / member.name).exists():
                packed.extract(member, work, filter="data")
                new.append(member.name)
    return new


def pack(work: Path, out: Path, lines: list[str]) -> None:
    """All stores with a finished trial in one file, all logs in another."""
    out.mkdir(parents=True, exist_ok=True)
    for store in work.glob("*.sqlite"):
        if store.with_name(store.name + "-wal").exists():  # its writer was stopped
            with contextlib.closing(sqlite3.connect(store)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")
    with tarfile.open(out / "stores.tar.gz", "w:gz") as tar:
        for store in sorted(work.glob("*.sqlite")):
            if _begun(store):
                tar.add(store, store.name)
    logs = [f"== {log.name}\n{log.read_text('utf-8', 'replace')}" for log in sorted(work.glob("*.log"))]
    (out / "log.txt").write_text("\n".join([*lines, *logs]), "utf-8")


def _begun(store: Path) -> bool:
    """Whether a trial of a store has ended."""
    with contextlib.closing(sqlite3.connect(store)) as connection:
        return bool(connection.execute("SELECT count(*) FROM trial WHERE status != 'pending'").fetchone()[0])


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--corpus", default="python-stdlib", help="a text file, an .xz of one, or python-stdlib"
    )
    parser.add_argument("--work", type=Path, required=True, help="where stores and logs are made")
    parser.add_argument("--resume-from", type=Path, help="a stores.tar.gz that an earlier run made")
    parser.add_argument("--out", type=Path, help="where stores.tar.gz and log.txt go at the end")
    parser.add_argument(
        "--minutes", type=float, default=7.5, help="after which what is still at work is stopped"
    )
    parser.add_argument("--gpus", type=int, help="how many; left out, all there are; 0 for the CPU")
    parser.add_argument("--per-gpu", type=int, default=1, help="processes on each")
    parser.add_argument("--cases", nargs="*", help="such as adam-mup; left out, all")
    parser.add_argument("--smoke", action="store_true", help="at a size for two CPU cores")
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    config = plan.load_config(HERE / ("smoke.yaml" if given.smoke else "base.yaml"))
    given.work.mkdir(parents=True, exist_ok=True)
    if given.job is not None:
        return run_job(config, given)
    begun = time.monotonic()
    if given.resume_from is not None:
        unpack(given.resume_from, given.work)
    gpus = device_count() if given.gpus is None else given.gpus
    slots = [f"gpu{i}.{j}" for j in range(given.per_gpu) for i in range(gpus)] or ["cpu"]
    chosen = [case for case in plan.cases(config) if given.cases is None or case.name in given.cases]
    corpus = plain_corpus(given.corpus, given.work)
    command = [sys.executable, str(Path(__file__).resolve()), "--work", str(given.work), "--corpus", corpus]
    command += ["--smoke"] * given.smoke + ["--gpus", str(gpus), "--per-gpu", str(given.per_gpu)]
    jobs = all_jobs(config, chosen)
    done = {job.name for job in jobs if is_done(config, job, given.work)}
    lines = Drive(command, given.work, slots, begun + 60 * given.minutes).run(jobs, done)
    lines.append(f"{time.monotonic() - begun:.0f} s in all")
    if given.out is not None:
        pack(given.work, given.out, lines)
    print(lines[-1])
    return 1 if any(": failed" in line for line in lines) else 0


def run_job(config: Config, given: argparse.Namespace) -> int:
    """One job, in this process."""
    from worker import Worker

    *names, part = given.job
    device = "cuda" if given.gpus else "cpu"
    case, sharing = Case(*names), given.per_gpu
    Worker(config, case, given.work, corpus=given.corpus, device=device, sharing=sharing).run(part)
    return 0


def device_count() -> int:
    """CUDA devices of this machine."""
    import torch

    return torch.cuda.device_count()


if __name__ == "__main__":
    sys.exit(main())
