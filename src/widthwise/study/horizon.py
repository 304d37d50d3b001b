"""How long a trial trains: a number of steps, or as many tokens as its size asks for.

    steps = round(r * N / (batch * context)),    r = 20 tokens per non-embedding parameter

N counts every parameter but the token embedding: the paper's "non-embedding" includes readout and positions.
"""

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Tag

from widthwise.study.fields import Count, Positive, Section

COMPUTE_OPTIMAL = "compute-optimal"
"""The name of 20 tokens per non-embedding parameter, after Hoffmann et al. 2022 (arXiv 2203.15556)."""
_INPUT_TABLES = ("token_embedding", "first_layer")
"""The reference models' tables that turn tokens into vectors."""


class TokensPerParameter(Section):
    """So many training tokens per non-embedding parameter."""

    tokens_per_parameter: Positive = 20.0

    @property
    def label(self) -> str:
        """The horizon in an arm's name."""
        if self == TokensPerParameter():
            return COMPUTE_OPTIMAL
        return f"{self.tokens_per_parameter:g}-tokens-per-parameter"


class Steps(Section):
    """So many steps, at every width."""

    steps: Count

    @property
    def label(self) -> str:
        """The horizon in an arm's name."""
        return f"{self.steps}-steps"


Horizon = Steps | TokensPerParameter


def _horizon(value: Any) -> Any:
    """A number is one of steps, a name its number of tokens."""
    if value == COMPUTE_OPTIMAL:
        return TokensPerParameter()
    if isinstance(value, str):
        raise ValueError(
            f"{value!r} is no horizon; write a number of steps, {COMPUTE_OPTIMAL} or {{tokens_per_parameter: 20}}"
        )
    return value if isinstance(value, dict | Steps | TokensPerParameter) else {"steps": value}


def _kind(value: Any) -> str:
    fixed = isinstance(value, Steps) or (isinstance(value, dict) and "steps" in value)
    return "fixed-steps" if fixed else "per-parameter"


HorizonField = Annotated[
    Annotated[Steps, Tag("fixed-steps")] | Annotated[TokensPerParameter, Tag("per-parameter")],
    Discriminator(_kind),
    BeforeValidator(_horizon),
]
"""A number of steps, `compute-optimal`, or `{tokens_per_parameter: 20}`."""


def non_embedding(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """The parameters of a reference model without its token embedding.

    Example:
        >>> non_embedding({"token_embedding": (256, 64), "hidden.0": (64, 64), "readout": (64, 256)})
        20480
    """
    return sum(prod(shape) for name, shape in shapes.items() if name not in _INPUT_TABLES)


def resolved_steps(horizon: Horizon, *, parameters: int, tokens_a_step: int) -> int:
    """The steps of one trial, at least 1.

    Args:
        parameters: N, non-embedding.
        tokens_a_step: batch * context.

    Example:
        >>> resolved_steps(TokensPerParameter(), parameters=1_000_000, tokens_a_step=4096)
        4883
    """
    if isinstance(horizon, Steps):
        return horizon.steps
    return max(1, round(horizon.tokens_per_parameter * parameters / tokens_a_step))
