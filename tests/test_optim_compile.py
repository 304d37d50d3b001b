"""Adam-atan2 under torch.compile and on sharded tensors: the same numbers, and nothing is compiled again."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch._dynamo.testing import CompileCounter

from optim_cases import IMPLEMENTATIONS, draw, trained
from widthwise.optim import ROOT, SQUARED, AdamAtan2, AdamW, ParameterScaling, WeightDecay

SHAPES = [(4, 8), (8,)]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("form", [SQUARED, ROOT])
def test_changing_the_rate_compiles_nothing_again(form: Any) -> None:
    """One graph for ten rates, and the weights of the plain optimizer."""
    torch._dynamo.reset()
    counter = CompileCounter()
    options: dict[str, Any] = {"second_moment": form, "weight_decay": WeightDecay(0.1, 1e-3), "b": 2.0}
    sides = []
    for compiled in (True, False):
        leaves = [torch.nn.Parameter(draw(*shape, seed=i)) for i, shape in enumerate(SHAPES)]
        rate = torch.tensor(0.0)
        optimizer = AdamAtan2(leaves, lr=rate, **options)

        def step(optimizer: AdamAtan2 = optimizer) -> None:
            optimizer.step()

        run = torch.compile(step, backend=counter, fullgraph=True) if compiled else step
        frames = 0
        for t in range(1, 11):
            rate.fill_(0.01 * t)
            for i, leaf in enumerate(leaves):
                gradient = draw(*leaf.shape, seed=100 * t + i)
                leaf.grad = gradient if leaf.grad is None else leaf.grad.copy_(gradient)
            run()
            frames = counter.frame_count if t == 2 else frames
        if compiled:
            assert frames >= 1
            assert counter.frame_count == frames
        assert optimizer.non_finite() == ()
        sides.append([leaf.detach() for leaf in leaves])
    for found, expected in zip(*sides, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=10 * 2**-22)
        assert (found - draw(*found.shape, seed=SHAPES.index(tuple(found.shape)))).abs().max() > 0.05


def compiled_against_eager(device: str, *, steps: int) -> None:
    """Inductor's program of a whole step, with a rate that changes, and as it is run without compiling."""
    for make in (
        lambda leaves, rate: AdamAtan2(leaves, lr=rate, weight_decay=0.1),
        lambda leaves, rate: AdamW(leaves, lr=rate, parameter_scaling=ParameterScaling()),
    ):
        torch._dynamo.reset()
        ends = []
        for compiled in (True, False):
            leaves = [torch.nn.Parameter(draw(*shape, seed=i).to(device)) for i, shape in enumerate(SHAPES)]
            rate = torch.tensor(0.0, device=device)
            optimizer = make(leaves, rate)
            for leaf in leaves:
                leaf.grad = torch.zeros_like(leaf)
            step = torch.compile(optimizer.step) if compiled else optimizer.step
            for t in range(1, steps + 1):
                rate.fill_(0.01 * t)
                for i, leaf in enumerate(leaves):
                    leaf.grad.copy_(draw(*leaf.shape, seed=100 * t + i))  # pyright: ignore[reportOptionalMemberAccess]
                step()
            ends.append([leaf.detach() for leaf in leaves])
        for found, expected in zip(*ends, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=steps * 2**-20)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_inductor_compiles_the_step() -> None:
    """On a CPU; needs a C++ compiler, as Inductor does."""
    compiled_against_eager("cpu", steps=3)


@pytest.mark.cuda
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_inductor_compiles_the_step_on_the_device() -> None:
    compiled_against_eager("cuda", steps=5)


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("how", ["single", "foreach"])
def test_sharded_modules_step_as_whole_ones(how: str) -> None:
    """FSDP2 of one process: parameters, gradients and moments are DTensors, the steps are those of the module alone."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, init_device_mesh

    mesh = init_device_mesh("cpu", (1,))
    weights = []
    for sharded in (True, False):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Linear(5, 2))
        if sharded:
            fully_shard(model, mesh=mesh)
        optimizer = AdamAtan2(model.parameters(), lr=0.05, second_moment=ROOT, **IMPLEMENTATIONS[how])
        for t in range(3):
            optimizer.zero_grad()
            model(draw(4, 3, seed=t)).square().sum().backward()
            optimizer.step()
        assert optimizer.non_finite() == ()
        if sharded:
            assert all(isinstance(p, DTensor) for p in model.parameters())
            assert all(isinstance(state["exp_avg_rms"], DTensor) for state in optimizer.state.values())
            saved = optimizer.state_dict()
            other = AdamAtan2(model.parameters())
            other.load_state_dict(saved)
            for ours, theirs in zip(other.state.values(), optimizer.state.values(), strict=True):
                assert torch.equal(ours["exp_avg"].full_tensor(), theirs["exp_avg"].full_tensor())
        weights.append([p.full_tensor() if isinstance(p, DTensor) else p for p in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*weights, strict=True))


@pytest.mark.usefixtures("one_process")
def test_partial_sums_are_refused() -> None:
    from torch.distributed.tensor import DTensor, Partial, Replicate, init_device_mesh

    mesh = init_device_mesh("cpu", (1,))
    weight = torch.nn.Parameter(DTensor.from_local(torch.ones(3), mesh, [Replicate()]))
    weight.grad = DTensor.from_local(torch.ones(3), mesh, [Partial()])
    with pytest.raises(ValueError, match="reduce it before the optimizer's step"):
        AdamAtan2([weight]).step()


@pytest.mark.cuda
@pytest.mark.parametrize("form", [SQUARED, ROOT])
def test_a_captured_step_is_the_eager_one(form: Any) -> None:
    """A CUDA graph of the fused step, with a rate that changes between replays."""
    results = []
    for captured in (False, True):
        leaves = [torch.nn.Parameter(draw(*shape, seed=i).cuda()) for i, shape in enumerate(SHAPES)]
        rate = torch.tensor(0.1, device="cuda")
        optimizer = AdamAtan2(leaves, lr=rate, second_moment=form)
        gradients = [torch.zeros_like(leaf) for leaf in leaves]
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient
        graph = torch.cuda.CUDAGraph()
        optimizer.step()
        if captured:
            for leaf, gradient in zip(leaves, gradients, strict=True):
                leaf.grad = gradient.clone()  # at addresses that no table knows
            gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
            with torch.cuda.graph(graph):
                optimizer.step()
        for t in range(1, 6):
            rate.fill_(0.01 * t)
            for i, gradient in enumerate(gradients):
                gradient.copy_(draw(*gradient.shape, seed=100 * t + i))
            graph.replay() if captured else optimizer.step()
        results.append([leaf.detach().cpu() for leaf in leaves])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@pytest.mark.cuda
def test_fused_on_the_device_equals_the_reference() -> None:
    starts = [draw(1000, 33, seed=0), draw(7, seed=1)]
    gradients = [[draw(*s.shape, seed=10 * t + i) for i, s in enumerate(starts)] for t in range(1, 6)]
    for form in (SQUARED, ROOT):
        expected, _ = trained(starts, gradients, lr=0.05, second_moment=form)
        found, _ = trained(
            [s.cuda() for s in starts], [[g.cuda() for g in row] for row in gradients],
            lr=0.05, second_moment=form, fused=True,
        )  # fmt: skip
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=0, atol=5 * 2**-21)
