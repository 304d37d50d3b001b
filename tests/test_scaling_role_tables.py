"""Role tables of published architectures, checked by hand, against the models that transformers builds from configs.

Each table says the role and the initializer of every tensor, by name pattern, with the reason in the architecture's own
terms. A tensor without an entry fails, and so does an entry without a tensor.
"""

import json
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    DeepseekV3Config,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
    logging,
)
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.olmoe.modeling_olmoe import OlmoeTopKRouter
from transformers.models.swin.modeling_swin import SwinRelativePositionBias
from transformers.pytorch_utils import Conv1D

from widthwise.scaling import ModelDescription, describe, description_from_json, description_to_json
from widthwise.scaling.module_table import LIBRARY_MODULES
from widthwise.theory import Role

DATA = Path(__file__).parent / "data"
WORDS = {"vocab_size": 11, "bos_token_id": 1, "eos_token_id": 2}
DECODER = {
    **WORDS,
    "num_hidden_layers": 2,
    "head_dim": 4,
    "max_position_embeddings": 8,
    "tie_word_embeddings": False,
}

logging.set_verbosity_error()  # their generation configs speak of tokens beyond a vocabulary of 11


def decoder(width: int) -> dict[str, object]:
    """A grouped-query decoder: heads of 4, half as many for keys and values, and an MLP of 3 n."""
    return {
        **DECODER,
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_attention_heads": width // 4,
        "num_key_value_heads": width // 8,
    }


def gpt2(width: int, *, tied: bool) -> nn.Module:
    config = GPT2Config(
        **WORDS, n_positions=5, n_embd=width, n_layer=2, n_head=width // 4, tie_word_embeddings=tied
    )
    return GPT2LMHeadModel(config)


def mamba(width: int) -> nn.Module:
    return MambaForCausalLM(MambaConfig(**WORDS, hidden_size=width, num_hidden_layers=2, state_size=4))


def vit(width: int) -> nn.Module:
    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=width // 4,
        intermediate_size=4 * width,
        image_size=8,
        patch_size=4,
        num_labels=3,
    )
    return ViTForImageClassification(config)


def resnet(width: int) -> nn.Module:
    config = ResNetConfig(
        embedding_size=width, hidden_sizes=[4 * width, 8 * width], depths=[1, 2], num_labels=3
    )
    return ResNetForImageClassification(config)


def t5(width: int) -> nn.Module:
    config = T5Config(
        vocab_size=11, d_model=width, d_kv=4, d_ff=4 * width, num_layers=2, num_heads=width // 4
    )
    return T5ForConditionalGeneration(config)


MODELS: dict[str, tuple[str, Callable[[int], nn.Module]]] = {
    "gpt2 tied": ("gpt2", lambda width: gpt2(width, tied=True)),
    "gpt2 untied": ("gpt2", lambda width: gpt2(width, tied=False)),
    "llama": ("llama", lambda width: LlamaForCausalLM(LlamaConfig(**decoder(width)))),
    "qwen3": ("qwen3", lambda width: Qwen3ForCausalLM(Qwen3Config(**decoder(width)))),
    "mixtral": (
        "mixtral",
        lambda width: MixtralForCausalLM(MixtralConfig(**decoder(width), num_local_experts=4)),
    ),
    "mamba": ("mamba", mamba),
    "vit": ("vit", vit),
    "resnet": ("resnet", resnet),
    "t5": ("t5", t5),
}
"""Name -> table and factory. Vocabularies, depths and images are tiny; nothing is downloaded."""

NARROW = {"resnet": (8, 16, 32)}


@cache
def described(model: str) -> ModelDescription:
    return describe(MODELS[model][1], widths=NARROW.get(model, (32, 64, 128)))


@cache
def table(name: str) -> dict[str, dict[str, str | None]]:
    return json.loads((DATA / f"roles_{name}.json").read_text())["tensors"]


def entry(name: str, tensor: str) -> tuple[str, dict[str, str | None]]:
    """The one pattern of a table that matches a tensor, part by part, and what it says."""
    parts = tensor.split(".")
    found = [
        pattern
        for pattern in table(name)
        if len(pattern.split(".")) == len(parts) and all(map(fnmatchcase, parts, pattern.split(".")))
    ]
    assert len(found) == 1, f"{tensor} is explained {len(found)} times: {found}"
    return found[0], table(name)[found[0]]


def uses(description: ModelDescription) -> Iterator[tuple[str, Role, str]]:
    """Every name, tied ones under each, with its role and the tensor's initializer."""
    for tensor in description.tensors.values():
        yield tensor.name, tensor.role, str(tensor.initializer)
        for alias in tensor.aliases:
            yield alias.name, alias.role, str(tensor.initializer)


