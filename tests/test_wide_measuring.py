"""What is measured in layer-major training: the general measurement's alignment, sizes by hand, training left alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from populations import (
    ADAM_UPDATE,
    ATAN2_UPDATE,
    CPU,
    SGD_MOMENTUM,
    letter_corpus,
    make_recipe,
    numbers,
    transformer,
)
from widthwise.measure import Snapshot, measure_alignment
from widthwise.models import Transformer
from widthwise.optim import MemberUpdate
from widthwise.records import Magnitude, SizePoint, Spread
from widthwise.scaling import Anchor, Gauge
from widthwise.theory import ADAM, MEAN_FIELD, AlignmentQuantity
from widthwise.train import AlignmentPlan, LossLimit, Member, Recipe, matrix_layers
from widthwise.train.batches import Batches, validation_windows
from widthwise.wide import COMPACT, EXACT, InitialDraw, LayerMajor, Storage, train_layer_major
from widthwise.wide.measuring import Measuring
from widthwise.wide.spread import count_spread

MODEL = transformer(16, depth=2)
STEPS = 6
PROBE = validation_windows(letter_corpus(), windows=3, context=8, device=CPU)[:, :-1]
PLAN = AlignmentPlan(3, matrix_layers(MODEL), tokens=20)


def case(update: MemberUpdate = ADAM_UPDATE) -> tuple[Recipe, Member]:
    """Mean-field with its multipliers in the forward pass: no width below is a power of 4, so none is a power of 2."""
    run = numbers(
        MODEL,
        learning_rate=0.03,
        parameterization=MEAN_FIELD,
        optimizer=ADAM,
        anchor=Anchor.ABSOLUTE,
        gauge=Gauge.EXPLICIT,
    )
    recipe = replace(make_recipe(MODEL, update, steps=STEPS), alignment=PLAN)
    return recipe, Member(run, init_seed=3, data_seed=5)


def trained(
    storage: Storage,
    update: MemberUpdate = ADAM_UPDATE,
    dtype: torch.dtype = torch.float32,
    steps: int = STEPS,
) -> tuple[LayerMajor, Measuring]:
    recipe, member = case(update)
    training = LayerMajor(recipe, member, CPU, storage, draw=InitialDraw.COUNTER)
    measuring = Measuring(training, PLAN, PROBE, sizes=True, dtype=dtype)
    batches = Batches(letter_corpus(), [5], steps=STEPS, batch=recipe.batch, context=8, device=CPU)
    for step in range(1, steps + 1):
        training.step(batches.at(step)[0], watch=measuring.watch(step))
        measuring.after(step)
    return training, measuring


class InFloat64(nn.Module):
    """The model as anybody's module, its multipliers folded into the weights."""

    def __init__(self, model: Transformer, weights: dict[str, Tensor], member: Member) -> None:
        super().__init__()
        self.model = model
        self.names = list(weights)
        self.tensors = nn.ParameterList(
            nn.Parameter(weight.double() * member.numbers[name].multiplier)
            for name, weight in weights.items()
        )

    def forward(self, tokens: Tensor) -> Tensor:
        parameters = {name: p[None] for name, p in zip(self.names, self.tensors, strict=True)}
        return self.model.logits(parameters, tokens[None], dtype=torch.float64)


@pytest.mark.parametrize("storage", [EXACT, COMPACT], ids=["float32", "few bits"])
def test_alignment_is_the_general_measurements(storage: Storage) -> None:
    """Products seen by PyTorch's dispatcher in a module of float64 weights, against the pass that draws W_0 again."""
    training, measuring = trained(storage, dtype=torch.float64)
    start = {name: training.initial(name) for name in training.weights}
    now = InFloat64(MODEL, training.weights, training.member)
    reference = Snapshot.of(InFloat64(MODEL, start, training.member))
    rows = {row.layer: row for row in measure_alignment(now, PROBE, reference=reference).layers}
    points = {point.layer: point for point in measuring.alignment if point.step == STEPS}
    assert len(points) == len(matrix_layers(MODEL)) == 9
    for place, name in enumerate(training.weights):
        if name not in points:
            continue
        row, point = rows[f"tensors.{place}"], points[name]
        for quantity in AlignmentQuantity:
            assert getattr(point, quantity.value) == pytest.approx(row.log_gain(quantity), rel=1e-9), (
                name,
                quantity,
            )


def test_the_start_is_drawn_again_bit_for_bit() -> None:
    recipe, member = case()
    for storage in (EXACT, COMPACT):
        training = LayerMajor(recipe, member, CPU, storage, draw=InitialDraw.COUNTER)
        for name, weight in training.weights.items():
            assert torch.equal(training.initial(name), weight)


def rms(values: Tensor) -> float:
    return float(np.sqrt(np.mean(values.double().numpy() ** 2)))


