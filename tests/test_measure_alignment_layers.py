"""What alignment makes of every kind of layer: measured as stated, or listed with the reason why not."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alignment_models import (
    TOKENS,
    WIDTH,
    Bare,
    Routed,
    Tied,
    Twice,
    assert_gains,
    gains_by_hand,
    measured,
    moved,
)
from widthwise.measure import AlignmentReport, Snapshot, measure_alignment
from widthwise.theory import AlignmentQuantity, Role

ALPHA, OMEGA, U, PRODUCT = AlignmentQuantity


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def every_parameter_is_somewhere(model: nn.Module, report: AlignmentReport) -> None:
    listed = [one.layer for one in (*report.layers, *report.looked_up, *report.unmeasured)]
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    assert names <= set(listed) | {f"parametrizations.{name}" for name in listed}
    assert all(one.reason for one in report.unmeasured)


CONVOLUTIONS = {
    "1d": (lambda: nn.Conv1d(4, 6, 3), (2, 4, 9)),
    "2d grouped": (lambda: nn.Conv2d(4, 6, (3, 2), groups=2, stride=2), (2, 4, 8, 7)),
    "2d padded": (lambda: nn.Conv2d(4, 6, 3, padding=1, dilation=2), (2, 4, 7, 7)),
    "2d circular": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (2, 4, 5, 5)),
    "3d": (lambda: nn.Conv3d(2, 3, 2), (2, 2, 3, 4, 3)),
    "unbatched": (lambda: nn.Conv1d(4, 6, 3), (4, 9)),
}


def patches(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """The patches of each group [positions, fan_in], by a convolution with every unit kernel."""
    fan_in = layer.weight.shape[1:].numel()
    size = layer.weight.shape[1:]
    unit = torch.eye(fan_in, dtype=x.dtype).reshape(fan_in, *size).repeat(layer.groups, *[1] * len(size))
    inner = type(layer)(
        layer.in_channels, fan_in * layer.groups, layer.kernel_size, stride=layer.stride, padding=layer.padding,
        dilation=layer.dilation, groups=layer.groups, bias=False, padding_mode=layer.padding_mode,
    )  # fmt: skip
    inner.weight = nn.Parameter(unit)
    found = inner(x).detach()
    found = found if x.dim() == layer.weight.dim() else found[None]
    return [part.movedim(1, -1).reshape(-1, fan_in) for part in found.chunk(layer.groups, dim=1)]


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions_sum_over_patches(case: str) -> None:
    """Each output position is a token, its patch (padding included) the vector; groups are matrices of their own."""
    make, shape = CONVOLUTIONS[case]
    model = nn.Sequential(make(), nn.Tanh(), make()).double()[:1]
    layer, x = model[0], draw(*shape)
    start = moved(model)
    bumped = Snapshot({**start.tensors})
    report = measure_alignment(model, x, reference=bumped)
    change = (layer.weight - start.tensors["0.weight"]).detach()
    vectors = patches(layer, x)
    fan_in = change.shape[1:].numel()
    outputs = [
        part @ block.reshape(-1, fan_in).T
        for part, block in zip(vectors, change.chunk(layer.groups), strict=True)
    ]
    y, z = torch.cat([part.flatten() for part in outputs]), torch.cat(vectors).flatten()
    expected = 0.5 * math.log((y.square().mean() / (change.square().mean() * z.square().mean())).item())
    found = report.layer("0.weight")
    assert found.log_gain(ALPHA) == pytest.approx(expected, abs=1e-9)
    assert found.fan_in == fan_in
    assert math.isnan(found.log_gain(OMEGA))
    assert found.spectral_norm <= torch.linalg.matrix_norm(change.flatten(1), 2).item() * (1 + 1e-9)
    every_parameter_is_somewhere(model, report)


def test_a_later_convolution_has_a_changing_input() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 1), nn.Tanh(), nn.Conv1d(4, 5, 1, bias=False)).double()
    x = draw(2, 3, 6)
    report, start = measured(model, x)
    z = torch.tanh(model[0](x))
    z_0 = torch.tanh(F.conv1d(x, start.tensors["0.weight"], start.tensors["0.bias"]))
    expected = gains_by_hand(
        model[2].weight[..., 0], start.tensors["2.weight"][..., 0], [(z.movedim(1, -1), z_0.movedim(1, -1))]
    )
    assert_gains(report, "2.weight", expected)


def test_an_embedding_is_looked_up_and_has_sizes_alone() -> None:
    model = nn.Sequential(nn.Embedding(7, WIDTH), nn.Linear(WIDTH, 3)).double()
    report, start = measured(model, TOKENS)
    (table,) = report.looked_up
    assert table.layer == "0.weight"
    assert table.change == pytest.approx(
        (model[0].weight - start.tensors["0.weight"]).square().mean().sqrt().item()
    )
    assert [one.layer for one in report.layers] == ["1.weight"]
    z, z_0 = model[0](TOKENS), start.tensors["0.weight"][TOKENS]
    assert_gains(report, "1.weight", gains_by_hand(model[1].weight, start.tensors["1.weight"], [(z, z_0)]))


@pytest.mark.parametrize("module", [True, False])
def test_a_tied_table_is_both(module: bool) -> None:
    model = Tied(module=module).double()
    start = moved(model)
    report = measure_alignment(model, TOKENS, reference=start, roles={"embed.weight": Role.EMBEDDING})
    name = "head.weight" if module else "embed.weight"
    assert [(one.layer, one.role) for one in report.layers] == [(name, Role.READOUT)]
    assert [(one.layer, one.role) for one in report.looked_up] == [("embed.weight", Role.EMBEDDING)]
    W_0 = start.tensors["embed.weight"]
    z = model.norm(model.embed(TOKENS))
    z_0 = F.layer_norm(W_0[TOKENS], (WIDTH,), start.tensors["norm.weight"], start.tensors["norm.bias"])
    assert_gains(report, name, gains_by_hand(model.embed.weight, W_0, [(z, z_0)]))
    every_parameter_is_somewhere(model, report)


def test_a_weight_that_is_stored_transposed() -> None:
    """Hugging Face's Conv1D: [in, out]."""
    transformers = pytest.importorskip("transformers.pytorch_utils")
    layer = transformers.Conv1D(5, WIDTH)
    torch.nn.init.normal_(layer.weight)
    model = nn.Sequential(nn.Embedding(7, WIDTH), layer).double()
    report, start = measured(model, TOKENS)
    z, z_0 = model[0](TOKENS), start.tensors["0.weight"][TOKENS]
    assert_gains(
        report, "1.weight", gains_by_hand(model[1].weight.T, start.tensors["1.weight"].T, [(z, z_0)])
    )
    assert (report.layer("1.weight").fan_in, report.layer("1.weight").fan_out) == (WIDTH, 5)