@pytest.mark.parametrize("model", MODELS)
def test_every_tensor_is_as_the_table_says(model: str) -> None:
    name, _ = MODELS[model]
    found = {tensor: (role.value, initializer) for tensor, role, initializer in uses(described(model))}
    expected = {tensor: entry(name, tensor)[1] for tensor in found}
    assert {tensor: role for tensor, (role, _) in found.items()} == {
        tensor: says["role"] for tensor, says in expected.items()
    }
    stated = {tensor: says["initializer"] for tensor, says in expected.items() if says["initializer"]}
    assert {tensor: found[tensor][1] for tensor in stated} == stated


@pytest.mark.parametrize("model", MODELS)
def test_every_entry_has_a_tensor(model: str) -> None:
    name, _ = MODELS[model]
    assert {entry(name, tensor)[0] for tensor, _, _ in uses(described(model))} == set(table(name))


@pytest.mark.parametrize("model", MODELS)
def test_the_names_are_the_models(model: str) -> None:
    """Under `named_parameters`' own rules: tied tensors once in the description, and under every name in its uses."""
    width = described(model).widths[0]
    with torch.device("meta"):
        module = MODELS[model][1](width)
    assert list(described(model).tensors) == [name for name, _ in module.named_parameters()]
    every = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    assert sorted(name for name, _, _ in uses(described(model))) == sorted(every)


@pytest.mark.parametrize("model", MODELS)
def test_json_round_trip(model: str) -> None:
    values = json.loads(json.dumps(description_to_json(described(model)), allow_nan=False))
    assert description_from_json(values) == described(model)


def test_ties() -> None:
    tied = {
        model: {t.name: t.aliases for t in described(model).tensors.values() if t.aliases} for model in MODELS
    }
    assert {
        model: {name: [a.name for a in found] for name, found in ties.items()} for model, ties in tied.items()
    } == {
        "gpt2 tied": {"transformer.wte.weight": ["lm_head.weight"]},
        "gpt2 untied": {},
        "llama": {},
        "qwen3": {},
        "mixtral": {},
        "mamba": {"backbone.embeddings.weight": ["lm_head.weight"]},
        "vit": {},
        "resnet": {},
        "t5": {
            "shared.weight": ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"]
        },
    }


def test_dimensions_of_the_state_space_model() -> None:
    """The inner width is 2 n; the fused projection makes the rank n / 16 and two states of 4."""
    tensors = described("mamba").tensors
    mixer = {name.removeprefix("backbone.layers.0.mixer."): tensor for name, tensor in tensors.items()}
    assert [str(law) for law in mixer["x_proj.weight"].growth] == ["n/16+8", "2n"]
    assert [str(law) for law in mixer["dt_proj.weight"].growth] == ["2n", "n/16"]
    assert [str(law) for law in mixer["conv1d.weight"].growth] == ["2n", "1", "4"]
    assert mixer["x_proj.weight"].note == "8 of dimension 0 do not grow"


@pytest.mark.parametrize(
    ("build", "role"),
    [
        # GPT-2's layer is Conv1D(out, in) and stores [in, out]: it matters where one of them is fixed.
        (lambda n: Conv1D(5, n), Role.READOUT),
        (lambda n: Conv1D(n, 5), Role.EMBEDDING),
        (lambda n: OlmoeTopKRouter(OlmoeConfig(hidden_size=n, num_experts=4)), Role.READOUT),
        (lambda n: DeepseekV3TopkRouter(DeepseekV3Config(hidden_size=n, n_routed_experts=8)), Role.READOUT),
        (lambda n: SwinRelativePositionBias(n // 8, (2, 2)), Role.EMBEDDING),
    ],
    ids=["transposed readout", "transposed first layer", "router", "another router", "distances to heads"],
)
def test_layers_of_which_one_dimension_grows(build: Callable[[int], nn.Module], role: Role) -> None:
    (tensor,) = [t for t in describe(build, widths=(32, 64, 128)).tensors.values() if len(t.growth) == 2]
    assert tensor.role is role


@pytest.mark.parametrize("name", sorted(name for name in LIBRARY_MODULES if name.startswith("transformers.")))
def test_module_names_exist(name: str) -> None:
    """A class that transformers renames would silently fall back to its shape."""
    from importlib import import_module

    module, _, cls = name.rpartition(".")
    assert issubclass(getattr(import_module(module), cls), nn.Module)
