"""Rates from a finished study at small widths: its measured log gains become exponents, and these rates.

One number a run (`over_training`), an exponent over widths for every role and layer (`measured_layers`), and the
largest stable rates of the roles, with the intervals of the exponents carried through.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from widthwise.study.measured_series import MeasuredSeries, measured_series
from widthwise.theory import (
    MeasuredAlignment,
    MeasuredRates,
    NearestPreset,
    Prescription,
    RateInterval,
    measured_prescription,
    nearest_preset,
    solve_measured,
)

if TYPE_CHECKING:
    from widthwise.analysis import Weighting


@dataclass(frozen=True)
class MeasuredStore:
    """What a store says of alignment under one arm.

    Args:
        series: what was measured.
        weighting: what a measurement counts for in the mean over training.
        roles: role -> its exponents over widths, all its layers together.
        layers: layer -> its own exponents.
    """

    series: MeasuredSeries
    weighting: "Weighting"
    roles: Mapping[str, MeasuredAlignment]
    layers: Mapping[str, MeasuredAlignment]

    @cached_property
    def solution(self) -> MeasuredRates:
        """The largest stable rates of the roles, with intervals."""
        return solve_measured(self.series.parameterization, self.series.optimizer, self.roles)

    @cached_property
    def layer_rates(self) -> Mapping[str, RateInterval]:
        """Each layer's own c: the chain of roles solved with that layer's exponents in place of its role's."""
        found: dict[str, RateInterval] = {}
        for layer, own in self.layers.items():
            role = self.layer_roles[layer]
            rates = solve_measured(
                self.series.parameterization, self.series.optimizer, {**self.roles, role: own}
            )
            found[layer] = rates.interval(role)
        return found

    @property
    def layer_roles(self) -> Mapping[str, str]:
        """The role of every layer."""
        return {row.layer: row.role.value for row in self.series.rows if row.role is not None}

    @cached_property
    def nearest(self) -> NearestPreset:
        """The preset that is nearest, and those that cannot be told apart."""
        return nearest_preset(self.solution)

    @property
    def prescription(self) -> Prescription:
        """The rates that were measured, for plans of other widths."""
        return measured_prescription(self.roles)


def read_measured(
    store: Path, *, arm: str | None = None, weighting: "Weighting | None" = None
) -> MeasuredStore:
    """Read the alignment that a study measured, as exponents.

    Args:
        store: of a study with `measure: {alignment: ...}`, at three widths or more.
        arm: whose runs, each width's at its best rate; left out, the only one.
        weighting: left out, by the decrease of the training loss.

    Raises:
        ValueError: what `measured_series` refuses, or an undefined exponent.
    """
    from widthwise.analysis import Weighting

    weighting = Weighting.LOSS_DECREASE if weighting is None else weighting
    return measured_store(store, measured_series(store, arm=arm), weighting)


def measured_store(store: Path, series: MeasuredSeries, weighting: "Weighting") -> MeasuredStore:
    """What a store's series say as exponents; see `read_measured`.

    Raises:
        ValueError: an undefined exponent.
    """
    from widthwise.analysis import Pool, measured_layers, over_training

    try:
        means = over_training(series.rows, series.losses, weighting=weighting)
        roles, layers = measured_layers(means), measured_layers(means, pool=Pool.LAYER)
    except ValueError as error:
        raise ValueError(f"store {str(store)!r}: {error}") from error
    return MeasuredStore(series, weighting, roles, layers)
