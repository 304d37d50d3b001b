"""A batch in pieces is the whole batch, and a recomputed block is the block."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from optim_cases import interpreted_kernels
from populations import (
    ADAM_UPDATE,
    CPU,
    LETTERS,
    SGD_MOMENTUM,
    letter_corpus,
    make_recipe,
    mlp,
    numbers,
    transformer,
)
from widthwise.models import ReferenceModel
from widthwise.optim import AdafactorConstants, AdafactorUpdate, MemberUpdate, PopulationStep
from widthwise.train import (
    WHOLE,
    ActivationPlan,
    Engine,
    Member,
    Outcome,
    Population,
    Precision,
    TrainingStep,
    train_population,
)
from widthwise.train.batches import Batches
from widthwise.train.micro_batch import MicroBatches

CORPUS = letter_corpus()
MODELS: dict[str, ReferenceModel] = {"transformer": transformer(16, depth=2), "mlp": mlp(16, depth=2)}
models = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
FACTORED = AdafactorUpdate(AdafactorConstants(min_dim_size_to_factor=16))


def members(model: ReferenceModel, *, learning_rate: float = 2**-6) -> list[Member]:
    return [Member(numbers(model, learning_rate=learning_rate / (i + 1)), i, i % 2) for i in range(3)]


def population(
    model: ReferenceModel, activations: ActivationPlan = WHOLE, *, precision: Precision = Precision.FLOAT32
) -> Population:
    recipe = make_recipe(model, ADAM_UPDATE, steps=4, batch=4, precision=precision)
    return Population(recipe, members(model), CPU, activations=activations)


def tokens(seed: int) -> Tensor:
    return torch.randint(LETTERS, (3, 4, 9), generator=torch.Generator().manual_seed(seed))


def losses_and_gradients(whole: Population, count: int, seeds: tuple[int, ...]) -> list[list[Tensor]]:
    """Losses, then gradients, of several batches one after the other through the same buffers."""
    leaves = whole.leaves()
    passes = MicroBatches(whole.losses, leaves, count)
    found = []
    for seed in seeds:
        losses_P, gradients = passes.run(leaves, tokens(seed))
        found.append([losses_P, *(g.clone() for g in gradients.values())])
    return found


@models
@pytest.mark.parametrize("count", [2, 4])
def test_pieces_are_the_whole_batch(model: ReferenceModel, count: int) -> None:
    """Two batches, so that what the first leaves in the buffers would show.

    A gradient is a sum over 32 tokens, each a product of a chain of about 20 operations: by norm, an order of summing
    moves it by less than 32 + 20 roundings of 2^-24, times 4 for what cancels, below 2^-16.
    """
    whole = population(model)
    for one, other in zip(
        losses_and_gradients(whole, 1, (1, 2)), losses_and_gradients(whole, count, (1, 2)), strict=True
    ):
        torch.testing.assert_close(other[0], one[0], rtol=2**-20, atol=0)
        for expected, found in zip(one[1:], other[1:], strict=True):
            assert found.dtype == torch.float32
            assert (found - expected).norm() <= 2**-16 * expected.norm()


def test_members_of_a_piece_are_the_members_of_the_batch() -> None:
    """A member's own tokens: to change one member's changes that member's results alone."""
    whole = population(MODELS["transformer"])
    leaves = whole.leaves()
    changed = tokens(1)
    changed[1] = (changed[1] + 1) % LETTERS
    ends = []
    for batch in (tokens(1), changed):
        losses_P, gradients = MicroBatches(whole.losses, leaves, 2).run(leaves, batch)
        ends.append([losses_P, *(g.clone() for g in gradients.values())])
    for before, after in zip(*ends, strict=True):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert not torch.equal(before[1], after[1])


def test_low_gradients_are_summed_in_float32_where_they_lie() -> None:
    """Leaves in bfloat16, as the optimizer's copies are: the buffers hold the float32 sum of what each piece gives."""
    whole = population(MODELS["transformer"], precision=Precision.BFLOAT16)
    low = {name: leaf.detach().bfloat16().requires_grad_() for name, leaf in whole.leaves().items()}
    passes = MicroBatches(whole.losses, low, 2)
    places = []
    for seed in (1, 2):
        _, gradients = passes.run(low, tokens(seed))
        places.append([g.data_ptr() for g in gradients.values()])
        parts = [
            torch.autograd.grad(whole.losses(low, piece).sum() / 2, list(low.values()))
            for piece in (tokens(seed)[:, :2], tokens(seed)[:, 2:])
        ]
        for found, first, second in zip(gradients.values(), *parts, strict=True):
            assert first.dtype == torch.bfloat16
            assert torch.equal(found, first.float() + second.float())
    assert places[0] == places[1]


def run(
    model: ReferenceModel,
    update: MemberUpdate,
    activations: ActivationPlan,
    *,
    precision: Precision = Precision.FLOAT32,
    engine: Engine | None = None,
    learning_rate: float = 2**-6,
) -> tuple[Outcome, ...]:
    recipe = make_recipe(model, update, steps=20, batch=4, precision=precision)
    crowd = members(model, learning_rate=learning_rate)
    return train_population(recipe, crowd, CORPUS, device=CPU, activations=activations, engine=engine)


