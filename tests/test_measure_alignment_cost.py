"""What a measurement costs the host, and that no saving shows in what is found."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from alignment_models import TOKENS, Tied, Twice, moved
from widthwise.measure import (
    AlignmentReport,
    Estimator,
    alignment_sums,
    alignment_weights,
    measure_alignment,
    tensor_product,
)
from widthwise.measure.alignment_weights import beside, parameters_under
from widthwise.measure.fingerprint import fingerprint
from widthwise.scaling.parameter_names import without_wrappers


def gains(report: AlignmentReport) -> list[float]:
    return [one.log_gain for estimator in Estimator for one in report.gains(estimator=estimator)]


class Operations(TorchDispatchMode):
    """Counts operations: all of them, or those of some kinds."""

    def __init__(self, kinds: frozenset[Any] = frozenset()) -> None:
        super().__init__()
        self.count, self.kinds = 0, kinds

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += not self.kinds or func.overloadpacket in self.kinds
        return func(*args, **(kwargs or {}))


def waiting() -> Operations:
    """Counts the operations for which a host would wait for an accelerator."""
    return Operations(frozenset({torch.ops.aten._local_scalar_dense, torch.ops.aten.equal}))


PREPARED = 6
"""Of a tensor: a vector, its words (two), parts of them, zeros at the end, rows; its product alone would be four."""


@pytest.mark.parametrize("spectral_iterations", [0, 4])
def test_the_host_waits_as_often_for_many_layers_as_for_few(spectral_iterations: int) -> None:
    counts: list[int] = []
    for layers in (1, 7):
        model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(layers)))
        start = moved(model)
        with waiting() as waits:
            measure_alignment(
                model, torch.ones(3, 6), reference=start, spectral_iterations=spectral_iterations
            )
        counts.append(waits.count)
    assert counts[0] == counts[1]
    with waiting() as waits:
        torch.ones(()).item()
    assert waits.count == 1


def test_norms_that_do_not_wait_for_the_end_give_the_same_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that is used twice, its calls finished together and one by one; sums of two terms are the same bits."""
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    model = Twice()
    start = moved(model)
    expected = measure_alignment(model, x, reference=start)
    monkeypatch.setattr(alignment_sums, "HELD", 0)
    assert np.array_equal(
        gains(measure_alignment(model, x, reference=start)), gains(expected), equal_nan=True
    )
    assert expected.layers[0].calls == 2


@pytest.mark.parametrize("at_once", [1, 20])
def test_outputs_that_are_made_in_parts_are_the_same(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 products of 6 terms, in another order at most."""
    model = Tied(module=True)
    start = moved(model)
    expected = gains(measure_alignment(model, TOKENS, reference=start))
    monkeypatch.setattr(tensor_product, "AT_ONCE", at_once)
    found = gains(measure_alignment(model, TOKENS, reference=start))
    assert np.allclose(found, expected, rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("at_once", [0, 300])
def test_numbers_that_change_places_in_groups_are_the_same(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensors of 24 to 144 bytes: one at a time, and several; all at once otherwise."""
    model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))
    start = moved(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = measure_alignment(model, torch.ones(3, 6), reference=start)
    monkeypatch.setattr(alignment_weights, "AT_ONCE", at_once)
    found = measure_alignment(model, torch.ones(3, 6), reference=start)
    assert np.array_equal(gains(found), gains(expected), equal_nan=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_reference_entries_that_share_memory_change_places_one_by_one() -> None:
    model = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(2)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tied = torch.randn(6, 6)
    apart = measure_alignment(model, torch.ones(3, 6), reference={name: tied.clone() for name in before})
    found = measure_alignment(model, torch.ones(3, 6), reference=dict.fromkeys(before, tied))
    assert np.array_equal(gains(found), gains(apart), equal_nan=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_reference_that_cannot_be_exchanged_leaves_the_model_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The third of six tensors has a shape that fails: the two before it have changed back."""
    monkeypatch.setattr(alignment_weights, "AT_ONCE", 0)
    model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(3)))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ours = dict(model.named_parameters())
    reference = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
    reference["1.weight"] = torch.zeros(5, 7)
    with pytest.raises(RuntimeError), alignment_weights.exchanged(ours, reference):
        pass
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_small_tensors_are_hashed_together() -> None:
    """Beyond a few operations to prepare each, none a tensor: two products with keys, and the levels above."""
    tensors = [torch.ones(6, 6) for _ in range(40)]
    fingerprint(tensors)  # which makes the keys
    counts: list[int] = []
    for several in (tensors[:20], tensors):
        with Operations() as operations:
            fingerprint(several)
        counts.append(operations.count)
    assert counts[0] > 0
    assert counts[1] - counts[0] <= 20 * PREPARED


def test_parameters_are_named_as_torch_names_them() -> None:
    """Tied ones once under each module, by the first name there."""
    model = nn.Sequential(Tied(module=True), nn.Sequential(nn.Linear(2, 3), nn.Bilinear(2, 2, 1)))
    model.register_module("again", model[1][0])
    owned = parameters_under(model)
    for prefix, module in model.named_modules():
        expected = [without_wrappers(name) for name, _ in module.named_parameters(prefix=prefix)]
        assert [one.name for one in owned[prefix]] == expected
        for one, parameter in zip(owned[prefix], module.parameters(), strict=True):
            assert one.owner._parameters[one.key] is parameter


def test_a_default_device_does_not_matter() -> None:
    """What is summed on the host stays there, wherever new tensors are made otherwise."""
    model = Tied(module=False)
    start = moved(model)
    expected = gains(measure_alignment(model, TOKENS, reference=start))
    with torch.device("meta"):
        found = gains(measure_alignment(model, TOKENS, reference=start, spectral_iterations=0))
    assert np.array_equal(found, expected, equal_nan=True)


def test_a_reference_is_brought_to_the_model() -> None:
    """Where it is not there yet: then it is used as it is, and nothing is copied."""
    model = nn.Linear(3, 2)
    start = moved(model)
    ours = dict(model.named_parameters())
    found = beside(ours, start.tensors)
    assert all(found[name] is tensor for name, tensor in start.tensors.items())
    there: dict[str, Tensor] = {name: tensor.to("meta") for name, tensor in ours.items()}
    assert {one.device.type for one in beside(there, start.tensors).values()} == {"meta"}
