"""What a few claims need that no study of losses has: small deterministic measurements on reference models."""

from dataclasses import dataclass

from widthwise.analysis.alignment_rows import AlignmentRow


@dataclass(frozen=True)
class GradientSize:
    """The root mean square of a role's gradients at initialization, in one model."""

    width: int
    seed: int
    parameterization: str
    role: str
    rms: float


@dataclass(frozen=True)
class GaugePair:
    """Two parameterizations that differ by a gauge alone, trained from the same draw on the same tokens.

    Args:
        pair: their names.
        optimizer: `adam-atan2`, or `adam` with an epsilon.
        difference: the largest relative difference of their losses.
    """

    pair: tuple[str, str]
    optimizer: str
    epsilon: float
    seed: int
    steps: int
    difference: float


@dataclass(frozen=True)
class Measurements:
    """All of them; what was not measured is empty.

    Args:
        initial: of the whole product W z at initialization, several widths.
    """

    gradients: tuple[GradientSize, ...] = ()
    gauge: tuple[GaugePair, ...] = ()
    initial: tuple[AlignmentRow, ...] = ()
