"""Parameter groups: a plan's factors as what every optimizer of PyTorch's form takes.

Tensors with equal numbers share a group, so there are few. Every group carries its tensors' names (`param_names`, which
PyTorch keeps in state dicts) and the factor on the base rate (`rate_factor`). Schedulers multiply and so keep the
factors; `verify` can tell whether they were kept.
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from math import isclose
from typing import TYPE_CHECKING, Any

from widthwise.scaling.parameter_names import check_shapes, plain_names, rows_of
from widthwise.scaling.scaling_plan import ScalingPlan
from widthwise.scaling.weight_decay import INDEPENDENT, WeightDecay

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

OPTIMIZERS: Mapping[str, frozenset[str]] = {
    "sgd": frozenset({"SGD"}),
    "adam": frozenset({"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "AdamAtan2"}),
    "adam-atan2": frozenset({"AdamAtan2"}),
    "rmsprop": frozenset({"RMSprop"}),
    "lion": frozenset({"Lion"}),
    "adafactor": frozenset({"Adafactor"}),
    "adam-ps": frozenset({"AdamW", "AdamAtan2"}),
    "muon": frozenset({"Muon"}),
}
"""Optimizer classes, by their unqualified names, that follow each rule. A subclass follows its base class's rule."""

REFUSED: Mapping[tuple[str, str], str] = {
    ("torch.optim", "Adafactor"): (
        "torch.optim.Adafactor takes steps of min(lr, 1 / sqrt(t)), so that no rate of a plan holds, and its parameter "
        "scaling cannot be switched off; use widthwise.optim.Adafactor, whose rate is the one it is given"
    ),
}
"""Classes of a right name that follow no plan, by package and name, and why."""

RELATIVE = frozenset({"adafactor", "adam-ps"})
"""Rules of rates that are relative to the weights: an optimizer's groups say so by their `parameter_scaling`."""

SQUARED = frozenset({"adafactor"})
"""Rules whose optimizers add their epsilon to the squared gradient: it follows the gradient's square."""

DIVIDED = frozenset({"Adam", "NAdam", "RAdam", "Adamax", "RMSprop"})
"""Classes of PyTorch's that add the decay to the gradient, unless told to decouple it, and then divide by its size."""


def param_groups(
    plan: ScalingPlan,
    model: "nn.Module",
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    policy: WeightDecay = INDEPENDENT,
    decay_vectors: bool = False,
    epsilon: float | None = None,
    parameter_floor: float | None = None,
    rule: str | None = None,
) -> list[dict[str, Any]]:
    """Groups for any optimizer, one for each distinct set of numbers.

    Args:
        learning_rate: the base rate, as tuned at the base width; 0 is legal.
        weight_decay: as tuned at the base width, in the form of PyTorch's AdamW (rate times decay a step).
        policy: what the product of rate and decay does with the width; independent of it by default.
        decay_vectors: whether gains and biases decay too.
        epsilon: the optimizer's epsilon as tuned at the base width; every tensor's then follows its gradient. None
            leaves the optimizer's own constant (or none at all, for Adam-atan2) alone.
        parameter_floor: the floor of Adafactor's parameter scaling as tuned at the base width; every tensor's then
            follows its own weights, n^(-b), as `parameter_scaling`. None leaves the optimizer's own alone.
        rule: only the tensors that follow this optimizer rule, by its name (Muon's, or what it leaves to Adam).

    Raises:
        ValueError: another model or width; numbers below 0 or not finite; a plan for two optimizers without a rule that
            says which one these groups are for.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from widthwise.scaling import make_plan
        >>> from widthwise.theory import ADAM, STANDARD
        >>> def build(width):
        ...     return nn.Sequential(nn.Embedding(11, width), nn.Linear(width, width), nn.Linear(width, 11))
        >>> plan = make_plan(build, width=256, base_width=64, parameterization=STANDARD, optimizer=ADAM)
        >>> groups = plan.param_groups(build(256), learning_rate=1e-2, weight_decay=0.1)
        >>> for group in groups:
        ...     print(group["lr"], group["weight_decay"], *group["param_names"])
        0.01 0.1 0.weight
        0.0025 0.4 1.weight 2.weight
        0.01 0.0 1.bias 2.bias
    """
    _check(
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        epsilon=0.0 if epsilon is None else epsilon,
        parameter_floor=0.0 if parameter_floor is None else parameter_floor,
    )
    _check_rule(plan, rule)
    _check_policy(policy)
    parameters = dict(model.named_parameters())
    rows = rows_of(plan.rows, model)
    check_shapes(parameters, rows, plan.width)
    plain = plain_names(parameters, plan.rows)
    groups: dict[tuple[float, ...], dict[str, Any]] = {}
    for name, parameter in parameters.items():
        row = rows[name]
        if not parameter.requires_grad or (rule is not None and row.rule != rule):
            continue
        decays = row.decayed or decay_vectors
        decay = (
            policy.decay(weight_decay, learning_rate=learning_rate, rate_factor=row.rate) if decays else 0.0
        )
        numbers = {"lr": learning_rate * row.rate, "weight_decay": decay, "rate_factor": row.rate}
        if epsilon is not None:
            numbers["eps"] = epsilon * (row.epsilon**2 if row.rule in SQUARED else row.epsilon)
        if parameter_floor is not None:
            shrunk = (plan.width / plan.base_width) ** -float(row.exponents.b)
            numbers["parameter_scaling"] = parameter_floor * shrunk
        group = groups.setdefault(tuple(numbers.values()), {"params": [], "param_names": [], **numbers})
        group["params"].append(parameter)
        group["param_names"].append(plain[name])
    return list(groups.values())