def test_sizes_by_hand() -> None:
    """Of the last step: gradients by autograd over the whole model, activations by two plain passes, in float64."""
    before, _ = trained(EXACT, steps=STEPS - 1)
    training, measuring = trained(EXACT)
    recipe, member = case()
    leaves = {name: weight.double()[None].requires_grad_() for name, weight in before.weights.items()}
    m = {name: member.numbers[name].multiplier for name in leaves}
    multipliers = {name: torch.tensor([value], dtype=torch.float64) for name, value in m.items()}
    tokens = Batches(letter_corpus(), [5], steps=STEPS, batch=recipe.batch, context=8, device=CPU).at(STEPS)[
        0
    ]
    logits = MODEL.logits(leaves, tokens[None, :, :-1], multipliers=multipliers, dtype=torch.float64)[0]
    nn.functional.cross_entropy(logits, tokens[:, 1:].flatten()).backward()
    start = {name: training.initial(name).double() for name in leaves}
    now = {name: weight.double() for name, weight in training.weights.items()}
    outputs = [
        MODEL.logits(
            {n: w[None] for n, w in of.items()}, PROBE[None], multipliers=multipliers, dtype=torch.float64
        )
        for of in (start, now)
    ]
    points = {point.tensor: point for point in measuring.sizes if point.step == STEPS}
    assert set(points) == set(leaves)
    for name, point in points.items():
        gradient = leaves[name].grad
        assert gradient is not None
        assert point.gradient == pytest.approx(rms(gradient) / m[name], rel=2e-5), name
        assert point.weight == pytest.approx(m[name] * rms(now[name]), rel=1e-6)
        assert point.change == pytest.approx(m[name] * rms(now[name] - start[name]), rel=1e-6)
        assert (point.input is None) == (name not in matrix_layers(MODEL))
    readout = points["readout"]
    assert readout.output == pytest.approx(rms(outputs[1]), rel=1e-5)
    assert readout.output_change == pytest.approx(rms(outputs[1] - outputs[0]), rel=1e-4)
    assert readout.input == pytest.approx(1, rel=1e-3)  # after a layer norm, its gains still near 1
    first = [point for point in measuring.sizes if point.step == 1]
    assert [p.tensor for p in first] == list(leaves)
    assert all(p.gradient is not None and p == SizePoint(1, p.tensor, p.gradient) for p in first)
    assert {p.step for p in measuring.sizes} == {1, 3, 6}


@pytest.mark.parametrize("update", [ADAM_UPDATE, ATAN2_UPDATE], ids=["adam", "atan2"])
def test_spreads_by_hand(update: MemberUpdate) -> None:
    """sqrt(v_hat) as the state has it, its shares below any size by counting, to what lies in that size's bin."""
    training, measuring = trained(EXACT, update)
    seen = {(s.magnitude, s.tensor): s for s in measuring.spreads if s.step == STEPS}
    names = [n for n in training.weights if not n.startswith("blocks.0.")]
    assert set(seen) == {(magnitude, name) for magnitude in Magnitude for name in names}
    for name in names:
        state, found = training.states[name], seen[Magnitude.SECOND_MOMENT, name]
        root = state["u"] if "u" in state else state["v"].sqrt()
        roots = (root / math.sqrt(1 - 0.98**STEPS)).flatten().double() / training.member.numbers[
            name
        ].multiplier
        assert found.zeros == int((roots == 0).sum())
        touched = roots[roots > 0]
        assert found.total == len(touched)
        for size in touched.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist():
            share = float((touched < size).double().mean())
            bin_share = max(found.counts) / found.total
            assert abs(found.share_below(size) - share) <= bin_share + 1e-12
            assert found.quantile(share) == pytest.approx(
                size, rel=0.3
            )  # a bin is a quarter of an octave wide at most


def test_bins_hold_what_lies_between_their_edges() -> None:
    values = torch.tensor([1.0, 1.2499999, 1.25, 1.999, 2.0, -3.1, 0.0, 1e-30, float("nan"), float("inf")])
    found = count_spread([values], step=1, tensor="w", magnitude=Magnitude.GRADIENT, scale=1.0)
    edges = [Spread.edge(k) for k in range(found.first, found.first + len(found.counts))]
    for edge, after, count in zip(edges, [*edges[1:], math.inf], found.counts, strict=True):
        if edge < 2.0**128:
            assert count == sum(edge <= abs(v) < after for v in values.tolist())
    assert (found.zeros, found.total) == (1, 9)


@pytest.mark.parametrize("update", [ADAM_UPDATE, SGD_MOMENTUM], ids=["adam", "sgd"])
def test_measuring_changes_no_bit(update: MemberUpdate) -> None:
    recipe, member = case(update)
    found: list[list[float]] = []
    for measured in (recipe, replace(recipe, alignment=None)):
        losses: list[float] = []
        outcome = train_layer_major(
            measured,
            member,
            letter_corpus(),
            device=CPU,
            storage=COMPACT,
            sizes=True,
            report=lambda step, loss, losses=losses: losses.append(loss),
        )
        assert outcome.divergence is None
        assert outcome.validation_loss is not None
        found.append([*losses, outcome.validation_loss])
        moments = {s.magnitude for s in outcome.spreads}
        if measured.alignment is not None:
            assert (Magnitude.SECOND_MOMENT in moments) == (update is ADAM_UPDATE)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("rate", "limit", "reason"),
    [(1e30, None, "non-finite"), (30.0, LossLimit(margin=0.0, steps=2), "loss above ln V")],
)
def test_divergence(rate: float, limit: LossLimit | None, reason: str) -> None:
    recipe, member = case(SGD_MOMENTUM)
    wild = {name: replace(n, rate=rate * n.rate) for name, n in member.numbers.items()}
    reported: list[int] = []
    outcome = train_layer_major(
        replace(recipe, loss_limit=limit),
        replace(member, numbers=wild),
        letter_corpus(),
        device=CPU,
        storage=EXACT,
        report=lambda step, loss: reported.append(step),
    )
    assert outcome.validation_loss is None
    assert outcome.divergence is not None
    assert reason in outcome.divergence.reason
    assert reported == list(range(1, len(reported) + 1))
    assert outcome.divergence.step in (len(reported), len(reported) + 1)


def test_changes_since_an_update_are_refused() -> None:
    from widthwise.records import Since

    recipe, member = case()
    training = LayerMajor(recipe, member, CPU, EXACT)
    with pytest.raises(ValueError, match="since the start alone"):
        Measuring(training, replace(PLAN, since=(Since.UPDATE,)), PROBE, sizes=False)
