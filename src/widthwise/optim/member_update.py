"""Plain optimizer updates that broadcast over a member axis: the reference that every faster form must equal.

An update is a pure function of tensors. Parameters, gradients and state are [P, ...]; rate and epsilon are [P]; the
step is a number, or [P]. Nothing is reduced across members, so no member can touch another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from widthwise.optim.bias_correction import log_beta
from widthwise.optim.parameter_scaling import ParameterScaling
from widthwise.optim.second_moment import ROOT

State = dict[str, Tensor]
Shape = tuple[int, ...]
Step = float | Tensor


class MemberUpdate(Protocol):
    """One optimizer: its constants, the state it keeps per parameter, and its step."""

    def initial_state(self, parameter: Tensor) -> State:
        """The state before the first step, by name, each shaped as the parameter."""
        ...

    def state_shapes(self, shape: Shape) -> Mapping[str, Shape]:
        """The shapes of one member's state, by name, of a tensor with this shape: `initial_state` without tensors."""
        ...

    def step(
        self, parameter: Tensor, gradient: Tensor, state: State, *, step: Step, rate: Tensor, epsilon: Tensor
    ) -> tuple[Tensor, State]:
        """The parameter and state after one step; `step` counts from 1 and may be float32 [P]."""
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

    def state_shapes(self, shape: Shape) -> Mapping[str, Shape]:
        """That of the momentum."""
        return {"momentum": shape}

    def step(
        self, parameter: Tensor, gradient: Tensor, state: State, *, step: Step, rate: Tensor, epsilon: Tensor
    ) -> tuple[Tensor, State]:
        """See the class; epsilon and step are not used."""
        momentum = self.momentum * state["momentum"] + gradient
        return parameter - _over_members(rate, parameter) * momentum, {"momentum": momentum}


@dataclass(frozen=True)
class _Moments:
    """The running averages that Adam and Adam-atan2 share, and the scaling of their rates.

    m <- beta1 m + (1 - beta1) g,    v <- beta2 v + (1 - beta2) g^2, or its root
    """

    beta1: float
    beta2: float

    def _corrections(self, step: Step, like: Tensor) -> tuple[Step, Step]:
        """1 - beta^t for both averages."""
        if not isinstance(step, Tensor):
            return 1 - self.beta1**step, 1 - self.beta2**step
        t = _over_members(step, like)
        return -torch.expm1(t * log_beta(self.beta1)), -torch.expm1(t * log_beta(self.beta2))

    def _first(self, gradient: Tensor, state: State) -> Tensor:
        return self.beta1 * state["m"] + (1 - self.beta1) * gradient


def _rate(rate_P: Tensor, parameter: Tensor, scaling: ParameterScaling | None) -> Tensor:
    """The rate of each member, relative to its own size where that is asked for."""
    rate = _over_members(rate_P, parameter)
    return rate if scaling is None else rate * scaling.scale(parameter, batch_dims=1)


@dataclass(frozen=True)
class AdamUpdate(_Moments):
    """Adam, with an epsilon per member.

        theta <- theta - rate * scale * m_hat / (sqrt(v_hat) + epsilon)

    where scale is 1, or max(floor, RMS(theta)) of the member's tensor.

    Source: Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1; parameter scaling: Everett et al. 2024.
    """

    parameter_scaling: ParameterScaling | None = None

    def initial_state(self, parameter: Tensor) -> State:
        """The first moment m and the second moment v, zero."""
        return {"m": torch.zeros_like(parameter), "v": torch.zeros_like(parameter)}

    def state_shapes(self, shape: Shape) -> Mapping[str, Shape]:
        """Those of m and v."""
        return {"m": shape, "v": shape}

    def step(
        self, parameter: Tensor, gradient: Tensor, state: State, *, step: Step, rate: Tensor, epsilon: Tensor
    ) -> tuple[Tensor, State]:
        """See the class."""
        m = self._first(gradient, state)
        v = self.beta2 * state["v"] + (1 - self.beta2) * gradient * gradient
        first, second = self._corrections(step, parameter)
        direction = (m / first) / ((v / second).sqrt() + _over_members(epsilon, parameter))
        moved = parameter - _rate(rate, parameter, self.parameter_scaling) * direction
        return moved, {"m": m, "v": v}


@dataclass(frozen=True)
class AdamAtan2Update(_Moments):
    """Adam-atan2: Adam without epsilon, invariant to the gradient's scale.

        theta <- theta - rate * scale * a * atan2(m_hat, b * sqrt(v_hat))

    A zero gradient gives a zero step. The second moment is kept as its root u = sqrt(v), which neither under- nor
    overflows where the gradient does not. The arctangent hides infinities, so a caller checks the moments.

    Source: Everett et al. 2024, arXiv 2407.05872, which tabulates (a, b).
    """

    a: float
    b: float
    parameter_scaling: ParameterScaling | None = None

    def initial_state(self, parameter: Tensor) -> State:
        """The first moment m and the root of the second, u, zero."""
        return {"m": torch.zeros_like(parameter), "u": torch.zeros_like(parameter)}

    def state_shapes(self, shape: Shape) -> Mapping[str, Shape]:
        """Those of m and u."""
        return {"m": shape, "u": shape}

    def step(
        self, parameter: Tensor, gradient: Tensor, state: State, *, step: Step, rate: Tensor, epsilon: Tensor
    ) -> tuple[Tensor, State]:
        """See the class; epsilon is not used."""
        m = self._first(gradient, state)
        u = state["u"].clone()
        ROOT.update_(u, gradient, 1 - self.beta2)
        first, second = self._corrections(step, parameter)
        ratio = second**0.5 / (self.b * first)
        direction = self.a * torch.atan(m / u.clamp_min(torch.finfo(u.dtype).tiny) * ratio)
        moved = parameter - _rate(rate, parameter, self.parameter_scaling) * direction
        return moved, {"m": m, "u": u}
