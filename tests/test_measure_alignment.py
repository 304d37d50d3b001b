"""`measure_alignment`: equals float64 NumPy, leaves the model as it was, and takes any reference."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alignment_models import TOKENS, WIDTH, Tied, assert_gains, gains_by_hand, measured, moved
from widthwise.measure import (
    AlignmentReport,
    Redraw,
    Reference,
    Snapshot,
    load_alignment,
    measure_alignment,
)
from widthwise.measure.alignment_passes import KeptInputs
from widthwise.measure.spectral_norm import spectral_norm
from widthwise.measure.tensor_product import MatrixProduct
from widthwise.measure.weight_products import Use
from widthwise.scaling.seeding import seeded
from widthwise.theory import AlignmentQuantity, MeasuredAlignment, MeasuredExponent, Role, measured_alignment

ALPHA, OMEGA, U, PRODUCT = AlignmentQuantity


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, 9), nn.Tanh(), nn.Linear(9, 4, bias=False)).double()


def data(seed: int = 0) -> Tensor:
    return torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gains(report: AlignmentReport) -> list[float]:
    return [one.log_gain for one in report.gains()]


def test_equals_float64_numpy() -> None:
    """The first layer reads the data, which does not change: its omega and u are undefined."""
    model, x = mlp(), data()
    report, start = measured(model, x)
    W_0, b_0 = start.tensors["0.weight"], start.tensors["0.bias"]
    hidden, hidden_0 = torch.tanh(model[0](x)), torch.tanh(x @ W_0.T + b_0)
    expected = gains_by_hand(model[2].weight, start.tensors["2.weight"], [(hidden, hidden_0)])
    assert_gains(report, "2.weight", expected)
    first = report.layer("0.weight")
    assert math.isnan(first.log_gain(OMEGA))
    assert math.isnan(first.log_gain(U))
    first_expected = gains_by_hand(model[0].weight, W_0, [(x, x)])
    assert first.log_gain(ALPHA) == pytest.approx(first_expected[ALPHA][0], abs=1e-9)
    assert report.layer("2.weight").relative_change == pytest.approx(
        ((model[2].weight - start.tensors["2.weight"]).norm() / start.tensors["2.weight"].norm()).item()
    )


def test_inputs_whose_memory_is_used_again() -> None:
    """An input is freed while later layers compute, and another one of its size takes its address."""
    kept, addresses = KeptInputs(), set[int]()
    for number in range(50):
        x = torch.full((5, WIDTH), float(number))
        addresses.add(x.data_ptr())
        kept.keep(Use("weight"), MatrixProduct(x, torch.Size((WIDTH, 2)), left=False))
        kept.keep(Use("same"), MatrixProduct(x.view(5, WIDTH), torch.Size((WIDTH, 2)), left=False))
        x.add_(0.5)
        kept.keep(Use("changed in place"), MatrixProduct(x, torch.Size((WIDTH, 2)), left=False))
        del x
    assert len(addresses) < 50
    for number in range(50):
        one, same, changed = (
            kept.inputs[name][number].vector for name in ("weight", "same", "changed in place")
        )
        assert torch.all(one == number)
        assert same is one  # q, k and v read one input, which is kept once
        assert torch.all(changed == number + 0.5)


def test_float32_and_bfloat16_models_are_measured_in_float32() -> None:
    """A float32 product of 9 terms is good to 1e-6; a bfloat16 model's weights and inputs are what they are."""
    for dtype in (torch.float32, torch.bfloat16):
        model = mlp().to(dtype)
        x = data().to(dtype)
        start = moved(model)
        hidden = torch.tanh(model[0](x))
        now = [tensor.clone() for tensor in (model[0].weight, model[0].bias)]
        report = measure_alignment(model, x, reference=start)
        with torch.no_grad():
            model[0].weight.copy_(start.tensors["0.weight"])
            model[0].bias.copy_(start.tensors["0.bias"])
            hidden_0 = torch.tanh(model[0](x))
            model[0].weight.copy_(now[0])
        expected = gains_by_hand(model[2].weight, start.tensors["2.weight"], [(hidden, hidden_0)])
        assert_gains(report, "2.weight", expected, tolerance=1e-5)


