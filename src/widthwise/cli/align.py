"""`widthwise align`: how a user's model aligns its weights with its activations, as ratios and as exponents."""

import json
import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widthwise.cli.align_json import KIND, VERSION, exponents_document
from widthwise.cli.align_store import Arm, Store, Weighting, stored_text
from widthwise.cli.errors import user_errors
from widthwise.cli.model_options import (
    RATE,
    RATES,
    AlignmentName,
    Batch,
    Loss,
    Norm,
    OptimizerName,
    ParameterizationName,
    Rate,
    Rules,
    parse_widths,
    pick,
)
from widthwise.cli.options import given
from widthwise.cli.plan import parse_rule
from widthwise.theory import ALIGNMENTS, OPTIMIZER_RULES, PARAMETERIZATIONS
from widthwise.user_code import load_callable

if TYPE_CHECKING:
    from rich.table import Table

    from widthwise.analysis import AlignmentExponent
    from widthwise.measure import AlignmentRun

VECTOR = "a vector"
"""How the reason of a tensor begins that no table has room for."""
HEADER = ("", "measured", "exponent", "95 % interval", "ratios, by width")


Model = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODULE:FACTORY]",
        help="A function that makes your model of a width, as mymodels:build; left out with --store.",
        show_default=False,
    ),
]
Widths = Annotated[
    str | None,
    typer.Option(metavar="N,N,N", help="Three or more widths to train at; four leave curves less room."),
]


class Per(StrEnum):
    """What gets an exponent."""

    ROLE = "role"
    LAYER = "layer"


