"""The model section of a study of one's own training function: `{kind: own, runner: my_train:train, version: "1"}`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from widthwise.scaling import TensorRole
from widthwise.study.fields import Section
from widthwise.study.recipe import rounded
from widthwise.theory import STANDARD, Role, gradient_exponent, prescribed_exponent

if TYPE_CHECKING:
    from widthwise.study.arms import Arm

OWN = "own"
"""The kind of such a model, in a specification and in recipes."""
ROLES = (Role.EMBEDDING, Role.HIDDEN, Role.READOUT, Role.VECTOR)
"""The kinds of tensors that a training function is given numbers for."""


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class OwnSpec(Section):
    """A training function of the user's own, which has its own model and data.

    Args:
        runner: `MODULE:FUNCTION`; see `own_trial`.
        version: part of every trial's identity, for the user to change when the function changes.
        options: passed on to it, and part of the identity too.
    """

    kind: Literal["own"]
    runner: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]
    version: Annotated[str, BeforeValidator(_as_text), Field(min_length=1)]
    options: Mapping[str, bool | int | float | str] = {}


def own_roles(base_width: int, *, relative: bool) -> Mapping[str, TensorRole]:
    """One tensor of each role; with ratios, its init is 1 at the base width."""
    return {
        role.value: TensorRole(role, float(base_width) ** float(STANDARD[role].b) if relative else 1.0)
        for role in ROLES
    }


def own_fields(arm: "Arm", *, base_width: int, anchor: str, rate: float) -> dict[str, Any]:
    """What the recipe of such a trial says beyond its numbers: everything that the function is told."""
    exponents = {
        role.value: (
            arm.parameterization[role].a,
            arm.parameterization[role].b,
            prescribed_exponent(arm.parameterization, arm.rule, arm.prescription, role),
            gradient_exponent(arm.parameterization, role),
        )
        for role in ROLES
    }
    return {
        "base_width": base_width,
        "anchor": anchor,
        "parameterization": arm.parameterization.name,
        "prescription": arm.prescription.name,
        "learning_rate": rounded(rate),
        "epsilon": rounded(arm.epsilon),
        "exponents": {role: [str(value) for value in values] for role, values in exponents.items()},
    }
