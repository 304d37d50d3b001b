"""How large a study's populations are: as large as the device's memory holds and as end in the time asked for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from widthwise.study.compose import PopulationSize, require_size
from widthwise.study.measure_spec import MeasureSpec
from widthwise.study.other_ways import other_ways
from widthwise.study.own_spec import OWN
from widthwise.study.recipe import Recipe
from widthwise.study.sharded_size import require_tensors, sharded_size
from widthwise.study.train_wide import is_wide, wide_size

if TYPE_CHECKING:
    import torch

POPULATION_SIZE = 32
"""The most members side by side on a CPU unless asked otherwise: more of them gain nothing there."""


@dataclass(frozen=True)
class FittingSizes:
    """A rule for `expand`: sizes from the bytes and seconds that `train.population_for` predicts.

    Args:
        device: where the study will run; its free memory is read when the rule is applied.
        corpus_bytes: of the training stream.
        data_seeds: of the study.
        members: exactly so many, as long as they fit in any way; None for as many as fit and end in time.
        minutes: how long a population may take by its estimate; None for the training room's own default.
        sharing: how many populations will share the device's memory.
        split: over how many processes each tensor is split.
        measure: what is measured on the way.
        starts: how many distinct starts the models of one width have, at most.
        places: how many train beside each other; unless `members` is given, trials of one shape are spread over all.

    Raises:
        ValueError: a size below 1, or minutes that are not positive; when applied, what does not fit.
    """

    device: "torch.device"
    corpus_bytes: int
    data_seeds: int
    members: int | None = None
    minutes: float | None = None
    sharing: int = 1
    split: int = 1
    measure: MeasureSpec | None = None
    starts: int = 1
    places: int = 1

    def __post_init__(self) -> None:
        if self.members is not None:
            require_size(self.members)
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"population minutes {self.minutes} must be above 0")

    def __call__(self, recipe: Recipe, trials: int) -> PopulationSize:
        """The size for `trials` trials of one shape."""
        if self.split > 1:
            return self._split_size(recipe, trials)
        if recipe["model"]["kind"] == OWN:
            return PopulationSize(1)
        if is_wide(recipe):
            return wide_size(recipe, self.device, self.measure)
        import torch

        from widthwise.study.runner import train_recipe
        from widthwise.train import device_bytes, population_for, throughput_of

        cuda = self.device.type == "cuda"
        name = torch.cuda.get_device_name(self.device) if cuda else ""
        limit = {} if self.minutes is None else {"seconds_limit": 60 * self.minutes}
        shared, at_most = train_recipe(recipe, self.measure), self._at_most(trials, cuda=cuda)
        try:
            chosen = population_for(
                shared,
                self.device,
                rate=throughput_of(name, cuda=cuda),
                corpus_bytes=self.corpus_bytes,
                data_seeds=self.data_seeds,
                at_most=at_most,
                members=self.members,
                sharing=self.sharing,
                starts=self.starts,
                **limit,
            )
        except ValueError as error:
            if min(self.members or 1, at_most) > 1:
                raise  # fewer of them may fit
            there = device_bytes(self.device)
            raise ValueError(f"{error}{other_ways(recipe, shared, there=there, one_gpu=cuda)}") from error
        plan = chosen.activations
        return PopulationSize(chosen.members, plan.micro_batches, plan.recompute)

    def _split_size(self, recipe: Recipe, trials: int) -> PopulationSize:
        from widthwise.study.runner import train_recipe
        from widthwise.train.choose_population import SECONDS_LIMIT

        require_tensors(recipe)
        return sharded_size(
            train_recipe(recipe, self.measure),
            self.device,
            split=self.split,
            sharing=self.sharing,
            corpus_bytes=self.corpus_bytes,
            data_seeds=self.data_seeds,
            starts=self.starts,
            at_most=self._at_most(trials, cuda=self.device.type == "cuda"),
            members=self.members,
            seconds_limit=SECONDS_LIMIT if self.minutes is None else 60 * self.minutes,
        )

    def _at_most(self, trials: int, *, cuda: bool) -> int:
        if self.members is not None:
            return trials
        spread = -(-trials // self.places)
        return spread if cuda else min(spread, POPULATION_SIZE)