@models
@pytest.mark.parametrize(
    ("update", "rate"), [(ADAM_UPDATE, 2**-6), (FACTORED, 2**-2)], ids=["adam", "adafactor"]
)
def test_training_in_pieces_is_training(model: ReferenceModel, update: MemberUpdate, rate: float) -> None:
    """Losses of 20 steps and the validation loss to 1e-5: roundings of 1e-7 a step, which grow a few times."""
    plans = (WHOLE, ActivationPlan(micro_batches=4))
    whole, pieces = (run(model, update, plan, learning_rate=rate) for plan in plans)
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(other.curve, one.curve, rtol=1e-5)
        assert other.validation_loss == pytest.approx(one.validation_loss, rel=1e-5)
        assert one.curve[-1][1] < one.curve[0][1] - 0.1


def test_what_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch of 4 .* 3 equal micro-batches; choose one of \[1, 2, 4\]"):
        run(MODELS["mlp"], ADAM_UPDATE, ActivationPlan(micro_batches=3))
    with pytest.raises(ValueError, match="micro_batches is 0; it must be at least 1"):
        ActivationPlan(micro_batches=0)


class _Both:
    """A step's optimizer with copies, as on a device; the kernels run in Triton's interpreter."""

    def __init__(self, model: ReferenceModel, count: int) -> None:
        start = population(model).parameters
        low = [name for name, tensor in model.tensors().items() if tensor.multiplied]
        self.copies = {name: start[name].bfloat16() for name in low}
        self.step = PopulationStep(
            SGD_MOMENTUM,
            start,
            rates={name: torch.full((3,), 0.25) for name in start},
            epsilons={name: torch.zeros(3) for name in start},
            fused=True,
            copies=self.copies,
        )
        self.passes = MicroBatches(self._losses, self._leaves(), count)
        self._whole = population(model, precision=Precision.BFLOAT16)

    def _leaves(self) -> dict[str, Tensor]:
        read = {**self.step.parameters, **self.copies}
        return {name: tensor.detach().requires_grad_() for name, tensor in read.items()}

    def _losses(self, leaves: Mapping[str, Tensor], batch: Tensor) -> Tensor:
        return self._whole.losses(leaves, batch)

    def run(self) -> dict[str, Tensor]:
        for seed in range(2):
            _, gradients = self.passes.run(self._leaves(), tokens(seed))
            self.step.step_(gradients, factor=1.0)
        return self.step.parameters


def test_the_kernels_take_both_kinds_of_gradient() -> None:
    """bfloat16 ones of the copies with one piece, float32 ones with several; the copies follow the weights.

    A gradient in bfloat16 is off by 2^-9 of itself, a product in bfloat16 by as much: by norm a parameter's movement
    may differ by a few times 2^-9 a layer, here below 2^-4; pieces summed instead of averaged would double it.
    """
    model = MODELS["transformer"]
    start = population(model).parameters
    with interpreted_kernels():
        whole, pieces = _Both(model, 1), _Both(model, 2)
        one, other = whole.run(), pieces.run()
    for name, before in start.items():
        moved = one[name] - before
        assert moved.norm() > 0
        assert (other[name] - one[name]).norm() <= 2**-4 * moved.norm(), name
    for name, copy in pieces.copies.items():
        assert torch.equal(copy, other[name].bfloat16())


@models
@pytest.mark.parametrize("precision", Precision)
def test_recomputed_blocks_change_no_bit(model: ReferenceModel, precision: Precision) -> None:
    plans = (WHOLE, ActivationPlan(recompute=True))
    plain, again = (run(model, ADAM_UPDATE, plan, precision=precision) for plan in plans)
    assert plain == again
    pieces = (ActivationPlan(2), ActivationPlan(2, recompute=True))
    plain, again = (run(model, ADAM_UPDATE, plan, precision=precision) for plan in pieces)
    assert plain == again


def saved_bytes(whole: Population) -> int:
    """What the forward pass keeps for the backward pass, each piece of memory once."""
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        whole.losses(whole.leaves(), tokens(1))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_recomputing_keeps_less() -> None:
    """Of two blocks of 19 D or more floats a token each, D a block remain."""
    model = transformer(32, depth=2)
    plain, again = (saved_bytes(population(model, ActivationPlan(recompute=r))) for r in (False, True))
    assert plain - again >= 2 * 18 * 32 * 4 * (3 * 4 * 8)


def test_recomputed_blocks_compile_as_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `Engine(compiled=True)` asks for it; the compiler's own code is left out."""
    original = torch.compile

    def traced(function: Any, **options: Any) -> Any:
        assert options == {"fullgraph": True, "dynamic": False}
        return original(function, backend="aot_eager", **options)

    monkeypatch.setattr(torch, "compile", traced)
    torch._dynamo.reset()
    plan, model = ActivationPlan(2, recompute=True), MODELS["transformer"]
    compiled, plain = (
        run(model, ADAM_UPDATE, plan, engine=Engine(compiled=compiled)) for compiled in (True, False)
    )
    assert compiled == plain


def test_a_step_replaces_no_buffer() -> None:
    """What a recorded step would write into lies at the same places in every step."""
    recipe = make_recipe(MODELS["mlp"], ADAM_UPDATE, steps=3, batch=4)
    crowd = members(MODELS["mlp"])
    whole = Population(recipe, crowd, CPU, activations=ActivationPlan(2))
    batches = Batches(CORPUS, [0, 1], steps=3, batch=4, context=8, device=CPU)
    step = TrainingStep(recipe, whole, batches, torch.tensor([0, 1, 0]))
    seen: list[list[int]] = []

    def noting(gradients: Mapping[str, Tensor], *, factor: Tensor) -> None:
        seen.append([g.data_ptr() for g in gradients.values()])

    whole.optimizer.step_ = noting  # pyright: ignore[reportAttributeAccessIssue]
    step.run()
    step.run()
    assert seen[0] == seen[1]
