"""The kernel's arctangent: its polynomial is the minimax one, and it is as exact as it says."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import pytest
import torch

from optim_cases import interpreted_kernels
from widthwise.optim import kernel_math
from widthwise.optim.kernel_math import ARCTANGENT
from widthwise.optim.moment_kernel import CONSTANTS, kernels

TERMS = len(ARCTANGENT)
STATED_ERROR = 1.67e-8
STATED_UNITS = 1.16


def relative_error(coefficients: list[mpmath.mpf], s: mpmath.mpf) -> mpmath.mpf:
    r = mpmath.sqrt(s)
    return (1 + s * mpmath.polyval(coefficients[::-1], s)) * r / mpmath.atan(r) - 1


def best_polynomial() -> tuple[list[mpmath.mpf], mpmath.mpf]:
    """Remez' exchange for the relative error of r + r s Q(s) on s in (0, 1], and the error it ends with."""
    points = [(1 - mpmath.cos(mpmath.pi * (2 * i + 1) / (2 * TERMS + 2))) / 2 for i in range(TERMS + 1)]
    grid = [mpmath.mpf(i) / 400 for i in range(1, 401)]
    coefficients: list[mpmath.mpf] = []
    for _ in range(6):
        weights = [mpmath.sqrt(x) / mpmath.atan(mpmath.sqrt(x)) for x in points]
        rows = [
            [w * x ** (j + 1) for j in range(TERMS)] + [(-1) ** i]
            for i, (x, w) in enumerate(zip(points, weights, strict=True))
        ]
        *coefficients, _ = mpmath.lu_solve(mpmath.matrix(rows), mpmath.matrix([1 - w for w in weights]))
        errors = [relative_error(coefficients, s) for s in grid]
        extremes: list[int] = []
        for i, error in enumerate(errors):
            if extremes and (error > 0) == (errors[extremes[-1]] > 0):
                if abs(error) > abs(errors[extremes[-1]]):
                    extremes[-1] = i
            else:
                extremes.append(i)
        points = [grid[i] for i in extremes[-TERMS - 1 :]]
    return coefficients, max(map(abs, errors))


def test_coefficients_are_remez() -> None:
    """Each to 2e-4 of itself (the grid has 400 points), and no polynomial of this degree does better."""
    with mpmath.workdps(40):
        coefficients, error = best_polynomial()
        stored = [mpmath.mpf(c) for c in ARCTANGENT]
        stored_error = max(abs(relative_error(stored, mpmath.mpf(i) / 1000)) for i in range(1, 1001))
    np.testing.assert_allclose(ARCTANGENT, [float(c) for c in coefficients], rtol=2e-4)
    assert float(error) == pytest.approx(STATED_ERROR, rel=0.01)
    # Rounding Q's coefficients to float32 moves it by up to 2^-25 of 1/3.
    assert float(stored_error) < STATED_ERROR + 2**-25 / 3
    assert all(np.float32(c) == c for c in ARCTANGENT)


def test_the_code_has_these_coefficients() -> None:
    tree = ast.parse(inspect.getsource(kernel_math))  # pyright: ignore[reportArgumentType]
    (function,) = [node for node in tree.body if getattr(node, "name", "") == "_arctangent"]
    numbers = [
        abs(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Constant) and isinstance(node.value, float)
    ]
    assert {abs(c) for c in ARCTANGENT} <= set(numbers)


def fused(a: np.ndarray, b: np.ndarray, c: np.ndarray | float) -> np.ndarray:
    """A float32 fused multiply-add: the product of two float32 numbers is exact in float64."""
    return (a.astype(np.float64) * b + c).astype(np.float32)


def test_within_the_stated_units() -> None:
    """In float32 with fused operations, at every 64th number from 2^-20 to 1."""
    bits = np.arange(
        np.float32(2.0**-20).view(np.int32), np.float32(1).view(np.int32) + 1, 64, dtype=np.int32
    )
    r = bits.view(np.float32)
    s = r * r
    q = np.full_like(r, ARCTANGENT[-1])
    for coefficient in ARCTANGENT[-2::-1]:
        q = fused(s, q, coefficient)
    found = fused(r * s, q, r)
    exact = np.arctan(r.astype(np.float64))
    units = np.abs(found - exact) / np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert units.max() <= STATED_UNITS


tl: Any = None
"""triton.language, once the fixture has imported it, as in the module under test."""

BLOCK = 8192


def apply(x_at, y_at, function: tl.constexpr, block: tl.constexpr):
    """A kernel that applies a function to one block."""
    place = tl.arange(0, block)
    tl.store(y_at + place, function(tl.load(x_at + place)))


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, np.ndarray], np.ndarray]]:
    """Runs one of the kernels' functions, by its name, on an array of at most a block."""
    triton = pytest.importorskip("triton")
    monkeypatch.setitem(globals(), "tl", triton.language)

    def run(name: str, x: np.ndarray) -> np.ndarray:
        padded = torch.ones(BLOCK)
        padded[: len(x)] = torch.from_numpy(x)
        result = torch.empty(BLOCK)
        triton.jit(apply)[(1,)](padded, result, getattr(kernel_math, name), BLOCK)
        return result[: len(x)].numpy()

    with interpreted_kernels():
        kernels()
        yield run


def test_the_kernels_function_over_its_range(interpreter: Callable[[str, np.ndarray], np.ndarray]) -> None:
    """Every size, both signs; the interpreter's multiply-adds round twice, 1 / x once: some 3 units."""
    x = np.concatenate([np.logspace(-30, 30, 4001), np.linspace(0.9, 1.1, 1001), [0.0]]).astype(np.float32)
    found = interpreter("_arctangent", x)
    exact = np.arctan(x.astype(np.float64))
    assert (np.abs(found - exact) / np.spacing(exact.astype(np.float32))).max() <= 3
    np.testing.assert_array_equal(interpreter("_arctangent", -x), -found)
    special = interpreter("_arctangent", np.array([np.nan, np.inf, -np.inf, 0.0], dtype=np.float32))
    np.testing.assert_allclose(special, [np.nan, np.pi / 2, -np.pi / 2, 0.0], rtol=2**-24)


def test_the_kernels_bias_correction(interpreter: Callable[[str, np.ndarray], np.ndarray]) -> None:
    """1 - exp(x) where a subtraction would lose its digits, and at the seam of the two formulas."""
    x = -np.concatenate([np.logspace(-10, 2, 3001), np.linspace(0.49, 0.51, 101), [np.inf]]).astype(
        np.float32
    )
    exact = -np.expm1(x.astype(np.float64))
    np.testing.assert_allclose(interpreter("_one_minus_exp", x), exact, rtol=5 * 2**-24)


def test_the_order_of_constants() -> None:
    assert CONSTANTS.index("log_beta1") == 2
    assert CONSTANTS[-3:] == ("decay_per_rate", "decay_per_step", "floor")
