"""Coordinates and epsilon of a population's members against hand-made sums of the same tensors."""

from dataclasses import replace

import pytest
import torch

from populations import ADAM_UPDATE, CPU, LETTERS, SGD_MOMENTUM, make_recipe, numbers, transformer
from widthwise.scaling import Anchor, Gauge
from widthwise.theory import MUP
from widthwise.train import Member, Population, initial_parameters
from widthwise.train.coordinates import coordinates
from widthwise.train.epsilon import epsilon_reports
from widthwise.train.reference import initial_reference

MODEL = transformer(8)
MEMBERS = [
    Member(
        numbers(
            MODEL, learning_rate=rate, parameterization=MUP, anchor=Anchor.ABSOLUTE, gauge=Gauge.EXPLICIT
        ),
        init_seed=3,
        data_seed=0,
    )
    for rate in (0.01, 0.03)
]


def trained(update: object = ADAM_UPDATE) -> tuple[Population, dict[str, torch.Tensor], torch.Tensor]:
    """After one step: the population, that step's gradients, its tokens."""
    population = Population(make_recipe(MODEL, update, steps=4), MEMBERS, CPU)  # pyright: ignore[reportArgumentType]
    tokens = torch.randint(LETTERS // 2, (1, 4, 9), generator=torch.Generator().manual_seed(0))
    _, gradients = population.passes().run(population.leaves(), tokens.expand(2, -1, -1))
    population.optimizer.step_(gradients, factor=1.0)
    return population, gradients, tokens[0]


def size(tensor: torch.Tensor) -> float:
    return float(tensor.double().square().mean().sqrt())


def test_sizes_are_those_of_the_folded_tensors() -> None:
    population, gradients, tokens = trained()
    start = initial_parameters(population.recipe, MEMBERS, CPU)
    reference = initial_reference(population.recipe, MEMBERS, start)
    found = coordinates(population, reference, step=1, probe_BxT=tokens[:, :-1], gradients=gradients)
    assert population.multipliers is not None
    for member, points in enumerate(found):
        for point in points:
            m = float(population.multipliers[point.tensor][member])
            now, before = population.parameters[point.tensor][member], start[point.tensor][member]
            # rows are summed in float32 for matrices
            assert point.weight == pytest.approx(m * size(now), rel=1e-6)
            assert point.change == pytest.approx(m * size(now - before), rel=1e-6)
            assert point.gradient == pytest.approx(size(gradients[point.tensor][member]) / m, rel=1e-6)
            assert (point.output is None) == (not MODEL.tensors()[point.tensor].multiplied)
    logits = MODEL.logits(
        {n: p[:1] for n, p in population.parameters.items()},
        tokens[None, :, :-1],
        multipliers={n: m[:1] for n, m in population.multipliers.items()},
    )
    first = {n: p[:1] for n, p in start.items()}
    before = MODEL.logits(
        first, tokens[None, :, :-1], multipliers={n: m[:1] for n, m in population.multipliers.items()}
    )
    [readout] = [point for point in found[0] if point.tensor == "readout"]
    assert readout.output == pytest.approx(size(logits), rel=1e-5)
    assert readout.output_change == pytest.approx(size(logits - before), rel=1e-4)


def test_an_epsilon_is_counted_against_the_gradients_of_the_first_step() -> None:
    """After one step sqrt(v_hat) is |gradient|, up to float32's rounding."""
    population, gradients, _ = trained()
    reports = epsilon_reports(population, MEMBERS, epsilon=1e-3)
    for member, report in enumerate(reports):
        for row in report.rows:
            entries = gradients[row.name][member].abs().flatten()
            assert row.untouched == int((entries == 0).sum())
            assert row.below == int(((entries < 1e-3) & (entries > 0)).sum())
            assert row.median == pytest.approx(float(entries[entries > 0].double().quantile(0.5)), rel=1e-5)
    own = epsilon_reports(population, MEMBERS)[0]
    assert {row.epsilon for row in own.rows} == {1e-8}


def test_what_has_no_second_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="SgdUpdate keeps no second moment of every coordinate"):
        epsilon_reports(trained(SGD_MOMENTUM)[0], MEMBERS)
    fresh = Population(replace(make_recipe(MODEL, ADAM_UPDATE, steps=4)), MEMBERS, CPU)
    with pytest.raises(ValueError, match="the optimizer has not stepped yet"):
        epsilon_reports(fresh, MEMBERS)
