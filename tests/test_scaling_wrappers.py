"""A plan survives what is put around a model: the same training, whether it was applied before or after."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from plan_models import llama
from plan_processes import STEPS, in_processes
from plan_training import (
    adamw,
    batch_of,
    fresh,
    mlp,
    plan_of,
    planned,
    same,
    tensors,
    train,
)
from widthwise.scaling.parameter_names import plain_names, unwrapped
from widthwise.theory import MUP


def plan_for_mlp():
    return plan_of(mlp, parameterization=MUP)


def unwrapped_run() -> dict[str, Tensor]:
    plan = plan_for_mlp()
    model = planned(plan, mlp)
    train(model, adamw(plan, model), range(STEPS))
    return tensors(model)


def copied(model: nn.Module) -> nn.Module:
    return deepcopy(model)


def assigned(model: nn.Module) -> nn.Module:
    with torch.device("meta"):
        empty = mlp(64)
    empty.load_state_dict(model.state_dict(), assign=True)
    return empty


def checkpointed(model: nn.Module) -> nn.Module:
    return nn.Sequential(*(checkpoint_wrapper(layer) for layer in model))


def parallel(model: nn.Module) -> nn.Module:
    return nn.DataParallel(model)


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="aot_eager")


def compiled_inside(model: nn.Module) -> nn.Module:
    return nn.DataParallel(
        torch.compile(nn.Sequential(*(checkpoint_wrapper(layer) for layer in model)), backend="eager")
    )


def exported(model: nn.Module) -> nn.Module:
    return torch.export.export(model, (batch_of(0)[0],)).module()


WRAPPERS: dict[str, tuple[Callable[[nn.Module], nn.Module], float]] = {
    "deepcopy": (copied, 0.0),
    "load_state_dict(assign=True)": (assigned, 0.0),
    "activation checkpointing": (checkpointed, 0.0),
    "DataParallel": (parallel, 0.0),
    "compile": (compiled, 1e-5),
    "compile of checkpointing in DataParallel": (compiled_inside, 1e-5),
    "export": (exported, 1e-5),
}


@pytest.mark.parametrize(("wrap", "tolerance"), WRAPPERS.values(), ids=WRAPPERS)
def test_before_and_after_wrapping(wrap: Callable[[nn.Module], nn.Module], tolerance: float) -> None:
    plan = plan_for_mlp()
    wanted = unwrapped_run()
    for before in (True, False):
        model = fresh(mlp, 64)
        if before:
            plan.initialize_(model)
        model = wrap(model)
        plan.initialize_(model)
        plan.initialize_(model)
        optimizer = adamw(plan, model)
        plan.verify(optimizer, model)
        assert {name for group in optimizer.param_groups for name in group["param_names"]} == {*plan.rows}
        train(model, optimizer, range(STEPS))
        for found, name in zip(model.parameters(), wanted, strict=True):
            torch.testing.assert_close(found.detach(), wanted[name], rtol=tolerance, atol=tolerance)


def test_a_training_run_that_differs_would_be_seen() -> None:
    """The comparison above, of a model whose plan was not applied."""
    plan = plan_for_mlp()
    model = fresh(mlp, 64)
    train(model, adamw(plan, model), range(STEPS))
    wanted = unwrapped_run()
    misses = [(p.detach() - wanted[name]).abs().max().item() for name, p in model.named_parameters()]
    assert max(misses) > 1e-2


def test_a_plan_of_a_factory_that_wraps() -> None:
    """A factory that compiles what it builds: rows under the plain names, for the plain model too."""

    def compiling(width: int) -> nn.Module:
        return torch.compile(mlp(width), backend="eager")

    plan = plan_of(compiling, parameterization=MUP)
    assert [*plan.rows] == [*plan_for_mlp().rows]
    assert same(tensors(planned(plan, mlp)), tensors(planned(plan_for_mlp(), mlp)))


def test_after_wrapping_a_loaded_state_keeps_its_names() -> None:
    """Groups of a compiled model and of the plain one are interchangeable."""
    plan = plan_for_mlp()
    plain = planned(plan, mlp)
    optimizer = adamw(plan, plain)
    train(plain, optimizer, range(2))
    model = deepcopy(plain)
    other = adamw(plan, compiled(model))
    other.load_state_dict(deepcopy(optimizer.state_dict()))  # the two would share their moments
    plan.verify(other, model)
    train(plain, optimizer, range(2, 4))
    train(model, other, range(2, 4))
    assert same(tensors(model), tensors(plain))


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Tensor]]]:
    return in_processes(plan_for_mlp(), tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("case", ["DDP before", "DDP after", "FSDP2 before", "FSDP2 after", "FSDP2 meta"])
def test_two_processes(case: str, ends: list[dict[str, list[Tensor]]]) -> None:
    """Halves of each batch on two processes over gloo: the same training as one process's to 1e-5."""
    wanted = unwrapped_run()
    for found in ends:
        assert len(found[case]) == len(wanted)
        for end, name in zip(found[case], wanted, strict=True):
            torch.testing.assert_close(end, wanted[name], rtol=1e-5, atol=1e-5)


