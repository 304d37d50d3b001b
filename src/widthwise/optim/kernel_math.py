"""What the optimizers' Triton kernels compute for one element: averages, directions, an arctangent.

The functions below are ordinary Python until `compiled` makes Triton's of them, so that this module can be read,
imported and tested without Triton.

Division and square root are rounded to nearest wherever the gradient's scale passes through them, and denormal numbers
are kept, so that powers of two in the gradient's scale change no bit of the weights.
"""

# Triton may be absent, and its kernels are not typed Python.
# pyright: reportMissingImports=false, reportInvalidTypeForm=false, reportCallIssue=false

from __future__ import annotations

from typing import Any

tl: Any = None
"""triton.language, once `compiled` has imported it: Triton reads the names that a kernel uses from its module."""

ARCTANGENT = (
    -0.33333152532577515,
    0.19993773102760315,
    -0.14211055636405945,
    0.10666003078222275,
    -0.07552211731672287,
    0.04321182891726494,
    -0.01636791042983532,
    0.002920687897130847,
)
"""arctan(r) = r + r s Q(s), s = r^2, on [0, 1]: Q's coefficients, lowest power first, as float32 numbers.

The polynomial of this degree with the least relative error, 1.67e-8, by Remez' exchange. Evaluated in float32 with
fused multiply-adds it is within 1.16 units in the last place of the arctangent (every number from 2^-10 to 1 was
tried); tests repeat both.
"""


def _arctangent(x):
    """arctan(x) of float32 numbers, odd to the bit; NaN stays NaN."""
    size = tl.abs(x)
    large = size > 1.0
    r = tl.where(large, 1.0, size) / tl.where(large, size, 1.0)
    s = r * r
    q = tl.fma(s, 0.002920687897130847, -0.01636791042983532)
    q = tl.fma(s, q, 0.04321182891726494)
    q = tl.fma(s, q, -0.07552211731672287)
    q = tl.fma(s, q, 0.10666003078222275)
    q = tl.fma(s, q, -0.14211055636405945)
    q = tl.fma(s, q, 0.19993773102760315)
    q = tl.fma(s, q, -0.33333152532577515)
    angle = tl.fma(r * s, q, r)
    # pi/2 is split: 1.5707963705062866 is its float32 number, which is 4.37e-8 too large.
    angle = tl.where(large, 1.5707963705062866 - (angle + 4.371139000186241e-08), angle)
    return tl.where(x < 0.0, -angle, angle)


def _one_minus_exp(x):
    """1 - exp(x) for x <= 0, to a few units in the last place: a Taylor polynomial up to x = -1/2, exp beyond it."""
    q = tl.fma(x, 2.48015873015873e-05, 1.984126984126984e-04)
    q = tl.fma(x, q, 1.388888888888889e-03)
    q = tl.fma(x, q, 8.333333333333333e-03)
    q = tl.fma(x, q, 4.1666666666666664e-02)
    q = tl.fma(x, q, 1.6666666666666666e-01)
    q = tl.fma(x, q, 0.5)
    q = tl.fma(x, q, 1.0)
    return tl.where(x > -0.5, -x * q, 1.0 - tl.exp(x))


def _moments(g, m, moment, weight1, weight2, ROOT: tl.constexpr):
    """The two moments with the gradient taken in, and the root of the second."""
    m = tl.fma(weight1, g - m, m)
    if ROOT:
        size = tl.abs(g)
        falling = moment >= size
        scale = tl.where(falling, moment, size)
        scale = tl.where(scale < 1.1754943508222875e-38, 1.1754943508222875e-38, scale)
        ratio = tl.div_rn(tl.where(falling, size, moment), scale)
        square = ratio * ratio
        # Near 1 the difference of squares is taken as a product: it decides whether u rises or falls.
        less = tl.fma(ratio, ratio, -1.0)
        mean = tl.where(falling, tl.fma(weight2, less, 1.0), tl.fma(-weight2, less, square))
        moment = scale * tl.sqrt_rn(mean)
        root = moment
    else:
        moment = tl.fma(weight2 * g, g, (1.0 - weight2) * moment)
        root = tl.sqrt_rn(moment)
    return m, moment, root


def _element(
    theta, g, m, moment, weight1, weight2, factor, rate, decay, RULE: tl.constexpr, ROOT: tl.constexpr
):
    """The weight and both moments after one step, in float32; `factor` is the rule's own number."""
    if RULE == "sgd":
        m = tl.fma(weight1, m, g)
        direction = m
    else:
        m, moment, root = _moments(g, m, moment, weight1, weight2, ROOT)
        if RULE == "adam":
            root = root + factor
        root = tl.where(root < 1.1754943508222875e-38, 1.1754943508222875e-38, root)
        direction = tl.div_rn(m, root)
        if RULE == "atan2":
            direction = _arctangent(direction * factor)
    return theta - tl.fma(rate, direction, decay * theta), m, moment


_CALLED = (_arctangent, _one_minus_exp, _moments, _element)
"""The functions above, as Python's."""


def compiled() -> dict[str, Any]:
    """Triton's forms of the functions here, by name, and `tl`: what a module of kernels adds to its own names.

    Raises:
        ModuleNotFoundError: Triton is not installed.
    """
    import triton
    import triton.language as language

    names = globals()
    names["tl"] = language
    names.update({function.__name__: triton.jit(function) for function in _CALLED})
    return {name: names[name] for name in ("tl", "_one_minus_exp", "_element")}
