"""What is measured of one model in layer-major training; where W_0 is needed, it is drawn again.

Alignment and the sizes of layers are `train.alignment`'s, of the weights as they are kept, in a float32 pass over one
fixed probe; the two states W_0 and W are made layer by layer, so that beside the training stands one layer of each. The
gradients are those of a step's whole batch. Nothing of a training is changed by it.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from widthwise.measure.alignment_sizes import squares
from widthwise.optim import AdamAtan2Update, AdamUpdate
from widthwise.optim.bias_correction import root_correction
from widthwise.optim.compact_step import PIECE, pieces
from widthwise.records import AlignmentPoint, Magnitude, Since, SizePoint, Spread
from widthwise.train import AlignmentPlan
from widthwise.train.alignment import LayerSums, layer_sums
from widthwise.train.reference import Reference
from widthwise.wide.layer_major import BLIND, LayerMajor, Watch
from widthwise.wide.spread import count_spread, looked_at


class Measuring:
    """Measures a training by a plan: alignment, and if it is asked for sizes and spreads.

    Args:
        training: at step 0.
        plan: which layers, and after which steps; sizes are of all tensors, spreads of the middle block and the ends.
        probe_BxT: token ids.
        sizes: whether sizes and spreads are measured too, gradients at the first step as well.
        dtype: of the passes over the probe.

    Raises:
        ValueError: changes since the update before are asked for, or layers that the model does not have.
    """

    def __init__(
        self,
        training: LayerMajor,
        plan: AlignmentPlan,
        probe_BxT: Tensor,
        *,
        sizes: bool,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        plan.require(training.model)
        if plan.since != (Since.START,):
            raise ValueError(
                "layer-major training measures changes since the start alone; leave out the others"
            )
        self._training, self._plan, self._probe_BxT = training, plan, probe_BxT
        self._sizes, self._dtype = sizes, dtype
        self._steps = plan.measured(training.recipe.schedule.steps)
        self._gradients: dict[str, float] = {}
        middle = f"blocks.{training.model.depth // 2}."
        self._spread = {n for n in training.weights if n.startswith(middle) or not n.startswith("blocks.")}
        self.alignment: list[AlignmentPoint] = []
        self.sizes: list[SizePoint] = []
        self.spreads: list[Spread] = []

    def watch(self, step: int) -> Watch:
        """What is looked at in a step."""
        self._gradients = {}
        return Watch(gradient=self._see) if self._sizes and (step == 1 or step in self._steps) else BLIND

    def _see(self, name: str, gradient: Tensor) -> None:
        m = self._training.member.numbers[name].multiplier
        self._gradients[name] = _root_mean_square(gradient) / m
        if name in self._spread:
            self.spreads.append(self._count(name, gradient.view(-1), Magnitude.GRADIENT))

    def _count(self, name: str, flat: Tensor, magnitude: Magnitude) -> Spread:
        parts = (flat[part] for part in self._parts(name))
        return self._spread_of(name, parts, magnitude)

    def _spread_of(self, name: str, parts: Iterator[Tensor], magnitude: Magnitude) -> Spread:
        return count_spread(
            parts,
            step=self._training.steps,
            tensor=name,
            magnitude=magnitude,
            scale=1 / self._training.member.numbers[name].multiplier,
        )

    def _parts(self, name: str) -> Iterator[slice]:
        table = not self._training.model.tensors()[name].multiplied
        return looked_at(self._training.weights[name].numel(), whole=table)

    def after(self, step: int) -> None:
        """Called after a step."""
        measured = step in self._steps
        sums = self._layer_sums() if measured else None
        if sums is not None:
            self.alignment += self._alignment_points(step, sums)
        if self._sizes and (measured or step == 1):
            self.sizes += [self._size_point(step, name, sums) for name in self._training.weights]
        if self._sizes and measured:
            self.spreads += self._second_moments()

    def _layer_sums(self) -> LayerSums:
        training, device = self._training, self._training.device
        only = torch.zeros(1, dtype=torch.int64, device=device)
        return layer_sums(
            training.model,
            _InFloat32(training.weights),
            Reference(only, only, lambda name: training.initial(name).float()[None]),
            multipliers=training.multipliers,
            probe_BxT=self._probe_BxT,
            layers=self._plan.layers,
            changes=True,
            dtype=self._dtype,
        )

    def _alignment_points(self, step: int, sums: LayerSums) -> Iterator[AlignmentPoint]:
        gains_Lx4 = sums.log_gains(self._plan.layers)[0].tolist()
        for layer, gains in zip(self._plan.layers, gains_Lx4, strict=True):
            yield AlignmentPoint(step, layer, Since.START, *(None if math.isnan(g) else g for g in gains))

    def _size_point(self, step: int, name: str, sums: LayerSums | None) -> SizePoint:
        gradient = self._gradients.get(name)
        if sums is None:
            return SizePoint(step, name, gradient)
        m = self._training.member.numbers[name].multiplier
        if name not in self._plan.layers:
            weight, change = self._weight_and_change(name)
            return SizePoint(step, name, gradient, m * weight, m * change)
        of = sums.sizes(name)
        return SizePoint(
            step,
            name,
            gradient,
            weight=m * _root(of.weight),
            change=m * _root(of.change),
            input=_root(of.input),
            input_change=_root(of.input_change),
            output=m * _root(of.output),
            output_change=m * _root(of.output_change),
        )

    def _weight_and_change(self, name: str) -> tuple[float, float]:
        """Root mean squares of W and W - W_0, piece by piece."""
        now, start = self._training.weights[name].view(-1), self._training.initial(name).view(-1)
        sums = [
            torch.stack([squares(now[part]).total, squares(now[part].float() - start[part].float()).total])
            for part in pieces(len(now), PIECE)
        ]
        weight, change = (torch.stack(sums).sum(0) / len(now)).sqrt().tolist()
        return weight, change

    def _second_moments(self) -> Iterator[Spread]:
        """Of sqrt(v_hat), where the optimizer keeps v for each entry."""
        update = self._training.recipe.update
        if not isinstance(update, AdamUpdate | AdamAtan2Update):
            return
        correction = root_correction(float(self._training.steps), update.beta2)
        for name in self._training.weights:
            if name in self._spread:
                kept, state = self._training.updates[name], self._training.states[name]
                roots = (kept.root_mean_square(state, part) for part in self._parts(name))
                parts = (root / correction for root in roots if root is not None)
                yield self._spread_of(name, parts, Magnitude.SECOND_MOMENT)


class _InFloat32(Mapping[str, Tensor]):
    """name -> [1, ...] in float32, made when it is asked for."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def __getitem__(self, name: str) -> Tensor:
        return self._weights[name].float()[None]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def _root_mean_square(tensor: Tensor) -> float:
    """In pieces: a sum in float64 takes a copy of what it sums."""
    flat = tensor.view(-1)
    parts = [squares(flat[part]).total for part in pieces(len(flat), PIECE)]
    return math.sqrt(float(torch.stack(parts).sum()) / len(flat))


def _root(mean_square_1: Tensor) -> float:
    return math.sqrt(float(mean_square_1[0]))
