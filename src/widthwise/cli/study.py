"""`widthwise study`: run, resume, report, verdict, export."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from widthwise.cli.errors import user_errors
from widthwise.cli.options import given
from widthwise.cli.study_plan import plan

if TYPE_CHECKING:
    from widthwise.records import StoredStudy
    from widthwise.study import Executor

study_app = typer.Typer(
    help="Run a study of learning-rate transfer and look at it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

study_app.command()(plan)

AUTO_SIZE = "auto"
VERDICT_CODES = {"transfers": 0, "does not transfer": 3, "undecided": 4}


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


class ExportFormat(StrEnum):
    """What to export to."""

    CSV = "csv"
    PARQUET = "parquet"


Store = Annotated[Path, typer.Argument(metavar="FILE", help="A study's store.")]
DeviceOption = Annotated[Device, typer.Option(help="Where to train; auto takes CUDA where there is one.")]
ExecutorOption = Annotated[
    ExecutorName,
    typer.Option(
        "--executor",
        help="Who trains: this process, a process for each GPU (on a CPU: --workers), or a Ray cluster (--address).",
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
MarginOption = Annotated[
    float | None, typer.Option(help="Relative loss that may be given up; 0.01, which is 1 %, unless said.")
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


@study_app.command()
@user_errors
def run(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC", help="A YAML file, or a built-in study such as quickstart.")
    ],
    store: Annotated[Path, typer.Option(help="The file to keep results in; continued if it exists.")],
    corpus: CorpusOption = None,
    constants: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The store of a search for the constants that SPEC says are searched."
        ),
    ] = None,
    device: DeviceOption = Device.AUTO,
    executor: ExecutorOption = ExecutorName.LOCAL,
    workers: WorkersOption = None,
    address: AddressOption = None,
    population_size: SizeOption = AUTO_SIZE,
    population_minutes: MinutesOption = None,
) -> None:
    """Train every model of a study that is not trained yet, then say what transfers."""
    from widthwise.cli.progress import show_progress
    from widthwise.study import load_spec, run_study, with_constants, with_corpus

    source = load_spec(spec)
    if corpus is not None:
        source = with_corpus(source, corpus)
    if constants is not None:
        source = with_constants(source, constants)
    with show_progress() as listener:
        study = run_study(
            source,
            store,
            device=device.value,
            executor=_executor(executor, workers, address),
            listener=listener,
            population_size=_size(population_size),
            population_minutes=population_minutes,
        )
    _print_verdicts(study)


@study_app.command()
@user_errors
def resume(
    store: Store,
    device: DeviceOption = Device.AUTO,
    executor: ExecutorOption = ExecutorName.LOCAL,
    workers: WorkersOption = None,
    address: AddressOption = None,
) -> None:
    """Go on with a study from its store alone."""
    from widthwise.cli.progress import show_progress
    from widthwise.study import resume_study

    with show_progress() as listener:
        study = resume_study(
            store, device=device.value, executor=_executor(executor, workers, address), listener=listener
        )
    _print_verdicts(study)


@study_app.command()
@user_errors
def constants(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A YAML file, or a built-in study.")],
    store: Annotated[Path, typer.Option(help="The search's own file; continued if it exists.")],
    trials: Annotated[
        int | None,
        typer.Option(metavar="N", help="Trials of each range, for each optimizer and parameterization."),
    ] = None,
    corpus: CorpusOption = None,
    device: DeviceOption = Device.AUTO,
    executor: ExecutorOption = ExecutorName.LOCAL,
    workers: WorkersOption = None,
    address: AddressOption = None,
    population_size: SizeOption = AUTO_SIZE,
    population_minutes: MinutesOption = None,
) -> None:
    """Search for the factors on the rates of each kind of layer, at the base width (needs Optuna)."""
    from widthwise.cli.progress import show_progress
    from widthwise.study import constants_text, found_constants, load_spec, run_constants_search, with_corpus

    source = load_spec(spec)
    if corpus is not None:
        source = with_corpus(source, corpus)
    with show_progress() as listener:
        study = run_constants_search(
            source,
            store,
            trials=trials,
            device=device.value,
            executor=_executor(executor, workers, address),
            population_size=_size(population_size),
            population_minutes=population_minutes,
            listener=listener,
        )
    print(constants_text(found_constants(study, source.spec)))


@study_app.command()
@user_errors
def report(
    store: Store,
    out: Annotated[Path, typer.Option(help="The folder for report.html and the figures.")],
    margin: MarginOption = None,
) -> None:
    """Write one page to look at, and its figures as PNG and SVG."""
    from widthwise.cli.labels import arm_labels
    from widthwise.report import study_page_data, write_report

    data = study_page_data(store, labels=arm_labels(store), **given(margin=margin))
    for path in write_report(data, out):
        print(path)


@study_app.command()
@user_errors
def verdict(
    store: Store,
    require: Annotated[str, typer.Option(metavar="NAME", help="The prescription that is asked about.")],
    margin: MarginOption = None,
) -> None:
    """Exit with 0 if a prescription transfers, 3 if it does not, 4 if that is undecided."""
    from widthwise.records import read_study
    from widthwise.report import study_transfer

    analysis = study_transfer(read_study(store), **given(margin=margin))
    results = {r.prescription: r for r in analysis.results}
    if require not in results:
        raise ValueError(
            f"--require {require!r} is no prescription of {str(store)!r}; choose one of {list(results)}"
        )
    result = results[require]
    print(f"{require}: {result.verdict.value}: {result.reason}")
    raise typer.Exit(VERDICT_CODES[result.verdict.value])


@study_app.command()
@user_errors
def export(
    store: Store,
    output: Annotated[ExportFormat, typer.Option("--format", help="What to write.")] = ExportFormat.CSV,
    out: Annotated[
        Path | None, typer.Option(help="The file; CSV goes to standard output without it.")
    ] = None,
) -> None:
    """Write one row per cell that has ended, in the columns that `widthwise transfer` reads."""
    from widthwise.records import read_study
    from widthwise.study.export import to_csv, write_table

    study = read_study(store)
    if out is not None:
        if out.exists() and out.samefile(store):
            raise ValueError(f"--out {str(out)!r} is the store itself; choose another file")
        write_table(study, out, output.value)
    elif output is ExportFormat.CSV:
        sys.stdout.write(to_csv(study))
    else:
        raise ValueError("--format parquet needs --out FILE; it is not text")


def _executor(name: ExecutorName, workers: int | None, address: str | None) -> "Executor":
    from widthwise.study import Local, Processes, Ray

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


def _size(text: str) -> int | None:
    """The size of populations, or None for what fits."""
    if text == AUTO_SIZE:
        return None
    if not text.removeprefix("-").isdecimal():
        raise ValueError(f"--population-size {text!r} is neither {AUTO_SIZE!r} nor a whole number")
    return int(text)


def _print_verdicts(study: "StoredStudy") -> None:
    from rich.console import Console

    from widthwise.report import predictions, study_transfer, summary_line, verdict_table

    try:
        analysis = study_transfer(study)
    except ValueError as error:
        # The study is trained and kept; that it is too small for a verdict is no bad input.
        print(f"no verdict: {error}", file=sys.stderr)
        return
    console = Console()
    console.print(verdict_table(analysis, predictions(study)))
    console.print(summary_line(analysis))
