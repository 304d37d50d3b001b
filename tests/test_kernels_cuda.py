"""The kernels as a device runs them, in bfloat16: as near to float32 as PyTorch's layers, and recorded to the bit.

Run as a program, this file trains in a process of its own, since cuBLAS reads what makes it deterministic only once.
"""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from populations import ADAM_UPDATE, letter_corpus, make_recipe, numbers
from test_kernels_cases import (
    LAYERS,
    Kind,
    Layer,
    assert_no_worse,
    attention_layer,
    embed_layer,
    errors,
    mlp_layer,
    norm_layer,
    readout_layer,
    results,
    same_bits,
)
from widthwise.models import Transformer

pytestmark = pytest.mark.cuda

BF16 = Kind(torch.bfloat16, torch.bfloat16, "cuda")

SIZES: dict[str, Callable[[Kind], Layer]] = LAYERS | {
    "embed, V = 32101": lambda kind: embed_layer(2, 2, 64, 64, 32_101, 128, kind),
    "embed in parts": lambda kind: embed_layer(2, 16, 128, 128, 256, 136, kind),
    "attention of 300 positions": lambda kind: attention_layer(2, 2, 300, 2, 64, kind),
    "attention of 512 positions": lambda kind: attention_layer(1, 2, 512, 1, 128, kind),
    "attention of 600 positions": lambda kind: attention_layer(2, 1, 600, 2, 64, kind),
    "add_norm, D = 1032": lambda kind: norm_layer(2, 200, 1032, kind=kind),
    "mlp, D = 136": lambda kind: mlp_layer(3, 300, 136, 544, kind=kind),
    "mlp, D = 264": lambda kind: mlp_layer(3, 300, 264, 1056, kind=kind),
    "mlp of one member": lambda kind: mlp_layer(1, 300, 128, 512, scaled=False, kind=kind),
    "readout, V = 256": lambda kind: readout_layer(3, 300, 128, 256, kind=kind),
    "readout, V = 32101": lambda kind: readout_layer(2, 256, 64, 32_101, kind=kind),
    "readout of one member": lambda kind: readout_layer(1, 256, 64, 32_101, scaled=False, kind=kind),
}


def fused(layer: Layer) -> dict[str, Tensor]:
    from widthwise.kernels import FUSED

    return results(layer, FUSED)


@pytest.mark.parametrize("make", SIZES.values(), ids=SIZES)
def test_bfloat16_is_no_worse_than_pytorchs(make: Callable[[Kind], Layer]) -> None:
    from widthwise.kernels import FUSED

    assert_no_worse(make, FUSED, torch.bfloat16, "cuda")


def test_logits_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """32,128 padded columns of two bytes: 100 tokens at a time, against all at once; sums are in another order."""
    make = SIZES["readout, V = 32101"]
    whole = fused(make(BF16))
    monkeypatch.setattr(sys.modules["widthwise.kernels.readout_loss"], "LOGITS_BYTES", 100 * 32_128 * 2)
    for name, tensor in fused(make(BF16)).items():
        assert (errors(tensor, whole[name]) <= 2**-7).all(), name


BY_A_BACKEND = "attention by a backend"
"""FlashAttention adds in a fixed order only where torch is told to refuse what does not: a process of its own."""


@pytest.mark.filterwarnings("ignore:Deterministic behavior was enabled:UserWarning")
@pytest.mark.parametrize("make", [SIZES[name] for name in SIZES if name != BY_A_BACKEND])
def test_the_same_bits_twice(make: Callable[[Kind], Layer]) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert same_bits(fused(make(BF16)), fused(make(BF16)))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "asked",
    [
        "a recorded step is the step",
        "a broken member leaves the others",
        "a broken member, recorded",
        BY_A_BACKEND,
    ],
)
def test_to_the_bit(asked: str) -> None:
    """In a process that cuBLAS and torch are asked to be deterministic in: ten steps' losses, weights and moments."""
    done = subprocess.run(
        [sys.executable, __file__, asked],
        env=os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == asked


def ten_steps(*, captured: bool, broken: bool) -> list[Tensor]:
    """Everything that ten steps of four members change; the second may begin as infinity. All finite otherwise."""
    from dataclasses import replace

    from widthwise.kernels import FUSED
    from widthwise.train import Engine, Member, Population, Precision, TrainingStep
    from widthwise.train.batches import Batches
    from widthwise.train.step_graph import stepper

    device = torch.device("cuda")
    model = Transformer(width=64, depth=2, head_dim=16, vocabulary=32, context=32)
    rows = [numbers(model, learning_rate=rate) for rate in (1e-2, 5e-3, 2e-3, 1e-3)]
    if broken:
        rows[1] = {name: replace(row, init=float("inf")) for name, row in rows[1].items()}
    members = [Member(row, init_seed=i, data_seed=i % 2) for i, row in enumerate(rows)]
    recipe = make_recipe(model, ADAM_UPDATE, steps=10, batch=8, precision=Precision.BFLOAT16)
    population = Population(recipe, members, device)
    assert population.functions is FUSED
    batches = Batches(letter_corpus(), [0, 1], steps=10, batch=8, context=32, device=device)
    step = TrainingStep(recipe, population, batches, torch.tensor([0, 1, 0, 1], device=device))
    run = stepper(step, Engine(captured=captured))
    done = 0
    while done < 10:
        done += run()
    assert done == 10
    losses = step.losses_LxP.T
    assert losses.isfinite().all(1).tolist() == [True, not broken, True, True]
    assert (losses[[0, 2, 3], -1] < losses[[0, 2, 3], 0]).all()
    return [losses.clone(), *(t.clone() for t in population.tensors())]


def of_others(tensors: list[Tensor]) -> list[Tensor]:
    """Without the second member; what has no axis of four members is not compared."""
    kept = [tensor for tensor in tensors if tensor.dim() and len(tensor) == 4]
    assert len(kept) > 50
    return [tensor[[0, 2, 3]] for tensor in kept]


def main(asked: str) -> None:
    torch.use_deterministic_algorithms(True)
    if asked == BY_A_BACKEND:
        one, other = (list(fused(SIZES[BY_A_BACKEND](BF16)).values()) for _ in range(2))
    elif asked == "a recorded step is the step":
        one, other = (ten_steps(captured=captured, broken=False) for captured in (False, True))
    else:
        captured = asked.endswith("recorded")
        one, other = (of_others(ten_steps(captured=captured, broken=b)) for b in (False, True))
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b), (a - b).abs().max()
    sys.stdout.write(asked)


if __name__ == "__main__":
    main(sys.argv[1])
