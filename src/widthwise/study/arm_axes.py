"""What each prescription of a stored study is made of, axis by axis, in the words that comparisons between them use."""

from collections.abc import Mapping

from widthwise.scaling import EpsilonPolicy
from widthwise.study.arms import Arm, expand_arms
from widthwise.study.horizon import TokensPerParameter
from widthwise.study.optimizer_spec import AdamPsSpec, AdamSpec
from widthwise.study.spec import StudySpec
from widthwise.study.spec_file import parse_spec

Axes = Mapping[str, str]


def arm_axes(spec_text: str) -> Mapping[str, Axes]:
    """Arm -> axis -> value, in the order of the specification.

    The axes are those of `widthwise.analysis.ArmLabel`. Epsilon is `constant` where it is the study's own constant one,
    `per-layer` where the study has a single base for that, and else says its number; a horizon is `fixed` where it is
    the study's, else its name.

    Args:
        spec_text: the specification as a store keeps it.
    """
    spec = parse_spec(spec_text).spec
    arms = expand_arms(spec)
    bases = {arm.epsilon for arm in arms if _per_layer(arm)}
    return {
        arm.name: {
            "parameterization": arm.parameterization.name,
            "optimizer": arm.optimizer.kind,
            "prescription": arm.prescription.name,
            "constants": arm.constants.name,
            "epsilon": _epsilon(arm, spec, several_bases=len(bases) > 1),
            "weight_decay": f"{arm.weight_decay:g}" if arm.weight_decay else "none",
            "horizon": _horizon(arm, spec),
        }
        for arm in arms
    }


def own_epsilon(spec_text: str) -> float | None:
    """Adam's constant epsilon where an arm names no policy, which `arm_axes` calls `constant`; None if no arm has it.

    Example:
        >>> from widthwise.study import load_spec
        >>> own_epsilon(load_spec("paper-h200").text)
        1e-09
    """
    spec = parse_spec(spec_text).spec
    kinds = {arm.optimizer.kind for arm in expand_arms(spec)}
    return _own_epsilon(spec, "adam") if "adam" in kinds else None


def _per_layer(arm: Arm) -> bool:
    return arm.epsilon_policy is EpsilonPolicy.PER_LAYER


def _epsilon(arm: Arm, spec: StudySpec, *, several_bases: bool) -> str:
    if not isinstance(arm.optimizer, AdamSpec | AdamPsSpec):
        return "constant" if arm.optimizer.kind in ("sgd", "adafactor") else "none"
    if _per_layer(arm):
        return f"per-layer {arm.epsilon:g}" if several_bases else "per-layer"
    return (
        "constant" if arm.epsilon == _own_epsilon(spec, arm.optimizer.kind) else f"constant {arm.epsilon:g}"
    )


def _own_epsilon(spec: StudySpec, kind: str) -> float:
    """The constant epsilon that an optimizer has in this study where no policy is named."""
    for given in (spec.optimizer, *(part.optimizer for part in spec.arms)):
        if isinstance(given, AdamSpec | AdamPsSpec) and given.kind == kind:
            return given.epsilon
    assert isinstance(spec.optimizer, AdamSpec | AdamPsSpec)
    return spec.optimizer.epsilon


def _horizon(arm: Arm, spec: StudySpec) -> str:
    if arm.horizon == spec.training.length:
        return "fixed"
    return "compute-optimal" if arm.horizon == TokensPerParameter() else arm.horizon.label
