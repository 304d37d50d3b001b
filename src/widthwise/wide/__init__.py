"""Models of one member that are larger than their training's usual memory: weights and state in few bits, gradients of
one block at a time, batches layer by layer (docs/wide.md).
"""

from widthwise.wide.budget import (
    MACHINES,
    Budget,
    Machine,
    layer_major_budget,
    machine_for,
    measuring_bytes,
    sharded_bytes,
)
from widthwise.wide.initial import InitialDraw
from widthwise.wide.layer_major import LayerMajor, Watch
from widthwise.wide.sharded_memory import sharded_memory
from widthwise.wide.storage import COMPACT, EXACT, Place, Storage
from widthwise.wide.train_layer_major import WideOutcome, train_layer_major

__all__ = [
    "COMPACT",
    "EXACT",
    "MACHINES",
    "Budget",
    "InitialDraw",
    "LayerMajor",
    "Machine",
    "Place",
    "Storage",
    "Watch",
    "WideOutcome",
    "layer_major_budget",
    "machine_for",
    "measuring_bytes",
    "sharded_bytes",
    "sharded_memory",
    "train_layer_major",
]
