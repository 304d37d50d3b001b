"""`widthwise study plan`: what a study would take, before anything runs."""

from enum import StrEnum
from typing import Annotated

import typer

from widthwise.cli.columns import terminal_columns
from widthwise.cli.errors import user_errors


class PlanFormat(StrEnum):
    """How to print an estimate."""

    TEXT = "text"
    JSON = "json"


@user_errors
def plan(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A YAML file, or a built-in study.")],
    gpu: Annotated[str, typer.Option(help="What it would run on: h200, h100, a100 or cpu.")] = "h200",
    gpus: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many at once, for the days that it takes.")
    ] = None,
    price: Annotated[
        float | None, typer.Option(help="US dollars a GPU-hour; an assumed one of each kind unless said.")
    ] = None,
    output: Annotated[PlanFormat, typer.Option("--format", help="How to print.")] = PlanFormat.TEXT,
) -> None:
    """Say what a study would take: trials, populations, arithmetic, memory, GPU-hours and money; nothing is run."""
    from widthwise.study import load_spec
    from widthwise.study.estimate import estimate_study
    from widthwise.study.estimate_text import estimate_json, estimate_lines
    from widthwise.study.gpu import gpu_named

    estimate = estimate_study(load_spec(spec).spec, gpu_named(gpu), price=price)
    if output is PlanFormat.JSON:
        print(estimate_json(estimate))
    else:
        print("\n".join(estimate_lines(estimate, gpus=gpus, columns=terminal_columns())))
