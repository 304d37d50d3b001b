"""What AdamAtan2 and AdamW share: groups, state, and the choice between three implementations of one step.

The update is `moment_step`; `moment_foreach` and `moment_fused` are the same for many tensors at once. This module
keeps groups and state, and gives each group to one of them. A subclass says what becomes of the two moments.
"""

# PyTorch's foreach operations have no public names.
# pyright: reportPrivateImportUsage=false

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from widthwise.optim import device_tables
from widthwise.optim.adam_state import StateDict, initial_state, plain_group, read_state_dict, to_adamw
from widthwise.optim.address_table import Columns
from widthwise.optim.direction import Direction, Number
from widthwise.optim.hyperparameters import check_group, check_parameters, refuse_gradient
from widthwise.optim.implementation import Implementation, implementation
from widthwise.optim.known_states import KnownGroup, KnownStates
from widthwise.optim.local import local_columns
from widthwise.optim.moment_foreach import update_foreach
from widthwise.optim.moment_fused import FusedGroup, Plan
from widthwise.optim.moment_step import MomentConstants, update_single
from widthwise.optim.non_finite import NonFinite, read_flags
from widthwise.optim.parameter_scaling import read_parameter_scaling
from widthwise.optim.torch_contract import loss_of, refuse_distant_lr
from widthwise.optim.weight_decay import read_weight_decay

Group = dict[str, Any]


def _read(group: Group) -> Group:
    """A group with bare numbers turned into the values that they mean."""
    readers = {"weight_decay": read_weight_decay, "parameter_scaling": read_parameter_scaling}
    return {**group, **{name: read(group[name]) for name, read in readers.items() if name in group}}


class MomentOptimizer(Optimizer):
    """An optimizer of two moments. See `AdamAtan2` and `AdamW`, which are what there is to be used."""

    def __init__(self, params: ParamsT, defaults: Group) -> None:
        defaults = _read(defaults)
        self._check(defaults)
        self._fused: dict[int, FusedGroup] = {}
        self._known = KnownStates()
        super().__init__(params, defaults)

    @abstractmethod
    def _direction(self, group: Mapping[str, Any]) -> Direction:
        """What a group's moments become; raises ValueError for numbers out of range."""

    def _check(self, group: Mapping[str, Any]) -> None:
        check_group(group)
        self._direction(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with their own hyperparameters; nothing is added if anything is wrong."""
        if not isinstance(param_group["params"], Tensor):
            param_group = {**param_group, "params": list(param_group["params"])}
            named = [p[1] if isinstance(p, tuple) else p for p in param_group["params"]]
            check_parameters([p for p in named if isinstance(p, Tensor)])
        else:
            check_parameters([param_group["params"]])
        param_group = _read(param_group)
        self._check({**self.defaults, **param_group})
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
        compiling = torch.compiler.is_compiling()
        unchanged = not compiling and self._known.holds(self.state)
        for number, group in enumerate(self.param_groups):
            if unchanged and self._step_again(number, group):
                first += len(group["params"])
                continue
            indices = [first + i for i, p in enumerate(group["params"]) if p.grad is not None]
            first += len(group["params"])
            columns = Columns([], [], [], [], [], [], indices)
            self._init_group(group, *columns[:6])
            if compiling:
                self._step_plain(group, columns)
            elif indices:
                self._step_eagerly(number, group, columns)
        return loss

    def _step_again(self, number: int, group: Group) -> bool:
        """The fused step on just the tensors of an earlier one, found without looking them up one by one."""
        known = self._known.groups.get(number)
        if known is None or not known.is_of(group["params"]) or group["second_moment"].key != known.key:
            return False
        device = known.parameters[0].device
        if implementation(group, device) is not Implementation.FUSED or device_tables.capturing(device):
            return False
        plan = self._fused[number].known(known.tables())
        if plan is not None:
            self._run(number, group, plan)
        return plan is not None

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
        local = local_columns(columns)
        if local is not columns and group["parameter_scaling"] is not None:
            raise ValueError(
                "parameter scaling needs a tensor's root mean square, and a sharded tensor's is not on one process: "
                "set parameter_scaling to None for sharded parameters"
            )
        places: dict[torch.device, list[int]] = {}
        for i, parameter in enumerate(local.parameters):
            places.setdefault(parameter.device, []).append(i)
        for device, chosen in places.items():
            here = local if len(places) == 1 else local.chosen(chosen)
            if implementation(group, device) is not Implementation.FUSED:
                self._step_plain(group, here)
                continue
            plan = self._fused.setdefault(number, FusedGroup()).plan(here)
            rest = self._run(number, group, plan)
            if rest:
                self._step_plain(group, here.chosen(rest))
            elif local is columns and len(here.parameters) == len(group["params"]):
                states = [self.state[p] for p in group["params"]]
                self._known.remember(
                    number, KnownGroup(list(group["params"]), states, group["second_moment"].key)
                )
        self._known.note(self.state)

    def _run(self, number: int, group: Group, plan: Plan) -> list[int]:
        return self._fused[number].step(
            plan,
            constants=MomentConstants.of(group, self._direction(group)),
            rate=group["lr"],
            decay=group["weight_decay"],
            rounding=group["rounding"],
            maximize=group["maximize"],
        )

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
            constants=MomentConstants.of(group, self._direction(group)),
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
        self._known = KnownStates()
