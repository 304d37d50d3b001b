"""What a prescription of a study is made of, so that prescriptions can be compared along one axis at a time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ArmLabel:
    """The axes of one prescription.

    Args:
        parameterization: `standard`, `ntk`, `mup`, `mean-field`.
        optimizer: `sgd`, `adam`, `adam-ps`, ...
        prescription: of the layers' rates: `global`, `full`, `none`, ...
        constants: `default` (all 1) or `optimal` (tuned at the base width).
        epsilon: Adam's: `constant`, `per-layer`, or what names it where a study has several.
        weight_decay: `none`, or what names it.
        horizon: `fixed` steps, or `compute-optimal`.
    """

    parameterization: str
    optimizer: str
    prescription: str
    constants: str = "default"
    epsilon: str = "constant"
    weight_decay: str = "none"
    horizon: str = "fixed"
