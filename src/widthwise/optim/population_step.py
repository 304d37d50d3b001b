"""One optimizer's steps on all tensors of a population: the kernels where they run, the plain update elsewhere."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from widthwise.optim.adafactor_member import AdafactorUpdate
from widthwise.optim.adafactor_population import AdafactorPopulation
from widthwise.optim.implementation import has_triton, interpreted
from widthwise.optim.member_update import MemberUpdate, State
from widthwise.optim.population_kernel import PopulationKernel


def finite_members(tensors: Sequence[Tensor]) -> Tensor:
    """[P]: whether every tensor [P, ...] of a member is finite; both extremes carry NaN, and one of them infinity.

    Example:
        >>> finite_members([torch.tensor([[1.0, 2.0], [0.0, float("inf")]])])
        tensor([ True, False])
    """
    flat = [t.flatten(1) for t in tensors]
    return torch.stack([extreme for t in flat for extreme in (t.amax(1), t.amin(1))]).isfinite().all(0)


def _has_kernels(update: MemberUpdate, parameters: Mapping[str, Tensor]) -> bool:
    if isinstance(update, AdafactorUpdate):
        return AdafactorPopulation.covers(update, parameters)
    return PopulationKernel.covers(update, parameters)


class PopulationStep:
    """The optimizer of P members: their parameters and its state, each member with its own numbers.

    Args:
        update: what a step does; see `MemberUpdate`.
        parameters: by name, [P, ...], at least one; the kernels update them in place.
        rates, epsilons: by name, [P] on the parameters' device.
        decays: by name, [P]: the share of a parameter that a step takes away, whatever its rate; None for nothing.
        fused: run the Triton kernels; by default on CUDA devices if Triton is there and has the update.
        copies: some of the parameters in a lower precision, by name, which each step of the kernels writes too; the
            gradients of these are of the copies' dtype.

    Raises:
        ValueError: the kernels are asked for where they do not run, copies without them, or decays with Adafactor.

    Example:
        >>> from widthwise.optim.member_update import SgdUpdate
        >>> start = {"weight": torch.ones(2, 1)}
        >>> rates, zeros = {"weight": torch.tensor([0.1, 0.2])}, {"weight": torch.zeros(2)}
        >>> step = PopulationStep(SgdUpdate(momentum=0.0), start, rates=rates, epsilons=zeros)
        >>> step.step_({"weight": torch.ones(2, 1)}, factor=1.0)
        >>> step.parameters["weight"]
        tensor([[0.9000],
                [0.8000]])
    """

    def __init__(
        self,
        update: MemberUpdate,
        parameters: Mapping[str, Tensor],
        *,
        rates: Mapping[str, Tensor],
        epsilons: Mapping[str, Tensor],
        decays: Mapping[str, Tensor] | None = None,
        fused: bool | None = None,
        copies: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.update = update
        self.parameters: dict[str, Tensor] = dict(parameters)
        self.state: dict[str, State] = {name: update.initial_state(p) for name, p in parameters.items()}
        if decays is not None and isinstance(update, AdafactorUpdate):
            raise ValueError(
                "a member's own weight decay is not Adafactor's: give all the same in AdafactorUpdate(weight_decay=...)"
            )
        self._rates, self._epsilons, self._decays = rates, epsilons, decays
        first = next(iter(parameters.values()))
        self.steps_P = torch.zeros(first.shape[0], device=first.device)
        self._noted_2xP = torch.zeros(2, *self.steps_P.shape, device=first.device)
        self._kernels: list[tuple[list[str], PopulationKernel | AdafactorPopulation]] = []
        covered = _has_kernels(update, parameters)
        if fused and not (covered and (first.device.type == "cuda" or interpreted())):
            raise ValueError(
                f"fused=True for {type(update).__name__} on {first.device}: the kernels need CUDA, contiguous float32 "
                "tensors and an update that they have; leave fused at None"
            )
        if fused or (fused is None and self.covers(update, parameters)):
            copied = set(copies or ())
            if copied and isinstance(update, AdafactorUpdate):
                raise ValueError(
                    "Adafactor's kernels write no copies: cast the parameters where they are used"
                )
            for names in ([n for n in parameters if n in copied], [n for n in parameters if n not in copied]):
                if names:
                    self._kernels.append((names, self._kernel(names, copies if names[0] in copied else None)))
        elif copies is not None:
            raise ValueError(
                "copies are written by the fused kernels only: cast the parameters where they are used"
            )

    @staticmethod
    def covers(update: MemberUpdate, parameters: Mapping[str, Tensor]) -> bool:
        """Whether the kernels are what is run unless asked otherwise."""
        cuda = all(p.device.type == "cuda" for p in parameters.values())
        return cuda and PopulationStep.has_kernels(update, parameters)

    @staticmethod
    def has_kernels(update: MemberUpdate, parameters: Mapping[str, Tensor]) -> bool:
        """Whether there are kernels for tensors of these shapes, on whatever device they are."""
        return _has_kernels(update, parameters) and has_triton()

    @staticmethod
    def copies_allowed(update: MemberUpdate, parameters: Mapping[str, Tensor]) -> bool:
        """Whether a step can write copies of lower precision."""
        return PopulationStep.covers(update, parameters) and PopulationStep.writes_copies(update)

    @staticmethod
    def writes_copies(update: MemberUpdate) -> bool:
        """Whether an update's kernels write copies."""
        return not isinstance(update, AdafactorUpdate)

    def _kernel(
        self, names: list[str], copies: Mapping[str, Tensor] | None
    ) -> PopulationKernel | AdafactorPopulation:
        parameters = {name: self.parameters[name] for name in names}
        states = {name: self.state[name] for name in names}
        if isinstance(self.update, AdafactorUpdate):
            return AdafactorPopulation(self.update, parameters, states, rates=self._rates)
        return PopulationKernel(
            self.update,
            parameters,
            states,
            rates=self._rates,
            epsilons=self._epsilons,
            decays=self._decays,
            copies=copies,
        )

    @property
    def fused(self) -> bool:
        """Whether the kernels step in place, as a captured step needs."""
        return bool(self._kernels)

    def tensors(self) -> list[Tensor]:
        """Everything that a step changes, in a fixed order: what a snapshot has to hold."""
        state = [tensor for state in self.state.values() for tensor in state.values()]
        notes = [kernel.flags_Tx2xP for _, kernel in self._kernels] or [self._noted_2xP]
        return [*self.parameters.values(), *state, *notes, self.steps_P]

    def snapshot(self) -> dict[str, Tensor]:
        """What training goes on from, by name, each [P, ...]: the same names with kernels and without.

        Copies of lower precision are not part of it: they follow from the parameters.
        """
        states = {f"state/{n}/{key}": t for n, state in self.state.items() for key, t in state.items()}
        return {
            **{f"parameter/{name}": parameter for name, parameter in self.parameters.items()},
            **states,
            "non_finite_steps": torch.stack(self.non_finite_steps(), dim=1),
            "steps": self.steps_P,
        }

    @torch.no_grad()
    def restore_(self, values: Mapping[str, Tensor]) -> None:
        """Take on what `snapshot` gave, of as many members, in place."""
        for name, tensor in self.snapshot().items():
            if name != "non_finite_steps":
                tensor.copy_(values[name])
        noted_2xP = values["non_finite_steps"].T
        self._noted_2xP.copy_(noted_2xP)
        for _, kernel in self._kernels:  # the earliest of all tensors counts: each may carry it
            kernel.flags_Tx2xP.copy_(noted_2xP.expand_as(kernel.flags_Tx2xP))

    def finish_capture(self) -> None:
        """Write the tables of a step that was captured: where its gradients lie is known only then."""
        for _, kernel in self._kernels:
            kernel.finish_capture()

    @torch.no_grad()
    def step_(self, gradients: Mapping[str, Tensor], *, factor: float | Tensor) -> None:
        """Move every parameter by its gradient, and towards zero by its decay.

            theta <- update(theta) - factor * decay * theta

        Args:
            gradients: by name, [P, ...].
            factor: of the schedule, on every rate and decay: a number, or a tensor of the device, [] or [P].
        """
        self.steps_P += 1
        for names, kernel in self._kernels:
            kernel.step_([gradients[name] for name in names], self.steps_P, factor)
        if self._kernels:
            return
        for name, gradient in gradients.items():
            before = self.parameters[name]
            self.parameters[name], self.state[name] = self.update.step(
                before,
                gradient,
                self.state[name],
                step=self.steps_P,
                rate=self._rates[name] * factor,
                epsilon=self._epsilons[name],
            )
            if self._decays is not None:
                share_P = (self._decays[name] * factor).view(-1, *[1] * (before.dim() - 1))
                self.parameters[name] = self.parameters[name] - share_P * before
        for noted_P, tensors in zip(self._noted_2xP, self._moments(), strict=True):
            if not tensors:
                continue
            new_P = (noted_P == 0) & ~finite_members(tensors)
            noted_P.copy_(torch.where(new_P, self.steps_P, noted_P))

    def _moments(self) -> tuple[list[Tensor], list[Tensor]]:
        """The running averages of gradients, and everything else in the state (or those again, for SGD)."""
        ordered = [list(state.values()) for state in self.state.values()]
        if isinstance(self.update, AdafactorUpdate):  # its state holds squares, and averages of updates
            return [], [tensor for tensors in ordered for tensor in tensors]
        return [first for first, *_ in ordered], [t for tensors in ordered for t in tensors[1:] or tensors]

    def non_finite_steps(self) -> tuple[Tensor, Tensor]:
        """When each member's state stopped being finite: its first moment, and the rest of it.

        A first moment averages gradients. It keeps what is infinite or NaN for good, and does not overflow by itself.
        Adafactor has none: all that is not finite counts as the rest.

        Returns:
            Two float32 [P]: the first step after which it was not finite; 0 where it is.
        """
        if not self._kernels:
            first_P, second_P = self._noted_2xP
            return first_P, second_P
        flags_Tx2xP = torch.cat([kernel.flags_Tx2xP for _, kernel in self._kernels])
        earliest_2xP = torch.where(flags_Tx2xP == 0, torch.inf, flags_Tx2xP).amin(0)
        first_P, second_P = torch.where(earliest_2xP == torch.inf, 0.0, earliest_2xP)
        return first_P, second_P
