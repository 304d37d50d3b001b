"""Plans for pytrees: roles of Flax's names, the twin of a PyTorch plan, measured laws, ties, and what is refused."""

from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from torch import nn

from jax_cases import TORCH_NAMES, init_mlp, normal
from plan_training import Tied, mlp
from widthwise.jax import Layout, describe_tree, plan_for_tree, rows_of_tree
from widthwise.jax.tree_skeletons import draw_tree_pair
from widthwise.scaling import Axis, ModelDescription, Rule, ScalingPlan, describe, plan_from
from widthwise.scaling.draws import pool
from widthwise.theory import ADAM, ALIGNMENTS, FULL, OPTIMIZER_RULES, PARAMETERIZATIONS, STANDARD, Role

WIDTHS = (16, 32, 64)
OPTIONS: dict[str, Any] = {
    "width": 64, "base_width": 16, "parameterization": STANDARD, "optimizer": ADAM, "alignment": FULL,
}  # fmt: skip


def constants(shapes: Any, value: float = 0.5) -> Any:
    """A tree of shapes as arrays of one value: a draw whose law is known."""
    return jax.tree.map(lambda shape: np.full(shape, value), shapes, is_leaf=lambda x: isinstance(x, tuple))


def flax_model(n: int, key: jax.Array) -> Any:
    """The shapes that Flax gives the parameters of a small model of each kind, heads of size 4."""
    heads = n // 4
    return constants(
        {
            "embed": {"embedding": (11, n)},
            "conv_in": {"kernel": (3, 3, 2, n), "bias": (n,)},
            "conv": {"kernel": (3, 3, n, 2 * n)},
            "attention": {
                "query": {"kernel": (n, heads, 4), "bias": (heads, 4)},
                "out": {"kernel": (heads, 4, n), "bias": (n,)},
            },
            "experts": {"kernel": (6, n, 3 * n), "bias": (6, 3 * n)},
            "router": {"kernel": (n, 6)},
            "scanned": {"kernel": (2, n, n), "scale": (2, n)},
            "norm": {"scale": (n,), "bias": (n,)},
            "down": {"kernel": (4 * n, n)},
            "head": {"kernel": (n, 11), "bias": (11,)},
        }
    )


def test_roles_of_flax_names_by_hand() -> None:
    description = describe_tree(flax_model, widths=WIDTHS)
    embedding, hidden, vector = Role.EMBEDDING, Role.HIDDEN, Role.VECTOR
    assert {name: tensor.role for name, tensor in description.tensors.items()} == {
        "embed.embedding": embedding,
        "conv_in.kernel": embedding,
        "conv_in.bias": vector,
        "conv.kernel": hidden,
        "attention.query.kernel": hidden,
        "attention.query.bias": vector,
        "attention.out.kernel": hidden,
        "attention.out.bias": vector,
        "experts.kernel": hidden,
        "experts.bias": vector,
        "router.kernel": Role.READOUT,
        "scanned.kernel": hidden,
        "scanned.scale": vector,
        "norm.scale": vector,
        "norm.bias": vector,
        "down.kernel": hidden,
        "head.kernel": Role.READOUT,
        "head.bias": Role.FIXED,
    }
    assert description.tensors["head.kernel"].axes == (Axis.CONTRACTED, Axis.PRODUCED)


