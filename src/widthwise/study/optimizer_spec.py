"""The optimizers of a specification, and the policies for their epsilon."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from widthwise.scaling import EpsilonPolicy
from widthwise.study.fields import NUMBER, Count, Decay, Positive, Section


class SgdSpec(Section):
    """SGD with momentum."""

    kind: Literal["sgd"]
    momentum: Decay = 0.9


class AdamSpec(Section):
    """Adam; betas and epsilon default to NanoDO's, whose epsilon of 1e-9 is the paper's baseline.

    An epsilon of 0 would make 0 / 0 of an entry that has seen no gradient; `adam-atan2` needs none.
    """

    kind: Literal["adam"]
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    epsilon: Positive = 1e-9
    epsilon_policy: EpsilonPolicy = EpsilonPolicy.CONSTANT


Floor = Positive
"""The smallest size that parameter scaling lets a rate be relative to.

The reference models start no tensor at zero, so a floor below all of their weights changes nothing. Where it does bite
it would have to follow the weights of each layer, as Adafactor's own of 1e-3 does not.
"""


class AdamPsSpec(Section):
    """Adam with parameter scaling, the paper's substitute for Adafactor: rates relative to each tensor's size."""

    kind: Literal["adam-ps"]
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    epsilon: Positive = 1e-9
    epsilon_policy: EpsilonPolicy = EpsilonPolicy.CONSTANT
    floor: Floor = 1e-8


class AdafactorSpec(Section):
    """Adafactor at an explicit rate; what it leaves open is optax's, but for the floor."""

    kind: Literal["adafactor"]
    decay_rate: Annotated[float, Field(gt=0, lt=1), NUMBER] = 0.8
    clipping_threshold: Positive | None = 1.0
    momentum: Decay | None = None
    min_dim_size_to_factor: Count = 128
    floor: Floor = 1e-8


class AdamAtan2Spec(Section):
    """Adam-atan2, which has no epsilon: step = a * atan2(m_hat, b * sqrt(v_hat))."""

    kind: Literal["adam-atan2"]
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    a: Positive = 1.0
    b: Positive = 1.0


OptimizerSpec = Annotated[
    SgdSpec | AdamSpec | AdamAtan2Spec | AdamPsSpec | AdafactorSpec, Field(discriminator="kind")
]


class Atan2Constants(Section):
    """The two constants of Adam-atan2; the paper's table C4 pairs b = 1, 2, 4, ... with a = b or 1 / arctan(1/b)."""

    a: Positive = 1.0
    b: Positive = 1.0


class EpsilonSpec(Section):
    """One policy for epsilon: the same everywhere, n^(-g) per layer from a base, or none at all by the arctangent."""

    constant: Positive | None = None
    per_layer: Positive | None = None
    atan2: Atan2Constants | None = None

    @model_validator(mode="after")
    def _one(self) -> "EpsilonSpec":
        given = [name for name in ("constant", "per_layer", "atan2") if getattr(self, name) is not None]
        if len(given) != 1:
            what = f"both {' and '.join(given)} are" if given else "no policy is"
            raise ValueError(
                f"{what} given; write one of a number, {{per_layer: base}} or {{atan2: {{a: 1, b: 1}}}}"
            )
        return self

    @property
    def label(self) -> str:
        """The policy in an arm's name."""
        if self.atan2 is not None:
            return f"atan2-{self.atan2.a:g}-{self.atan2.b:g}"
        if self.per_layer is not None:
            return f"per-layer-eps-{self.per_layer:g}"
        return f"eps-{self.constant:g}"

    def lack(self, optimizer: OptimizerSpec) -> str | None:
        """Why an optimizer cannot have this policy, or None if it can."""
        if isinstance(optimizer, AdamSpec) or (isinstance(optimizer, AdamPsSpec) and self.atan2 is None):
            return None
        if isinstance(optimizer, AdamPsSpec):
            return "the arctangent is Adam's, not Adam's with parameter scaling"
        return "it has none"

    def applied(self, optimizer: OptimizerSpec) -> OptimizerSpec:
        """The optimizer under this policy."""
        assert self.lack(optimizer) is None
        assert isinstance(optimizer, AdamSpec | AdamPsSpec)
        if self.atan2 is not None:
            return AdamAtan2Spec(
                kind="adam-atan2",
                beta1=optimizer.beta1,
                beta2=optimizer.beta2,
                a=self.atan2.a,
                b=self.atan2.b,
            )
        policy = EpsilonPolicy.CONSTANT if self.per_layer is None else EpsilonPolicy.PER_LAYER
        value = self.constant if self.per_layer is None else self.per_layer
        return optimizer.model_copy(update={"epsilon": value, "epsilon_policy": policy})


def _constant(value: Any) -> Any:
    return value if isinstance(value, dict | EpsilonSpec) else {"constant": value}


EpsilonChoice = Annotated[EpsilonSpec, BeforeValidator(_constant)]
"""A policy, or a number for a constant one."""
