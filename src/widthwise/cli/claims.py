"""`widthwise study claims`: the paper's claims, judged by one or several stores."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from widthwise.cli.errors import user_errors


class ClaimsFormat(StrEnum):
    """How to print."""

    MARKDOWN = "markdown"
    JSON = "json"


@user_errors
def claims(
    stores: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Stores of one study in parts.")],
    output: Annotated[
        ClaimsFormat, typer.Option("--format", help="A document, or the verdicts alone as JSON.")
    ] = ClaimsFormat.MARKDOWN,
    evidence: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A record of small measurements, for claims 11, 14, 15; may be repeated."
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="What the text is that was trained on, for the document."),
    ] = None,
) -> None:
    """Judge the paper's claims by studies, their numbers beside the paper's; what is not finished is not judged."""
    from widthwise.cli.labels import labelled_study
    from widthwise.report.claims_text import claims_json
    from widthwise.report.measurement_records import read_measurements
    from widthwise.report.reproduction import compare_studies, comparison_markdown

    measurements = read_measurements(evidence or [])
    comparison = compare_studies([labelled_study(store) for store in stores], measurements)
    if output is ClaimsFormat.JSON:
        print(json.dumps(claims_json(comparison.verdicts), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        sys.stdout.write(comparison_markdown(comparison, text=text))
