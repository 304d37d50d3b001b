"""What is recorded of a forward pass, and what one tensor's change does to a module's output."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from check_models import Llama, tokens
from widthwise.measure.contribution import find_sites, module_output
from widthwise.measure.recorder import called_modules, record, rms


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_rms_sums_in_float64() -> None:
    """In float16 the squares of 300 overflow; in float32 a million ones lose none here."""
    assert rms(torch.full((1000,), 300.0, dtype=torch.float16)) == 300.0
    assert rms(torch.tensor([3.0, -4.0, 0.0, 0.0])) == 2.5
    assert rms(torch.zeros(0)) != rms(torch.zeros(0))


class InPlace(nn.Module):
    """A residual stream that is added to in place, and a container that hands a tensor on."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layer = nn.Embedding(4, 3), nn.Linear(3, 3)
        self.relu, self.same = nn.ReLU(inplace=True), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        z = self.embed(x)
        z += self.layer(z)
        return self.same(self.relu(z))


def test_features_are_what_modules_made_when_they_made_it() -> None:
    torch.manual_seed(0)
    model, x = InPlace(), torch.tensor([0, 3])
    found = record(model, lambda: model(x), inputs_of=["layer"])
    assert list(found.features) == ["embed", "layer", "relu"]  # the stream itself is made by no module
    z = model.embed.weight[x]
    assert torch.equal(found.features["embed"], z)
    assert torch.equal(found.features["relu"], F.relu(z + model.layer(z)))
    assert torch.equal(found.inputs["layer"][0][0], z)
    assert hooks(model) == 0


def test_hooks_go_when_the_model_raises() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    for run in (record, called_modules):
        with pytest.raises(RuntimeError):
            run(model, lambda: model(torch.ones(1, 5)))
    assert hooks(model) == 0


def test_sites_of_a_transformer_are_its_layers() -> None:
    model = Llama(32)
    sites = find_sites(model, called_modules(model, lambda: model(tokens())))
    assert all(site is not None and site.local for site in sites.values())
    assert {name for name, site in sites.items() if site is not None and site.parameter == "weight"} == set(
        sites
    )


class Holder(nn.Module):
    """Parameters of its own beside a layer, and a layer whose tensors are used without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(3, 4))
        self.layer = nn.Linear(4, 2)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.unused = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        z = x + self.positions
        return self.layer(self.attention(z, z, z)[0])


def test_a_tensor_that_acts_through_others_is_told_from_one_that_does_not() -> None:
    model = Holder()
    sites = find_sites(model, called_modules(model, lambda: model(torch.ones(2, 3, 4))))
    local = {name: site.local for name, site in sites.items() if site is not None}
    assert local["positions"] is False
    assert local["layer.weight"] is True
    assert local["attention.in_proj_weight"] is True
    assert (sites["attention.out_proj.weight"] or sites["positions"]).module == "attention"
    assert local["unused.weight"] is False  # its nearest called module is the model


def test_a_module_whose_name_holds_the_word_is_no_parametrization() -> None:
    model = nn.Sequential(OrderedDict(parametrizations_of_mine=nn.Linear(2, 2)))
    assert "parametrizations_of_mine" in called_modules(model, lambda: model(torch.ones(1, 2)))


def test_a_parametrization_makes_weights_and_no_activations() -> None:
    """Its modules are called with weights: their outputs are no features, and its tensors act where the weight does."""
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 3, bias=False)))
    x = torch.randn(7, 5)
    assert list(record(model, lambda: model(x)).features) == ["0"]
    sites = find_sites(model, called_modules(model, lambda: model(x)))
    assert {site.module for site in sites.values() if site is not None and site.local} == {"0"}
    held = {name.removeprefix("0."): p.detach() for name, p in model.named_parameters()}
    gain = "parametrizations.weight.original0"
    doubled = module_output(model[0], ((x,), {}), held | {gain: 2 * held[gain]})
    assert torch.allclose(doubled, 2 * model(x).double(), atol=1e-5)  # float32 beside float64


@pytest.mark.parametrize(
    ("module", "z", "name", "product"),
    [
        (nn.Linear(5, 3), torch.randn(7, 5), "weight", lambda d, z: z @ d.T),
        (nn.Linear(5, 3), torch.randn(7, 5), "bias", lambda d, z: d.expand(7, 3)),
        (nn.Embedding(5, 3), torch.tensor([[4, 1, 1]]), "weight", lambda d, z: d[z]),
        (nn.Conv2d(2, 3, 3), torch.randn(2, 2, 6, 6), "weight", lambda d, z: F.conv2d(z, d)),
        (nn.RMSNorm(5, eps=0.0), torch.randn(7, 5), "weight", lambda d, z: d * z / z.square().mean(-1, True).sqrt()),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)  # fmt: skip
def test_an_effect_is_the_product(module: nn.Module, z: Tensor, name: str, product: object) -> None:
    """dW z against its own formula, for a change of one part in a million, which float32 would lose half of."""
    arguments = ((z,), {})
    held = {key: value.detach() for key, value in module.named_parameters()}
    change = 1e-6 * torch.randn_like(held[name], dtype=torch.float64)
    changed = held | {name: held[name].double() + change}
    found = module_output(module, arguments, changed) - module_output(module, arguments, held)
    expected = product(change, z.double() if z.is_floating_point() else z)  # type: ignore[operator]
    assert found.dtype is torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-12)


def test_batch_norms_buffers_are_left_alone() -> None:
    norm = nn.BatchNorm1d(3)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    module_output(norm, ((torch.randn(8, 3),), {}), dict(norm.named_parameters()))
    assert all(torch.equal(buffer, before[name]) for name, buffer in norm.named_buffers())
