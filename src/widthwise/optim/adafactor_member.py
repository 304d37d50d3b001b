"""Adafactor over a member axis: `adafactor_single` with one leading dimension of separate tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from widthwise.optim.adafactor_single import (
    ADAFACTOR_DEFAULTS,
    AdafactorConstants,
    State,
    adafactor_step,
    initial_state,
    state_shapes,
)
from widthwise.optim.weight_decay import NO_DECAY, WeightDecay


@dataclass(frozen=True)
class AdafactorUpdate:
    """Adafactor, with a rate and a count of steps per member.

    Parameters are [P, ...]; what is factored, clipped and measured is each member by itself.

    Args:
        constants: decay rate, clipping, parameter scaling, momentum and what is factored.
        weight_decay: coupled to each member's rate, or independent of it.

    Example:
        >>> import torch
        >>> update, theta = AdafactorUpdate(), torch.tensor([[2.0], [8.0]])
        >>> rate = torch.tensor([0.5, 0.25])
        >>> update.step(theta, torch.ones(2, 1), update.initial_state(theta), step=1, rate=rate, epsilon=rate)[0]
        tensor([[1.],
                [6.]])

    Source: Shazeer and Stern 2018 (arXiv 1804.04235), in the form of optax.adafactor.
    """

    constants: AdafactorConstants = ADAFACTOR_DEFAULTS
    weight_decay: WeightDecay = NO_DECAY

    def initial_state(self, parameter: Tensor) -> State:
        """Zeros: [P, ...] without one of the factored dimensions each, or of the parameter's shape."""
        return initial_state(parameter, constants=self.constants, batch_dims=1)

    def state_shapes(self, shape: tuple[int, ...]) -> Mapping[str, tuple[int, ...]]:
        """Those of `v_row` and `v_col`, or of `v`; and of `exp_avg` with momentum."""
        return state_shapes(shape, constants=self.constants)

    def step(
        self,
        parameter: Tensor,
        gradient: Tensor,
        state: State,
        *,
        step: float | Tensor,
        rate: Tensor,
        epsilon: Tensor,
    ) -> tuple[Tensor, State]:
        """The parameter and state after one step.

        Args:
            parameter: [P, ...].
            gradient: of the parameter's shape.
            state: as `initial_state` or the last step gave it.
            step: which one this is, from 1; a number, or a floating-point tensor [P].
            rate: [P]; relative to the weights' size with parameter scaling.
            epsilon: not used.
        """
        return adafactor_step(
            parameter,
            gradient,
            state,
            constants=self.constants,
            rate=rate,
            step=step,
            decay=self.weight_decay.fraction(rate),
            batch_dims=1,
        )
