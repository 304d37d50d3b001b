"""Adam-atan2 as a torch.optim.Optimizer."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from widthwise.optim.direction import Angle, Direction
from widthwise.optim.moment_optimizer import Group, MomentOptimizer
from widthwise.optim.parameter_scaling import ParameterScaling
from widthwise.optim.rounding import NEAREST, Rounding
from widthwise.optim.second_moment import ROOT, SecondMoment
from widthwise.optim.weight_decay import NO_DECAY, WeightDecay


class AdamAtan2(MomentOptimizer):
    """Adam without epsilon, whose steps do not depend on the gradient's scale.

        theta <- theta - lr * a * atan2(m_hat, b * sqrt(v_hat)) - decay * theta

    with the bias corrections inside the arctangent. A step is at most lr * a * pi / 2 in size, and 0 for a zero
    gradient. The moments are float32, also for parameters of lower precision (float64 for float64).

    Args:
        params: tensors, named tensors, or groups of them; any argument below may differ by group.
        lr: the learning rate; 0 is legal. A tensor on the parameters' device can be changed in place, under
            torch.compile and CUDA graphs too.
        betas: how much of each moment a step keeps, from 0 to below 1.
        a: scales the step; `scale_for_unit_ratios(b)` and `scale_for_small_ratios(b)` match Adam's.
        b: divides the ratio inside the arctangent; larger is closer to Adam.
        weight_decay: `WeightDecay.coupled(w)`, as in AdamW, or `WeightDecay.independent(w)`; a number is coupled.
        second_moment: `ROOT` keeps sqrt(v), which neither under- nor overflows; `SQUARED` keeps v, as torch's AdamW.
        parameter_scaling: `ParameterScaling(floor)` makes the rate relative to each tensor's root mean square.
        rounding: `StochasticRounding(seed)` lets small steps move bfloat16 weights; `NEAREST` is a cast.
        maximize: go up instead of down.
        foreach: run PyTorch's foreach operations.
        fused: run the Triton kernels; by default on CUDA devices if Triton is there.
        capturable: keep the step count on the device, for CUDA graphs without the fused kernels.

    Raises:
        ValueError: a hyperparameter is negative, NaN or of another kind, a beta is 1 or more, a parameter is complex or
            there twice, a gradient is sparse.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = AdamAtan2([weight], lr=0.1, a=4 / torch.pi)
        >>> weight.grad = torch.tensor([1e-12, -1e12])
        >>> optimizer.step()
        >>> weight.data
        tensor([0.9000, 1.1000])

    Source: Everett et al. 2024, arXiv 2407.05872.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        a: float = 1.0,
        b: float = 1.0,
        weight_decay: WeightDecay | float = NO_DECAY,
        second_moment: SecondMoment = ROOT,
        parameter_scaling: ParameterScaling | None = None,
        rounding: Rounding = NEAREST,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
    ) -> None:
        defaults: Group = {
            "lr": lr,
            "betas": betas,
            "a": a,
            "b": b,
            "weight_decay": weight_decay,
            "second_moment": second_moment,
            "parameter_scaling": parameter_scaling,
            "rounding": rounding,
            "maximize": maximize,
            "foreach": foreach,
            "fused": fused,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _direction(self, group: Mapping[str, Any]) -> Direction:
        return Angle(a=group["a"], b=group["b"])