def _check_rule(plan: ScalingPlan, rule: str | None) -> None:
    rules = sorted({row.rule for row in plan.rows.values()})
    if rule is None and len(rules) > 1:
        raise ValueError(
            f"the plan is for two optimizers ({' and '.join(rules)}), and no rate is right for both: "
            "muon_with_adamw makes the two, or say which one these groups are for, rule=..."
        )
    if rule is not None and rule not in rules:
        raise ValueError(f"no tensor of the plan follows the rule {rule!r}; its rules are {', '.join(rules)}")


def _check(**numbers: float | str) -> None:
    for name, value in numbers.items():
        if isinstance(value, str):  # as YAML reads a number without a point
            raise ValueError(f"{name} is the text {value!r}; give a number (in YAML 1.0e-3, not 1e-3)")
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} = {value} must be finite and not below 0")


def _check_policy(policy: object) -> None:
    if not isinstance(policy, WeightDecay):
        raise ValueError(
            f"policy is {policy!r}; give INDEPENDENT, COUPLED or Timescale(steps) of widthwise.scaling"
        )


def verify(plan: ScalingPlan, optimizer: "Optimizer", model: "nn.Module | None" = None) -> None:
    """Check that an optimizer is one that the plan was made for, and that its groups still have the plan's factors.

    Call it after loading a checkpoint: a state dict brings its own rates and names along.

    Args:
        optimizer: or a wrapper that holds it as `optimizer`, as Accelerate's does.
        model: if given, each name of a group must be that tensor's of the model, and no trainable one may be missing.

    Raises:
        ValueError: an optimizer whose update follows another rule, or not the rate it is given; rates relative to the
            weights where the plan's are not, or the other way round; a decay added to the gradient by an optimizer that
            divides by the gradient's size, or given to the optimizer, where its groups' own stands; groups without
            names; tensors that the plan does not know, or that are under another name than the model's; rates that no
            longer stand in the plan's proportion.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    groups = [group for group in inner.param_groups if group["params"]]
    if not groups:
        raise ValueError("the optimizer has no parameters; make its groups with plan.param_groups")
    unnamed = next((i for i, group in enumerate(groups) if "param_names" not in group), None)
    if unnamed is not None:
        raise ValueError(f"group {unnamed} has no param_names; make the groups with plan.param_groups")
    names = [name for group in groups for name in group["param_names"]]
    unknown = [name for name in names if name not in plan.rows]
    if unknown:
        raise ValueError(
            f"the optimizer has {unknown[0]}, which the plan does not know: it is for another model"
        )
    rules = {plan.rows[name].rule for name in names}
    _check_class(inner, rules)
    _check_scaling(plan, groups)
    _check_decay(inner, groups)
    _check_ignored(inner, groups)
    _check_rates(plan, groups)
    if model is not None:
        _check_tensors(plan, groups, rules, model)


def _check_class(optimizer: "Optimizer", rules: set[str]) -> None:
    mro = type(optimizer).__mro__
    classes = [cls.__name__ for cls in mro]
    for (package, name), why in REFUSED.items():
        if any(cls.__name__ == name and f"{cls.__module__}.".startswith(f"{package}.") for cls in mro):
            raise ValueError(why)
    for rule in sorted(rules):
        if rule in OPTIMIZERS and OPTIMIZERS[rule].isdisjoint(classes):
            raise ValueError(
                f"the plan's rates are for {rule} (updates of {', '.join(sorted(OPTIMIZERS[rule]))}), and the "
                f"optimizer is {classes[0]}, which scales otherwise; make a plan with that optimizer's rule"
            )


def _check_scaling(plan: ScalingPlan, groups: Sequence[Mapping[str, Any]]) -> None:
    """That rates are relative to the weights where the plan's are, and only there."""
    for group in groups:
        scaled = group.get("parameter_scaling") is not None
        for name in group["param_names"]:
            rule = plan.rows[name].rule
            if scaled != (rule in RELATIVE):
                is_, remedy = ("", "set it to None") if scaled else ("no ", "give ParameterScaling()")
                raise ValueError(
                    f"the plan's rates are for {rule}, and the optimizer has {is_}parameter_scaling for {name}: "
                    f"{remedy}, or make a plan with the optimizer's rule"
                )


