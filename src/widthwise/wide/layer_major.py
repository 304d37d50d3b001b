"""One model trained layer by layer: every piece of a batch goes through a block before the next block begins.

    forward     each block, each piece:  x_{l+1} = block_l(x_l); only block inputs are kept
    backward    each block, last to first: for each piece compute block_l(x_l) again and its gradients, which are summed
                over the pieces; then step the block's tensors and give their gradients back

So gradients of one block exist at a time, whatever the batch, and the sum over the pieces is the whole batch's
gradient: the step is exact, unlike accumulation around steps taken in the backward pass of each piece. The readout and
its loss, and the embedding, are the two ends, each with its own sums.

The reference is `train.Population` with one member, whose losses this has with `EXACT` storage to float32's rounding.

Shape legend: B sequences of a piece, T positions, N = B * T tokens, D width, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from widthwise.models import LayerFunctions, Transformer, Weights
from widthwise.optim import CompactUpdate, State
from widthwise.train import Member, Recipe
from widthwise.train.population import DTYPES, layer_functions
from widthwise.wide.boundaries import Boundaries
from widthwise.wide.embedding import embed, embedding_gradients
from widthwise.wide.gradients import GradientSums
from widthwise.wide.initial import InitialDraw, initial_weight
from widthwise.wide.storage import COMPACT, Storage

ENDS = ("token_embedding", "position_embedding")
HEAD = ("final_norm", "readout")

See = Callable[[str, Tensor], None]


def _ignore(name: str, value: Tensor) -> None:
    """See nothing."""


@dataclass(frozen=True)
class Watch:
    """What is looked at in a step, without history: called with names and tensors that are gone afterwards.

    Args:
        activation: `embedding`, `blocks.I`: the residual stream of a piece, [1, N, D].
        gradient: each tensor's gradient of the whole batch, before its step.
    """

    activation: See = field(default=_ignore)
    gradient: See = field(default=_ignore)


BLIND = Watch()


class LayerMajor:
    """A Transformer of one member, its optimizer's state, and its steps.

    Args:
        recipe: its schedule, update and precision of products; its batch is what a step takes.
        member: the numbers of every tensor, and the seed of the draw.
        storage: what is kept how.
        draw: of the initial weights; by default `train.initial_parameters`' on a CPU, the device's own elsewhere.
        functions: the layers' implementation; by default the fastest that the device has.

    Raises:
        ValueError: the model is not a Transformer, the batch does not divide, or the member's names are others.

    Example:
        >>> from widthwise.optim import SgdUpdate
        >>> from widthwise.scaling import TensorNumbers
        >>> from widthwise.train import Precision, WarmupCosine
        >>> from widthwise.wide import EXACT
        >>> model = Transformer(width=8, depth=1, head_dim=4, vocabulary=16, context=4)
        >>> recipe = Recipe(model, SgdUpdate(0.0), WarmupCosine(2, 0), 2, Precision.FLOAT32, 1, 1)
        >>> member = Member({name: TensorNumbers(0.1, 1.0, 0.5, 0.0) for name in model.tensors()}, 0, 0)
        >>> training = LayerMajor(recipe, member, torch.device("cpu"), EXACT)
        >>> tokens = torch.arange(10).view(2, 5)
        >>> bool(training.step(tokens) > training.step(tokens))
        True
    """

    def __init__(
        self,
        recipe: Recipe,
        member: Member,
        device: torch.device,
        storage: Storage = COMPACT,
        *,
        draw: InitialDraw | None = None,
        functions: LayerFunctions | None = None,
    ) -> None:
        if not isinstance(recipe.model, Transformer):
            raise ValueError(
                f"layer-major training is for the Transformer, not {type(recipe.model).__name__}"
            )
        storage.sequences(recipe.batch)
        self.recipe, self.model, self.member, self.storage = recipe, recipe.model, member, storage
        self.device = device
        self.steps = 0
        tensors = self.model.tensors()
        if set(member.numbers) != set(tensors):
            raise ValueError(
                f"the member and the model disagree about {sorted(set(tensors) ^ set(member.numbers))}"
            )
        if any(n.decay for n in member.numbers.values()):
            raise ValueError(
                "layer-major training has no weight decay; leave it out, or train a population of one"
            )
        self._functions = layer_functions(recipe, device) if functions is None else functions
        self._places = {name: place for place, name in enumerate(tensors)}
        matrices, gains = storage.updates(recipe.update)
        self.updates: dict[str, CompactUpdate] = {
            n: matrices if t.drawn else gains for n, t in tensors.items()
        }
        self.draw = InitialDraw.for_device(device) if draw is None else draw
        self.weights: dict[str, Tensor] = {}
        self.states: dict[str, State] = {}
        for name in tensors:
            self.weights[name] = self.initial(name)
            self.states[name] = self.updates[name].initial_state(self.weights[name])
        multipliers = {n: torch.tensor([member.numbers[n].multiplier], device=device) for n in tensors}
        self.multipliers = None if all(n.multiplier == 1 for n in member.numbers.values()) else multipliers
        self._boundaries = Boundaries(storage.boundaries, device)

    def initial(self, name: str) -> Tensor:
        """A tensor as it was at step 0, drawn again: the bits that it began with."""
        tensor = self.model.tensors()[name]
        dtype = DTYPES[self.storage.weights] if tensor.drawn else torch.float32
        return initial_weight(self.member, name, tensor, self.draw, dtype=dtype, device=self.device)

    def step(self, tokens_BxT1: Tensor, *, watch: Watch = BLIND) -> Tensor:
        """Train one step on a batch of token ids; its mean loss before the step, a float32 number on the device.

        The pieces are as long as those of the recipe's batch: a larger batch has more of them.
        """
        self.steps += 1
        return self._run(tokens_BxT1, watch, self._move)

    def observe(self, tokens_BxT1: Tensor, watch: Watch) -> Tensor:
        """A batch's loss, activations and gradients; nothing is changed."""
        return self._run(tokens_BxT1, watch, _ignore)

    @torch.no_grad()
    def loss(self, tokens_BxT1: Tensor, *, watch: Watch = BLIND) -> Tensor:
        """The mean next-token cross-entropy of any number of sequences, in pieces; the last may be shorter."""
        w, total = self._read(self._views()), torch.zeros((), dtype=torch.float64, device=self.device)
        for tokens in tokens_BxT1.split(self.storage.sequences(self.recipe.batch)):
            x = self._embed(tokens)
            watch.activation("embedding", x)
            for block in range(self.model.depth):
                x = self._block(w, block, x, tokens)
                watch.activation(f"blocks.{block}", x)
            total += self._head(w, x, tokens).double() * len(tokens)
        return total / len(tokens_BxT1)

    def _run(self, tokens_BxT1: Tensor, watch: Watch, finish: See) -> Tensor:
        pieces = self._pieces(tokens_BxT1)
        with torch.no_grad():
            self._forward(pieces, watch)
        loss = self._backward_head(pieces, watch, finish)
        for block in reversed(range(self.model.depth)):
            self._backward_block(block, pieces, watch, finish)
        self._backward_embedding(pieces, watch, finish)
        return loss

    def _pieces(self, tokens_BxT1: Tensor) -> Sequence[Tensor]:
        size = self.storage.sequences(self.recipe.batch)
        if len(tokens_BxT1) % size:
            raise ValueError(
                f"a batch of {len(tokens_BxT1)} sequences is not a multiple of the {size} of a micro-batch"
            )
        return tokens_BxT1.split(size)

    def _views(self) -> dict[str, Tensor]:
        return {name: weight[None] for name, weight in self.weights.items()}

    def _read(self, parameters: dict[str, Tensor]) -> Weights:
        return Weights(parameters, self.multipliers, DTYPES[self.recipe.precision], self._functions)

    def _embed(self, tokens_BxT1: Tensor) -> Tensor:
        return embed(
            tokens_BxT1[:, :-1],
            [self.weights[name] for name in ENDS],
            [self.member.numbers[name].multiplier for name in ENDS],
            DTYPES[self.recipe.precision],
        )

    def _block(self, w: Weights, block: int, x_1xNxD: Tensor, tokens_BxT1: Tensor) -> Tensor:
        x, y = self.model.block(w, f"blocks.{block}", x_1xNxD, None, len(tokens_BxT1))
        return x + y

    def _head(self, w: Weights, x_1xNxD: Tensor, tokens_BxT1: Tensor) -> Tensor:
        h = w.add_norm(x_1xNxD, None, "final_norm")[1]
        return w.readout_loss(h, "readout", tokens_BxT1[None, :, 1:].flatten(1))[0]

    def _forward(self, pieces: Sequence[Tensor], watch: Watch) -> None:
        w = self._read(self._views())
        for i, tokens in enumerate(pieces):
            x = self._embed(tokens)
            watch.activation("embedding", x)
            self._boundaries.put(0, i, x)
        for block in range(self.model.depth):
            for i, tokens in enumerate(pieces):
                x = self._block(w, block, self._boundaries.get(block, i), tokens)
                watch.activation(f"blocks.{block}", x)
                self._boundaries.put(block + 1, i, x)

    def _sums(self, names: Sequence[str], pieces: Sequence[Tensor]) -> GradientSums:
        weights = {name: self.weights[name] for name in names}
        return GradientSums(weights, pieces=len(pieces), dtype=DTYPES[self.storage.sums])

    def _backward_head(self, pieces: Sequence[Tensor], watch: Watch, finish: See) -> Tensor:
        level = self.model.depth
        sums = self._sums(HEAD, pieces)
        total = torch.zeros((), device=self.device)
        for i, tokens in enumerate(pieces):
            x = self._boundaries.get(level, i).requires_grad_()
            loss = self._head(self._read(sums.leaves()), x, tokens) / len(pieces)
            loss.backward()
            total += loss.detach()
            self._hand_down(level, i, x)
        self._finish(HEAD, sums, watch, finish)
        return total

    def _backward_block(self, block: int, pieces: Sequence[Tensor], watch: Watch, finish: See) -> None:
        names = [name for name in self.weights if name.startswith(f"blocks.{block}.")]
        sums = self._sums(names, pieces)
        for i, tokens in enumerate(pieces):
            x = self._boundaries.get(block, i).requires_grad_()
            out = self._block(self._read(sums.leaves()), block, x, tokens)
            gradient = self._boundaries.get(block + 1, i)
            self._boundaries.drop(block + 1, i)
            out.backward(gradient)
            del out, gradient
            self._hand_down(block, i, x)
        self._finish(names, sums, watch, finish)

    def _hand_down(self, level: int, piece: int, x: Tensor) -> None:
        """The gradient of a block's input takes the input's place, which no one reads again."""
        gradient, x.grad = x.grad, None
        assert gradient is not None
        self._boundaries.put(level, piece, gradient)

    @torch.no_grad()
    def _backward_embedding(self, pieces: Sequence[Tensor], watch: Watch, finish: See) -> None:
        sums = self._sums(ENDS, pieces)
        multipliers = [self.member.numbers[name].multiplier for name in ENDS]
        shapes = [self.weights[name].shape for name in ENDS]
        for i, tokens in enumerate(pieces):
            dx = self._boundaries.get(0, i)
            self._boundaries.drop(0, i)
            for name, gradient in zip(
                ENDS, embedding_gradients(tokens[:, :-1], dx, multipliers, shapes), strict=True
            ):
                sums.add(name, gradient)
        self._finish(ENDS, sums, watch, finish)

    def _finish(self, names: Sequence[str], sums: GradientSums, watch: Watch, finish: See) -> None:
        for name in names:
            gradient = sums.pop(name)
            watch.gradient(name, gradient)
            finish(name, gradient)

    def _move(self, name: str, gradient: Tensor) -> None:
        """One tensor's step."""
        numbers = self.member.numbers[name]
        self.updates[name].step_(
            self.weights[name],
            gradient,
            self.states[name],
            index=self._places[name],
            step=self.steps,
            rate=numbers.rate * self.recipe.schedule.factor(self.steps),
            epsilon=numbers.epsilon,
        )
