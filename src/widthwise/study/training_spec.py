"""The training section of a specification: horizon, batch, schedule, precision, and what counts as divergence."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from widthwise.study.fields import Count, Section
from widthwise.study.horizon import Horizon, HorizonField, Steps


class DivergenceSpec(Section):
    """A training loss above ln(vocabulary) + `margin` for `steps` in a row after the warm-up is divergence."""

    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    steps: Count = 50


class TrainingSpec(Section):
    """Horizon, batch (sequences per step), warm-up and final fraction of a cosine, and the precision of products.

    The horizon is `steps`, or `horizon: compute-optimal`, 20 tokens per non-embedding parameter.
    """

    steps: Count | None = None
    horizon: HorizonField | None = None
    batch: Count
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    divergence: DivergenceSpec = DivergenceSpec()

    @model_validator(mode="after")
    def _length(self) -> "TrainingSpec":
        if (self.steps is None) == (self.horizon is None):
            given = "neither" if self.steps is None else "both"
            raise ValueError(f"{given} of `steps` and `horizon` is given; write one of them")
        if isinstance(self.length, Steps):
            self.warmup_steps(self.length.steps)
        return self

    @property
    def length(self) -> Horizon:
        """The horizon, however it was written."""
        if self.horizon is not None:
            return self.horizon
        assert self.steps is not None
        return Steps(steps=self.steps)

    def warmup_steps(self, steps: int) -> int:
        """The warm-up of a horizon, in steps.

        Raises:
            ValueError: nothing is left after it.
        """
        warmup = round(self.warmup * steps)
        if warmup >= steps:
            raise ValueError(f"warmup {self.warmup} of steps {steps} leaves no step after it; lower it")
        return warmup
