"""Kernels of the reference models' layers, for populations on one GPU: fewer bytes than their plain forms move.

`FUSED` are the layers by these kernels, the same mathematics as `models.PLAIN`. Importing this room loads Triton.
"""

from widthwise.kernels.attention import attention
from widthwise.kernels.embedding import embed
from widthwise.kernels.mlp import mlp
from widthwise.kernels.norm import add_norm
from widthwise.kernels.readout_loss import readout_loss
from widthwise.models.layers import LayerFunctions

FUSED = LayerFunctions(
    embed=embed, attention=attention, add_norm=add_norm, mlp=mlp, readout_loss=readout_loss
)

__all__ = ["FUSED"]
