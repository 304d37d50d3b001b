"""Adafactor as a torch.optim.Optimizer, with the learning rate that it is given.

The update is `adafactor_single`; `adafactor_fused` is the same for many tensors at once. This module keeps groups and
state, and gives each group's tensors to one of them.
"""

from collections.abc import Callable, Mapping
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from widthwise.optim.adafactor_fused import FusedAdafactor, runs_kernels
from widthwise.optim.adafactor_shards import refuse_shards
from widthwise.optim.adafactor_single import ADAFACTOR_DEFAULTS as DEFAULT
from widthwise.optim.adafactor_single import AdafactorConstants, adafactor_step
from widthwise.optim.adafactor_state import (
    Group,
    StateDict,
    constants_of,
    read_state_dict,
    state_of,
)
from widthwise.optim.adafactor_tables import Tensors
from widthwise.optim.hyperparameters import check_parameters, check_rate
from widthwise.optim.local import ORDINARY, local_tensor
from widthwise.optim.non_finite import NonFinite, find_non_finite
from widthwise.optim.parameter_scaling import ParameterScaling, read_parameter_scaling
from widthwise.optim.rounding import NEAREST, NearestRounding, Rounding, StochasticRounding
from widthwise.optim.saved_groups import plain_objects
from widthwise.optim.torch_contract import loss_of, refuse_distant_lr
from widthwise.optim.weight_decay import NO_DECAY, WeightDecay, read_weight_decay


def check_group(group: Mapping[str, Any]) -> None:
    """Everything in a group except its parameters.

    Raises:
        ValueError: a hyperparameter is out of its range or of another kind.
    """
    check_rate(group["lr"])
    constants_of(group)
    if not isinstance(group["weight_decay"], WeightDecay):
        raise ValueError(
            f"weight_decay = {group['weight_decay']!r}: give WeightDecay.coupled(0.1) or "
            "WeightDecay.independent(1e-4)"
        )
    if not isinstance(group["rounding"], NearestRounding | StochasticRounding):
        raise ValueError(f"rounding = {group['rounding']!r}: give NEAREST or StochasticRounding(seed=0)")


