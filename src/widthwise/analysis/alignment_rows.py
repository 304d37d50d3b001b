"""What was measured, as the regression reads it: one log gain of one layer of one model at one time."""

from collections.abc import Iterable
from dataclasses import dataclass

from widthwise.theory import AlignmentQuantity, MeasuredGain, Role


@dataclass(frozen=True)
class AlignmentRow:
    """One measured log gain.

    Args:
        width: the model's, n; not the layer's fan-in.
        seed: of the run; runs of one width differ by it.
        layer: the tensor's name.
        role: the tensor's; None if nobody said.
        quantity: which product.
        progress: when: a step, or the fraction of training done. Rows of the same progress are compared over widths.
        log_gain: ln( rms(y) / (rms(A) rms(x)) ); NaN where it is undefined.
        fan_in: over how many entries the product sums.
    """

    width: int
    seed: int
    layer: str
    role: Role | None
    quantity: AlignmentQuantity
    progress: float
    log_gain: float
    fan_in: int


def alignment_rows(
    measured: Iterable[MeasuredGain], *, width: int, seed: int, progress: float
) -> tuple[AlignmentRow, ...]:
    """The rows of one measurement of one model.

    Args:
        measured: such as `measure_alignment(...).gains`.
        width: of the model.
        seed: of the run.
        progress: when it was measured: a step, or the fraction of training done.
    """
    return tuple(
        AlignmentRow(width, seed, one.layer, one.role, one.quantity, progress, one.log_gain, one.fan_in)
        for one in measured
    )
