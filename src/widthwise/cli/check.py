"""`widthwise check`: the coordinate check of a user's model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widthwise.cli.errors import user_errors
from widthwise.cli.model_options import (
    RATE,
    RATES,
    AlignmentName,
    BaseWidth,
    Batch,
    Factory,
    Loss,
    Norm,
    OptimizerName,
    ParameterizationName,
    Rate,
    Rules,
    Seeds,
    Steps,
    Widths,
    parse_widths,
    pick,
)
from widthwise.cli.options import given
from widthwise.cli.plan import parse_rule
from widthwise.theory import ALIGNMENTS, OPTIMIZER_RULES, PARAMETERIZATIONS
from widthwise.user_code import load_callable

if TYPE_CHECKING:
    from rich.table import Table

    from widthwise.measure import CoordinateCheck
    from widthwise.report.check_page import CheckPage

CHECK_CODES = {"pass": 0, "fail": 3, "undecided": 4}
STYLES = {"pass": "green", "fail": "bold red", "undecided": "yellow", "reported": "blue", "undefined": "dim"}
Out = Annotated[
    Path | None, typer.Option(help="The folder for check.html, its figures and check.json.", metavar="DIR")
]


@user_errors
def check(
    factory: Factory,
    base_width: BaseWidth,
    widths: Widths = None,
    parameterization: ParameterizationName = "standard",
    optimizer: OptimizerName = "adam",
    alignment: AlignmentName = None,
    rule: Rules = None,
    norm: Norm = None,
    seeds: Seeds = None,
    steps: Steps = None,
    lr: Rate = None,
    batch: Batch = None,
    loss: Loss = None,
    out: Out = None,
) -> None:
    """Train your model a few steps at several widths and compare every exponent with theory's.

    Exits with 0 if the check passes, 3 if it fails, 4 if it is undecided.
    """
    options: dict[str, Any] = {
        "parameterization": pick(PARAMETERIZATIONS, parameterization, "parameterization"),
        "optimizer": pick(OPTIMIZER_RULES, optimizer, "optimizer"),
        **given(alignment=None if alignment is None else pick(ALIGNMENTS, alignment, "alignment"), norm=norm),
    }
    trained = parse_widths(widths, base_width)
    build = load_callable(factory, what="factory")
    make_batch = None if batch is None else load_callable(batch, what="batch")
    own_loss = None if loss is None else load_callable(loss, what="loss")
    from rich.console import Console

    from widthwise.measure import coordinate_check, next_token_loss, plan_ladder, random_tokens

    if out is not None:
        from widthwise.report.write_check import check_folder

        check_folder(out)
    rules = tuple(parse_rule(text) for text in rule or ())
    plan = plan_ladder(build, base_width=base_width, rules=rules, **options)
    errors = Console(stderr=True)
    with errors.status("") as status:
        found = coordinate_check(
            build,
            random_tokens(build(trained[0])) if make_batch is None else make_batch(),
            next_token_loss if own_loss is None else own_loss,
            plan=plan,
            widths=trained,
            learning_rate=RATES.get(optimizer, RATE) if lr is None else lr,
            listener=lambda width, seed: status.update(f"width {width}, seed {seed}"),
            **given(seeds=seeds, steps=steps),
        )
    console = Console()
    console.print(_table(found))
    console.print(found.summary(), markup=False, highlight=False)
    if out is not None:
        for path in _write(found, factory, out):
            print(path)
    raise typer.Exit(CHECK_CODES[found.verdict.value])


NUMBERS_FROM = 2
"""The column of the table that numbers begin with."""


def _table(found: "CoordinateCheck") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from widthwise.measure.check_text import HEADER, cells, head, lines_of

    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, caption_justify="left"
    )
    table.caption = Text(head(found), style="dim")
    rows = [(line, cells(line)) for line in lines_of(found)]
    for column, name in enumerate(HEADER[:-1]):
        longest = max((len(row[column]) for _, row in rows), default=0)
        # What is measured and of what may fold, and a reason in the place of an interval; numbers may not.
        table.add_column(name, min_width=None if column < NUMBERS_FROM else longest, overflow="fold")
    for line, (*values, verdict, reason) in rows:
        shown = [Text(value) for value in values]
        if reason and line.worst.slope is None:
            shown[4] = Text(reason)
        table.add_row(*shown, Text(verdict, style=STYLES[verdict]))
    return table


def check_page(found: "CoordinateCheck", title: str) -> "CheckPage":
    """A check as the plain values that the report shows."""
    from widthwise.measure.check_text import WORDS, head, lines_of
    from widthwise.report.check_page import CheckLine, CheckPage

    return CheckPage(
        title=title,
        verdict=found.verdict.value,
        head=head(found),
        summary=tuple(found.summary().splitlines()),
        widths=found.widths,
        lines=tuple(
            CheckLine(
                measured=WORDS[row.quantity],
                name=line.name,
                role=row.role,
                theory=row.theory,
                bound=row.bound,
                margin=row.margin,
                slope=None if row.slope is None else (row.slope.estimate, row.slope.low, row.slope.high),
                verdict=row.verdict.value,
                reason=row.reason,
                values=row.values,
            )
            for line in lines_of(found)
            for row in (line.worst,)
        ),
    )


def _write(found: "CoordinateCheck", title: str, folder: Path) -> tuple[Path, ...]:
    import json

    from widthwise.measure.check_json import check_to_json
    from widthwise.report.write_check import write_check

    text = json.dumps(check_to_json(found), separators=(",", ":"), allow_nan=False) + "\n"
    return write_check(check_page(found, title), folder, extra={"check.json": text.encode()})
