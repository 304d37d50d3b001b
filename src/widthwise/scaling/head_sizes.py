"""The size of an attention head, where a module says it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch import nn

HEAD_SIZES = ("head_dim", "head_size", "attention_head_size", "key_value_proj_dim")
"""Attributes under which attention modules keep the size of one head: torch's and transformers'."""


def head_sizes(model: "nn.Module") -> dict[str, int]:
    """The size of a head in each module that states one, by the module's name."""
    found: dict[str, int] = {}
    modules = cast("Iterable[tuple[str, object]]", model.named_modules())
    for name, module in modules:
        for attribute in HEAD_SIZES:
            value = getattr(module, attribute, None)
            if isinstance(value, int) and not isinstance(value, bool):
                found.setdefault(name, value)
    return found