def test_shards_are_refused_on_every_process_or_on_none(ends: list[dict[str, list[Tensor]]]) -> None:
    """Zeros everywhere; and a shard on one process alone that is 3 times too large: ((1 + 9) / 2)^(1/2) of the draw."""
    refused = [[key.removeprefix("FSDP2 ") for key, end in found.items() if not end] for found in ends]
    assert refused[0] == refused[1]
    empty, uneven = refused[0]
    assert empty.startswith("0.weight has entries of size 0; its own initializer gives")
    size = float(uneven.removeprefix("2.weight has entries of size ").split(";")[0])
    # a linear layer's default, (3 n)^(-1/2), from 64 x 64 entries
    assert size == pytest.approx(5**0.5 * (3 * 64) ** -0.5, rel=0.05)


class Named(nn.Module):
    """A user's attributes that are called as wrappers call theirs, and names that begin like prefixes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.module = nn.ModuleDict(
            {"embed": nn.Linear(5, width), "module": nn.Linear(width, width), "dule": nn.Linear(width, 3)}
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.module.values():
            x = layer(x)
        return x


def test_a_users_module_called_module() -> None:
    plan = plan_of(Named)
    assert {"module.embed.weight", "module.module.weight", "module.dule.weight"} <= {*plan.rows}
    for model in (
        fresh(Named, 64),
        parallel(fresh(Named, 64)),
        parallel(compiled(fresh(Named, 64))),
        compiled(parallel(fresh(Named, 64))),
    ):
        groups = plan.param_groups(model, learning_rate=0.1)
        found = {
            name: id(tensor)
            for group in groups
            for name, tensor in zip(group["param_names"], group["params"], strict=True)
        }
        assert [*found.values()].sort() == [id(p) for p in model.parameters()].sort()
        inner = model
        while not isinstance(inner, Named):
            inner = inner.module if isinstance(inner, nn.DataParallel) else inner._orig_mod
        assert found == {name: id(parameter) for name, parameter in inner.named_parameters()}


def test_prefixes_are_removed_whole() -> None:
    """`str.strip("module.")` would eat letters: `module.embed.weight` became `bed.weight`."""
    for name in ("embed.weight", "dule.weight", "module_list.weight", "modules.0.weight", "orig_mod.weight"):
        for prefix in ("", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.module."):
            assert unwrapped(prefix + name, {name}) == name
    assert unwrapped("layers.0._checkpoint_wrapped_module.weight", {"layers.0.weight"}) == "layers.0.weight"
    assert unwrapped("my_orig_mod.weight", {"my_orig_mod.weight"}) == "my_orig_mod.weight"


def test_all_prefixes_go_together() -> None:
    """Both names exist with and without the prefix: only the whole set tells."""
    known = {"weight", "module.weight"}
    assert plain_names(["module.weight", "module.module.weight"], known) == {
        "module.weight": "weight",
        "module.module.weight": "module.weight",
    }
    assert plain_names(["weight", "module.weight"], known) == {
        "weight": "weight",
        "module.weight": "module.weight",
    }


def test_a_part_of_the_model_is_wrapped() -> None:
    plan = plan_of(llama, width=32)
    model = fresh(llama, 32)
    model.model.layers[0] = checkpoint_wrapper(model.model.layers[0])
    model.model.layers[1] = torch.compile(model.model.layers[1], backend="eager")
    plan.initialize_(model)
    groups = plan.param_groups(model, learning_rate=0.1)
    assert sorted(name for group in groups for name in group["param_names"]) == sorted(plan.rows)


def test_assigning_breaks_a_tie_loudly() -> None:
    """A state dict has a tied tensor under both names, and `assign` makes two of it."""
    from plan_training import TIED

    plan = plan_of(TIED)
    model = planned(plan, TIED)
    with torch.device("meta"):
        empty = TIED(64)
    empty.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()}, assign=True)
    with pytest.raises(ValueError, match=r"model alone has head\.weight\. .* tie it again"):
        plan.param_groups(empty, learning_rate=0.1)


def test_making_a_plan_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    plan_of.__wrapped__(mlp, width=32)
    assert torch.equal(state, torch.random.get_rng_state())