def test_bare_parameters_are_followed() -> None:
    model = Bare().double()
    report, start = measured(model, draw(3, WIDTH))
    assert [(one.layer, one.fan_in) for one in report.layers] == [
        ("mix", WIDTH),
        ("experts", WIDTH),
        ("front", 4),
    ]
    assert {one.layer: one.reason for one in report.unmeasured} == {
        "shift": "in no matrix product of its own (add)",
        "gain": "a vector, which sums over nothing (mul)",
    }
    x = draw(3, WIDTH)
    change = model.mix - start.tensors["mix"]
    expected = gains_by_hand((change + start.tensors["mix"]).T, start.tensors["mix"].T, [(x, x)])
    assert report.layer("mix").log_gain(PRODUCT) == pytest.approx(expected[PRODUCT][0], abs=1e-9)
    every_parameter_is_somewhere(model, report)


def test_a_matrix_over_its_own_norm_is_measured_as_it_is_used() -> None:
    """The norm of W_0 is not that of W: both matrices are what their passes made of them."""

    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(WIDTH, WIDTH)
            self.weight = nn.Parameter(torch.randn(4, WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.first(x), self.weight / self.weight.norm())

    model = Normalized().double()
    report, start = measured(model, draw(3, WIDTH))
    z = model.first(draw(3, WIDTH))
    z_0 = F.linear(draw(3, WIDTH), start.tensors["first.weight"], start.tensors["first.bias"])
    W_0 = start.tensors["weight"]
    expected = gains_by_hand(model.weight / model.weight.norm(), W_0 / W_0.norm(), [(z, z_0)])
    assert_gains(report, "weight", expected)


def test_a_matrix_on_the_left_multiplies_columns() -> None:
    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(WIDTH, WIDTH)
            self.front = nn.Parameter(torch.randn(4, WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            z = self.first(x)
            return self.front @ z.mT + (self.front @ z[0])[:, None]

    model = Left().double()
    report, start = measured(model, draw(3, WIDTH))
    z = model.first(draw(3, WIDTH))
    z_0 = F.linear(draw(3, WIDTH), start.tensors["first.weight"], start.tensors["first.bias"])
    expected = gains_by_hand(model.front, start.tensors["front"], [(z, z_0), (z[:1], z_0[:1])])
    assert_gains(report, "front", expected)


def test_a_vector_that_sums_over_its_entries_is_a_matrix_of_one_column() -> None:
    """x v with a parameter v: `mv`, where v is no bias and no gain."""

    class Score(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.v = nn.Linear(WIDTH, WIDTH), nn.Parameter(torch.randn(WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.first(x)) @ self.v

    model, x = Score().double(), torch.randn(5, WIDTH, dtype=torch.float64)
    report, start = measured(model, x)
    hidden = torch.tanh(model.first(x))
    hidden_0 = torch.tanh(F.linear(x, start.tensors["first.weight"], start.tensors["first.bias"]))
    expected = gains_by_hand(model.v[None], start.tensors["v"][None], [(hidden, hidden_0)])
    assert_gains(report, "v", expected)
    assert (report.layer("v").fan_in, report.layer("v").fan_out) == (WIDTH, 1)
    change = (model.v - start.tensors["v"]).norm().item()
    assert report.layer("v").spectral_norm == pytest.approx(change, rel=1e-9)


def test_several_uses_add_up() -> None:
    model = Twice().double()
    x = draw(4, WIDTH)
    report, start = measured(model, x)
    W_0, b_0 = start.tensors["layer.weight"], start.tensors["layer.bias"]
    second, second_0 = torch.tanh(model.layer(x)), torch.tanh(F.linear(x, W_0, b_0))
    expected = gains_by_hand(model.layer.weight, W_0, [(x, x), (second, second_0)])
    found = report.layer("layer.weight")
    assert found.calls == 2
    for quantity in AlignmentQuantity:
        assert found.log_gain(quantity) == pytest.approx(expected[quantity][0], abs=1e-9)


def test_what_is_routed_differently_has_no_change_of_input() -> None:
    """Other tokens reach the layer than with the reference: dz would be the difference of two tokens."""
    model = Routed().double()
    nn.init.eye_(model.first.weight)
    nn.init.zeros_(model.first.bias)
    x = draw(6, WIDTH)
    start = moved(model)
    with torch.no_grad():
        model.first.bias.add_(5.0)
    report = measure_alignment(model, x, reference=start)
    found = report.layer("second.weight")
    assert found.note.startswith("used 6 times, and ")
    assert math.isfinite(found.log_gain(PRODUCT))
    assert all(math.isnan(found.log_gain(quantity)) for quantity in (ALPHA, OMEGA, U))
    assert "is it routed?" in str(report)


def test_attention_of_torch_itself_is_measured() -> None:
    """Packed projections and the fast path's output projection, which no hook ever sees."""
    model = nn.TransformerEncoderLayer(WIDTH, 2, 12, dropout=0.0, batch_first=True).double()
    x = draw(2, 4, WIDTH)
    report, start = measured(model, x)
    assert [one.layer for one in report.layers] == [
        "self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight",
    ]  # fmt: skip
    weight, weight_0 = model.self_attn.in_proj_weight, start.tensors["self_attn.in_proj_weight"]
    expected = gains_by_hand(weight, weight_0, [(x, x)])
    assert report.layer("self_attn.in_proj_weight").log_gain(PRODUCT) == pytest.approx(
        expected[PRODUCT][0], abs=1e-9
    )
    every_parameter_is_somewhere(model, report)


def test_recurrent_layers_are_used_once_a_step() -> None:
    model = nn.LSTM(WIDTH, 5, batch_first=True).double()
    report, _ = measured(model, draw(2, 3, WIDTH))
    assert {one.layer: one.calls for one in report.layers} == {"weight_ih_l0": 1, "weight_hh_l0": 3}
    every_parameter_is_somewhere(model, report)


def test_a_parametrized_weight_is_measured_as_what_it_makes() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(WIDTH, WIDTH), nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, 4, bias=False))
    ).double()
    weight_0 = model[1].weight.detach().clone()
    first_0 = [p.detach().clone() for p in model[0].parameters()]
    x = draw(3, WIDTH)
    report, _ = measured(model, x)
    assert_gains(
        report, "1.weight", gains_by_hand(model[1].weight, weight_0, [(model[0](x), F.linear(x, *first_0))])
    )
    reasons = {one.layer: one.reason for one in report.unmeasured}
    assert reasons["1.parametrizations.weight.original1"] == (
        "measured as 1.weight, which its parametrization makes of it"
    )


@pytest.mark.parametrize(
    ("model", "probe", "reason"),
    [
        (nn.ConvTranspose1d(3, 4, 2), (draw(1, 3, 5),), "a transposed convolution"),
        (nn.Bilinear(3, 4, 5), (draw(2, 3), draw(2, 4)), "a bilinear layer"),
        (nn.utils.weight_norm, None, "in no matrix product of its own"),
    ],
    ids=["transposed", "bilinear", "old weight norm"],
)
def test_what_is_not_measured_says_why(
    model: nn.Module, probe: tuple[Tensor, ...] | None, reason: str
) -> None:
    if probe is None:
        with pytest.warns(FutureWarning):
            model, probe = nn.utils.weight_norm(nn.Linear(WIDTH, 4)), (draw(2, WIDTH),)
    model = model.double()
    report, _ = measured(model, probe)
    assert report.layers == ()
    assert any(one.reason.startswith(reason) for one in report.unmeasured)
    every_parameter_is_somewhere(model, report)


def test_what_the_probe_does_not_reach_is_listed() -> None:
    model = nn.ModuleDict({"used": nn.Linear(WIDTH, 3), "unused": nn.Linear(3, 3)}).double()
    start = moved(model)
    report = measure_alignment(model, draw(2, WIDTH), reference=start, forward=lambda m, x: m["used"](x))
    assert [one.layer for one in report.layers] == ["used.weight"]
    reasons = {one.layer: one.reason for one in report.unmeasured}
    assert reasons["unused.weight"].startswith("not used on this probe")


def test_wrappers_change_nothing() -> None:
    """torch.compile and checkpointing: names without their parts, products seen all the same."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2)).double()
    x = draw(3, WIDTH)
    start = moved(model)
    expected = measure_alignment(model, x, reference=start)
    wrapped = torch.compile(nn.Sequential(checkpoint_wrapper(model[0]), model[1]), backend="eager")
    wrapped(x)  # compiled by now
    found = measure_alignment(wrapped, x, reference=start)
    assert found.gains()[0].layer == "0.weight"
    assert [one.log_gain for one in found.gains()][1:] == pytest.approx(
        [one.log_gain for one in expected.gains()][1:], nan_ok=True
    )
