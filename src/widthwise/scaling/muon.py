"""Muon for hidden matrices with AdamW elsewhere, in one call, each with the rates of its own rule and of no other."""

from typing import TYPE_CHECKING

from widthwise.scaling.groups import param_groups
from widthwise.scaling.scaling_plan import ScalingPlan
from widthwise.scaling.weight_decay import INDEPENDENT, WeightDecay
from widthwise.theory import ADAM, MUON

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import AdamW, Muon


def muon_with_adamw(
    plan: ScalingPlan,
    model: "nn.Module",
    *,
    muon_rate: float,
    adamw_rate: float,
    weight_decay: float = 0.0,
    policy: WeightDecay = INDEPENDENT,
    epsilon: float = 1e-8,
    momentum: float = 0.95,
    betas: tuple[float, float] = (0.9, 0.95),
) -> "tuple[Muon, AdamW]":
    """PyTorch's Muon over the hidden matrices and its AdamW over everything else.

    Muon's update is orthogonal, so the plan's rule already has its entries as n^(-1/2). PyTorch's own adjustment that
    matches Adam's root mean square multiplies by another n^(1/2), so the one that depends on the aspect ratio alone is
    used (`original`): a matrix that grows in both dimensions gets the same factor at every width.

    Args:
        plan: made for `MUON`.
        muon_rate: the base rate of the hidden matrices.
        adamw_rate: the base rate of everything else.

    Raises:
        ValueError: a plan for another optimizer, another model, or hidden tensors that are not matrices, which Muon
            does not take.

    Example:
        >>> from torch import nn
        >>> from widthwise.scaling import make_plan
        >>> from widthwise.theory import STANDARD
        >>> def build(width):
        ...     return nn.Sequential(nn.Embedding(11, width), nn.Linear(width, width), nn.Linear(width, 11))
        >>> plan = make_plan(build, width=256, base_width=64, parameterization=STANDARD, optimizer=MUON)
        >>> muon, adamw = muon_with_adamw(plan, build(256), muon_rate=0.02, adamw_rate=3e-3)
        >>> muon.param_groups[0]["param_names"], muon.param_groups[0]["lr"]
        (['1.weight'], 0.02)
    """
    from torch.optim import AdamW, Muon

    if plan.optimizer.name != MUON.name:
        raise ValueError(f"the plan is for {plan.optimizer.name}; make one with optimizer=MUON")
    hidden = param_groups(
        plan, model, learning_rate=muon_rate, weight_decay=weight_decay, policy=policy, rule=MUON.name
    )
    for group in hidden:
        for name, tensor in zip(group["param_names"], group["params"], strict=True):
            if tensor.dim() != 2:
                raise ValueError(
                    f"{name} has {tensor.dim()} dimensions; PyTorch's Muon takes matrices alone: hold a stack as "
                    "a list of matrices, or make the plan with optimizer=ADAM"
                )
    elsewhere = param_groups(
        plan,
        model,
        learning_rate=adamw_rate,
        weight_decay=weight_decay,
        policy=policy,
        epsilon=epsilon,
        rule=ADAM.name,
    )
    return Muon(hidden, momentum=momentum, adjust_lr_fn="original"), AdamW(elsewhere, betas=betas)
