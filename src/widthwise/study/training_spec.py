"""The training section of a specification: horizon, batch, schedule, precision, and what counts as divergence."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from widthwise.study.fields import NUMBER, Count, Section
from widthwise.study.horizon import Horizon, HorizonField, Steps


class DivergenceSpec(Section):
    """A training loss above ln(vocabulary) + `margin` for `steps` in a row after the warm-up is divergence."""

    margin: Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER] = 1.0
    steps: Count = 50


class LayerMajorSpec(Section):
    """One model at a time, layer by layer (docs/wide.md): weights and state in few bits, a block's gradients at a time.

    For models whose training in the usual form no device holds. Results differ by the rounding of what is kept, so it
    is part of a trial's identity.
    """

    kind: Literal["layer-major"]
    weights: Literal["bfloat16", "float32"] = "bfloat16"
    state: Literal["8-bit", "float32"] = "8-bit"
    micro_batches: Count = 1


def _share(value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(
            f"{value:g} is no share of the steps, in which the rate rises; write 0 to less than 1"
        )
    return value


def _named_form(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


class TrainingSpec(Section):
    """Horizon, batch (sequences per step), warm-up and final fraction of a cosine, and the precision of products.

    The horizon is `steps`, or `horizon: compute-optimal`, 20 tokens per non-embedding parameter. `form: layer-major` is
    for models that no device holds in the usual form.
    """

    steps: Count | None = None
    horizon: HorizonField | None = None
    batch: Count
    warmup: Annotated[float, AfterValidator(_share), Field(allow_inf_nan=False), NUMBER] = 0.1
    floor: Annotated[float, Field(ge=0, le=1), NUMBER] = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    divergence: DivergenceSpec = DivergenceSpec()
    form: Annotated[LayerMajorSpec, BeforeValidator(_named_form)] | None = None

    @model_validator(mode="after")
    def _length(self) -> "TrainingSpec":
        if (self.steps is None) == (self.horizon is None):
            given = "neither" if self.steps is None else "both"
            raise ValueError(f"{given} of `steps` and `horizon` is given; write one of them")
        if isinstance(self.length, Steps):
            self.warmup_steps(self.length.steps)
        return self

    @model_validator(mode="after")
    def _pieces(self) -> "TrainingSpec":
        if self.form is not None and self.batch % self.form.micro_batches:
            raise ValueError(
                f"batch {self.batch} is not a multiple of the form's micro_batches {self.form.micro_batches}; "
                "change one of them"
            )
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
