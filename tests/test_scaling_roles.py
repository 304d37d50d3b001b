"""Roles and initial constants of the reference models, and how patterns are matched to tensors."""

from math import sqrt

import pytest

from populations import mlp, model_roles, transformer
from widthwise.scaling import TRANSFORMER_ROLES, TensorRole, assign_roles, mlp_roles
from widthwise.theory import Role

EMBEDDING, HIDDEN = TensorRole(Role.EMBEDDING, 1.0), TensorRole(Role.HIDDEN, 1.0)
READOUT, VECTOR = TensorRole(Role.READOUT, 1.0), TensorRole(Role.VECTOR, 1.0)


def test_transformer_roles() -> None:
    """A fan-in of n gives s = 1; the down-projection's fan-in of 4n gives 1/2."""
    block = {
        "attention.norm": VECTOR,
        "attention.qkv": HIDDEN,
        "attention.output": HIDDEN,
        "mlp.norm": VECTOR,
        "mlp.up": HIDDEN,
        "mlp.down": TensorRole(Role.HIDDEN, 0.5),
    }
    assert model_roles(transformer(8, depth=2)) == {
        "token_embedding": EMBEDDING,
        "position_embedding": EMBEDDING,
        **{f"blocks.{layer}.{name}": role for layer in (0, 1) for name, role in block.items()},
        "final_norm": VECTOR,
        "readout": READOUT,
    }


def test_mlp_roles() -> None:
    """ReLU halves the second moment: s = sqrt(2); the first layer sums 3 rows."""
    assert model_roles(mlp(8, depth=2)) == {
        "first_layer": TensorRole(Role.EMBEDDING, sqrt(2 / 3)),
        "hidden.0": TensorRole(Role.HIDDEN, sqrt(2)),
        "hidden.1": TensorRole(Role.HIDDEN, sqrt(2)),
        "readout": READOUT,
    }


def test_roles_keep_the_order_of_the_names() -> None:
    names = ["readout", "hidden.1", "first_layer", "hidden.0"]
    assert list(assign_roles(names, mlp_roles(4))) == names


def test_gains_are_the_vectors() -> None:
    """What starts at a constant acts elementwise, and nothing else does."""
    model = transformer(8, depth=2)
    for name, tensor in model.tensors().items():
        assert (model_roles(model)[name].role is Role.VECTOR) == (not tensor.drawn)


def test_a_tensor_that_no_pattern_matches_is_refused() -> None:
    with pytest.raises(ValueError, match="tensor 'bias' is matched by no role pattern; it needs exactly one"):
        assign_roles([*mlp(8).tensors(), "bias"], mlp_roles(3))


def test_a_tensor_that_two_patterns_match_is_refused() -> None:
    rules = {**mlp_roles(3), "*.0": HIDDEN}
    with pytest.raises(ValueError, match=r"'hidden.0' is matched by 2 role patterns \['hidden.\*', '\*.0'\]"):
        assign_roles(mlp(8).tensors(), rules)


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    rules = {**TRANSFORMER_ROLES, "head.*": READOUT}
    with pytest.raises(ValueError, match=r"role patterns \['head.\*'\] match no tensor of \['blocks.0"):
        assign_roles(transformer(8).tensors(), rules)


def test_patterns_are_case_sensitive() -> None:
    with pytest.raises(ValueError, match="'Readout' is matched by no role pattern"):
        assign_roles(["first_layer", "hidden.0", "Readout"], mlp_roles(3))
