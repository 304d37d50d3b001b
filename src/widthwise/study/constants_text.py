"""What a search for constants has found: for people, and as fields of a specification."""

from collections.abc import Sequence

from widthwise.study.constants_search import NEAR, FoundConstants
from widthwise.study.proposals import ROLES, as_tuple


def constants_text(found: Sequence[FoundConstants]) -> str:
    """A paragraph for each search, its last line as an arm of a specification takes it."""
    return "\n\n".join(_paragraph(one) for one in found)


def _paragraph(found: FoundConstants) -> str:
    lines = [
        f"{found.arm}: loss {found.loss:.4f} with these constants, {found.default_loss:.4f} with 1 "
        f"(base rate {found.learning_rate:.4g}; {found.tried} tried, {found.diverged} diverged)"
    ]
    for role, value, (low, high) in zip(ROLES, as_tuple(found.constants), found.near, strict=True):
        edge = ", near an end of its range" if role in found.at_edge else ""
        lines.append(f"  {role:<9} {value:.4g} ({low:.4g} to {high:.4g} within {NEAR} nats{edge})")
    return "\n".join([*lines, f"  constants: {_flow(constants_fields(found))}"])


def constants_fields(found: FoundConstants) -> dict[str, float]:
    """The constants as a mapping of a specification."""
    return dict(zip(ROLES, as_tuple(found.constants), strict=True))


def _flow(fields: dict[str, float]) -> str:
    return "{" + ", ".join(f"{role}: {value!r}" for role, value in fields.items()) + "}"
