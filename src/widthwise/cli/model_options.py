"""Options of the commands that build a user's model at several widths and train it a few steps."""

from collections.abc import Mapping
from typing import Annotated, TypeVar

import typer

from widthwise.theory import ALIGNMENTS, OPTIMIZER_RULES, PARAMETERIZATIONS

Named = TypeVar("Named")

RATES = {"sgd": 0.1}
RATE = 1e-3

Factory = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:FACTORY", help="A function that makes your model of a width, as mymodels:build."
    ),
]
BaseWidth = Annotated[int, typer.Option(help="The width whose hyperparameters were tuned.")]
Widths = Annotated[
    str | None,
    typer.Option(metavar="N,N,N", help="Widths to train at; 1, 2, 4 and 8 times the base width unless said."),
]
ParameterizationName = Annotated[str, typer.Option(help=", ".join(PARAMETERIZATIONS))]
OptimizerName = Annotated[
    str,
    typer.Option(
        help=f"{', '.join(OPTIMIZER_RULES)}; PyTorch has an optimizer for sgd, adam, rmsprop, muon."
    ),
]
AlignmentName = Annotated[
    str | None, typer.Option(help=f"{', '.join(ALIGNMENTS)}; full unless said.", show_default=False)
]
Rules = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN=ROLE", help="As in `widthwise plan`; once for each pattern."),
]
Norm = Annotated[
    str | None, typer.Option(help="The norm in front of a tied readout, where it cannot be told.")
]
Seeds = Annotated[int | None, typer.Option(help="Models a width; 5 unless said.")]
Steps = Annotated[int | None, typer.Option(help="Of training; 3 unless said.")]
Rate = Annotated[
    float | None, typer.Option(help="The base learning rate; 0.1 for sgd and 0.001 for others unless said.")
]
Batch = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="Returns the batch, always the same and small. Left out: 4 sequences of 16 random tokens of the "
        "vocabulary, which is read off the model's input embedding.",
    ),
]
Loss = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="Takes the model and the batch, returns the scalar to minimize. Left out: the next token's "
        "cross-entropy, for models that return logits or an output with .logits.",
    ),
]


def parse_widths(text: str | None, base_width: int) -> tuple[int, ...]:
    """Widths with commas; left out, 1, 2, 4 and 8 times the base width."""
    if text is None:
        return tuple(base_width * factor for factor in (1, 2, 4, 8))
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--widths {text!r} must be whole numbers with commas, as in 64,128,256") from None


def pick(table: Mapping[str, Named], name: str, option: str) -> Named:
    """What a table has under a name.

    Raises:
        ValueError: it has nothing there.
    """
    if name not in table:
        raise ValueError(f"--{option} {name!r} is unknown; choose one of {', '.join(table)}")
    return table[name]
