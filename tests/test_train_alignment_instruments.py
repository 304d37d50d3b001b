"""Two instruments, one number: a population's alignment is what `measure_alignment` finds in each member alone.

They share the formulas of `alignment_sizes` and nothing else: a population's recorder has hooks in the reference
models' own layers and runs members and references side by side; the other one watches PyTorch's operations.
"""

import math

import pytest
import torch
from torch import Tensor, nn

from populations import ADAM_UPDATE, CPU, letter_corpus, make_recipe, mlp, numbers, transformer
from widthwise.measure import Snapshot, measure_alignment
from widthwise.models import ReferenceModel
from widthwise.scaling import Gauge
from widthwise.theory import MUP, AlignmentQuantity
from widthwise.train import Member, initial_parameters, matrix_layers
from widthwise.train.alignment import log_gains
from widthwise.train.batches import validation_windows
from widthwise.train.reference import initial_reference

PROBE = validation_windows(letter_corpus(), windows=3, context=8, device=CPU)[:, :-1]
TOLERANCE = 1e-5
"""Of a log gain: float32 activations of three blocks, computed by other operations in another order."""


class Alone(nn.Module):
    """One member as an ordinary module: its tensors as parameters, its multipliers as they are."""

    def __init__(
        self, model: ReferenceModel, tensors: dict[str, Tensor], multipliers: dict[str, Tensor] | None
    ) -> None:
        super().__init__()
        self.model, self.multipliers = model, multipliers
        for name, tensor in tensors.items():
            self.register_parameter(name.replace(".", "/"), nn.Parameter(tensor))

    def forward(self, tokens: Tensor) -> Tensor:
        parameters = {name.replace("/", "."): p[None] for name, p in self.named_parameters()}
        return self.model.logits(parameters, tokens[None], multipliers=self.multipliers)


@pytest.mark.parametrize("model", [mlp(16), transformer(16)], ids=["mlp", "transformer"])
@pytest.mark.parametrize("gauge", [Gauge.FOLDED, Gauge.EXPLICIT])
def test_members_of_a_population_measured_from_outside(model: ReferenceModel, gauge: Gauge) -> None:
    members = [
        Member(numbers(model, learning_rate=1e-2, parameterization=MUP, gauge=gauge), seed, 0)
        for seed in (0, 1)
    ]
    recipe = make_recipe(model, ADAM_UPDATE, steps=4)
    start = initial_parameters(recipe, members, CPU)
    generator = torch.Generator().manual_seed(3)
    now = {name: p + 0.1 * p.std() * torch.randn(p.shape, generator=generator) for name, p in start.items()}
    every = [{name: torch.tensor([n.multiplier]) for name, n in member.numbers.items()} for member in members]
    together = {name: torch.cat([one[name] for one in every]) for name in every[0]}
    explicit = gauge is Gauge.EXPLICIT
    layers = matrix_layers(model)
    found = log_gains(
        model,
        now,
        initial_reference(recipe, members, start),
        multipliers=together if explicit else None,
        probe_BxT=PROBE,
        layers=layers,
    )
    for member in range(2):
        alone = Alone(
            model, {n: p[member].clone() for n, p in start.items()}, every[member] if explicit else None
        )
        reference = Snapshot.of(alone)
        with torch.no_grad():
            for name, parameter in alone.named_parameters():
                parameter.copy_(now[name.replace("/", ".")][member])
        report = measure_alignment(alone, PROBE, reference=reference, spectral_iterations=0)
        for place, layer in enumerate(layers):
            for column, quantity in enumerate(AlignmentQuantity):
                ours = report.layer(layer.replace(".", "/")).log_gain(quantity)
                theirs = found[member, place, column].item()
                assert math.isclose(ours, theirs, abs_tol=TOLERANCE), (layer, quantity, ours, theirs)