def test_autocast_does_not_reach_the_products() -> None:
    """Inputs are bfloat16 there, weights are not: rounding them would move dW by per cents."""
    model, x = mlp().float(), data().float()
    start = moved(model, scale=1e-3)
    exact = measure_alignment(model, x, reference=start).layer("2.weight")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = model(x)  # autocast keeps its casts of the weights
        cast = measure_alignment(model, x, reference=start).layer("2.weight")
        assert torch.equal(model(x), before)
    assert cast.relative_change == pytest.approx(exact.relative_change, rel=1e-6)
    assert cast.log_gain(PRODUCT) == pytest.approx(exact.log_gain(PRODUCT), abs=0.01)
    assert cast.log_gain(ALPHA) == pytest.approx(exact.log_gain(ALPHA), abs=0.01)


def test_inference_mode_hides_nothing() -> None:
    model, x = mlp(), data()
    start = moved(model)
    expected = gains(measure_alignment(model, x, reference=start))
    with torch.inference_mode():
        found = gains(measure_alignment(model, data(), reference=start))
    assert np.array_equal(found, expected, equal_nan=True)


def test_a_loaded_state_is_measured_like_any_other() -> None:
    """Defect 10: nothing is remembered between measurements that loading a state could break."""
    model, other, x = mlp(), mlp(), data()
    start = moved(model)
    other.load_state_dict(start.tensors)
    measure_alignment(other, x, reference=start)
    other.load_state_dict(model.state_dict())
    found = gains(measure_alignment(other, x, reference=start))
    assert np.array_equal(found, gains(measure_alignment(model, x, reference=start)), equal_nan=True)


def test_nothing_changed_is_undefined() -> None:
    """Defects 7 and 8: an untrained model has no exponents, on any probe, and the solver refuses what it would make."""
    model = mlp()
    report = measure_alignment(model, data(3), reference=Snapshot.of(model))
    for layer in report.layers:
        assert all(math.isnan(layer.log_gain(quantity)) for quantity in (ALPHA, OMEGA, U))
        assert math.isfinite(layer.log_gain(PRODUCT))
    value = report.layers[0].log_gain(ALPHA)
    nothing = MeasuredExponent(value, value, value, (64, 128, 256))
    with pytest.raises(ValueError, match="undefined"):
        measured_alignment({"0.weight": MeasuredAlignment(nothing, nothing, nothing)})


def test_another_probe_is_no_change_of_the_input() -> None:
    """Defect 8: z_0 is of the probe that z is of, whatever probe an earlier measurement used."""
    model = mlp()
    start = Snapshot.of(model)
    measure_alignment(model, data(1), reference=start)
    report = measure_alignment(model, data(2), reference=start)
    assert math.isnan(report.layer("2.weight").log_gain(OMEGA))


