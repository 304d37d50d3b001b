"""`widthwise plan`: the plan of a user's model, printed and saved."""

import json
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from widthwise.cli.errors import user_errors
from widthwise.cli.exponents import TableFormat
from widthwise.cli.options import given
from widthwise.theory import ALIGNMENTS, OPTIMIZER_RULES, PARAMETERIZATIONS, Role
from widthwise.user_code import load_callable

if TYPE_CHECKING:
    from widthwise.scaling import Rule

Named = TypeVar("Named")
ROLES: Mapping[str, Role] = {role.value: role for role in Role}


def _names(table: Mapping[str, object]) -> str:
    return ", ".join(table)


@user_errors
def plan(
    factory: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FACTORY", help="A function that makes your model of a width, as mymodels:build."
        ),
    ],
    width: Annotated[int, typer.Option(help="The width to train.")],
    base_width: Annotated[int, typer.Option(help="The width whose hyperparameters were tuned.")],
    parameterization: Annotated[str, typer.Option(help=_names(PARAMETERIZATIONS))] = "standard",
    optimizer: Annotated[str, typer.Option(help=_names(OPTIMIZER_RULES))] = "adam",
    alignment: Annotated[
        str | None, typer.Option(help=f"{_names(ALIGNMENTS)}; full unless said", show_default=False)
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=ROLE",
            help="What shapes and modules cannot say, as 'blocks.*.scale=vector'; roles: "
            f"{_names(ROLES)}. Or PATTERN=forward_factor:1/2, initializer_exponent:1/2, contracted:1, produced:0+2; "
            "several joined by commas. Once for each pattern.",
        ),
    ] = None,
    norm: Annotated[
        str | None, typer.Option(help="The norm in front of a tied readout, where it cannot be told.")
    ] = None,
    widths: Annotated[
        str | None, typer.Option(metavar="N,N,N", help="Widths at which shapes are read, three or more.")
    ] = None,
    initializer_widths: Annotated[
        str | None,
        typer.Option(
            metavar="N,N", help="Widths at which the model is built for real, to measure its draws."
        ),
    ] = None,
    output: Annotated[TableFormat, typer.Option("--format", help="How to print.")] = TableFormat.TABLE,
    out: Annotated[
        Path | None,
        typer.Option(help="Save the plan here too, as JSON that ScalingPlan.load reads.", metavar="FILE"),
    ] = None,
) -> None:
    """Print what every tensor of your model gets at a width: factors on its draw, rate, epsilon and weight decay."""
    options = given(
        alignment=None if alignment is None else _pick(ALIGNMENTS, alignment, "alignment"),
        norm=norm,
        widths=_integers(widths, "widths"),
        initializer_widths=_integers(initializer_widths, "initializer-widths"),
    )
    chosen = {
        "parameterization": _pick(PARAMETERIZATIONS, parameterization, "parameterization"),
        "optimizer": _pick(OPTIMIZER_RULES, optimizer, "optimizer"),
    }
    build = load_callable(factory, what="factory")
    from widthwise.scaling import make_plan
    from widthwise.scaling.plan_json import plan_to_json

    rules = tuple(parse_rule(text) for text in rule or ())
    if out is not None:
        _check_replaceable(out)
    try:
        made = make_plan(build, width=width, base_width=base_width, rules=rules, **chosen, **options)
    except ValueError as error:
        raise ValueError(_with_option(str(error))) from error
    if out is not None:
        try:
            made.save(out)
        except OSError as error:
            raise ValueError(f"--out {str(out)!r} cannot be written: {error.strerror}") from error
        print(f"saved in {out}", file=sys.stderr)
    print(made.table() if output is TableFormat.TABLE else json.dumps(plan_to_json(made), indent=1))


def parse_rule(text: str) -> "Rule":
    """A rule as the command line says it: `PATTERN=` and then a role, `field:value`, or several joined by commas.

    Raises:
        ValueError: another form, or a rule that contradicts itself.

    Example:
        >>> parse_rule("blocks.*.scale=vector").role.value
        'vector'
        >>> parse_rule("embed.weight=embedding,forward_factor:1/2").forward_factor
        Fraction(1, 2)
    """
    from widthwise.scaling import Rule

    pattern, _, said = text.partition("=")
    if not pattern or not said:
        raise ValueError(f"--rule {text!r} must be PATTERN=ROLE, as in 'blocks.*.scale=vector'")
    fields: dict[str, Any] = {}
    for item in said.split(","):
        name, value = _field(item.strip(), text)
        if name in fields:
            raise ValueError(f"--rule {text!r} says its {name} twice; say it once")
        fields[name] = value
    return Rule(pattern, **fields, reason="declared on the command line")


def _field(item: str, text: str) -> tuple[str, object]:
    name, _, value = item.partition(":")
    try:
        match name:
            case "forward_factor" | "initializer_exponent":
                return name, Fraction(value)
            case "contracted" | "produced":
                return name, tuple(int(dimension) for dimension in value.split("+"))
            case _:
                return "role", ROLES[item]
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"--rule {text!r}: {value!r} is no {name}; write it as forward_factor:1/2 or contracted:0+1"
        ) from None
    except KeyError:
        raise ValueError(f"--rule {text!r}: {item!r} is no role; choose one of {_names(ROLES)}") from None


def _pick(table: Mapping[str, Named], name: str, option: str) -> Named:
    if name not in table:
        raise ValueError(f"--{option} {name!r} is unknown; choose one of {_names(table)}")
    return table[name]


def _integers(text: str | None, option: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{option} {text!r} must be whole numbers with commas, as in 64,128,256") from None


def _check_replaceable(path: Path) -> None:
    """That a plan may be written to a path: its folder is there, and no other kind of file is in its place."""
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--out {str(path)!r}: folder {str(path.parent)!r} does not exist; make it first")
    from widthwise.scaling import ScalingPlan

    try:
        if path.exists():
            ScalingPlan.load(path)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"--out {str(path)!r} exists and is no plan; it was left as it is: give another name"
        ) from error


def _with_option(message: str) -> str:
    """A message whose remedy is a `Rule(...)` of Python, with the same in the command line's form."""
    if "    Rule(" not in message:
        return message
    return f"{message}\nOn the command line, Rule('a.*.b', role=Role.VECTOR) is --rule 'a.*.b=vector'."