class Adafactor(Optimizer):
    """Adafactor whose rate is the one it is given, at every step.

        theta <- theta - lr * max(floor, RMS(theta)) * u - decay * theta,    u = g / sqrt(v), clipped to an RMS of 1

    with v factored into its row and column means for tensors whose two largest dimensions are large enough. The
    formulas are those of optax.adafactor; `adafactor_single` has them. torch.optim.Adafactor's `lr` is a cap on
    1 / sqrt(t) instead, and its parameter scaling stays on: no rate of it can be swept or planned.

    Args:
        params: tensors, named tensors, or groups of them; any argument below may differ by group.
        lr: the learning rate; with parameter scaling relative to the weights' size; 0 is legal. A tensor on the
            parameters' device can be changed in place, under CUDA graphs too.
        decay_rate: 1 - beta2 is t^(-decay_rate).
        step_offset: added to t.
        eps: added to squared gradients.
        min_dim_size_to_factor: the smaller of a tensor's two largest dimensions, from which on v is factored.
        factored: whether v is ever factored.
        clipping_threshold: the largest RMS of u; None for no clipping.
        parameter_scaling: `ParameterScaling(floor)`, or the floor alone; None for a rate in units of the weights.
        momentum: how much of the running mean of steps is kept; None for none.
        weight_decay: `WeightDecay.coupled(w)` or `WeightDecay.independent(w)`; a number is coupled.
        rounding: `StochasticRounding(seed)` lets small steps move bfloat16 weights; `NEAREST` is a cast.
        maximize: go up instead of down.
        fused: run the Triton kernels; by default on CUDA devices if Triton is there.
        capturable: keep the step count on the device, for CUDA graphs without the fused kernels.

    Raises:
        ValueError: a hyperparameter is out of its range, a parameter is complex or there twice, a gradient is sparse,
            or a tensor is spread over processes that would have to share its means.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([3.0, -3.0]))
        >>> optimizer = Adafactor([weight], lr=0.5)
        >>> weight.grad = torch.tensor([1e-3, 5.0])
        >>> optimizer.step()
        >>> weight.data
        tensor([ 1.5000, -4.5000])

    Source: Shazeer and Stern 2018 (arXiv 1804.04235); Everett et al. 2024 (arXiv 2407.05872) for its rates.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        *,
        decay_rate: float = DEFAULT.decay_rate,
        step_offset: int = DEFAULT.step_offset,
        eps: float = DEFAULT.eps,
        min_dim_size_to_factor: int = DEFAULT.min_dim_size_to_factor,
        factored: bool = DEFAULT.factored,
        clipping_threshold: float | None = DEFAULT.clipping_threshold,
        parameter_scaling: ParameterScaling | float | None = DEFAULT.parameter_scaling,
        momentum: float | None = DEFAULT.momentum,
        weight_decay: WeightDecay | float = NO_DECAY,
        rounding: Rounding = NEAREST,
        maximize: bool = False,
        fused: bool | None = None,
        capturable: bool = False,
    ) -> None:
        defaults: Group = {
            "lr": lr,
            "decay_rate": decay_rate,
            "step_offset": step_offset,
            "eps": eps,
            "min_dim_size_to_factor": min_dim_size_to_factor,
            "factored": factored,
            "clipping_threshold": clipping_threshold,
            "parameter_scaling": read_parameter_scaling(parameter_scaling),
            "momentum": momentum,
            "weight_decay": read_weight_decay(weight_decay),
            "rounding": rounding,
            "maximize": maximize,
            "fused": fused,
            "capturable": capturable,
        }
        check_group(defaults)
        self._fused: dict[int, FusedAdafactor] = {}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with their own hyperparameters; nothing is added if anything is wrong."""
        given = param_group["params"]
        listed = [given] if isinstance(given, Tensor) else list(given)
        tensors = [p[1] if isinstance(p, tuple) else p for p in listed]
        check_parameters([p for p in tensors if isinstance(p, Tensor)])
        param_group = {**param_group, "params": listed}
        for name, read in (
            ("weight_decay", read_weight_decay),
            ("parameter_scaling", read_parameter_scaling),
        ):
            if name in param_group:
                param_group[name] = read(param_group[name])
        check_group({**self.defaults, **param_group})
        super().add_param_group(param_group)
        refuse_distant_lr(self)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; `closure` computes the loss and the gradients again."""
        loss = loss_of(closure)
        first = 0
        for number, group in enumerate(self.param_groups):
            constants = constants_of(group)
            places: dict[torch.device, Tensors] = {}
            for i, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    here = places.setdefault(parameter.device, Tensors([], [], [], []))
                    self._collect(here, parameter, group, constants, index=first + i)
            first += len(group["params"])
            for device, tensors in places.items():
                if runs_kernels(group["fused"], device):
                    fused = self._fused.setdefault(number, FusedAdafactor())
                    tensors = tensors.chosen(
                        fused.step(
                            tensors,
                            constants=constants,
                            rate=group["lr"],
                            decay=group["weight_decay"],
                            rounding=group["rounding"],
                            maximize=group["maximize"],
                        )
                    )
                self._step_plain(group, tensors, constants)
        return loss

    def _collect(
        self, here: Tensors, parameter: Tensor, group: Group, constants: AdafactorConstants, *, index: int
    ) -> None:
        """Add a parameter's own part of it, its gradient and its state to what a step works on."""
        gradient = parameter.grad
        if gradient is None or gradient.layout is not torch.strided:
            raise ValueError(
                f"the gradient of a parameter of shape {tuple(parameter.shape)} has layout "
                f"{None if gradient is None else gradient.layout}: Adafactor needs a dense one "
                "(sparse=False in the embedding)"
            )
        state = self.state[parameter]
        if not state:
            refuse_shards(parameter, constants)
            step_device = self._step_device(group, parameter)
            state.update(state_of(parameter, constants=constants, step_device=step_device))
        here.parameters.append(local_tensor(parameter))
        here.gradients.append(local_tensor(gradient))
        ordinary = type(parameter) in ORDINARY
        here.states.append(
            state if ordinary else {name: local_tensor(value) for name, value in state.items()}
        )
        here.indices.append(index)

    def _step_device(self, group: Group, parameter: Tensor) -> torch.device:
        """Where the count of steps is kept: beside the parameter if no host is to read it."""
        beside = group["capturable"] or runs_kernels(group["fused"], parameter.device)
        return parameter.device if beside else torch.device("cpu")

    def _step_plain(self, group: Group, tensors: Tensors, constants: AdafactorConstants) -> None:
        """One step through PyTorch's own operations, of tensors of one device."""
        rate = group["lr"]
        if isinstance(rate, Tensor):
            rate = rate.item() if rate.device.type == "cpu" else rate.reshape(())
        for parameter, gradient, state, index in zip(*tensors, strict=True):
            state["step"] += 1
            step = state["step"].item() if state["step"].device.type == "cpu" else state["step"]
            theta, new_state = adafactor_step(
                parameter,
                -gradient if group["maximize"] else gradient,
                state,
                constants=constants,
                rate=rate,
                step=step,
                decay=group["weight_decay"].fraction(rate),
            )
            parameter.copy_(group["rounding"].round(theta, parameter.dtype, index=index, step=step))
            for name, value in new_state.items():
                state[name].copy_(value)
            mark_non_finite(state, step=step)

    def non_finite(self) -> tuple[NonFinite, ...]:
        """The tensors whose mean squares are infinite or NaN, with the first step at which they were; () if none is.

        Each step notes it on the device; only this method waits for the device.
        """
        return find_non_finite(self.param_groups, self.state)

    def state_dict(self) -> StateDict:
        """The state and the groups, in plain values: torch.load reads them with weights_only=True."""
        saved = super().state_dict()
        return {**saved, "param_groups": [plain_objects(group) for group in saved["param_groups"]]}

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Go on from a saved state of this class; all options come with it. The tensors are copied.

        Raises:
            ValueError: it is another optimizer's, or a shape differs.
        """
        groups, state = read_state_dict(state_dict, self.param_groups, self._step_device)
        super().load_state_dict({"param_groups": groups, "state": {}})
        self.state.update(state)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Copies and loaded optimizers find their tensors' addresses anew."""
        super().__setstate__(dict(state))
        self._fused = {}


def mark_non_finite(state: Mapping[str, Tensor], *, step: float | Tensor) -> None:
    """Note the step in `non_finite_step`, 0 so far, if a mean square is not finite, without waiting for the device.

    Example:
        >>> state = {"v": torch.tensor([1.0, float("inf")]), "non_finite_step": torch.tensor(0.0)}
        >>> mark_non_finite(state, step=7)
        >>> state["non_finite_step"]
        tensor(7.)
    """
    flag = state["non_finite_step"]
    means = [state[name] for name in ("v", "v_row", "v_col") if name in state]
    finite = torch.stack([mean.isfinite().all() for mean in means]).all()
    flag.copy_(torch.where(~finite & (flag == 0), step, flag))
