"""Steps of single tensors whose weights may be bfloat16 and whose state may be 8 bits: `MemberUpdate` in pieces.

A step reads a piece of a tensor into float32, makes there exactly the update's own step, and writes the piece back: the
weight rounded at random with the right mean, the state as `StateFormat` says. So memory beside the tensor and its
gradient is that of a piece. With float32 weights and state it is the update itself, bit for bit. On CUDA the 8-bit
steps and the rounding run as kernels (`compact_kernel`).

Adafactor's state is two vectors a matrix and stays float32; its means over rows and columns are taken in pieces of
whole rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod

import torch
from torch import Tensor

from widthwise.optim.adafactor_member import AdafactorUpdate
from widthwise.optim.adafactor_pieces import adafactor_pieces
from widthwise.optim.adafactor_single import adafactor_step
from widthwise.optim.block_scaled import BLOCK, FIRST, ROOT, LogCode, blocks_of, in_blocks
from widthwise.optim.implementation import has_triton
from widthwise.optim.member_update import AdamAtan2Update, AdamUpdate, MemberUpdate, SgdUpdate, State
from widthwise.optim.rounding import NEAREST, Rounding, StochasticRounding, random_bits

PIECE = 2**24
"""Elements of a piece: 64 MiB in float32; a multiple of a block's."""


@dataclass(frozen=True)
class Now:
    """One tensor's step: its place among its model's tensors, the count from 1, the rate [1], and Adam's epsilon."""

    index: int
    step: int
    rate_1: Tensor
    epsilon: float


_CODES: dict[str, LogCode] = {"momentum": FIRST, "m": FIRST, "v": ROOT, "u": ROOT}
"""How each state of an update is written in 8 bits; of v, its root."""

STREAMS = 3
"""Streams of random bits a tensor takes: its weights', and two states'."""


class StateFormat(StrEnum):
    """How an optimizer's state is kept; Adafactor's factored state is float32 in both."""

    FLOAT32 = "float32"
    EIGHT_BIT = "8-bit"