def test_zeros_among_what_is_drawn_are_left_out() -> None:
    """A sparse kernel of spread 0.1: three quarters are zero, at other places under every key."""

    def init(n: int, key: jax.Array) -> Any:
        rng = np.random.default_rng(int(jax.random.key_data(key)[1]))
        return {"kernel": 0.1 * rng.standard_normal((n, n)) * (rng.random((n, n)) < 0.25)}

    sample = pool([draw_tree_pair(init, 64, 0)["kernel"]])
    # Two draws of 4096 / 4 entries: relative error 1 / sqrt(4096), five of them.
    assert (sample.spread, sample.size) == pytest.approx((0.1, 0.1), rel=5 / 64)


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (lambda n: (1, n, 10), "a convolution's readout [1, in, out], or a projection [in, heads, size]"),
        (lambda n: (n, 2, 5), "a projection of a growing input to fixed heads"),
        (lambda n: (n, 1, 10), "a convolution's window would not grow"),
    ],
)
def test_a_kernel_that_names_do_not_settle_is_refused(shape: Any, why: str) -> None:
    def init(n: int, key: jax.Array) -> Any:
        return {"inner": {"kernel": np.ones((n, n))}, "deep": {"kernel": np.ones(shape(n))}}

    with pytest.raises(ValueError, match=r"deep\.kernel \[.*one dimension grows\n *Rule\('deep\.kernel'"):
        describe_tree(init, widths=WIDTHS)
    rules = [Rule("deep.kernel", role=Role.READOUT, reason=why)]
    assert describe_tree(init, widths=WIDTHS, rules=rules).tensors["deep.kernel"].role is Role.READOUT


def test_names_that_no_layout_knows_are_refused_and_another_layout_knows_them() -> None:
    def init(n: int, key: jax.Array) -> Any:
        return constants({"linear": {"w": (5, n), "b": (n,)}, "table": (7, n)})

    with pytest.raises(ValueError, match="2 tensors have no role") as raised:
        describe_tree(init, widths=WIDTHS)
    assert "linear.w [5, n] in widthwise.jax.layout.Layout" in str(raised.value)
    assert "Rule('table', role=Role.EMBEDDING)" in str(raised.value)
    haiku = Layout("haiku", {"w": (Axis.CONTRACTED, Axis.PRODUCED), "b": (Axis.ELEMENTWISE,)})
    rules = [Rule("table", role=Role.READOUT)]
    description = describe_tree(init, widths=WIDTHS, layout=haiku, rules=rules)
    assert [tensor.rule for tensor in description.tensors.values()] == ["haiku b", "haiku w", "Rule('table')"]


@cache
def described(library: str) -> ModelDescription:
    if library == "torch":
        return describe(mlp, widths=WIDTHS)
    return describe_tree(init_mlp, widths=WIDTHS)


@cache
def both_plans(parameterization: str, optimizer: str, alignment: str) -> tuple[ScalingPlan, ScalingPlan]:
    ours, theirs = (
        plan_from(
            described(library),
            width=64,
            base_width=16,
            parameterization=PARAMETERIZATIONS[parameterization],
            optimizer=OPTIMIZER_RULES[optimizer],
            alignment=ALIGNMENTS[alignment],
        )
        for library in ("jax", "torch")
    )
    return ours, theirs


@pytest.mark.parametrize("parameterization", sorted(PARAMETERIZATIONS))
def test_the_twin_of_a_torch_model_has_the_same_plan(parameterization: str) -> None:
    """Every optimizer and alignment; the same law of initializers, so the same factors to the last bit."""
    for optimizer, alignment in product(OPTIMIZER_RULES, ALIGNMENTS):
        ours, theirs = both_plans(parameterization, optimizer, alignment)
        assert sorted(ours.rows) == sorted(TORCH_NAMES)
        for name, other in TORCH_NAMES.items():
            one, two = ours.rows[name], theirs.rows[other]
            assert one.shape == tuple(reversed(two.shape))
            assert (one.role, one.rule, one.exponents, one.decayed) == (
                two.role,
                two.rule,
                two.exponents,
                two.decayed,
            )
            assert (one.init, one.rate, one.epsilon, one.decay) == (
                two.init,
                two.rate,
                two.epsilon,
                two.decay,
            )


