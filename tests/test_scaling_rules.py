"""A user's rules, and the errors that ask for one: what they print, and that pasting it settles the matter."""

import re

import pytest
from torch import nn

from described_models import WIDTHS, Held, mlp, roles
from widthwise.scaling import Rule, describe
from widthwise.theory import Role

EMBEDDING, HIDDEN, READOUT, VECTOR = Role.EMBEDDING, Role.HIDDEN, Role.READOUT, Role.VECTOR

AMBIGUOUS = """\
3 tensors have no role: shapes and module types do not decide it. Add one line for each of these to rules=(...):
  0.table [7, n] in {owner} and 1 more: one dimension grows
    Rule('*.table', role=Role.EMBEDDING),  # its rows are looked up or summed over a dimension that does not grow
    Rule('*.table', role=Role.READOUT),  # the dimension that grows is summed over
    Rule('*.table', role=Role.VECTOR),  # it acts elementwise
  2.mask [4n, 3] in {owner}: one dimension grows
    Rule('*.mask', role=Role.EMBEDDING),  # its rows are looked up or summed over a dimension that does not grow
    Rule('*.mask', role=Role.READOUT),  # the dimension that grows is summed over
    Rule('*.mask', role=Role.VECTOR),  # it acts elementwise"""


def ambiguous(width: int) -> nn.Module:
    return nn.Sequential(Held(table=(7, width)), Held(table=(7, width)), Held(mask=(4 * width, 3)))


def test_an_ambiguous_tensor_prints_the_lines_to_add() -> None:
    with pytest.raises(ValueError, match="3 tensors have no role") as refused:
        describe(ambiguous, widths=WIDTHS)
    assert str(refused.value) == AMBIGUOUS.format(owner="described_models.Held")


def test_the_lines_settle_it() -> None:
    """Each printed line, pasted as it is, gives the tensors that it names the role that it says."""
    lines = re.findall(r"^    (Rule\(.*?\)),  #", AMBIGUOUS, flags=re.MULTILINE)
    assert len(lines) == 6
    for table_line in lines[:3]:
        for mask_line in lines[3:]:
            rules = (eval(table_line), eval(mask_line))
            found = roles(describe(ambiguous, widths=WIDTHS, rules=rules))
            assert found == {"0.table": rules[0].role, "1.table": rules[0].role, "2.mask": rules[1].role}


@pytest.mark.parametrize(
    ("options", "role"),
    [
        ({"contracted": (1,), "produced": (0,)}, READOUT),
        ({"contracted": (0,), "produced": (1,)}, EMBEDDING),
        ({"contracted": (0,)}, VECTOR),
        ({"produced": (1,)}, EMBEDDING),
    ],
)
def test_a_rule_may_say_what_dimensions_do(options: dict[str, tuple[int, ...]], role: Role) -> None:
    found = describe(lambda n: Held(table=(7, n)), widths=WIDTHS, rules=(Rule("table", **options),))
    assert roles(found) == {"table": role}


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("blocks.*.scale", "blocks.0.scale", True),
        ("blocks.*.scale", "blocks.0.mlp.scale", False),
        ("blocks", "blocks.0", False),
        ("blocks.0.scale", "blocks.0", False),
        ("*", "scale", True),
        ("*", "mlp.scale", False),
        ("mlp.[uv]?", "mlp.up", True),
        ("MLP.up", "mlp.up", False),
    ],
)
def test_a_pattern_stays_within_the_parts_of_a_name(pattern: str, name: str, matches: bool) -> None:
    assert Rule(pattern, role=VECTOR).matches(name) == matches


def test_a_rule_overrides_a_module() -> None:
    """A linear layer used as a lookup table: the rule wins over the class."""
    rules = (Rule("weight", role=EMBEDDING),)
    found = describe(lambda n: nn.Linear(n, 11, bias=False), widths=WIDTHS, rules=rules)
    assert roles(found) == {"weight": EMBEDDING}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            (Rule("*.wait", role=VECTOR),),
            r"Rule\('\*.wait'\) matches no tensor of 0.weight, 0.bias, .*; remove it",
        ),
        ((Rule("weight", role=VECTOR),), r"Rule\('weight'\) matches no tensor"),
        (
            (Rule("0.weight", role=EMBEDDING), Rule("?.weight", role=HIDDEN)),
            r"tensor '0.weight' is matched by Rule\('0.weight'\) and Rule\('\?.weight'\); say everything",
        ),
        (
            (Rule("4.weight", role=HIDDEN),),
            r"'4.weight' \[3, n\] hidden, which needs 2 growing dimensions and has 1",
        ),
        (
            (Rule("4.bias", role=VECTOR),),
            r"'4.bias' \[3\] vector, which needs 1 growing dimensions and has 0",
        ),
        ((Rule("4.bias", contracted=(1,)),), r"names dimensions \[1\] of tensor '4.bias' \[3\], which has 1"),
    ],
)
def test_rules_that_are_refused(rules: tuple[Rule, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        describe(mlp, widths=WIDTHS, rules=rules)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"role": VECTOR, "produced": (0,)}, r"gives the role vector and dimensions \(0,\) that imply one"),
        ({"contracted": (0,), "produced": (0,)}, "names a dimension twice"),
        ({}, "says nothing"),
    ],
)
def test_rules_that_contradict_themselves(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rule("x", **arguments)
