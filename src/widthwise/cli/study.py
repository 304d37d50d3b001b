"""`widthwise study`: run, resume, report, verdict, export."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from widthwise.cli.errors import user_errors
from widthwise.cli.options import Margin, given
from widthwise.cli.stopping import resume_command, stoppable
from widthwise.cli.study_end import print_end
from widthwise.cli.study_plan import plan
from widthwise.cli.training_options import (
    AUTO_SIZE,
    AddressOption,
    CheckpointOption,
    CorpusOption,
    Device,
    DeviceOption,
    ExecutorOption,
    MinutesOption,
    RetryOption,
    ReuseOption,
    SizeOption,
    WorkersOption,
    chosen_executor,
    members_of,
    seconds_between,
    source_of,
)

study_app = typer.Typer(
    help="Run a study of learning-rate transfer and look at it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

study_app.command(short_help="Say what a study would take, before anything runs.")(plan)

VERDICT_CODES = {"transfers": 0, "does not transfer": 3, "undecided": 4}


class ExportFormat(StrEnum):
    """What to export to."""

    CSV = "csv"
    PARQUET = "parquet"


Store = Annotated[Path, typer.Argument(metavar="FILE", help="A study's store.")]


@study_app.command(short_help="Train what is not trained yet, then say what transfers.")
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
    measured: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The store of a study whose measured alignment gives the rates that SPEC leaves open.",
        ),
    ] = None,
    device: DeviceOption = Device.AUTO,
    executor: ExecutorOption = None,
    workers: WorkersOption = None,
    address: AddressOption = None,
    population_size: SizeOption = AUTO_SIZE,
    population_minutes: MinutesOption = None,
    checkpoint_minutes: CheckpointOption = None,
    retry_failed: RetryOption = False,
    reuse: ReuseOption = None,
) -> None:
    """Train every model of a study that is not trained yet, then say what transfers."""
    from widthwise.cli.progress import show_progress
    from widthwise.study import few_rates_note, follow, run_study, with_constants, with_measured

    chosen, seconds = chosen_executor(executor, workers, address), seconds_between(checkpoint_minutes)
    if follow(chosen, device.value):
        return  # torchrun's process of rank 0 runs the study
    source = source_of(spec, corpus)
    if constants is not None:
        source = with_constants(source, constants)
    if measured is not None:
        source = with_measured(source, measured)
    go_on = resume_command(store, device, executor, workers, address, checkpoint_minutes)
    note = None if store.exists() else few_rates_note(source.spec)
    with stoppable(chosen, store, go_on) as stop, show_progress(note) as listener:
        study = run_study(
            source,
            store,
            device=device.value,
            executor=chosen,
            listener=listener,
            population_size=members_of(population_size),
            population_minutes=population_minutes,
            stop=stop,
            retry_failed=retry_failed,
            reuse=reuse,
            **given(checkpoint_seconds=seconds),
        )
    print_end(study, store)


@study_app.command()
@user_errors
def resume(
    store: Store,
    device: DeviceOption = Device.AUTO,
    executor: ExecutorOption = None,
    workers: WorkersOption = None,
    address: AddressOption = None,
    checkpoint_minutes: CheckpointOption = None,
    retry_failed: RetryOption = False,
) -> None:
    """Go on with a study from its store alone."""
    from widthwise.cli.progress import show_progress
    from widthwise.study import follow, resume_study

    chosen, seconds = chosen_executor(executor, workers, address), seconds_between(checkpoint_minutes)
    if follow(chosen, device.value):
        return  # torchrun's process of rank 0 runs the study
    go_on = resume_command(store, device, executor, workers, address, checkpoint_minutes)
    with stoppable(chosen, store, go_on) as stop, show_progress() as listener:
        study = resume_study(
            store,
            device=device.value,
            executor=chosen,
            listener=listener,
            stop=stop,
            retry_failed=retry_failed,
            **given(checkpoint_seconds=seconds),
        )
    print_end(study, store)


@study_app.command(short_help="Search for constants of the rates at the base width.")
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
    executor: ExecutorOption = None,
    workers: WorkersOption = None,
    address: AddressOption = None,
    population_size: SizeOption = AUTO_SIZE,
    population_minutes: MinutesOption = None,
    checkpoint_minutes: CheckpointOption = None,
) -> None:
    """Search for the factors on the rates of each kind of layer, at the base width (needs Optuna)."""
    from widthwise.cli.progress import show_progress
    from widthwise.study import constants_text, follow, found_constants, run_constants_search

    chosen, seconds = chosen_executor(executor, workers, address), seconds_between(checkpoint_minutes)
    if follow(chosen, device.value):
        return  # torchrun's process of rank 0 runs the study
    source = source_of(spec, corpus)
    with stoppable(chosen, store, "the same command") as stop, show_progress() as listener:
        study = run_constants_search(
            source,
            store,
            trials=trials,
            device=device.value,
            executor=chosen,
            population_size=members_of(population_size),
            population_minutes=population_minutes,
            listener=listener,
            stop=stop,
            **given(checkpoint_seconds=seconds),
        )
    print(constants_text(found_constants(study, source.spec)))


@study_app.command(short_help="Write a page to look at, and its figures.")
@user_errors
def report(
    store: Store,
    out: Annotated[Path, typer.Option(help="The folder for report.html and the figures.")],
    margin: Margin = None,
) -> None:
    """Write one page to look at, and its figures as PNG and SVG; of a study that measures sizes, a page of these."""
    from widthwise.cli.labels import arm_labels
    from widthwise.records import read_study
    from widthwise.report import study_page_data, write_report
    from widthwise.report.measured_sizes import has_one_rate, has_sizes
    from widthwise.report.widths_page import widths_page
    from widthwise.report.write_widths import write_widths

    if has_sizes(store):
        for path in write_widths(widths_page(store), out):
            print(path)
        if has_one_rate(read_study(store)):
            return
    data = study_page_data(store, labels=arm_labels(store), **given(margin=margin))
    for path in write_report(data, out):
        print(path)


@study_app.command(short_help="Exit with 0 if a prescription transfers, 3 or 4 if not.")
@user_errors
def verdict(
    store: Store,
    require: Annotated[str, typer.Option(metavar="NAME", help="The prescription that is asked about.")],
    margin: Margin = None,
) -> None:
    """Exit with 0 if a prescription transfers, 3 if it does not, 4 if that is undecided or it has not ended."""
    from widthwise.records import read_study, unfinished
    from widthwise.report import study_transfer
    from widthwise.report.words import reason_text

    study = read_study(store)
    analysis = study_transfer(study, **given(margin=margin))
    results = {r.prescription: r for r in analysis.results}
    if require not in results:
        raise ValueError(
            f"--require {require!r} is no prescription of {str(store)!r}; choose one of {list(results)}"
        )
    result = results[require]
    found = f"{result.verdict.value}: {reason_text(result)}"
    waiting = sorted(width for arm, width in unfinished(study) if arm == require)
    if waiting:
        listed = ", ".join(map(str, waiting))
        print(f"{require}: undecided: not finished at width {listed}; without, {found}")
        raise typer.Exit(VERDICT_CODES["undecided"])
    print(f"{require}: {found}")
    raise typer.Exit(VERDICT_CODES[result.verdict.value])


@study_app.command(short_help="Write a table with one row a cell.")
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
