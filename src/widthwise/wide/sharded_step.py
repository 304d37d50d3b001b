"""An optimizer's step on tensors of which every process has a part.

    elementwise     each process steps its parts, by `optim.PopulationStep`; a rate that follows a tensor's size has it
                    from all parts, squares summed before the root
    Adafactor       its means run over whole tensors: one tensor at a time is whole, and stepped alike everywhere

Shape legend: P members, T tensors.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from widthwise.optim import (
    AdafactorUpdate,
    AdamAtan2Update,
    AdamUpdate,
    MemberUpdate,
    ParameterScaling,
    PopulationStep,
    State,
)
from widthwise.optim.population_step import finite_members
from widthwise.wide.shards import Shards

PerMember = Mapping[str, Tensor]


class ElementwiseStep:
    """The optimizer of P members, each process on its parts, in place.

    Args:
        parts: by name, this process's.
        rates, epsilons, decays: as `PopulationStep` takes them.
    """

    fused = False

    def __init__(
        self,
        update: MemberUpdate,
        parts: Mapping[str, Tensor],
        shards: Shards,
        *,
        rates: PerMember,
        epsilons: PerMember,
        decays: PerMember | None,
    ) -> None:
        self._parts, self._shards = dict(parts), shards
        self._scaling, alone = _without_scaling(update)
        self._base = dict(rates)
        self._rates = {name: rate_P.clone() for name, rate_P in rates.items()}
        self._inner = PopulationStep(
            alone,
            parts,
            rates=self._rates,
            epsilons=epsilons,
            decays=decays,
            fused=None if self._scaling is None else False,  # the kernels take rates that stay
        )

    @property
    def state(self) -> dict[str, State]:
        """The optimizer's state by tensor, this process's parts."""
        return self._inner.state

    @torch.no_grad()
    def step_(self, gradients: Mapping[str, Tensor], *, factor: float | Tensor) -> None:
        """See `PopulationStep`; gradients of this process's parts."""
        if self._scaling is not None:
            for name, size_P in root_mean_squares(self._parts, self._shards).items():
                self._rates[name].copy_(self._base[name] * size_P.float().clamp_min(self._scaling.floor))
        self._inner.step_(gradients, factor=factor)
        for name, part in self._parts.items():
            if (moved := self._inner.parameters[name]) is not part:
                part.copy_(moved)
                self._inner.parameters[name] = part

    def non_finite_steps(self) -> tuple[Tensor, Tensor]:
        """See `PopulationStep`: of all parts."""
        first_P, second_P = self._shards.earliest(torch.stack(self._inner.non_finite_steps()))
        return first_P, second_P

    def snapshot(self) -> dict[str, Tensor]:
        """See `PopulationStep`: parameters and state are this process's parts, the rest is everyone's."""
        noted = torch.stack(self.non_finite_steps(), dim=1)
        return {**self._inner.snapshot(), "non_finite_steps": noted}

    def restore_(self, values: Mapping[str, Tensor]) -> None:
        """See `PopulationStep`."""
        self._inner.restore_(values)

    def tensors(self) -> list[Tensor]:
        """See `PopulationStep`."""
        return self._inner.tensors()

    def finish_capture(self) -> None:
        """No step is recorded: what processes send each other is not."""


class WholeTensorStep:
    """Adafactor's: every process has the whole state, and the same."""

    fused = False

    def __init__(
        self, update: AdafactorUpdate, parts: Mapping[str, Tensor], shards: Shards, *, rates: PerMember
    ) -> None:
        self._update, self._parts, self._shards, self._rates = update, dict(parts), shards, rates
        self.state = {name: update.initial_state(shards.whole(name, p)) for name, p in parts.items()}
        first = next(iter(parts.values()))
        self._steps_P = torch.zeros(first.shape[0], device=first.device)
        self._noted_P = torch.zeros_like(self._steps_P)

    @torch.no_grad()
    def step_(self, gradients: Mapping[str, Tensor], *, factor: float | Tensor) -> None:
        """See `PopulationStep`; gradients of this process's parts."""
        self._steps_P += 1
        for name, part in self._parts.items():
            moved, self.state[name] = self._update.step(
                self._shards.whole(name, part),
                self._shards.whole(name, gradients[name]),
                self.state[name],
                step=self._steps_P,
                rate=self._rates[name] * factor,
                epsilon=torch.zeros_like(self._steps_P),
            )
            part.copy_(self._shards.part(name, moved))
        held = [tensor for state in self.state.values() for tensor in state.values()]
        new_P = (self._noted_P == 0) & ~finite_members(held)
        self._noted_P.copy_(torch.where(new_P, self._steps_P, self._noted_P))

    def non_finite_steps(self) -> tuple[Tensor, Tensor]:
        """See `PopulationStep`."""
        return torch.zeros_like(self._noted_P), self._noted_P

    def snapshot(self) -> dict[str, Tensor]:
        """See `PopulationStep`: parameters are this process's parts, the rest is everyone's."""
        states = {f"state/{n}/{key}": t for n, state in self.state.items() for key, t in state.items()}
        return {
            **{f"parameter/{name}": part for name, part in self._parts.items()},
            **states,
            "non_finite_steps": torch.stack(self.non_finite_steps(), dim=1),
            "steps": self._steps_P,
        }

    @torch.no_grad()
    def restore_(self, values: Mapping[str, Tensor]) -> None:
        """See `PopulationStep`."""
        for name, tensor in self.snapshot().items():
            if name != "non_finite_steps":
                tensor.copy_(values[name])
        self._noted_P.copy_(values["non_finite_steps"][:, 1])

    def tensors(self) -> list[Tensor]:
        """See `PopulationStep`."""
        held = [tensor for state in self.state.values() for tensor in state.values()]
        return [*self._parts.values(), *held, self._noted_P, self._steps_P]

    def finish_capture(self) -> None:
        """No step is recorded."""


ShardedStep = ElementwiseStep | WholeTensorStep


def sharded_step(
    update: MemberUpdate,
    parts: Mapping[str, Tensor],
    shards: Shards,
    *,
    rates: PerMember,
    epsilons: PerMember,
    decays: PerMember | None,
) -> ShardedStep:
    """The step of an optimizer.

    Raises:
        ValueError: decays of members' own with Adafactor, which has none.
    """
    if not isinstance(update, AdafactorUpdate):
        return ElementwiseStep(update, parts, shards, rates=rates, epsilons=epsilons, decays=decays)
    if decays is not None:
        raise ValueError(
            "a member's own weight decay is not Adafactor's: give all the same in AdafactorUpdate(weight_decay=...)"
        )
    return WholeTensorStep(update, parts, shards, rates=rates)


def root_mean_squares(parts: Mapping[str, Tensor], shards: Shards) -> dict[str, Tensor]:
    """The root mean square of every member's tensors, [P] float64: squares are summed over all parts first."""
    squares_TxP = torch.stack([part.double().square().flatten(1).sum(1) for part in parts.values()])
    totals_TxP = shards.summed(squares_TxP)
    counts = [part[0].numel() * shards.processes for part in parts.values()]
    return {name: (t / n).sqrt() for name, t, n in zip(parts, totals_TxP, counts, strict=True)}


def _without_scaling(update: MemberUpdate) -> tuple[ParameterScaling | None, MemberUpdate]:
    """What makes a rate follow the size of a tensor, and the update without it."""
    if isinstance(update, AdamUpdate | AdamAtan2Update):
        return update.parameter_scaling, replace(update, parameter_scaling=None)
    return None, update
