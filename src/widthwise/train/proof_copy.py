"""Where the state before a recorded step's proof is kept while the proof runs it forward and takes it back.

On the device, if there is room for it beside what a step holds at its peak; on the host otherwise: it goes there once
and comes back twice, which takes seconds for the largest model that a device holds, and no member is given up for it.
"""

import torch

from widthwise.train.available import free_bytes
from widthwise.train.execution import Execution
from widthwise.train.member import Recipe
from widthwise.train.memory import member_memory, running_terms

MARGIN = 0.1
"""The share of memory left free: for fragmentation, and for what a sum of terms does not know."""


def copy_device(
    recipe: Recipe, execution: Execution, device: torch.device, *, members: int, copied: int
) -> torch.device:
    """Where to keep a copy of all that a step changes: on the device, or on the CPU.

    Whatever `choose_population` chose with room for the copy on the device has that room here.

    Args:
        device: where the members are already.
        members: P.
        copied: the copy's bytes.
    """
    peak = members * member_memory(recipe, execution).peak.bytes
    running = sum(term.bytes for term in running_terms(execution))
    room = int(free_bytes(device) * (1 - MARGIN))
    return device if running + peak + copied <= room else torch.device("cpu")
