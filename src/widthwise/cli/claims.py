"""`widthwise study claims`: the paper's claims, judged by a store."""

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
    store: Annotated[Path, typer.Argument(metavar="FILE", help="A study's store.")],
    output: Annotated[
        ClaimsFormat, typer.Option("--format", help="A document, or the verdicts alone as JSON.")
    ] = ClaimsFormat.MARKDOWN,
) -> None:
    """Judge the paper's claims 1 to 10 and 16 by a study, its numbers beside the paper's."""
    from widthwise.cli.labels import arm_labels
    from widthwise.records import read_study
    from widthwise.report.claims_text import claims_json
    from widthwise.report.reproduction import compare_study, comparison_markdown

    comparison = compare_study(read_study(store), arm_labels(store))
    if output is ClaimsFormat.JSON:
        print(json.dumps(claims_json(comparison.verdicts), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        sys.stdout.write(comparison_markdown(comparison))
