"""Adafactor's kernels as the device's compiler sees them; and, where there is a device, on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adafactor_cases import draw, trained
from widthwise.optim import Adafactor


@pytest.mark.slow
def test_kernels_compile_and_move_16_bytes_at_a_time() -> None:
    """For an H200, without one: every variant compiles, aligned ones move vectors, nothing adds atomically."""
    pytest.importorskip("triton")
    script = Path(__file__).with_name("compiled_adafactor.py")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found) == 24
    for name in ("sums", "squares", "update", "flat", "update_flat"):
        for variant in ("float32", "bfloat16"):
            assert found[f"{name}, {variant}"]["ld.global.v4.b32"] >= 2, (name, variant)
    for name in ("update", "update_flat"):
        for variant in ("float32", "bfloat16"):
            assert found[f"{name}, {variant}"]["st.global.v4.b32"] >= 2, (name, variant)
    assert not [key for counts in found.values() for key in counts if key.startswith(("atom", "red"))]


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_on_the_device_equals_the_reference(dtype: torch.dtype) -> None:
    """Five steps; tolerances as in the interpreter's tests. Weights of 16 bits may differ in their last place."""
    starts = [
        draw(300, 136, seed=0, dtype=dtype),
        draw(129, 257, seed=1, dtype=dtype),
        draw(77, seed=2, dtype=dtype),
    ]
    gradients = [
        [draw(*s.shape, seed=10 * t + i, dtype=dtype) for i, s in enumerate(starts)] for t in range(5)
    ]
    expected, _ = trained(starts, gradients, lr=0.05)
    found, _ = trained(
        [s.cuda() for s in starts], [[g.cuda() for g in row] for row in gradients], lr=0.05, fused=True
    )
    for a, b in zip(found, expected, strict=True):
        rtol = 2**-7 if dtype == torch.bfloat16 else 0
        torch.testing.assert_close(a.cpu(), b, rtol=rtol, atol=5 * (2**-20 + 0.05 * 100 * 2**-20))


@pytest.mark.cuda
def test_a_run_repeats_bit_for_bit() -> None:
    """No sum depends on which block comes first."""
    start, gradient = draw(2000, 1500, seed=0).cuda(), draw(2000, 1500, seed=1).cuda()
    runs = [trained([start], [[gradient]] * 3, lr=0.1, fused=True)[0][0] for _ in range(5)]
    assert all(torch.equal(run, runs[0]) for run in runs)


@pytest.mark.cuda
def test_a_captured_step_is_the_eager_one() -> None:
    """A CUDA graph of the fused step, with a rate that changes between replays."""
    results = []
    for captured in (False, True):
        leaves = [torch.nn.Parameter(draw(*shape, seed=i).cuda()) for i, shape in enumerate([(40, 24), (9,)])]
        rate = torch.tensor(0.1, device="cuda")
        optimizer = Adafactor(leaves, lr=rate, min_dim_size_to_factor=8)
        gradients = [torch.ones_like(leaf) for leaf in leaves]
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient
        graph = torch.cuda.CUDAGraph()
        optimizer.step()
        if captured:
            gradients = [torch.zeros_like(leaf) for leaf in leaves]  # at addresses that no table knows
            for leaf, gradient in zip(leaves, gradients, strict=True):
                leaf.grad = gradient
            with torch.cuda.graph(graph):
                optimizer.step()
        for t in range(1, 6):
            rate.fill_(0.01 * t)
            for i, gradient in enumerate(gradients):
                gradient.copy_(draw(*gradient.shape, seed=100 * t + i))
            graph.replay() if captured else optimizer.step()
        results.append([leaf.detach().cpu() for leaf in leaves])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))
