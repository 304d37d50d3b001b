"""AdamW as a torch.optim.Optimizer that shares Adam-atan2's kernels, decay and parameter scaling."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from widthwise.optim.direction import Direction, Ratio
from widthwise.optim.moment_optimizer import Group, MomentOptimizer
from widthwise.optim.parameter_scaling import ParameterScaling
from widthwise.optim.rounding import NEAREST, Rounding
from widthwise.optim.second_moment import ROOT, SecondMoment
from widthwise.optim.weight_decay import NO_DECAY, WeightDecay


class AdamW(MomentOptimizer):
    """Adam with decoupled weight decay, and with parameter scaling if asked for.

        theta <- theta - lr * scale * m_hat / (sqrt(v_hat) + eps) - decay * theta

    where scale is 1, or max(floor, RMS(theta)) with `parameter_scaling`: Everett et al.'s substitute for Adafactor. The
    moments are float32, also for parameters of lower precision (float64 for float64). A zero gradient gives a zero
    step, also with eps = 0.

    Args:
        params: tensors, named tensors, or groups of them; any argument below may differ by group, eps among them.
        lr: the learning rate; 0 is legal. A tensor on the parameters' device can be changed in place, under
            torch.compile and CUDA graphs too.
        betas: how much of each moment a step keeps, from 0 to below 1.
        eps: what is added to sqrt(v_hat); 0 is legal.
        parameter_scaling: `ParameterScaling(floor)` makes the rate relative to each tensor's root mean square.
        weight_decay: `WeightDecay.coupled(w)`, as in torch's AdamW, or `WeightDecay.independent(w)`; a number is
            coupled. Unlike the step, it is not scaled.
        second_moment: `ROOT` keeps sqrt(v), which neither under- nor overflows; `SQUARED` keeps v, as torch's AdamW.
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
        >>> weight = torch.nn.Parameter(torch.full((4,), 2.0))
        >>> optimizer = AdamW([weight], lr=0.1, parameter_scaling=ParameterScaling())
        >>> weight.grad = torch.tensor([3.0, 3.0, -3.0, 0.0])
        >>> optimizer.step()
        >>> weight.data
        tensor([1.8000, 1.8000, 2.2000, 2.0000])

    Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2; parameter scaling: Shazeer and Stern 2018 (arXiv
    1804.04235), section 8, and Everett et al. 2024 (arXiv 2407.05872).
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        parameter_scaling: ParameterScaling | None = None,
        weight_decay: WeightDecay | float = NO_DECAY,
        second_moment: SecondMoment = ROOT,
        rounding: Rounding = NEAREST,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
    ) -> None:
        defaults: Group = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
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
        return Ratio(group["eps"])