def _check_decay(optimizer: "Optimizer", groups: Sequence[Mapping[str, Any]]) -> None:
    """A penalty that Adam divides by the gradient's size is no decay of rate times `weight_decay` a step."""
    classes = [cls.__name__ for cls in type(optimizer).__mro__]
    if not any(group.get("weight_decay") for group in groups) or DIVIDED.isdisjoint(classes):
        return
    if not all(group.get("decoupled_weight_decay") for group in groups):
        raise ValueError(
            f"{classes[0]} adds its weight decay to the gradient and divides both by the gradient's size, so no "
            "policy's product holds; use AdamW, decoupled_weight_decay=True where the class has it, or no decay"
        )


def _check_ignored(optimizer: "Optimizer", groups: Sequence[Mapping[str, Any]]) -> None:
    """A decay that was given to the optimizer's constructor: the groups say their own, 0 where none was asked for."""
    given: object = optimizer.defaults.get("weight_decay")
    own = signature(type(optimizer).__init__).parameters.get("weight_decay")
    if own is None or given == own.default or not _decays(given):
        return
    if not any(_decays(group.get("weight_decay")) for group in groups):
        raise ValueError(
            f"{type(optimizer).__name__} was given weight_decay={given}, and no tensor decays: the groups bring their "
            "own, which is 0; give it to plan.param_groups(..., weight_decay=...), as rate times decay a step"
        )


def _decays(value: object) -> bool:
    """Whether a decay takes anything away: a number, or `widthwise.optim`'s pair of them."""
    return bool(value) if isinstance(value, float | int | None) else any(vars(value).values())


def _check_rates(plan: ScalingPlan, groups: Sequence[Mapping[str, Any]]) -> None:
    """That every rate is the plan's factor times one base rate, to the rounding of a float32 rate."""
    bases = [
        (name, float(group["lr"]) / plan.rows[name].rate) for group in groups for name in group["param_names"]
    ]
    first, base = bases[0]
    for name, other in bases:
        if not isclose(base, other, rel_tol=1e-6):
            raise ValueError(
                f"{name} has a learning rate for a base rate of {other:.6g}, {first} for {base:.6g}; the plan's "
                "factors are gone: make the groups with plan.param_groups before loading a state, and scale rates "
                "together"
            )


def _check_tensors(
    plan: ScalingPlan, groups: Sequence[Mapping[str, Any]], rules: set[str], model: "nn.Module"
) -> None:
    """That names and tensors belong together: a state dict brings its names; PyTorch matches tensors by position."""
    parameters = dict(model.named_parameters())
    rows = rows_of(plan.rows, model)
    plain = plain_names(parameters, plan.rows)
    named = {id(parameter): plain[name] for name, parameter in parameters.items()}
    for group in groups:
        for name, tensor in zip(group["param_names"], group["params"], strict=True):
            if named.get(id(tensor)) != name:
                raise ValueError(
                    f"the optimizer calls {named.get(id(tensor), 'a tensor of another model')} {name}: its state is "
                    "of groups in another order; make them as they were made for the checkpoint"
                )
    held = {name for group in groups for name in group["param_names"]}
    for name, parameter in parameters.items():
        if parameter.requires_grad and rows[name].rule in rules and plain[name] not in held:
            raise ValueError(f"{plain[name]} is in none of the optimizer's groups and would not be trained")