@pytest.mark.parametrize(
    ("draw", "law", "init_factor"),
    [
        ("fan in", "random n^(-1/2)", 1.0),
        ("constant", "random n^0", 0.5),
        ("affine", "random (fan in)^(-1/2)", 0.5 * ((64 + 40) / (16 + 40)) ** 0.5),
        ("glorot_normal", "random (fan in + fan out)^(-1/2)", 0.5 * ((2 * 64 + 40) / (2 * 16 + 40)) ** 0.5),
    ],
)
def test_initializers_are_measured(draw: str, law: str, init_factor: float) -> None:
    """Kernels [n, n] and [n + 40, n]: a constant, the fan-in, both fans. A hidden kernel is to fall as n^(-1/2)."""

    def init(n: int, key: jax.Array) -> Any:
        if draw == "glorot_normal":
            return {"kernel": jax.nn.initializers.glorot_normal()(key, (n + 40, n))}
        fan_in = n if draw == "fan in" else n + 40
        scale = 0.02 if draw == "constant" else fan_in**-0.5
        return {"kernel": normal(key, fan_in, n, scale=scale)}

    plan = plan_for_tree(init, **OPTIONS, initializer_widths=(16, 64, 256))
    row = plan.rows["kernel"]
    assert (str(row.initializer), row.role) == (law, Role.HIDDEN)
    assert row.init == pytest.approx(init_factor, rel=1e-12)


def test_the_width_to_train_costs_nothing() -> None:
    """A hidden matrix of 2^20 by 2^20 is 4 TiB: its shape is read, small widths are drawn."""
    drawn: list[int] = []

    def init(n: int, key: jax.Array) -> Any:
        if not isinstance(key, jax.core.Tracer):
            drawn.append(n)
        return {"kernel": normal(key, n, n, scale=n**-0.5)}

    plan = plan_for_tree(init, **{**OPTIONS, "width": 2**20, "base_width": 64})
    assert plan.rows["kernel"].shape == (2**20, 2**20)
    assert plan.rows["kernel"].rate == 2.0**-14
    assert set(drawn) == {16, 32, 64}


