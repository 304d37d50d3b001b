"""What two runs must share for one to go on from the other's checkpoint, and in which number they differ."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from widthwise.train import Member, Recipe


def describe_run(recipe: Recipe, members: Sequence[Member]) -> dict[str, Any]:
    """The model, the optimizer with its constants, the schedule, the batch, and every member's numbers: JSON values."""
    return {
        "model": asdict(recipe.model),
        "update": repr(recipe.update),
        "schedule": asdict(recipe.schedule),
        "batch": recipe.batch,
        "precision": recipe.precision.value,
        "members": [
            {
                "init_seed": member.init_seed,
                "data_seed": member.data_seed,
                "numbers": {name: asdict(numbers) for name, numbers in member.numbers.items()},
            }
            for member in members
        ],
    }


def require_same_run(saved: dict[str, Any], present: dict[str, Any], where: Path) -> None:
    """Check that a checkpoint is this run's.

    Raises:
        ValueError: it is not; the message names the first value in which the two differ.
    """
    there, here = first_difference(saved, present, "")
    if there is not None:
        raise ValueError(
            f"the checkpoint in {str(where)!r} is another run's: it has {there}, this run {here}; "
            "give this run's own, or the checkpoint's parameterization, optimizer and seeds"
        )


def first_difference(saved: Any, present: Any, where: str) -> tuple[str, str] | tuple[None, None]:
    """The first value in which two descriptions differ, as each has it.

    Example:
        >>> first_difference({"model": {"width": 64}}, {"model": {"width": 32}}, "")
        ('model.width = 64', 'model.width = 32')
    """
    if isinstance(saved, dict) and isinstance(present, dict) and saved.keys() == present.keys():
        inner = [(saved[key], present[key], f"{where}.{key}" if where else str(key)) for key in saved]
    elif isinstance(saved, list) and isinstance(present, list) and len(saved) == len(present):
        inner = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(saved, present, strict=True))]
    elif saved == present:
        return None, None
    else:
        return f"{where} = {saved}", f"{where} = {present}"
    for a, b, place in inner:
        there, here = first_difference(a, b, place)
        if there is not None and here is not None:
            return there, here
    return None, None
