"""Recipes: canonical text, numbers packed and unpacked, and the identity of a literal recipe."""

import itertools
import math
from fractions import Fraction

import pytest

from widthwise.scaling import (
    TRANSFORMER_ROLES,
    Anchor,
    EpsilonPolicy,
    Gauge,
    TensorNumbers,
    assign_roles,
    make_reference_plan,
    mlp_roles,
    resolve,
)
from widthwise.study.recipe import canonical_json, identity, pack_numbers, rounded, unpack_numbers
from widthwise.theory import (
    ADAM,
    MEAN_FIELD,
    MUP,
    NTK,
    PRESCRIPTIONS,
    SGD,
    OptimizerRule,
    Parameterization,
    rate_power,
)

NAMES = [
    "token_embedding",
    "position_embedding",
    *(
        f"blocks.{block}.{part}"
        for block in range(2)
        for part in ("attention.norm", "attention.qkv", "attention.output", "mlp.norm", "mlp.up", "mlp.down")
    ),
    "final_norm",
    "readout",
]
ROLES = assign_roles(NAMES, TRANSFORMER_ROLES)

LITERAL = {
    "model": {"kind": "mlp", "depth": 1, "window": 2, "context": 8, "width": 16},
    "optimizer": {"kind": "adam", "beta1": 0.9, "beta2": 0.98},
    "schedule": {"steps": 20, "warmup": 2, "floor": 0.0},
    "batch": 2,
    "precision": "float32",
    "corpus": "ab" * 32,
    "validation_windows": 4,
    "seeds": {"init": 1, "data": 1},
    "tensors": {
        "first_layer": [1.0, 0.0078125, 1e-09],
        "hidden.*": [0.353553390593, 0.00390625, 1e-09],
        "readout": [0.25, 0.00390625, 1e-09],
    },
}
LITERAL_TEXT = (
    '{"batch":2,"corpus":"abababababababababababababababababababababababababababababababab",'
    '"model":{"context":8,"depth":1,"kind":"mlp","width":16,"window":2},'
    '"optimizer":{"beta1":0.9,"beta2":0.98,"kind":"adam"},"precision":"float32",'
    '"schedule":{"floor":0.0,"steps":20,"warmup":2},"seeds":{"data":1,"init":1},'
    '"tensors":{"first_layer":[1.0,0.0078125,1e-09],"hidden.*":[0.353553390593,0.00390625,1e-09],'
    '"readout":[0.25,0.00390625,1e-09]},"validation_windows":4}'
)
LITERAL_IDENTITY = "1ba87aec55b0419f629bc0113f36fa2bae5820c33530ed2164d01a23cc44ad21"
"""`sha256sum` of the text above: stores outlive versions, so this must never change."""


def numbers(**values: float) -> TensorNumbers:
    return TensorNumbers(**{"init": 1.0, "multiplier": 1.0, "rate": 1.0, "epsilon": 0.0, **values})


def test_canonical_text_and_identity_of_a_literal_recipe() -> None:
    assert canonical_json(LITERAL) == LITERAL_TEXT
    assert identity(LITERAL) == LITERAL_IDENTITY
    assert identity(dict(reversed(LITERAL.items()))) == LITERAL_IDENTITY


def test_numbers_that_are_no_numbers_have_no_identity() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            canonical_json({"batch": value})


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (0.1 + 0.2, 0.3),
        (1 / 3, 0.333333333333),
        (2 / 3 * 1e-20, 6.66666666667e-21),
        (2.0**-30, 9.31322574615e-10),
        (0.0, 0.0),
        (1.0, 1.0),
    ],
)
def test_twelve_digits_are_kept(value: float, kept: float) -> None:
    assert rounded(value) == kept
    assert rounded(kept) == kept


def test_rounding_joins_what_differs_by_rounding_errors_alone() -> None:
    # The same exponent reached in two ways differs in the last bits.
    one, other = 3.0**-0.5, (1 / 3.0) ** 0.5
    assert abs(one - other) <= 1e-15
    assert rounded(one) == rounded(other)
    assert rounded(1 + 1e-11) != 1.0


