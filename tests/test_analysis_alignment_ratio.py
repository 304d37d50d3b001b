"""Ratios of one width: the mean and its interval by hand, and what is undefined."""

import math
from dataclasses import replace

import pytest

from widthwise.analysis import AlignmentRow, alignment_ratios
from widthwise.theory import AlignmentQuantity, Role

T1 = 12.706204736432095
"""Student's t of one degree of freedom at 95 %."""


def row(layer: str, seed: int, ratio: float, *, width: int = 64, fan_in: int = 64) -> AlignmentRow:
    gain = ratio * math.log(fan_in)
    return AlignmentRow(width, seed, layer, Role.HIDDEN, AlignmentQuantity.ALPHA, 10, gain, fan_in)


def test_two_layers_and_two_seeds_by_hand() -> None:
    """Means of seeds 0.6 and 0.8, of layers 0.5 and 0.9: variances 0.02 and 0.08, each over two; fan-ins differ."""
    rows = [row("a", 0, 0.4), row("b", 0, 0.8, fan_in=256), row("a", 1, 0.6), row("b", 1, 1.0, fan_in=256)]
    (found,) = alignment_ratios(rows)
    assert (found.seeds, found.layers, found.width, found.progress) == (2, 2, 64, 10)
    assert found.estimate == pytest.approx(0.7)
    assert found.high - found.estimate == pytest.approx(T1 * math.sqrt(0.02 / 2 + 0.08 / 2))
    assert found.estimate - found.low == pytest.approx(found.high - found.estimate)


def test_one_seed_or_one_layer_leaves_the_others_scatter() -> None:
    (layers,) = alignment_ratios([row("a", 0, 0.5), row("b", 0, 0.9)])
    (seeds,) = alignment_ratios([row("a", 0, 0.5), row("a", 1, 0.9)])
    assert layers.high == seeds.high == pytest.approx(0.7 + T1 * math.sqrt(0.08 / 2))


def test_one_run_of_one_layer_has_no_interval() -> None:
    (found,) = alignment_ratios([row("a", 0, 0.5)])
    assert found.estimate == pytest.approx(0.5)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_undefined_stays_undefined() -> None:
    (found,) = alignment_ratios([row("a", 0, 0.5), row("b", 0, math.nan)])
    assert math.isnan(found.estimate)
    assert math.isnan(found.high)


def test_groups_stand_in_order() -> None:
    rows = [row("a", 0, 0.5, width=128), row("a", 0, 0.5), replace(row("a", 0, 0.5), progress=20)]
    assert [(one.width, one.progress) for one in alignment_ratios(rows)] == [(128, 10), (64, 10), (64, 20)]


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="layer 'a' has no role to be pooled by"):
        alignment_ratios([replace(row("a", 0, 0.5), role=None)])
    with pytest.raises(ValueError, match="'b' has no row of seed 1 at 64"):
        alignment_ratios([row("a", 0, 0.5), row("a", 1, 0.5), row("b", 0, 0.5)])
