"""The command line: parse, look up, call, print. Everything heavy is imported by the command that needs it.

Exit codes: 0 done, 1 an internal failure, 2 bad input (one message, nothing written), for verdicts 3 does not transfer,
4 undecided, and 128 + its number where a signal stopped a training.
"""

import warnings

import typer

from widthwise.cli.align import align
from widthwise.cli.check import check
from widthwise.cli.claims import claims
from widthwise.cli.errors import plain_warning
from widthwise.cli.exponents import exponents
from widthwise.cli.plan import plan
from widthwise.cli.study import study_app
from widthwise.cli.transfer import transfer_table
from widthwise.cli.version import with_version

app = typer.Typer(
    name="widthwise",
    help="Tune a small model, train a large one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.callback(help=app.info.help)(with_version)
app.command("align", short_help="Measure alignment, of your own model or in a study's store.")(align)
app.command("check", short_help="Hold your model's training against the exponents of theory.")(check)
app.command("exponents", short_help="Print the exponents of each layer, by theory.")(exponents)
app.command("plan", short_help="Print what every tensor of your model gets at a width.")(plan)
app.command("transfer", short_help="Judge transfer from a table of anybody's results.")(transfer_table)
study_app.command("claims", short_help="Judge the paper's claims by the stores of studies.")(claims)
app.add_typer(study_app, name="study")


def main() -> None:
    """Run the command line."""
    warnings.formatwarning = plain_warning
    app()
