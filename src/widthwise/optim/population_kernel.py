"""One step of every tensor of a population in one launch of the moment kernels.

Rates, epsilons and counts of steps are [P] tensors of the device, so that no number of the host enters: a captured CUDA
graph follows them. The tables are written again only when a gradient lies elsewhere; a capture's are set aside by the
step before it and written after it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from widthwise.optim.address_table import DTYPES, Columns, address_table
from widthwise.optim.bias_correction import log_beta
from widthwise.optim.device_tables import capturing, on_device
from widthwise.optim.launch import Launch, Tables, run_scales, run_update
from widthwise.optim.member_update import AdamAtan2Update, AdamUpdate, MemberUpdate, SgdUpdate, State
from widthwise.optim.parameter_scaling import ParameterScaling


class _Rule(NamedTuple):
    """An update as the kernels take it; `second` is "" where there is no second moment."""

    name: str
    first: str
    second: str
    weights: tuple[float, float]
    scaling: ParameterScaling | None


def _rule(update: MemberUpdate) -> _Rule | None:
    match update:
        case SgdUpdate():
            return _Rule("sgd", "momentum", "", (update.momentum, 0.0), None)
        case AdamUpdate():
            return _Rule("adam", "m", "v", (1 - update.beta1, 1 - update.beta2), update.parameter_scaling)
        case AdamAtan2Update():
            return _Rule("atan2", "m", "u", (1 - update.beta1, 1 - update.beta2), update.parameter_scaling)
        case _:
            return None


class PopulationKernel:
    """The tables of a population's tensors, and its step.

    Args:
        update: one of `SgdUpdate`, `AdamUpdate`, `AdamAtan2Update`.
        parameters, states: by name, [P, ...], contiguous float32, updated in place.
        rates, epsilons: by name, [P].
        decays: by name, [P], the share of a parameter that a step takes away; None for nothing.
        copies: the parameters in a lower precision, written by each step; by name, or None.
    """

    def __init__(
        self,
        update: MemberUpdate,
        parameters: Mapping[str, Tensor],
        states: Mapping[str, State],
        *,
        rates: Mapping[str, Tensor],
        epsilons: Mapping[str, Tensor],
        decays: Mapping[str, Tensor] | None = None,
        copies: Mapping[str, Tensor] | None = None,
    ) -> None:
        rule = _rule(update)
        assert rule is not None
        self._update, self._rule = update, rule
        self._parameters = list(parameters.values())
        self._states = [states[name] for name in parameters]
        self._copies = None if copies is None else [copies[name] for name in parameters]
        self._rates_TxP = torch.stack([rates[name] for name in parameters])
        self._epsilons_TxP = torch.stack([epsilons[name] for name in parameters])
        self._decays_TxP = None if decays is None else torch.stack([decays[name] for name in parameters])
        first = self._parameters[0]
        self._device, self._members = first.device, first.shape[0]
        self.flags_Tx2xP = torch.zeros(len(self._parameters), 2, self._members, device=self._device)
        numels = [p[0].numel() for p in self._parameters]
        self._tables = Tables.of(numels, range(len(numels)), self._device, members=self._members)
        floor = 0.0 if rule.scaling is None else rule.scaling.floor
        self._constants = on_device(torch.tensor([*rule.weights, *[0.0] * 6, floor]), self._device)
        self._seeds = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._addresses: tuple[int, ...] = ()
        self._launch: Launch | None = None
        self._spare: Launch | None = None
        self._captured: list[tuple[Launch, Tensor]] = []
        self._recorded: list[Launch] = []  # a graph reads and writes its tables for as long as it lives

    @staticmethod
    def covers(update: MemberUpdate, parameters: Mapping[str, Tensor]) -> bool:
        """Whether the kernels have this update, and can walk through these tensors."""
        dense = all(p.is_contiguous() and p.dtype == torch.float32 for p in parameters.values())
        return _rule(update) is not None and dense

    def step_(self, gradients: Sequence[Tensor], steps_P: Tensor, factor: float | Tensor) -> None:
        """Move every tensor.

        Args:
            gradients: in the order of the parameters, [P, ...], all of one dtype.
            steps_P: which step this is of each member, float32, from 1.
            factor: of the schedule; a number, or a tensor of the device, [] or [P].
        """
        launch = self._launch_on([g.contiguous() for g in gradients])
        launch.numbers.copy_(self._numbers(launch, steps_P, factor).flatten(0, 1))
        run_update(
            launch,
            self._constants,
            seeds=self._seeds,
            rule=self._rule.name,
            root=self._rule.second == "u",
            gap=self._members,
        )

    def _numbers(self, launch: Launch, steps_P: Tensor, factor: float | Tensor) -> Tensor:
        """The kernels' `numbers`, [T, P, 4]."""
        rates_TxP = self._rates_TxP * factor
        if self._rule.scaling is not None:
            rates_TxP = rates_TxP * run_scales(launch, self._constants).view_as(rates_TxP)
        own_TxP = torch.zeros_like(rates_TxP)
        update = self._update
        if isinstance(update, AdamUpdate | AdamAtan2Update):
            correction_P = -torch.expm1(steps_P * log_beta(update.beta1))
            root_P = torch.sqrt(-torch.expm1(steps_P * log_beta(update.beta2)))
            if isinstance(update, AdamUpdate):
                own_TxP, rates_TxP = self._epsilons_TxP * root_P, rates_TxP * (root_P / correction_P)
            else:
                own_TxP = (root_P / (update.b * correction_P)).expand_as(rates_TxP)
                rates_TxP = rates_TxP * update.a
        none_TxP = torch.zeros_like(rates_TxP)
        decays_TxP = none_TxP if self._decays_TxP is None else self._decays_TxP * factor
        return torch.stack([own_TxP, rates_TxP, decays_TxP, steps_P.expand_as(rates_TxP)], dim=-1)

    def _launch_on(self, gradients: list[Tensor]) -> Launch:
        addresses = tuple(g.data_ptr() for g in gradients)
        captured = capturing(self._device)
        if self._launch is not None and addresses == self._addresses and not captured:
            return self._launch
        assert all(g.dtype == gradients[0].dtype and g.dtype in DTYPES for g in gradients)
        firsts = [state[self._rule.first] for state in self._states]
        seconds = [state[self._rule.second] for state in self._states] if self._rule.second else firsts
        flags = list(self.flags_Tx2xP.unbind())
        columns = Columns(
            self._parameters, gradients, firsts, seconds, flags, flags, list(range(len(gradients)))
        )
        table = address_table(columns, members=self._members, copies=self._copies)
        rows = torch.tensor(table, dtype=torch.int64)
        if captured:
            if self._spare is None:
                raise ValueError("a capture needs a step before it, on gradients of the same dtype")
            launch, self._spare = self._spare, None
            self._captured.append((launch, rows))
            return launch
        dtypes = {
            "parameter_dtype": torch.float32,
            "gradient_dtype": gradients[0].dtype,
            "copy_dtype": None if self._copies is None else self._copies[0].dtype,
        }
        self._launch = self._tables.launch(rows, **dtypes)
        if self._spare is None:
            self._spare = self._tables.launch(rows, **dtypes)
        self._addresses = addresses
        return self._launch

    def finish_capture(self) -> None:
        """Write the tables of captured steps."""
        for launch, rows in self._captured:
            launch.table.copy_(rows)
            self._recorded.append(launch)
        self._captured.clear()
