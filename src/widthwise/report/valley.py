"""The range of losses worth showing: the valley around every optimum, whatever the walls do.

A rate that is much too large ends at a loss far above the rest, and an axis that holds it flattens the minima that
the reader came for. The cap lies three times the typical excess above the worst cell's best loss; what lies higher is
marked at the top instead of drawn.
"""

from dataclasses import dataclass
from statistics import median

from widthwise.analysis.result import CellOptimum

_EXCESS = 3.0  # of a parabola seen at nine rates this shows about three and a half octaves to each side
_SLACK = 1.6  # a cap that would hide this little more is not worth having
_LEAST = 0.02


@dataclass(frozen=True)
class Valley:
    """The losses shown, and how many means lie above them."""

    bottom: float
    cap: float
    hidden: int


def find_valley(cells: tuple[CellOptimum, ...]) -> Valley | None:
    """The range that shows every cell's minimum well; None if nothing trained."""
    losses = [[point.loss for point in cell.points if point.loss is not None] for cell in cells]
    losses = [cell for cell in losses if cell]
    if not losses:
        return None
    every = [loss for cell in losses for loss in cell]
    lows = [point.low for cell in cells for point in cell.points if point.low is not None]
    bottom, highest_minimum = min([*every, *lows]), max(min(cell) for cell in losses)
    excess = [loss - min(cell) for cell in losses for loss in cell if loss > min(cell)]
    typical = median(excess) if excess else 0.0
    cap = highest_minimum + max(_EXCESS * typical, _LEAST * abs(bottom), 1e-6)
    if max(every) <= bottom + _SLACK * (cap - bottom):
        cap = max(max(every), bottom + 1e-6)
    return Valley(bottom, cap, sum(loss > cap for loss in every))