class Format(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


@user_errors
def align(
    factory: Model = None,
    widths: Widths = None,
    base_width: Annotated[
        int | None,
        typer.Option(help="The width whose hyperparameters were tuned; the smallest one unless said."),
    ] = None,
    parameterization: ParameterizationName = "standard",
    optimizer: OptimizerName = "adam",
    alignment: AlignmentName = None,
    rule: Rules = None,
    norm: Norm = None,
    seeds: Annotated[int | None, typer.Option(help="Models a width; 3 unless said.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Of training, before it is measured; 20 unless said.")
    ] = None,
    lr: Rate = None,
    batch: Batch = None,
    loss: Loss = None,
    per: Annotated[Per, typer.Option(help="What gets an exponent.")] = Per.ROLE,
    output: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    out: Annotated[Path | None, typer.Option(help="Write the JSON here, too.", metavar="FILE")] = None,
    store: Store = None,
    arm: Arm = None,
    weighting: Weighting = None,
) -> None:
    """Train your model a few steps at several widths and measure the alignment of weights, updates and activations.

    Ratios of one width are a diagnostic; exponents, their slopes over widths, are what `widthwise exponents` takes.
    With --store, of a study that measured alignment while it trained.
    """
    if store is not None:
        if factory is not None or widths is not None or out is not None:
            raise ValueError(
                "--store reads what a study measured, and trains nothing: leave out MODULE:FACTORY, --widths and --out"
            )
        print(stored_text(store, arm=arm, weighting=weighting, as_json=output is Format.JSON))
        return
    _check_model(factory, widths, arm=arm, weighting=weighting)
    assert factory is not None
    assert widths is not None
    trained = parse_widths(widths, 1)
    options: dict[str, Any] = {
        "parameterization": pick(PARAMETERIZATIONS, parameterization, "parameterization"),
        "optimizer": pick(OPTIMIZER_RULES, optimizer, "optimizer"),
        **given(alignment=None if alignment is None else pick(ALIGNMENTS, alignment, "alignment"), norm=norm),
    }
    build = load_callable(factory, what="factory")
    make_batch = None if batch is None else load_callable(batch, what="batch")
    own_loss = None if loss is None else load_callable(loss, what="loss")
    if out is not None:
        _check_replaceable(out)
    runs = _train(
        build,
        trained,
        base_width=min(trained) if base_width is None else base_width,
        rules=tuple(parse_rule(text) for text in rule or ()),
        make_batch=make_batch,
        loss=own_loss,
        options=options,
        learning_rate=RATES.get(optimizer, RATE) if lr is None else lr,
        sizes=given(seeds=seeds, steps=steps),
    )
    exponents = _exponents(runs, per)
    text = json.dumps(exponents_document(factory, runs, exponents), indent=1, allow_nan=False)
    if out is not None:
        from widthwise.files import replace_text

        replace_text(out, text + "\n")
    if output is Format.JSON:
        print(text)
        return
    from rich.console import Console

    console = Console()
    console.print(_table(runs, exponents))
    for line in _notes(runs, exponents):
        console.print(line, markup=False, highlight=False)


def _check_model(factory: str | None, widths: str | None, **stored: str | None) -> None:
    """That there is something to train, and nothing that is for a store."""
    if factory is None or widths is None:
        raise ValueError(
            "give your model and the widths to train it at, MODULE:FACTORY --widths N,N,N, or a study's --store FILE"
        )
    if any(value is not None for value in stored.values()):
        raise ValueError("--arm and --weighting are for what a study measured: give its --store FILE")


def _check_replaceable(path: Path) -> None:
    """That a result may be written to a path: its folder is there, and no other kind of file is in its place."""
    from widthwise.files import document, load_document

    if not path.absolute().parent.is_dir():
        raise ValueError(f"--out {str(path)!r}: folder {str(path.parent)!r} does not exist; make it first")
    try:
        if path.exists():
            load_document(
                path, lambda values: document(values, kind=KIND, version=VERSION, name="a result of align")
            )
    except (ValueError, OSError) as error:
        raise ValueError(
            f"--out {str(path)!r} exists and is no result of align; it was left as it is: give another name"
        ) from error


def _train(
    build: Any,
    widths: tuple[int, ...],
    *,
    base_width: int,
    rules: tuple[Any, ...],
    make_batch: Any,
    loss: Any,
    options: dict[str, Any],
    learning_rate: float,
    sizes: dict[str, Any],
) -> "tuple[AlignmentRun, ...]":
    from rich.console import Console

    from widthwise.measure import alignment_runs, next_token_loss, plan_ladder, random_tokens

    plan = plan_ladder(build, base_width=base_width, rules=rules, **options)
    with Console(stderr=True).status("") as status:
        return alignment_runs(
            build,
            random_tokens(build(min(widths))) if make_batch is None else make_batch(),
            next_token_loss if loss is None else loss,
            plan=plan,
            widths=widths,
            learning_rate=learning_rate,
            listener=lambda width, seed: status.update(f"width {width}, seed {seed}"),
            **sizes,
        )


def _exponents(runs: "Sequence[AlignmentRun]", per: Per) -> "tuple[AlignmentExponent, ...]":
    from widthwise.analysis import Pool, alignment_exponents, alignment_rows

    rows = [
        row
        for run in runs
        for row in alignment_rows(run.report.gains(), width=run.width, seed=run.seed, progress=1.0)
    ]
    return alignment_exponents(rows, pool=Pool(per.value))


def _mean_ratios(runs: "Sequence[AlignmentRun]", exponent: "AlignmentExponent") -> dict[int, float]:
    """The mean ratio over layers and seeds, by width; NaN where one is undefined."""
    found: dict[int, list[float]] = {}
    for run in runs:
        layers = [run.report.layer(name) for name in exponent.layers]
        found.setdefault(run.width, []).extend(layer.ratio(exponent.quantity) for layer in layers)
    return {width: math.fsum(ratios) / len(ratios) for width, ratios in found.items()}


def _table(runs: "Sequence[AlignmentRun]", exponents: "Sequence[AlignmentExponent]") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in HEADER:  # names and the ratios of many widths fold; a number does not
        table.add_column(name, overflow="fold", no_wrap=name in HEADER[1:-1])
    before = ""
    for one in exponents:
        found = one.exponent
        defined = not one.undefined
        cells = (
            one.name if one.name != before else "",
            one.quantity.value,
            f"{found.value:.3f}" if defined else "-",
            f"{found.low:.3f} to {found.high:.3f}" if defined else "-",
            ", ".join(
                "-" if math.isnan(ratio) else f"{ratio:.3f}" for ratio in _mean_ratios(runs, one).values()
            ),
        )
        table.add_row(*map(Text, cells))
        before = one.name
    return table


def _notes(runs: "Sequence[AlignmentRun]", exponents: "Sequence[AlignmentExponent]") -> list[str]:
    """What is undefined and why, and what is measured by nothing."""
    report = runs[-1].report
    why: dict[tuple[str, str], list[str]] = {}
    for one in exponents:
        if one.undefined:
            why.setdefault((one.name, one.undefined), []).append(one.quantity.value)
    lines = [
        f"{name}, {', '.join(quantities)}: no exponent, {reason}."
        for (name, reason), quantities in why.items()
    ]
    lines += [f"{one.layer}: looked up, sums over nothing." for one in report.looked_up]
    vectors = sum(one.reason.startswith(VECTOR) for one in report.unmeasured)
    lines += [f"{one.layer}: {one.reason}." for one in report.unmeasured if not one.reason.startswith(VECTOR)]
    if vectors:
        lines.append(f"Biases, gains and other vectors sum over nothing and have no alignment: {vectors}.")
    return lines
