"""The two forms of the second moment against mpmath, over the range of float32."""

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from optim_cases import draw
from widthwise.optim import ROOT, SQUARED
from widthwise.optim.second_moment import SecondMoment, converted

TINY = torch.finfo(torch.float32).tiny
LARGE = 2.0**126
FORMS = [SQUARED, ROOT]
magnitudes = st.floats(TINY, LARGE, width=32) | st.just(0.0)


def updated(form: SecondMoment, moment: float, gradient: float, weight: float) -> tuple[float, float]:
    """The moment by one tensor and as a list of one."""
    results = []
    for each in (False, True):
        value = torch.tensor([moment])
        if each:
            form.update_each_([value], [torch.tensor([gradient])], weight)
        else:
            form.update_(value, torch.tensor([gradient]), weight)
        results.append(value.item())
    return results[0], results[1]


@given(
    u=magnitudes,
    g=magnitudes,
    weight=st.sampled_from([0.5, 0.05, 0.001, 1e-6]),
    sign=st.sampled_from([1, -1]),
)
def test_root_is_the_hypotenuse_over_the_whole_range(u: float, g: float, weight: float, sign: int) -> None:
    """sqrt((1 - w) u^2 + w g^2) to 3 roundings of 2^-24, or 2^-149 where it is denormal."""
    with mpmath.workdps(50):
        exact = float(
            mpmath.sqrt((1 - mpmath.mpf(weight)) * mpmath.mpf(u) ** 2 + weight * mpmath.mpf(g) ** 2)
        )
    for found in updated(ROOT, u, sign * g, weight):
        assert found == pytest.approx(exact, rel=3 * 2**-24, abs=2.0**-148)


@given(u=st.floats(TINY, LARGE, width=32), weight=st.sampled_from([0.5, 0.05, 0.001, 1e-6]))
def test_a_constant_gradient_is_its_own_root_mean_square(u: float, weight: float) -> None:
    """No drift: the fixed point is exact, to the bit."""
    assert updated(ROOT, u, u, weight) == (u, u)


@pytest.mark.parametrize("weight", [0.05, 0.001, 1e-5])
def test_a_constant_gradient_is_reached_and_kept(weight: float) -> None:
    """From above, from below and from it: over many mantissas no step leads away."""
    g = torch.linspace(1, 2, 1000)
    for u in (g * (1 + 2.0**-20), g * (1 - 2.0**-20), g.clone()):
        before = (u - g).abs()
        for _ in range(50):
            ROOT.update_(u, g, weight)
        assert ((u - g).abs() <= before).all()


@given(g=st.floats(2.0**-50, 2.0**60, width=32), v=st.floats(2.0**-100, 2.0**120, width=32))
def test_squared_is_the_mean(g: float, v: float) -> None:
    """Within the range where g^2 is a number: three roundings."""
    exact = v + 0.001 * (g * g - v)
    for found in updated(SQUARED, v, g, 0.001):
        assert found == pytest.approx(exact, rel=4 * 2**-24)


@pytest.mark.parametrize(("gradient", "squared"), [(1e-30, 0.0), (1e30, float("inf"))])
def test_where_the_squared_form_ends_the_root_form_goes_on(gradient: float, squared: float) -> None:
    assert updated(SQUARED, 0.0, gradient, 0.25)[0] == squared
    assert updated(ROOT, 0.0, gradient, 0.25)[0] == pytest.approx(gradient / 2, rel=2**-22)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so(form: SecondMoment, bad: float) -> None:
    moment = torch.tensor([1.0])
    for gradient in (bad, 1.0, 0.0):
        form.update_(moment, torch.tensor([gradient]), 0.001)
        assert not moment.isfinite().any()


def test_forms_convert_within_one_unit() -> None:
    """From v to sqrt(v) and back, over mantissas and exponents; from u to u^2 and back, exactly one rounding each."""
    mantissas = torch.linspace(1, 4, 4097, dtype=torch.float64).float()
    v = torch.cat([mantissas * 4.0**k for k in (-60, -3, 0, 40)])
    u = converted(v, source=SQUARED, target=ROOT)
    again = converted(u, source=ROOT, target=SQUARED)
    units = (again.view(torch.int32) - v.view(torch.int32)).abs()
    assert units.max() == 1
    torch.testing.assert_close(u.double(), v.double().sqrt(), rtol=2**-24, atol=0)
    for form in FORMS:
        assert converted(v, source=form, target=form) is v


def test_a_form_without_conversion_is_refused() -> None:
    class Third(type(ROOT)): ...

    with pytest.raises(ValueError, match="no conversion from RootMoment"):
        converted(draw(2, seed=0), source=ROOT, target=Third())