def test_widths_that_init_refuses_are_not_drawn() -> None:
    """Heads of 32: a quarter of the base width has none."""
    drawn: set[int] = set()

    def init(n: int, key: jax.Array) -> Any:
        if not isinstance(key, jax.core.Tracer):
            drawn.add(n)
        return {"kernel": normal(key, n, n // 32, 32, scale=n**-0.5)}

    plan_for_tree(init, **{**OPTIONS, "base_width": 64, "width": 256})
    assert drawn == {64, 128, 256}


def tied_tree(n: int, key: jax.Array) -> Any:
    """`plan_training.Tied`: words in, a hidden layer, a norm, and the same words out."""
    words, kernel, bias = np.split(normal(key, (11 + n + 1) * n), [11 * n, (11 + n) * n])
    bound = np.float32((3 * n) ** -0.5)
    return {
        "embed": {"embedding": words.reshape(11, n)},
        "hidden": {"kernel": kernel.reshape(n, n) * bound, "bias": bias * bound},
        "norm": {"scale": np.ones(n), "bias": np.zeros(n)},
    }


def test_a_tied_embedding_is_declared_and_has_its_torch_twins_plan() -> None:
    ties = {"tied": {"readout": "embed.embedding"}, "norm": "norm"}
    plan = plan_for_tree(tied_tree, **OPTIONS, **ties)
    theirs = plan_from(describe(Tied, widths=WIDTHS), **OPTIONS)
    names = {
        "embed.embedding": "embed.weight",
        "hidden.kernel": "hidden.weight",
        "hidden.bias": "hidden.bias",
        "norm.scale": "norm.weight",
        "norm.bias": "norm.bias",
    }
    assert sorted(plan.rows) == sorted(names)
    for name, other in names.items():
        one, two = plan.rows[name], theirs.rows[other]
        assert (one.role, one.init, one.rate, one.epsilon) == (two.role, two.init, two.rate, two.epsilon)
    assert plan.rows["norm.scale"].init == 1 / 4
    t5 = plan_for_tree(tied_tree, **OPTIONS, **ties, rules=[Rule("readout", forward_factor=Fraction(-1, 2))])
    assert t5.rows["norm.scale"].init == 1 / 2
    with pytest.raises(ValueError, match=r"Name its module, norm=\.\.\."):
        plan_for_tree(tied_tree, **OPTIONS, tied={"readout": "embed.embedding"})
    with pytest.raises(ValueError, match=r"tied=\{'readout': 'embed'\}, but 'embed' is no leaf"):
        plan_for_tree(tied_tree, **OPTIONS, tied={"readout": "embed"})
    with pytest.raises(ValueError, match=r"'norm\.bias' is a leaf of its own"):
        plan_for_tree(tied_tree, **OPTIONS, tied={"norm.bias": "embed.embedding"})


def test_a_plan_of_a_tree_is_a_file_like_any_other(tmp_path: Path) -> None:
    plan = both_plans("mup", "adam", "full")[0]
    plan.save(tmp_path / "plan.json")
    assert ScalingPlan.load(tmp_path / "plan.json").diff(plan) == ()
    assert "Dense_1.kernel" in str(plan)
    assert "flax kernel" in str(plan)


BAD_TREES: dict[str, tuple[Any, str]] = {
    "no leaves": (lambda n: {}, r"init\(16, key\) returned a tree without leaves"),
    "integers": (lambda n: {"w": {"steps": np.zeros(3, np.int32)}}, r"w\.steps is int32, not real"),
    "one name": (lambda n: {"a.b": np.ones(n), "a": {"b": np.ones(n)}}, "two leaves are called 'a.b'"),
    "ignores the width": (lambda n: {"kernel": np.ones((3, 3))}, "no tensor grows between widths"),
    "other leaves": (
        lambda n: {"kernel": np.ones((n, n)), **({"bias": np.ones(n)} if n > 16 else {})},
        "widths 16 and 32 have different tensors: bias",
    ),
    "no law": (lambda n: {"kernel": np.ones((n, n * n % 37))}, "tensor 'kernel', dimension 1: sizes"),
    "not finite": (lambda n: {"kernel": np.full((n, n), np.nan)}, r"entries that are not finite in kernel"),
}


@pytest.mark.parametrize("case", sorted(BAD_TREES))
def test_a_bad_tree_is_named(case: str) -> None:
    tree, message = BAD_TREES[case]
    with pytest.raises(ValueError, match=message):
        describe_tree(lambda n, key: tree(n), widths=WIDTHS)


def test_rules_that_match_nothing_and_bad_widths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Rule\('Dense_9\.kernel'\) matches no tensor"):
        plan_for_tree(init_mlp, **OPTIONS, rules=[Rule("Dense_9.kernel", role=Role.HIDDEN)])
    with pytest.raises(ValueError, match="width 0 and base width 16 must both be at least 1"):
        plan_for_tree(init_mlp, **{**OPTIONS, "width": 0})
    with pytest.raises(ValueError, match="give 3 or more"):
        describe_tree(init_mlp, widths=(16, 32))
    patterned = plan_for_tree(
        init_mlp, **OPTIONS, rules=[Rule("Dense_*.bias", initializer_exponent=Fraction(0))]
    )
    assert {row.init for name, row in patterned.rows.items() if name.endswith("bias")} == {1.0}


class Transposed(nn.Module):
    """A PyTorch model with a leaf that a tree cannot hold in another order: for `names` alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, width, 3, bias=False)


def test_a_torch_plan_serves_a_tree_under_other_names() -> None:
    """[out, in, window] in PyTorch is [window, in, out] in Flax: dimensions in any order, sizes as planned."""
    plan = plan_from(describe(Transposed, widths=WIDTHS), **OPTIONS)
    tree, names = {"Conv_0": {"kernel": np.ones((3, 2, 64))}}, {"Conv_0.kernel": "conv.weight"}
    assert rows_of_tree(plan, tree, names=names)["Conv_0"]["kernel"] is plan.rows["conv.weight"]
    with pytest.raises(ValueError, match=r"Conv_0\.kernel has shape \[3, 2, 65\].*64, 2, 3, in any order"):
        rows_of_tree(plan, {"Conv_0": {"kernel": np.ones((3, 2, 65))}}, names=names)
    with pytest.raises(ValueError, match=r"names has Dense_0\.kernel, which is no leaf"):
        rows_of_tree(plan, tree, names={"Dense_0.kernel": "conv.weight"})
