"""Plain optimizer updates that broadcast over a member axis: the reference that every faster form must equal.

An update is a pure function of tensors. Parameters, gradients and state are [P, ...]; rate and epsilon are [P]; the
step is a number. Nothing is reduced, so no member can touch another.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

State = dict[str, Tensor]


class MemberUpdate(Protocol):
    """One optimizer: its constants, the state it keeps per parameter, and its step."""

    def initial_state(self, parameter: Tensor) -> State:
        """The state before the first step, by name, each shaped as the parameter."""
        ...

    def step(
        self, parameter: Tensor, gradient: Tensor, state: State, *, step: int, rate: Tensor, epsilon: Tensor
    ) -> tuple[Tensor, State]:
        """The parameter and state after one step; `step` counts from 1."""
        ...


def _over_members(value_P: Tensor, like: Tensor) -> Tensor:
    return value_P.view(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class SgdUpdate:
    """Stochastic gradient descent with momentum.

        m <- momentum * m + g,    theta <- theta - rate * m

    Source: Sutskever et al. 2013, in PyTorch's form (no dampening, no Nesterov).
    """

    momentum: float

    def initial_state(self, parameter: Tensor) -> State:
        """The momentum buffer m, zero."""
        return {"momentum": torch.zeros_like(parameter)}

    def step(
        self, parameter: Tensor, gradient: Tensor, state: State, *, step: int, rate: Tensor, epsilon: Tensor
    ) -> tuple[Tensor, State]:
        """See the class; epsilon and step are not used."""
        momentum = self.momentum * state["momentum"] + gradient
        return parameter - _over_members(rate, parameter) * momentum, {"momentum": momentum}


@dataclass(frozen=True)
class _Moments:
    """The running averages that Adam and Adam-atan2 share.

    m <- beta1 m + (1 - beta1) g,    v <- beta2 v + (1 - beta2) g^2
    """

    beta1: float
    beta2: float

    def initial_state(self, parameter: Tensor) -> State:
        """The first moment m and the second moment v, zero."""
        return {"m": torch.zeros_like(parameter), "v": torch.zeros_like(parameter)}

    def _moments(self, gradient: Tensor, state: State, step: int) -> tuple[State, Tensor, Tensor]:
        """The new state, and the bias-corrected m and v."""
        m = self.beta1 * state["m"] + (1 - self.beta1) * gradient
        v = self.beta2 * state["v"] + (1 - self.beta2) * gradient * gradient
        return {"m": m, "v": v}, m / (1 - self.beta1**step), v / (1 - self.beta2**step)


@dataclass(frozen=True)
class AdamUpdate(_Moments):
    """Adam, with an epsilon per member.

        theta <- theta - rate * m_hat / (sqrt(v_hat) + epsilon)

    Source: Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1.
    """

    def step(
        self, parameter: Tensor, gradient: Tensor, state: State, *, step: int, rate: Tensor, epsilon: Tensor
    ) -> tuple[Tensor, State]:
        """See the class."""
        state, m_hat, v_hat = self._moments(gradient, state, step)
        direction = m_hat / (v_hat.sqrt() + _over_members(epsilon, parameter))
        return parameter - _over_members(rate, parameter) * direction, state


@dataclass(frozen=True)
class AdamAtan2Update(_Moments):
    """Adam-atan2: Adam without epsilon, invariant to the gradient's scale.

        theta <- theta - rate * a * atan2(m_hat, b * sqrt(v_hat))

    A zero gradient gives a zero step. The arctangent hides infinities, so a caller checks the moments.

    Source: Everett et al. 2024, arXiv 2407.05872, which tabulates (a, b).
    """

    a: float
    b: float

    def step(
        self, parameter: Tensor, gradient: Tensor, state: State, *, step: int, rate: Tensor, epsilon: Tensor
    ) -> tuple[Tensor, State]:
        """See the class; epsilon is not used."""
        state, m_hat, v_hat = self._moments(gradient, state, step)
        direction = self.a * torch.atan2(m_hat, self.b * v_hat.sqrt())
        return parameter - _over_members(rate, parameter) * direction, state
