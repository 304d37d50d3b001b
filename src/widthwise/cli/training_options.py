"""Options of the commands that train: on what text, where, who, and how many models side by side."""

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from widthwise.study import Executor, SpecSource

AUTO_SIZE = "auto"
NEVER = "never"


class Device(StrEnum):
    """Where to train."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class ExecutorName(StrEnum):
    """Who trains."""

    LOCAL = "local"
    PROCESSES = "processes"
    RAY = "ray"
    SHARDED = "sharded"


DeviceOption = Annotated[Device, typer.Option(help="Where to train; auto takes CUDA where there is one.")]
ExecutorOption = Annotated[
    ExecutorName | None,
    typer.Option(
        "--executor",
        help="Who trains: this process, a process for each GPU (on a CPU: --workers), a Ray cluster (--address), or "
        "all processes of torchrun, each tensor split between them; local, under torchrun sharded, unless said.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Worker processes; all GPUs, or one for two cores, unless said."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        help="Of a running Ray cluster: auto, HOST:6379, ray://HOST:10001; a local one unless said."
    ),
]
SizeOption = Annotated[
    str,
    typer.Option(
        metavar="auto|N",
        help="Models trained side by side, for a new store; auto takes what fits in memory and in the minutes.",
    ),
]
CorpusOption = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="The text to train on, in the place of the specification's."),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(help="How long a population may take by its estimate, for a new store; 8 unless said."),
]
CheckpointOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|never",
        help="Minutes between checkpoints of what is in training, more where writing them would take over 5 % of the "
        "time; 0 for as often as that allows, never for none in between; 1 unless said.",
    ),
]
RetryOption = Annotated[
    bool,
    typer.Option("--retry-failed", help="Train trials that have failed again, after a repair."),
]
ReuseOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The store of a smaller study of the same training function of your own; its results are taken.",
    ),
]


def source_of(spec: str, corpus: str | None) -> "SpecSource":
    """A specification by its name or file, on another text if one is given."""
    from widthwise.study import load_spec, with_corpus

    source = load_spec(spec)
    return source if corpus is None else with_corpus(source, corpus)


def chosen_executor(name: ExecutorName | None, workers: int | None, address: str | None) -> "Executor":
    """Who trains, if the options that say so agree."""
    from widthwise.study import Local, Processes, Ray, Sharded, started_processes

    if name is None:
        name = ExecutorName.LOCAL if started_processes() == 1 else ExecutorName.SHARDED
    if workers is not None and name is not ExecutorName.PROCESSES:
        raise ValueError(f"--workers {workers} needs --executor processes; here it is {name.value}")
    if address is not None and name is not ExecutorName.RAY:
        raise ValueError(f"--address {address} needs --executor ray; here it is {name.value}")
    match name:
        case ExecutorName.LOCAL:
            return Local()
        case ExecutorName.PROCESSES:
            return Processes(workers)
        case ExecutorName.RAY:
            return Ray(address)
        case ExecutorName.SHARDED:
            return Sharded()


def members_of(text: str) -> int | None:
    """The size of populations, or None for what fits."""
    if text == AUTO_SIZE:
        return None
    if not text.removeprefix("-").isdecimal():
        raise ValueError(f"--population-size {text!r} is neither {AUTO_SIZE!r} nor a whole number")
    return int(text)


def seconds_between(text: str | None) -> float | None:
    """The seconds between two checkpoints; infinite for never, None if nothing was said.

    Example:
        >>> seconds_between("1.5"), seconds_between("never")
        (90.0, inf)
    """
    if text is None:
        return None
    if text == NEVER:
        return math.inf
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 <= minutes < math.inf:
        raise ValueError(f"--checkpoint-minutes {text!r} is neither {NEVER!r} nor a number of at least 0")
    return 60 * minutes
