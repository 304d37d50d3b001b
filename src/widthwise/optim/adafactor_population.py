"""Adafactor's kernels for a population's tensors, with the interface of `PopulationKernel`.

The kernels count steps and read rates tensor by tensor, [P] each, so both are kept here beside the population's own.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from widthwise.optim.adafactor_fused import FusedAdafactor
from widthwise.optim.adafactor_member import AdafactorUpdate
from widthwise.optim.adafactor_tables import Tensors, is_fusible
from widthwise.optim.member_update import State


class AdafactorPopulation:
    """The step of every tensor of a population.

    Args:
        update: the constants.
        parameters, states: by name, [P, ...], updated in place.
        rates: by name, [P].
    """

    def __init__(
        self,
        update: AdafactorUpdate,
        parameters: Mapping[str, Tensor],
        states: Mapping[str, State],
        *,
        rates: Mapping[str, Tensor],
    ) -> None:
        self._update = update
        self._parameters = list(parameters.values())
        first = self._parameters[0]
        self._rates_TxP = torch.stack([rates[name] for name in parameters])
        self._now_TxP = torch.zeros_like(self._rates_TxP)
        self._steps_TxP = torch.zeros_like(self._rates_TxP)
        self.flags_Tx2xP = torch.zeros(len(parameters), 2, first.shape[0], device=first.device)
        self._states = [
            {**states[name], "step": self._steps_TxP[i], "non_finite_step": self.flags_Tx2xP[i, 1]}
            for i, name in enumerate(parameters)
        ]
        self._fused = FusedAdafactor()

    @staticmethod
    def covers(update: AdafactorUpdate, parameters: Mapping[str, Tensor]) -> bool:
        """Whether the kernels can work on all of these tensors."""
        return all(
            p.dtype == torch.float32
            and is_fusible(p, p, update.initial_state(p), constants=update.constants, batch_dims=1)
            for p in parameters.values()
        )

    def step_(self, gradients: Sequence[Tensor], steps_P: Tensor, factor: float | Tensor) -> None:
        """Move every tensor; arguments as `PopulationKernel.step_`."""
        self._now_TxP.copy_(self._rates_TxP * factor)
        self._steps_TxP.copy_((steps_P - 1).expand_as(self._steps_TxP))
        tensors = Tensors(
            self._parameters,
            [gradient.contiguous() for gradient in gradients],
            self._states,
            list(range(len(gradients))),
        )
        left = self._fused.step(
            tensors,
            constants=self._update.constants,
            rate=list(self._now_TxP.unbind()),
            decay=self._update.weight_decay,
            batch_dims=1,
        )
        assert not left

    def finish_capture(self) -> None:
        """Nothing is left to do: a capture writes its tables itself."""
