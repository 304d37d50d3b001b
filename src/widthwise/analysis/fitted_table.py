"""A table with the optimum of every cell, and the noise pooled over all of them: what every further analysis is of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from widthwise.analysis.cell import make_cell
from widthwise.analysis.noise import Noise, pool_noise
from widthwise.analysis.observation import Observation
from widthwise.analysis.optimum import CellFit, fit_cell
from widthwise.analysis.validate import MINIMUM_RATES, require_one_group, validate


@dataclass(frozen=True)
class FittedTable:
    """Every prescription's cells, by ascending width; prescriptions in order of appearance.

    Args:
        prescriptions: name -> cells.
        noises: group of observations -> their noise, pooled over distinct cells; None where no rate has two seeds.
    """

    prescriptions: Mapping[str, tuple[CellFit, ...]]
    noises: Mapping[str, Noise | None]

    def group_of(self, prescription: str) -> str:
        """The group that a prescription's runs are of."""
        return self.prescriptions[prescription][0].cell.group

    def noise_of(self, prescription: str) -> Noise | None:
        """The noise of a prescription's group."""
        return self.noises[self.group_of(prescription)]

    def noise_at(self, group: str, width: int) -> Noise | None:
        """The noise of a group's cells at one width, since seeds differ less in wider models; else of all its cells."""
        return pool_noise(fit for fit in self.members(group) if fit.cell.width == width) or self.noises[group]

    def members(self, group: str) -> list[CellFit]:
        """All cells of a group."""
        return [fit for fits in self.prescriptions.values() for fit in fits if fits[0].cell.group == group]

    def cell(self, prescription: str, width: int) -> CellFit | None:
        """One cell; None if it was not run."""
        cells = self.prescriptions.get(prescription, ())
        return next((fit for fit in cells if fit.cell.width == width), None)


def fit_table(observations: Iterable[Observation], *, least_rates: int = MINIMUM_RATES) -> FittedTable:
    """Validate a table and fit the optimum of every cell.

    Args:
        least_rates: that a cell must have; one of fewer than the default's has no optimum, and is taken so.

    Raises:
        ValueError: the table is unusable (see `validate`), or a prescription's runs are of several groups.
    """
    observations = tuple(observations)
    validate(observations, least_rates=least_rates)
    require_one_group(observations)
    groups: dict[str, dict[int, list[Observation]]] = {}
    for observation in observations:
        groups.setdefault(observation.prescription, {}).setdefault(observation.width, []).append(observation)
    prescriptions = {
        name: tuple(fit_cell(make_cell(widths[width])) for width in sorted(widths))
        for name, widths in groups.items()
    }
    table = FittedTable(prescriptions, {})
    groups_seen = dict.fromkeys(table.group_of(name) for name in prescriptions)
    return FittedTable(prescriptions, {group: pool_noise(table.members(group)) for group in groups_seen})
