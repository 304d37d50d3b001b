"""The command line: parse, look up, call, print. Everything heavy is imported by the command that needs it.

Exit codes: 0 done, 1 an internal failure, 2 bad input (one message, nothing written), and for verdicts 3 does not
transfer, 4 undecided.
"""

import typer

from widthwise.cli.align import align
from widthwise.cli.check import check
from widthwise.cli.claims import claims
from widthwise.cli.exponents import exponents
from widthwise.cli.plan import plan
from widthwise.cli.study import study_app
from widthwise.cli.transfer import transfer_table

app = typer.Typer(
    name="widthwise",
    help="Tune a small model, train a large one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("align")(align)
app.command("check")(check)
app.command("exponents")(exponents)
app.command("plan")(plan)
app.command("transfer")(transfer_table)
study_app.command("claims")(claims)
app.add_typer(study_app, name="study")


def main() -> None:
    """Run the command line."""
    app()