class Noisy(nn.Module):
    """Batch norm, dropout, and a draw of its own in every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1  # another object, not the same one changed
        return self.body(x + torch.rand(()))


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_as_it_was(fails: bool) -> None:
    torch.manual_seed(0)
    model, x = Noisy(), torch.randn(5, WIDTH)
    start = moved(model)
    model(x).sum().backward()
    model.body[2].eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    objects = {name: id(tensor) for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    generators = torch.random.get_rng_state(), random.getstate()
    reference = {name: tensor.clone() for name, tensor in start.tensors.items()}

    def forward(module: nn.Module, probe: Tensor) -> None:
        module(probe)
        if fails and torch.equal(module.body[0].weight, state["body.0.weight"]):
            raise RuntimeError("out of memory")

    if fails:
        with pytest.raises(RuntimeError, match="out of memory"):
            measure_alignment(model, x, reference=start, forward=forward)
    else:
        measure_alignment(model, x, reference=start, forward=forward)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert objects == {
        name: id(tensor) for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    assert all(torch.equal(parameter.grad, gradients[name]) for name, parameter in model.named_parameters())
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(torch.random.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(tensor, reference[name]) for name, tensor in start.tensors.items())


def test_a_pass_that_draws_has_one_draw() -> None:
    """The same noise in both passes: where nothing changed, dz is 0 to the bit."""
    model = Noisy()
    report = measure_alignment(model, torch.randn(5, WIDTH), reference=Snapshot.of(model))
    assert math.isnan(report.layer("body.3.weight").log_gain(OMEGA))


def test_a_gradient_that_is_under_way_stays_valid() -> None:
    model, x = mlp(), data()
    start = moved(model)
    loss = model(x).square().sum()
    measure_alignment(model, x, reference=start)
    loss.backward()
    ours = model[0].weight.grad.clone()
    model.zero_grad()
    model(x).square().sum().backward()
    assert torch.equal(ours, model[0].weight.grad)


def build() -> nn.Module:
    return mlp()


def references(model: nn.Module) -> dict[str, Reference]:
    """Of a model at its start, which was built under seed 3."""
    twin = mlp()
    twin.load_state_dict(model.state_dict())
    return {
        "state dict": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "module": twin,
        "snapshot": Snapshot.of(model, device="cpu"),
        "redraw": Redraw.of(model, build, seed=3),
    }


@pytest.mark.parametrize("kind", ["state dict", "module", "snapshot", "redraw"])
def test_references_agree_bit_for_bit(kind: str) -> None:
    with seeded(3):
        model = build()
    chosen = references(model)[kind]
    start = moved(model)
    expected = gains(measure_alignment(model, data(), reference=start))
    found = gains(measure_alignment(model, data(), reference=chosen))
    assert np.array_equal(found, expected, equal_nan=True)


def test_a_redraw_is_proven_and_never_approximated() -> None:
    with seeded(3):
        model = build()
    with pytest.raises(ValueError, match="build\\(\\) under seed 4 does not give the reference's weights"):
        Redraw.of(model, build, seed=4)
    noise = iter([0.0, 1e-300])

    def drifting() -> nn.Module:
        found = build()
        with torch.no_grad():
            found[0].weight[0, 0] = found[0].weight[0, 0].item() * (1 + 2**-52 * (next(noise) > 0))
        return found

    redraw = Redraw.of(model, drifting, seed=3)
    with pytest.raises(
        ValueError, match=r"does not give the reference's weights: 0\.weight differ; build them"
    ):
        measure_alignment(model, data(), reference=redraw)  # off by the last bit of one entry


def test_this_update_instead_of_the_change_since_the_start() -> None:
    """A snapshot from before a step: dW is that step's, and omega meets the weights from before it."""
    model, x = mlp(), data()
    moved(model, seed=1)
    before = moved(model, seed=2, scale=0.01)
    report = measure_alignment(model, x, reference=before)
    hidden = torch.tanh(model[0](x))
    hidden_0 = torch.tanh(x @ before.tensors["0.weight"].T + before.tensors["0.bias"])
    expected = gains_by_hand(model[2].weight, before.tensors["2.weight"], [(hidden, hidden_0)])
    assert_gains(report, "2.weight", expected)


def refusals() -> dict[str, tuple[Callable[[nn.Module], Reference], str]]:
    return {
        "own memory": (lambda model: model.state_dict(), "the reference is the model's own memory"),
        "the model itself": (lambda model: model, "the reference is the model's own memory"),
        "another model": (lambda _: nn.Linear(2, 2), r"lacks 0\.weight"),
        "another width": (
            lambda _: nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, 4, bias=False)),
            r"0\.weight has shape \[8, 6\] in the reference and \[9, 6\]",
        ),
    }


@pytest.mark.parametrize("case", refusals())
def test_what_is_no_reference_is_refused(case: str) -> None:
    make, message = refusals()[case]
    model = mlp()
    with pytest.raises(ValueError, match=message):
        measure_alignment(model, data(), reference=make(model))


def test_a_probe_that_cannot_be_run_is_refused() -> None:
    model = mlp()
    with pytest.raises(ValueError, match="the probe is of type str"):
        measure_alignment(model, "text", reference=moved(model))


@pytest.mark.parametrize(
    "probe", [(data(),), {"input": data()}, [data()]], ids=["positional", "named", "list"]
)
def test_probes_of_every_form(probe: object) -> None:
    model = mlp()
    start = moved(model)
    found = gains(measure_alignment(model, probe, reference=start))
    assert np.array_equal(found, gains(measure_alignment(model, data(), reference=start)), equal_nan=True)


