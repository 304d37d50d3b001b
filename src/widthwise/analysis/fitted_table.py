"""A table with the optimum of every cell, and the noise pooled over all of them: what every further analysis is of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from widthwise.analysis.cell import make_cell
from widthwise.analysis.noise import Noise, pool_noise
from widthwise.analysis.observation import Observation
from widthwise.analysis.optimum import CellFit, fit_cell
from widthwise.analysis.validate import validate


@dataclass(frozen=True)
class FittedTable:
    """Every prescription's cells, by ascending width; prescriptions in order of appearance.

    Args:
        prescriptions: name -> cells.
        noise: pooled over distinct cells; None where no rate has two seeds.
    """

    prescriptions: Mapping[str, tuple[CellFit, ...]]
    noise: Noise | None

    def cell(self, prescription: str, width: int) -> CellFit | None:
        """One cell; None if it was not run."""
        cells = self.prescriptions.get(prescription, ())
        return next((fit for fit in cells if fit.cell.width == width), None)


def fit_table(observations: Iterable[Observation]) -> FittedTable:
    """Validate a table and fit the optimum of every cell.

    Raises:
        ValueError: the table is unusable (see `validate`).
    """
    observations = tuple(observations)
    validate(observations)
    groups: dict[str, dict[int, list[Observation]]] = {}
    for observation in observations:
        groups.setdefault(observation.prescription, {}).setdefault(observation.width, []).append(observation)
    prescriptions = {
        name: tuple(fit_cell(make_cell(widths[width])) for width in sorted(widths))
        for name, widths in groups.items()
    }
    return FittedTable(prescriptions, pool_noise(fit for fits in prescriptions.values() for fit in fits))
