"""Adam-atan2 as a torch.optim.Optimizer.

The update is `adam_atan2_single`; `adam_atan2_foreach` and `adam_atan2_fused` are the same for many tensors at once.
This module keeps groups and state, and gives each group to one of them.
"""

# PyTorch's foreach operations have no public names.
# pyright: reportPrivateImportUsage=false

from collections.abc import Callable, Mapping
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from widthwise.optim.adam_atan2_foreach import update_foreach
from widthwise.optim.adam_atan2_fused import FusedGroup
from widthwise.optim.adam_atan2_single import Atan2Constants, Number, update_single
from widthwise.optim.adam_state import StateDict, initial_state, plain_group, read_state_dict, to_adamw
from widthwise.optim.address_table import Columns
from widthwise.optim.hyperparameters import check_group, check_parameters, refuse_gradient
from widthwise.optim.implementation import Implementation, implementation
from widthwise.optim.local import local_columns
from widthwise.optim.non_finite import NonFinite, read_flags
from widthwise.optim.rounding import NEAREST, Rounding
from widthwise.optim.second_moment import SQUARED, SecondMoment
from widthwise.optim.weight_decay import NO_DECAY, WeightDecay, read_weight_decay

Group = dict[str, Any]


class AdamAtan2(Optimizer):
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
        second_moment: `SQUARED` keeps v, as AdamW does; `ROOT` keeps sqrt(v), which neither under- nor overflows.
        rounding: `StochasticRounding(seed)` lets small steps move bfloat16 weights; `NEAREST` is a cast.
        maximize: go up instead of down.
        foreach: run PyTorch's foreach operations.
        fused: run the Triton kernels; by default on CUDA devices if Triton is there.
        capturable: keep the step count on the device, for CUDA graphs without the fused kernels.

    Raises:
        ValueError: a hyperparameter is negative, NaN or of another kind, a beta is 1 or more, a parameter is complex or
            there twice, a gradient is sparse.

    Example:
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
        second_moment: SecondMoment = SQUARED,
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
            "weight_decay": read_weight_decay(weight_decay),
            "second_moment": second_moment,
            "rounding": rounding,
            "maximize": maximize,
            "foreach": foreach,
            "fused": fused,
            "capturable": capturable,
        }
        check_group(defaults)
        self._fused: dict[int, FusedGroup] = {}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with their own hyperparameters; nothing is added if anything is wrong."""
        if not isinstance(param_group["params"], Tensor):
            param_group = {**param_group, "params": list(param_group["params"])}
            named = [p[1] if isinstance(p, tuple) else p for p in param_group["params"]]
            check_parameters([p for p in named if isinstance(p, Tensor)])
        else:
            check_parameters([param_group["params"]])
        if "weight_decay" in param_group:
            param_group = {**param_group, "weight_decay": read_weight_decay(param_group["weight_decay"])}
        check_group({**self.defaults, **param_group})
        super().add_param_group(param_group)
        lr = self.param_groups[-1]["lr"]
        for i, parameter in enumerate(self.param_groups[-1]["params"]):
            if isinstance(lr, Tensor) and lr.device.type != "cpu" and lr.device != parameter.device:
                self.param_groups.pop()
                raise ValueError(f"lr is on {lr.device}, parameter {i} on {parameter.device}: move lr there")

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; `closure` computes the loss and the gradients again."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        first = 0
        for number, group in enumerate(self.param_groups):
            indices = [first + i for i, p in enumerate(group["params"]) if p.grad is not None]
            first += len(group["params"])
            columns = Columns([], [], [], [], [], [], indices)
            self._init_group(group, *columns[:6])
            if torch.compiler.is_compiling():
                self._step_plain(group, columns)
            elif indices:
                self._step_eagerly(number, group, local_columns(columns))
        return loss

    def _init_group(
        self,
        group: Group,
        parameters: list[Tensor],
        gradients: list[Tensor],
        ms: list[Tensor],
        moments: list[Tensor],
        flags: list[Tensor],
        steps: list[Tensor],
    ) -> None:
        """Fill the lists with what a group's step works on. (torch.compile knows this method by its name.)"""
        key = group["second_moment"].key
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.layout is not torch.strided:
                refuse_gradient(parameter, gradient)
            state = self.state[parameter]
            if not state:
                beside = self._step_device(group, parameter)
                state.update(initial_state(parameter, key=key, step_device=beside))
            parameters.append(parameter)
            gradients.append(gradient)
            ms.append(state["exp_avg"])
            moments.append(state[key])
            flags.append(state["non_finite_step"])
            steps.append(state["step"])

    def _step_device(self, group: Group, parameter: Tensor) -> torch.device:
        """Where the count of steps is kept: beside the parameter if no host is to read it."""
        chosen = implementation(group, parameter.device)
        beside = group["capturable"] or chosen is Implementation.FUSED
        return parameter.device if beside else torch.device("cpu")

    def _step_eagerly(self, number: int, group: Group, columns: Columns) -> None:
        places: dict[torch.device, list[int]] = {}
        for i, parameter in enumerate(columns.parameters):
            places.setdefault(parameter.device, []).append(i)
        for device, chosen in places.items():
            here = columns if len(places) == 1 else columns.chosen(chosen)
            if implementation(group, device) is Implementation.FUSED:
                rest = self._fused.setdefault(number, FusedGroup()).step(
                    here,
                    constants=Atan2Constants.of(group),
                    rate=group["lr"],
                    decay=group["weight_decay"],
                    rounding=group["rounding"],
                    maximize=group["maximize"],
                )
                if rest:
                    self._step_plain(group, here.chosen(rest))
            else:
                self._step_plain(group, here)

    def _step_plain(self, group: Group, columns: Columns) -> None:
        """One step through PyTorch's own operations, of one device."""
        if not columns.parameters:
            return
        torch._foreach_add_(columns.steps, 1)
        rate = group["lr"]
        steps: list[Number] = list(columns.steps)
        compiling = torch.compiler.is_compiling()
        if isinstance(rate, Tensor):
            rate = float(rate) if rate.device.type == "cpu" and not compiling else rate.reshape(())
        if not compiling and not any(step.device.type != "cpu" for step in columns.steps):
            steps = [step.item() for step in columns.steps]
        gradients = [-g for g in columns.gradients] if group["maximize"] else columns.gradients
        # The largest entry of an empty tensor does not exist.
        filled = [i for i, parameter in enumerate(columns.parameters) if parameter.numel()]
        if not filled:
            return
        chosen = implementation(group, columns.parameters[0].device)
        update = update_single if chosen is Implementation.SINGLE else update_foreach
        lists = (*columns[:1], gradients, *columns[2:5], steps, columns.indices)
        update(
            *([column[i] for i in filled] for column in lists),  # pyright: ignore[reportArgumentType]
            constants=Atan2Constants.of(group),
            rate=rate,
            decay=group["weight_decay"].fraction(rate),
            rounding=group["rounding"],
        )

    def non_finite(self) -> tuple[NonFinite, ...]:
        """The tensors whose moments are infinite or NaN, with the first step at which they were; () if none is.

        The arctangent turns an overflow into a finite step, so this is the place to look: every few hundred steps, say.
        Each step notes it on the device; only this method waits for the device. A process that shards its parameters
        reports its own part.
        """
        places: list[tuple[int, int]] = []
        flags: list[Tensor] = []
        for number, group in enumerate(self.param_groups):
            for i, parameter in enumerate(group["params"]):
                if parameter in self.state:
                    places.append((number, i))
                    flags.append(self.state[parameter]["non_finite_step"])
        found: list[NonFinite] = []
        for (number, i), step in zip(places, read_flags(flags), strict=True):
            names = self.param_groups[number].get("param_names")
            if step:
                found.append(NonFinite(number, i, names[i] if names else None, step))
        return tuple(found)

    def state_dict(self) -> StateDict:
        """The state and the groups, in plain values: torch.load reads them with weights_only=True."""
        saved = super().state_dict()
        return {**saved, "param_groups": [plain_group(group) for group in saved["param_groups"]]}

    def adamw_state_dict(self, *, eps: float = 1e-8) -> StateDict:
        """The state as torch.optim.AdamW loads it, to go on with AdamW; `eps` is the epsilon it will have.

        Raises:
            ValueError: a group has an independent weight decay.
        """
        return to_adamw(super().state_dict(), eps=eps)

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Go on from a saved state of this class, in either form of the second moment, or of torch's Adam or AdamW.

        From torch come lr, betas, weight decay and direction; a, b and all else stay as constructed. The tensors are
        copied.

        Raises:
            ValueError: a shape differs, a moment is missing, or torch's optimizer did something that this one cannot.
        """
        groups, state = read_state_dict(state_dict, self.param_groups, self._step_device)
        super().load_state_dict({"param_groups": groups, "state": {}})
        self.state.update(state)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Copies and loaded optimizers find their tensors' addresses anew."""
        super().__setstate__(dict(state))
        self._fused = {}
