"""Log gains: by hand, against float64 NumPy, as sums of parts, and undefined where nothing is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from alignment_factors import independent, log_gain, rank_one, token_mean
from widthwise.measure.alignment_sizes import (
    ProductSizes,
    product_sizes,
    squares,
    token_mean_log_gain,
)
from widthwise.measure.alignment_sizes import log_gain as measured_log_gain

ROUNDING = 1e-12
"""Sums of 1e4 squares in float64 are good to 1e-13 or so."""


def sizes(matrix: Tensor, tokens: Tensor) -> ProductSizes:
    return product_sizes(tokens @ matrix.T, squares(matrix), tokens)


def test_by_hand() -> None:
    """A = (1 0), x = (3 4): y = 3, rms(A) = 1/sqrt 2, rms(x) = 5/sqrt 2, gain 3 * 2 / 5."""
    found = sizes(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    assert measured_log_gain(found).item() == pytest.approx(math.log(6 / 5), abs=1e-12)
    assert token_mean_log_gain(found).item() == pytest.approx(math.log(6 / 5), abs=1e-12)


def test_pooled_and_token_mean_by_hand() -> None:
    """A = (1 0), tokens (1 1) and (0 2): pooled gain sqrt(1/2) / (sqrt(1/2) sqrt(6/4)); the second token has y = 0."""
    found = sizes(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    assert measured_log_gain(found).item() == pytest.approx(math.log(math.sqrt(2)), abs=1e-12)
    other = sizes(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, 2.0]]))
    assert measured_log_gain(other).item() == pytest.approx(
        math.log(math.sqrt(1 / 2 / (1 / 2 * 6 / 4))), abs=1e-12
    )
    assert token_mean_log_gain(other).item() == pytest.approx(math.log(math.sqrt(2)), abs=1e-12)
    assert other.tokens.count == 1  # the undefined token is not counted as 0


@pytest.mark.parametrize("factors", [independent(48, 0), rank_one(96, 1)])
def test_agrees_with_float64_numpy(factors: object) -> None:
    matrix, tokens = factors.matrix, factors.tokens  # type: ignore[attr-defined]
    found = sizes(torch.from_numpy(matrix), torch.from_numpy(tokens))
    assert measured_log_gain(found).item() == pytest.approx(log_gain(matrix, tokens), abs=ROUNDING)
    assert token_mean_log_gain(found).item() == pytest.approx(token_mean(matrix, tokens), abs=ROUNDING)


def test_parts_add_up_to_the_whole() -> None:
    """Micro-batches of different sizes, and rows of A on two devices with their own outputs."""
    factors = rank_one(40, 0)
    matrix, tokens = torch.from_numpy(factors.matrix), torch.from_numpy(factors.tokens)
    whole = sizes(matrix, tokens)
    batches = sizes(matrix, tokens[:1]) + sizes(matrix, tokens[1:])
    rows = sizes(matrix[:7], tokens) + sizes(matrix[7:], tokens)
    for parts in (batches, rows):
        assert measured_log_gain(parts).item() == pytest.approx(measured_log_gain(whole).item(), abs=ROUNDING)
    assert token_mean_log_gain(batches).item() == pytest.approx(
        token_mean_log_gain(whole).item(), abs=ROUNDING
    )
    ratios = [measured_log_gain(sizes(matrix, part)).item() for part in (tokens[:1], tokens[1:])]
    assert abs(np.mean(ratios) - measured_log_gain(whole).item()) > 1e-3  # a mean of ratios is another number


def test_members_are_measured_as_if_alone() -> None:
    members = [independent(24, 0), rank_one(24, 1), independent(24, 2)]
    matrix_PxMxF = torch.from_numpy(np.stack([one.matrix for one in members]))
    tokens_PxTxF = torch.from_numpy(np.stack([one.tokens for one in members]))
    found = product_sizes(
        tokens_PxTxF @ matrix_PxMxF.mT, squares(matrix_PxMxF, leading=1), tokens_PxTxF, leading=1
    )
    alone = [measured_log_gain(sizes(*map(torch.from_numpy, (one.matrix, one.tokens)))) for one in members]
    assert measured_log_gain(found).shape == (3,)
    assert torch.allclose(measured_log_gain(found), torch.stack(alone), atol=ROUNDING, rtol=0)


@pytest.mark.parametrize(
    ("matrix", "tokens"),
    [
        (torch.zeros(2, 2), torch.ones(1, 2)),  # nothing has changed
        (torch.ones(2, 2), torch.zeros(1, 2)),
        (torch.tensor([[1.0, -1.0]]), torch.ones(1, 2)),  # y = 0
        (torch.tensor([[math.inf, 1.0]]), torch.ones(1, 2)),
        (torch.ones(2, 2), torch.tensor([[math.nan, 1.0], [1.0, 1.0]])),
    ],
)
def test_undefined_is_not_a_number(matrix: Tensor, tokens: Tensor) -> None:
    """Never 0 and never 1: an exponent from nothing is no exponent."""
    found = sizes(matrix, tokens)
    assert math.isnan(measured_log_gain(found).item())
    assert math.isnan(token_mean_log_gain(found).item())


def test_one_broken_member_leaves_the_others() -> None:
    matrix = torch.stack([torch.eye(2), torch.zeros(2, 2)])
    tokens = torch.ones(2, 3, 2)
    found = measured_log_gain(
        product_sizes(tokens @ matrix.mT, squares(matrix, leading=1), tokens, leading=1)
    )
    assert found[0].isfinite()
    assert found[1].isnan()


def test_squares_beyond_float32() -> None:
    """1e30 squared is no float32, nor is 1e-30."""
    for scale in (1e30, 1e-30):
        found = sizes(torch.full((2, 2), scale), torch.ones(1, 2))
        assert measured_log_gain(found).item() == pytest.approx(math.log(2), abs=1e-6)


def test_outputs_and_inputs_of_different_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="same members and tokens"):
        product_sizes(torch.ones(3, 2), squares(torch.ones(2, 2)), torch.ones(4, 2))
