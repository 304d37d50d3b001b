"""A study's specification: a YAML mapping, checked as a whole, so that all mistakes are named at once.

    name: quickstart
    model: {kind: transformer, depth: 2, head_dim: 16, context: 64}
    widths: [32, 64, 128]
    arms:
      - {parameterization: standard, rates: global}
      - {parameterization: [standard, mup], rates: full, constants: [default, {hidden: 2, readout: 8}]}
      - {parameterization: mup, rates: mid, epsilon: [1e-9, {per_layer: 1e-12}, {atan2: {a: 1, b: 1}}]}
    optimizer: {kind: adam}
    learning_rates: {lowest: 2^-10, highest: 2^-2}
    seeds: [0, 1]
    training: {steps: 100, batch: 8}
    corpus: python-stdlib

Each default stands at its field. An arm whose axes are lists stands for all combinations of them.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from widthwise.records import Since
from widthwise.scaling import Anchor, Gauge
from widthwise.study.arm_spec import ArmSpec, ConstantsSearchSpec
from widthwise.study.fields import NUMBER, Count, MistakesError, Positive, Section, Seed
from widthwise.study.horizon import Steps
from widthwise.study.measure_spec import MeasureSpec
from widthwise.study.optimizer_spec import OptimizerSpec
from widthwise.study.own_spec import OwnSpec
from widthwise.study.rate_spec import LearningRates, RateGrid
from widthwise.study.training_spec import TrainingSpec


class TransformerSpec(Section):
    """The paper's decoder-only Transformer.

    `vocabulary` is for text that is read as bytes: so many tokens the model knows, though its text has but 256 of them.
    """

    kind: Literal["transformer"]
    depth: Count
    head_dim: Count
    context: Count
    vocabulary: Annotated[int, Field(ge=2**8, le=2**16), NUMBER] | None = None


class MLPSpec(Section):
    """A chain of ReLU layers over the last `window` tokens."""

    kind: Literal["mlp"]
    depth: Count
    window: Count
    context: Count


Token = Annotated[int, Field(ge=0, lt=2**16), NUMBER]


class TokenizerSpec(Section):
    """How text becomes tokens; without one they are its bytes.

    `file` is a SentencePiece model or a JSON file of Hugging Face's `tokenizers`. `vocabulary` is the model's: how many
    tokens it knows; the tokenizer may know fewer. `start` and `end` are the numbers of what stands before and after
    every document, if anything does.
    """

    file: Annotated[str, Field(min_length=1)]
    vocabulary: Annotated[int, Field(ge=2, le=2**16), NUMBER]
    start: Token | None = None
    end: Token | None = None

    @model_validator(mode="after")
    def _known(self) -> "TokenizerSpec":
        for name, token in (("start", self.start), ("end", self.end)):
            if token is not None and token >= self.vocabulary:
                last = self.vocabulary - 1
                raise ValueError(
                    f"{name} {token} is no token of a vocabulary of {self.vocabulary}; the last is {last}"
                )
        return self


class StudySpec(Section):
    """A whole study. `base_width` defaults to the smallest width; it need not be trained: rates are relative to it.

    `corpus_tokens` is how much of a corpus to take at most; `epochs` how often the longest horizon may go through it.
    """

    name: Annotated[str, Field(min_length=1)]
    model: Annotated[TransformerSpec | MLPSpec | OwnSpec, Field(discriminator="kind")]
    widths: Annotated[tuple[Count, ...], Field(min_length=1)]
    base_width: Count | None = None
    anchor: Anchor = Anchor.RELATIVE
    gauge: Gauge = Gauge.FOLDED
    arms: Annotated[tuple[ArmSpec, ...], Field(min_length=1)]
    optimizer: OptimizerSpec
    learning_rates: LearningRates
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    training: TrainingSpec
    corpus: Annotated[str, Field(min_length=1)] | None = None
    text_field: Annotated[str, Field(min_length=1)] = "text"
    tokenizer: TokenizerSpec | None = None
    corpus_tokens: Count | None = None
    epochs: Positive = 1.0
    validation_windows: Count = 64
    measure: MeasureSpec | None = None
    constants_search: ConstantsSearchSpec = ConstantsSearchSpec()

    @field_validator("widths")
    @classmethod
    def _ascending(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(widths)) != len(widths):
            raise ValueError(f"widths {list(widths)} name a width twice; name each once")
        return tuple(sorted(widths))

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds {list(seeds)} name a seed twice; name each once")
        return seeds

    @model_validator(mode="after")
    def _consistent(self) -> "StudySpec":
        found = [
            *self._text(),
            *self._heads(),
            *self._measured(),
            *self._form(),
            *(line for i, arm in enumerate(self.arms) for line in self._arm(i, arm)),
        ]
        if found:
            raise MistakesError(found)
        return self

    def _text(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        own = isinstance(self.model, TransformerSpec) and self.model.vocabulary is not None
        if own and self.tokenizer is not None:
            what = "is for text that is read as bytes; the tokenizer has its own, leave it out"
            found.append(("model.vocabulary", what))
        if self.corpus_tokens is not None and self.tokenizer is None:
            what = "is for a corpus that is read through a tokenizer; give one, or leave it out"
            found.append(("corpus_tokens", what))
        if not isinstance(self.model, OwnSpec):
            return [*found, *([("corpus", "is missing; add it")] if self.corpus is None else [])]
        if self.corpus is not None:
            found.append(("corpus", f"a training function reads its own data; leave out {self.corpus!r}"))
        if self.gauge is not Gauge.FOLDED:
            found.append(("gauge", "a training function is given numbers without multipliers; leave it out"))
        if self.tokenizer is not None:
            found.append(("tokenizer", "a training function reads its own data; leave it out"))
        if self.measure is not None:
            found.append(("measure", "a training function's layers cannot be seen; leave it out"))
        return found

    def _form(self) -> list[tuple[str, str]]:
        """What contradicts training layer by layer, or what is measured there alone."""
        found: list[tuple[str, str]] = []
        sizes = self.measure is not None and self.measure.sizes
        if self.training.form is None:
            what = "are measured in layer-major training alone; add training.form, or leave them out"
            return [("measure.sizes", what)] if sizes else []
        if not isinstance(self.model, TransformerSpec):
            what = f"layer-major is for the transformer, not {self.model.kind}; leave it out"
            found.append(("training.form", what))
        if self.measure is not None and self.measure.alignment.since != (Since.START,):
            what = "layer-major training keeps no weights of the update before; write start"
            found.append(("measure.alignment.since", what))
        for position, arm in enumerate(self.arms):
            if any(arm.weight_decay):
                what = "layer-major training has none; leave it out"
                found.append((f"arms.{position}.weight_decay", what))
        return found

    def _heads(self) -> list[tuple[str, str]]:
        if not isinstance(self.model, TransformerSpec):
            return []
        head_dim = self.model.head_dim
        wrong = [width for width in self.all_widths if width % head_dim]
        if not wrong:
            return []
        return [
            (
                "the whole",
                f"widths {wrong} are not multiples of model.head_dim {head_dim}; "
                f"change them or choose a head_dim that divides all of {list(self.all_widths)}",
            )
        ]

    def _measured(self) -> list[tuple[str, str]]:
        length = self.training.length
        if self.measure is None or not isinstance(length, Steps):
            return []
        every = self.measure.alignment.every
        if every <= length.steps:
            return []
        what = (
            f"{every} is more than the {length.steps} steps of training: nothing would be measured; lower it"
        )
        return [("measure.alignment.every", what)]

    def _arm(self, position: int, arm: ArmSpec) -> list[tuple[str, str]]:
        """What contradicts the rest in one arm."""
        found: list[tuple[str, str]] = []
        here, optimizer, known = f"arms.{position}", arm.optimizer or self.optimizer, list(self.widths)
        others = [width for width in arm.widths or () if width not in known]
        for horizon in arm.horizon or (self.training.length,):
            if isinstance(self.model, OwnSpec) and not isinstance(horizon, Steps):
                what = f"{horizon.label} needs a reference model, whose parameters are known; write steps"
                found.append((f"{here}.horizon" if arm.horizon else "training.horizon", what))
        if others:
            found.append((f"{here}.widths", f"{others} are not among the study's {known}; add them there"))
        for policy in arm.epsilon or ():
            if (lack := policy.lack(optimizer)) is not None:
                what = f"{policy.label} does not go with optimizer {optimizer.kind}: {lack}; leave it out"
                found.append((f"{here}.epsilon", f"{what} or choose adam"))
        if optimizer.kind == "adafactor" and any(arm.weight_decay):
            decays = [decay for decay in arm.weight_decay if decay]
            what = f"{decays} does not go with optimizer adafactor, which has none here; leave it out"
            found.append((f"{here}.weight_decay", what))
        rates = arm.learning_rates or self.learning_rates
        windows = rates.windows if isinstance(rates, RateGrid) else {}
        others = [width for width in windows if width not in known]
        if others and (arm.learning_rates or position == 0):
            where = f"{here}.learning_rates" if arm.learning_rates else "learning_rates"
            found.append((f"{where}.windows", f"{others} are not among the study's widths {known}; add them"))
        return found

    @property
    def base(self) -> int:
        """The width that rates are relative to."""
        return self.widths[0] if self.base_width is None else self.base_width

    @property
    def all_widths(self) -> tuple[int, ...]:
        """Every width that a model is built at, or that scales are relative to."""
        return tuple(sorted({*self.widths, self.base}))
