"""The CUDA path against the CPU path; needs a CUDA device."""

import numpy as np
import pytest
import torch

from widthwise.models import MLP, Transformer
from widthwise.optim import AdamAtan2Update, AdamUpdate, SgdUpdate
from widthwise.scaling import TRANSFORMER_ROLES, Gauge, assign_roles, make_reference_plan, mlp_roles, resolve
from widthwise.theory import ADAM, FULL_RATES, MUP, SGD
from widthwise.train import Corpus, Member, Precision, Recipe, WarmupCosine, train_population

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

MODELS = {
    "transformer": (
        Transformer(width=64, depth=2, head_dim=16, vocabulary=256, context=32),
        TRANSFORMER_ROLES,
    ),
    "mlp": (MLP(width=64, depth=2, window=4, vocabulary=256, context=32), mlp_roles(4)),
}
UPDATES = {
    "sgd": (SgdUpdate(0.9), SGD, 2.0**-4),
    "adam": (AdamUpdate(0.9, 0.98), ADAM, 2.0**-7),
    "adam-atan2": (AdamAtan2Update(0.9, 0.98, 1.0, 1.0), ADAM, 2.0**-7),
}


def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    words = rng.integers(97, 123, size=(50, 5), dtype=np.uint8)
    text = words[rng.integers(50, size=20_000)].reshape(-1)
    return Corpus(name="words", train=text[:80_000], validation=text[80_000:], digest="")


def run(model: str, update: str, gauge: Gauge, device: str) -> np.ndarray:
    shape, rules = MODELS[model]
    rule, theory, rate = UPDATES[update]
    plan = make_reference_plan(
        assign_roles(shape.tensors(), rules),
        width=64,
        base_width=16,
        parameterization=MUP,
        optimizer=theory,
        prescription=FULL_RATES,
        gauge=gauge,
    )
    recipe = Recipe(shape, rule, WarmupCosine(20, 2), 4, Precision.FLOAT32, 8, 20)
    members = [
        Member(resolve(plan, learning_rate=rate * 2.0**-i, epsilon=1e-12), init_seed=i, data_seed=i % 2)
        for i in range(4)
    ]
    outcomes = train_population(recipe, members, corpus(), device=torch.device(device))
    return np.array([[loss for _, loss in outcome.curve] for outcome in outcomes])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("update", UPDATES)
def test_cuda_trains_as_the_cpu_does(model: str, update: str) -> None:
    # Both are float32 with other orders of summation; 20 steps amplify rounding (6e-8) by a few hundred at most.
    np.testing.assert_allclose(
        run(model, update, Gauge.FOLDED, "cuda"), run(model, update, Gauge.FOLDED, "cpu"), rtol=5e-5
    )


@pytest.mark.parametrize("update", ["sgd", "adam-atan2"])
def test_the_gauge_changes_little_on_cuda(update: str) -> None:
    # The width ratio is 4, so all factors are powers of two; atomics in CUDA's backward leave rounding.
    explicit, folded = (run("transformer", update, gauge, "cuda") for gauge in Gauge)
    np.testing.assert_allclose(explicit, folded, rtol=5e-5)