def test_micro_batches_add_up() -> None:
    model, x = mlp(), data()
    start = moved(model)
    parts = [measure_alignment(model, part, reference=start) for part in (x[:2], x[2:])]
    whole = measure_alignment(model, x, reference=start)
    assert np.allclose(gains(parts[0] + parts[1]), gains(whole), atol=1e-12, rtol=0, equal_nan=True)
    with pytest.raises(ValueError, match="of different layers"):
        _ = parts[0] + measured(Tied(module=True), TOKENS)[0]


def test_json_keeps_the_sums(tmp_path: Path) -> None:
    report, _ = measured(Tied(module=False), TOKENS)
    report.save(tmp_path / "alignment.json")
    found = load_alignment(tmp_path / "alignment.json")
    assert np.array_equal(gains(found), gains(report), equal_nan=True)
    assert np.array_equal(gains(found + found), gains(report), equal_nan=True)
    assert (found.looked_up, found.unmeasured) == (report.looked_up, report.unmeasured)
    (tmp_path / "other.json").write_text('{"kind": "widthwise scaling plan", "version": 1}')
    with pytest.raises(ValueError, match="not an alignment report: its kind is 'widthwise scaling plan'"):
        load_alignment(tmp_path / "other.json")


def test_prescribed_spectra_give_the_closed_form() -> None:
    """Ratio 1 + 1/2 log_n sum p_i q_i: shares of W's squared singular values, and of z along their vectors."""
    n = 32
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    s = np.arange(1, n + 1) ** -1.0
    loads = rng.standard_normal((n, 5)) * np.arange(1, n + 1)[:, None] ** -0.5
    model = nn.Linear(n, n, bias=False).double()
    start = Snapshot.of(model)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(left @ np.diag(s) @ right.T))
    report = measure_alignment(model, torch.from_numpy((right @ loads).T), reference=start)
    p, q = s**2 / (s**2).sum(), (loads**2).sum(1) / (loads**2).sum()
    layer = report.layer("weight")
    assert layer.ratio(PRODUCT) == pytest.approx(1 + 0.5 * math.log((p * q).sum(), n), abs=1e-9)
    assert layer.effective_dimension() == pytest.approx(1 / (p * q).sum(), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spectral_norm_is_the_largest_singular_value(dtype: torch.dtype) -> None:
    """Singular values 1 and at most 0.6: 0.6^120 of the start is left, so that rounding is all the error."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, 12)))[0] for n in (20, 15))
    matrix = torch.from_numpy(left @ np.diag([1.0, *rng.uniform(0, 0.6, 11)]) @ right.T).to(dtype)
    stack = torch.stack([matrix, 3e-20 * matrix, torch.zeros_like(matrix)])
    assert torch.allclose(spectral_norm(stack), torch.tensor([1.0, 3e-20, 0.0], dtype=dtype), rtol=1e-5)
    assert spectral_norm(torch.full((2, 2), math.nan)).isnan()
    with pytest.raises(ValueError, match="1 power iterations"):
        spectral_norm(matrix, iterations=1)


def test_the_report_has_the_spectral_norm_of_the_change() -> None:
    model = mlp()
    report, start = measured(model, data())
    change = model[0].weight - start.tensors["0.weight"]
    assert report.layer("0.weight").spectral_norm == pytest.approx(
        torch.linalg.matrix_norm(change, 2).item(), rel=1e-3
    )
    without = measure_alignment(model, data(), reference=start, spectral_iterations=0)
    assert math.isnan(without.layer("0.weight").spectral_norm)


def test_roles_by_name_and_unknown_ones_are_measured() -> None:
    model = mlp()
    report = measure_alignment(model, data(), reference=moved(model), roles={"0.weight": Role.EMBEDDING})
    assert [(one.layer, one.role) for one in report.layers] == [
        ("0.weight", Role.EMBEDDING),
        ("2.weight", None),
    ]


def test_the_text_names_every_parameter() -> None:
    report, _ = measured(mlp(), data())
    text = str(report)
    assert all(name in text for name in ("0.weight", "2.weight", "0.bias: a vector, which sums over nothing"))
    with pytest.raises(KeyError, match=r"no layer '0\.bias': a vector"):
        report.layer("0.bias")
