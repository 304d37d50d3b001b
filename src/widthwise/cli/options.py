"""Options that were not given are not passed on: their defaults stand where the called function has them."""

from typing import Any


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None.

    Example:
        >>> given(margin=None, base_width=64)
        {'base_width': 64}
    """
    return {name: value for name, value in options.items() if value is not None}