@dataclass(frozen=True)
class CompactUpdate:
    """An update, and how its weights and state are kept.

    Args:
        update: SGD, Adam, Adam-atan2 or Adafactor; see `MemberUpdate`.
        state: of SGD, Adam and Adam-atan2.
        rounding: of weights that are bfloat16; its seed is that of the states' random bits too.
        fused: run the kernels; by default on CUDA devices if Triton is there.
        piece: elements in float32 at a time.

    Raises:
        ValueError: a piece is not a multiple of a block, or Adafactor has momentum, whose state is as large as the
            weights in float32, with 8-bit state.

    Example:
        >>> weight = torch.ones(2, 2, dtype=torch.bfloat16)
        >>> compact = CompactUpdate(SgdUpdate(momentum=0.5), StateFormat.EIGHT_BIT, StochasticRounding(0))
        >>> state = compact.initial_state(weight)
        >>> compact.step_(weight, torch.ones(2, 2), state, index=0, step=1, rate=0.25, epsilon=0.0)
        >>> weight, {name: tuple(t.shape) for name, t in state.items()}
        (tensor([[0.7500, 0.7500],
                [0.7500, 0.7500]], dtype=torch.bfloat16), {'momentum.codes': (1, 256), 'momentum.scales': (1,)})
    """

    update: MemberUpdate
    state: StateFormat = StateFormat.FLOAT32
    rounding: Rounding = NEAREST
    fused: bool | None = None
    piece: int = PIECE

    def __post_init__(self) -> None:
        if self.piece < BLOCK or self.piece % BLOCK:
            raise ValueError(f"a piece of {self.piece} elements is not a multiple of a block of {BLOCK}")
        update = self.update
        if (
            isinstance(update, AdafactorUpdate)
            and update.constants.momentum is not None
            and self.state is StateFormat.EIGHT_BIT
        ):
            raise ValueError(
                f"Adafactor with momentum {update.constants.momentum} keeps a float32 number for every weight: "
                "leave momentum at None, or keep its state in float32"
            )

    def initial_state(self, weight: Tensor) -> State:
        """Zeros, by name: the update's own state, or `NAME.codes` [blocks, 256] and `NAME.scales` [blocks] of each."""
        if isinstance(self.update, AdafactorUpdate):
            state = self.update.initial_state(torch.empty(1, *weight.shape, device=weight.device))
            return {name: tensor[0] for name, tensor in state.items()}
        shape, blocks = weight.shape, blocks_of(weight.numel())
        zeros: State = {}
        for name in self.kept:
            if self.state is StateFormat.FLOAT32:
                zeros[name] = torch.zeros(shape, device=weight.device)
            else:
                zeros[f"{name}.codes"] = torch.zeros(blocks, BLOCK, dtype=torch.uint8, device=weight.device)
                zeros[f"{name}.scales"] = torch.zeros(blocks, device=weight.device)
        return zeros

    @property
    def kept(self) -> list[str]:
        """The names of the states that are kept for each element; SGD without momentum needs none."""
        update = self.update
        if isinstance(update, AdafactorUpdate) or (isinstance(update, SgdUpdate) and update.momentum == 0):
            return []
        return list(update.state_shapes((1, 1)))

    @torch.no_grad()
    def step_(
        self,
        weight: Tensor,
        gradient: Tensor,
        state: State,
        *,
        index: int,
        step: int,
        rate: float,
        epsilon: float,
    ) -> None:
        """Move one tensor and its state, in place.

        Args:
            weight: contiguous, float32 or bfloat16.
            gradient: of its shape, contiguous, of any floating dtype.
            state: as `initial_state` made it.
            index: the tensor's place among its model's, for the random bits.
            step: which one this is, from 1.
            rate: of this step.
            epsilon: Adam's.
        """
        update = self.update
        now = Now(index, step, torch.tensor([rate], device=weight.device), epsilon)
        if isinstance(update, AdafactorUpdate):
            self._adafactor(update, weight, gradient, state, now)
            return
        if isinstance(update, AdamUpdate | AdamAtan2Update) and update.parameter_scaling is not None:
            size = root_mean_square(weight, self.piece).clamp_min(update.parameter_scaling.floor)
            update, now = replace(update, parameter_scaling=None), replace(now, rate_1=now.rate_1 * size)
        kernels = self._runs_kernels(weight) and (self.state is StateFormat.EIGHT_BIT or not state)
        (self._kernel_step if kernels else self._elementwise)(update, weight, gradient, state, now)

    def first_moment(self, state: State, part: slice) -> Tensor | None:
        """Some of the averaged gradients, flat, in float32; None where none are kept."""
        names = [name for name in ("m", "momentum") if name in self.kept]
        return self._read(state, names[0], part) if names else None

    def root_mean_square(self, state: State, part: slice) -> Tensor | None:
        """Some of sqrt(v), flat, not corrected for its start at zero; None for SGD and Adafactor."""
        kept = self.kept
        if "u" in kept:
            return self._read(state, "u", part)
        return self._read(state, "v", part).sqrt() if "v" in kept else None

    def _elementwise(
        self, update: MemberUpdate, weight: Tensor, gradient: Tensor, state: State, now: Now
    ) -> None:
        flat, flat_gradient = weight.view(-1), gradient.view(-1)
        step_1 = torch.tensor([float(now.step)], device=weight.device)
        epsilon_1 = torch.tensor([now.epsilon], device=weight.device)
        for part in pieces(len(flat), self.piece):
            theta_1xN, g_1xN = flat[None, part].float(), flat_gradient[None, part].float()
            old = {name: self._read(state, name, part)[None] for name in self.kept}
            if not old:
                old = update.initial_state(theta_1xN)
            moved, new = update.step(theta_1xN, g_1xN, old, step=step_1, rate=now.rate_1, epsilon=epsilon_1)
            self._write(flat, moved[0], part, now)
            for name in self.kept:
                self._keep(state, name, new[name][0], part, now)

    def _read(self, state: State, name: str, part: slice) -> Tensor:
        """A piece of a state, flat."""
        if self.state is StateFormat.FLOAT32:
            return state[name].view(-1)[part]
        blocks = slice(part.start // BLOCK, blocks_of(part.stop))
        value = _CODES[name].decode(state[f"{name}.codes"][blocks], state[f"{name}.scales"][blocks])
        value = value.view(-1)[: part.stop - part.start]
        return value.square() if name == "v" else value

    def _keep(self, state: State, name: str, value: Tensor, part: slice, now: Now) -> None:
        if self.state is StateFormat.FLOAT32:
            state[name].view(-1)[part] = value
            return
        code = _CODES[name]
        bits = random_bits(
            len(value),
            seed=self._seed,
            index=STREAMS * now.index + (1 if code is FIRST else 2),
            step=now.step,
            device=value.device,
            first=part.start,
        )
        blocks = slice(part.start // BLOCK, blocks_of(part.stop))
        codes, scales = code.encode(in_blocks(value.sqrt() if name == "v" else value), in_blocks(bits))
        state[f"{name}.codes"][blocks], state[f"{name}.scales"][blocks] = codes, scales

    def _write(self, flat: Tensor, value: Tensor, part: slice, now: Now) -> None:
        """Round a piece of new weights into their memory."""
        index, step = STREAMS * now.index, now.step
        stochastic = isinstance(self.rounding, StochasticRounding) and flat.dtype == torch.bfloat16
        if stochastic and self._runs_kernels(flat):
            from widthwise.optim.compact_kernel import ROUNDED_AT_ONCE, WARPS, kernels

            kernels().round[(-(-len(value) // ROUNDED_AT_ONCE),)](
                value.contiguous(), flat[part], len(value), part.start, self._seed, index, step,
                BLOCK=ROUNDED_AT_ONCE, num_warps=WARPS,
            )  # fmt: skip
            return
        flat[part] = self.rounding.round(value, flat.dtype, index=index, step=float(step), first=part.start)

    def _kernel_step(
        self, update: MemberUpdate, weight: Tensor, gradient: Tensor, state: State, now: Now
    ) -> None:
        from widthwise.optim.compact_kernel import ROWS, WARPS, kernels, numbers

        rule, values = numbers(update, now.step, now.epsilon)
        numbers_4 = torch.tensor(values, device=weight.device)
        numbers_4[3:] *= now.rate_1
        tensors = list(state.values()) or [weight, weight]  # a kernel without state reads none
        m, second = tensors[:2], tensors[2:] or tensors[:2]
        kernels().step[(-(-blocks_of(weight.numel()) // ROWS),)](
            weight, gradient, *m, *second, weight.numel(), numbers_4, self._seed, STREAMS * now.index, now.step,
            RULE=rule, STATE=bool(state), STOCHASTIC=isinstance(self.rounding, StochasticRounding),
            ROWS=ROWS, num_warps=WARPS,
        )  # fmt: skip

    def _adafactor(
        self, update: AdafactorUpdate, weight: Tensor, gradient: Tensor, state: State, now: Now
    ) -> None:
        constants, rate = update.constants, now.rate_1[0]
        decay = update.weight_decay.fraction(rate)
        flat = weight.view(-1)
        if weight.dim() == 2 and "v_row" in state and constants.momentum is None:
            rows = max(1, self.piece // weight.shape[1])
            how = {"constants": constants, "rate": rate, "step": now.step, "decay": decay, "rows": rows}
            for part, moved in adafactor_pieces(weight, gradient, state, **how):
                self._write(flat, moved, part, now)
            return
        moved, new = adafactor_step(
            weight, gradient, state, constants=constants, rate=rate, step=float(now.step), decay=decay
        )
        self._write(flat, moved.view(-1), slice(0, len(flat)), now)
        for name, value in new.items():
            state[name].copy_(value)

    @property
    def _seed(self) -> int:
        return self.rounding.seed if isinstance(self.rounding, StochasticRounding) else 0

    def _runs_kernels(self, weight: Tensor) -> bool:
        return weight.is_cuda and has_triton() if self.fused is None else self.fused


def root_mean_square(tensor: Tensor, piece: int = PIECE) -> Tensor:
    """The size of a contiguous tensor, a float32 number, in pieces."""
    flat = tensor.view(-1)
    sums = [flat[part].float().square().sum() for part in pieces(len(flat), piece)]
    return (torch.stack(sums).sum() / len(flat)).sqrt()


def pieces(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size`.

    Example:
        >>> list(pieces(5, 2))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def state_bytes(update: MemberUpdate, state: StateFormat, shape: tuple[int, ...]) -> int:
    """The memory that a tensor's state takes.

    Example:
        >>> adam = AdamUpdate(0.9, 0.98)
        >>> state_bytes(adam, StateFormat.FLOAT32, (256, 4)), state_bytes(adam, StateFormat.EIGHT_BIT, (256, 4))
        (8192, 2080)
    """
    kept = CompactUpdate(update, state).kept
    if isinstance(update, AdafactorUpdate):
        return 4 * sum(map(prod, update.state_shapes(shape).values()))
    count = prod(shape)
    each = 4 * count if state is StateFormat.FLOAT32 else (BLOCK + 4) * blocks_of(count)
    return each * len(kept)