def test_blocks_that_agree_are_one_entry() -> None:
    same = numbers(init=0.5)
    packed = pack_numbers({"blocks.0.mlp.up": same, "readout": same, "blocks.1.mlp.up": same}, None)
    assert packed == {"tensors": {"blocks.*.mlp.up": [0.5, 1.0, 0.0], "readout": [0.5, 1.0, 0.0]}}


def test_blocks_that_differ_keep_their_names() -> None:
    folded = {
        "hidden.0": numbers(init=0.5),
        "hidden.1": numbers(init=0.5),
        "hidden.10": numbers(init=0.25),
        "readout": numbers(rate=2.0),
    }
    packed = pack_numbers(folded, None)
    assert packed["tensors"] == {
        "hidden.0": [0.5, 1.0, 0.0],
        "hidden.1": [0.5, 1.0, 0.0],
        "hidden.10": [0.25, 1.0, 0.0],
        "readout": [1.0, 2.0, 0.0],
    }
    assert unpack_numbers(packed, folded, rate_power=1) == folded


@pytest.mark.parametrize("power_of_two", [0.5, 1.0, 2.0, 2.0**-20])
def test_multipliers_that_are_powers_of_two_are_not_kept(power_of_two: float) -> None:
    explicit = {"readout": numbers(multiplier=power_of_two), "hidden.0": numbers()}
    assert "multipliers" not in pack_numbers(explicit, explicit)


def test_multipliers_are_kept_all_or_none() -> None:
    explicit = {"readout": numbers(multiplier=0.7), "hidden.0": numbers(), "hidden.1": numbers()}
    assert pack_numbers(explicit, explicit)["multipliers"] == {"readout": 0.7, "hidden.*": 1.0}
    assert "multipliers" not in pack_numbers(explicit, None)


@pytest.mark.parametrize("rule", [ADAM, SGD], ids=lambda rule: rule.name)
@pytest.mark.parametrize("parameterization", [NTK, MUP, MEAN_FIELD], ids=lambda p: p.name)
@pytest.mark.parametrize("rates", list(PRESCRIPTIONS))
@pytest.mark.parametrize(("anchor", "policy"), list(itertools.product(Anchor, EpsilonPolicy)))
def test_unpacking_gives_the_explicit_plan_back(
    rule: OptimizerRule,
    parameterization: Parameterization,
    rates: str,
    anchor: Anchor,
    policy: EpsilonPolicy,
) -> None:
    """The explicit numbers are packed folded; unfolding them is another computation than the explicit plan's own."""
    folded, explicit = (
        resolve(
            make_reference_plan(
                ROLES,
                width=24,
                base_width=8,
                parameterization=parameterization,
                optimizer=rule,
                prescription=PRESCRIPTIONS[rates],
                anchor=anchor,
                gauge=gauge,
                epsilon=policy,
            ),
            learning_rate=0.01,
            epsilon=1e-7,
        )
        for gauge in (Gauge.FOLDED, Gauge.EXPLICIT)
    )
    assert all(n.multiplier == 1 for n in folded.values())
    assert any(math.frexp(n.multiplier)[0] != 0.5 for n in explicit.values())
    unpacked = unpack_numbers(pack_numbers(folded, explicit), ROLES, rate_power=rate_power(rule))
    assert list(unpacked) == NAMES
    for name, own in explicit.items():
        # Twelve digits of two factors, the multiplier squared at most: 3 * 5e-12.
        for field in ("init", "multiplier", "rate", "epsilon"):
            assert getattr(unpacked[name], field) == pytest.approx(getattr(own, field), rel=1.5e-11), (
                name,
                field,
            )


def test_folded_numbers_come_back_to_twelve_digits() -> None:
    roles = assign_roles(["first_layer", "hidden.0", "hidden.1", "readout"], mlp_roles(3))
    plan = make_reference_plan(
        roles,
        width=24,
        base_width=8,
        parameterization=MUP,
        optimizer=ADAM,
        prescription=PRESCRIPTIONS["full"],
    )
    folded = resolve(plan, learning_rate=0.3, epsilon=0.0)
    unpacked = unpack_numbers(pack_numbers(folded, None), roles, rate_power=1)
    for name, own in folded.items():
        assert unpacked[name] == TensorNumbers(rounded(own.init), 1.0, rounded(own.rate), 0.0)
    ratio = Fraction(24, 8)
    assert unpacked["hidden.1"].rate == rounded(0.3 / float(ratio))
