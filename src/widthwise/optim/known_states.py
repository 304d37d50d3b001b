"""Finding the tables of an earlier fused step again without looking up every tensor's state.

With thousands of tensors a step's time on the host goes into Python's loops. What can have changed since the last step
is checked here by loops that run in C: which states there are (by identity), and where every tensor lies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, is_, itemgetter
from typing import Any

from torch import Tensor

from widthwise.optim.address_table import key_of

_GRADIENT = attrgetter("grad")

State = Mapping[str, Any]


def _identical(left: Sequence[object], right: Sequence[object]) -> bool:
    return len(left) == len(right) and all(map(is_, left, right))


@dataclass(frozen=True)
class KnownGroup:
    """The parameters of one group and their states, as they were; `key` names the second moment."""

    parameters: list[Tensor]
    states: list[State]
    key: str

    def is_of(self, parameters: Sequence[Tensor]) -> bool:
        """Whether these are still the group's parameters."""
        return _identical(parameters, self.parameters)

    def tables(self) -> tuple[object, ...] | None:
        """The key of the tables for where everything lies now; None if a gradient is absent or not dense."""
        read = itemgetter("exp_avg", self.key, "non_finite_step", "step")
        try:
            return key_of(self.parameters, list(map(_GRADIENT, self.parameters)), map(read, self.states))
        except (KeyError, RuntimeError, TypeError):
            return None


@dataclass
class KnownStates:
    """All states of an optimizer as they were after a step, and the groups that can be stepped again as they are."""

    groups: dict[int, KnownGroup] = field(default_factory=dict)
    _parameters: list[Tensor] = field(default_factory=list)
    _states: list[State] = field(default_factory=list)

    def note(self, state: Mapping[Tensor, State]) -> None:
        """Keep which states there are."""
        self._parameters, self._states = list(state), list(state.values())

    def remember(self, number: int, group: KnownGroup) -> None:
        """Keep a group that was stepped whole."""
        self.groups[number] = group

    def holds(self, state: Mapping[Tensor, State]) -> bool:
        """Whether every parameter still has the very state that it had."""
        return (
            len(state) == len(self._states)
            and all(map(is_, state, self._parameters))
            and all(map(is_, state.values(), self._states))
        )
