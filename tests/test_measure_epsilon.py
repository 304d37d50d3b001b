"""measure_epsilon on one tensor: hand values, NumPy in float64, powers of two, every form of state."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from epsilon_cases import BETAS, CORRECTION, adam_with, build, drawn, expected, trained
from widthwise.measure import EpsilonVerdict, adam_moments, measure_epsilon, moment_sizes
from widthwise.measure.epsilon_verdict import epsilon_verdict, largest_fine
from widthwise.measure.moment_sizes import CHUNK, LIMIT
from widthwise.optim import ROOT, SQUARED, AdamAtan2


def test_by_hand() -> None:
    """sqrt(v) in units of the correction, so that sqrt(v_hat) is 1, 2, 4, 8; one square underflowed, one untouched."""
    roots = torch.tensor([2.0, 8.0, 1.0, 4.0, 0.0, 0.0]) * CORRECTION
    m = torch.tensor([1.0, -1.0, 0.0, 1.0, 1e-30, 0.0])
    row = measure_epsilon(adam_with(m, roots.square(), eps=3.0)).row("w")
    assert (row.coordinates, row.counted, row.untouched, row.zeros, row.non_finite) == (6, 5, 1, 1, 0)
    assert (row.below, row.fraction) == (3, 0.6)  # 0, 1 and 2 of 0, 1, 2, 4, 8
    assert row.median == pytest.approx(2.0, rel=1e-6)  # float32: two roundings
    assert row.median_ratio == pytest.approx(2 / 3, rel=1e-6)
    assert (row.low, row.sampled, row.step) == (0.0, 5, 2)
    assert row.verdict is EpsilonVerdict.DOMINATES
    assert row.largest_fine is None  # a fifth of the coordinates lies below any epsilon


def test_epsilon_on_a_coordinate_is_not_above_it() -> None:
    v = torch.tensor([1.0, 1.0]) * CORRECTION**2
    m = torch.ones(2)
    root = float(v.sqrt()[0] / CORRECTION)
    assert measure_epsilon(adam_with(m, v, eps=root)).row("w").below == 0
    assert measure_epsilon(adam_with(m, v, eps=root * (1 + 1e-6))).row("w").below == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("count", "untouched"), [(1, 0.0), (7, 0.5), (100, 0.0), (5000, 0.3), (LIMIT, 0.0)])
def test_against_numpy(count: int, untouched: float, dtype: torch.dtype) -> None:
    m, v = drawn(count, seed=count, untouched=untouched, dtype=dtype)
    row = measure_epsilon(adam_with(m, v, eps=1e-4)).row("w")
    found = expected(m, v, epsilon=1e-4)
    assert (row.counted, row.untouched, row.zeros) == (found.counted, found.untouched, found.zeros)
    # A root within float32's rounding of epsilon may fall to either side: none of these does.
    assert row.below == found.below
    assert row.sampled == found.counted
    assert row.median == pytest.approx(
        found.median, rel=1e-6, nan_ok=True
    )  # a root and a division in float32
    assert row.low == pytest.approx(found.low, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize(("count", "untouched"), [(300_000, 0.4), (230_400, 0.0)])
def test_large_tensors_are_counted_exactly_and_sampled(
    count: int, untouched: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one chunk, a part of it untouched here and there; the same numbers as one chunk gives."""
    m, v = drawn(count, seed=3, untouched=untouched)
    optimizer = adam_with(m.view(600, -1), v.view(600, -1), eps=1e-4)
    whole = measure_epsilon(optimizer).row("w")
    monkeypatch.setattr(moment_sizes, "CHUNK", 7001)
    assert measure_epsilon(optimizer).row("w") == whole
    found = expected(m, v, epsilon=1e-4)
    assert (whole.below, whole.counted) == (found.below, found.counted)
    stride = math.ceil(found.counted / LIMIT) | 1
    assert whole.sampled == math.ceil(found.counted / stride) <= LIMIT
    # Which ones: each stride-th of the touched, in memory's order.
    kept = ((m != 0) | (v != 0)).nonzero().flatten()[::stride]
    sample = expected(m[kept], v[kept], epsilon=1e-4)
    assert whole.median == pytest.approx(sample.median, rel=1e-6)
    assert whole.low == pytest.approx(sample.low, rel=1e-6)
    # log10(size) is uniform over four decades: a rank off by 5 standard errors, 5 * 0.0034, moves it by 0.068.
    assert abs(math.log10(whole.median / found.median)) < 0.068


def test_few_touched_coordinates_of_a_large_tensor_are_all_sampled() -> None:
    m, v = torch.zeros(2, CHUNK // 2 + 5), torch.zeros(2, CHUNK // 2 + 5)
    for place, size in ((0, 1.0), (CHUNK - 1, 2.0), (CHUNK, 4.0), (CHUNK + 9, 8.0), (CHUNK + 3, 16.0)):
        v.view(-1)[place] = (size * CORRECTION) ** 2
    row = measure_epsilon(adam_with(m, v, eps=3.0)).row("w")
    assert (row.counted, row.sampled, row.below) == (5, 5, 2)
    assert (row.median, row.low) == (pytest.approx(4.0), pytest.approx(1.0))


@given(shift=st.integers(0, 40), epsilon=st.sampled_from([1e-4, 3e-5, 1e-6]))
def test_gradients_scaled_by_a_power_of_two_are_an_epsilon_scaled_back(shift: int, epsilon: float) -> None:
    """v 2^-2k under epsilon and v under epsilon 2^k are the same fraction, exactly: no rounding but by the power."""
    m, v = drawn(500, seed=1)
    small = measure_epsilon(adam_with(m * 2.0**-shift, v * 4.0**-shift, eps=epsilon)).row("w")
    same = measure_epsilon(adam_with(m, v, eps=epsilon * 2.0**shift)).row("w")
    assert (small.below, small.verdict) == (same.below, same.verdict)
    assert small.median == same.median * 2.0**-shift
    assert small.below >= measure_epsilon(adam_with(m, v, eps=epsilon)).row("w").below


def test_untouched_coordinates_are_undefined_and_stay_so() -> None:
    row = measure_epsilon(adam_with(torch.zeros(5), torch.zeros(5), eps=1e-8)).row("w")
    assert (row.counted, row.untouched, row.below, row.sampled) == (0, 5, 0, 0)
    assert all(map(math.isnan, (row.fraction, row.median, row.low, row.median_ratio)))
    assert (row.verdict, row.largest_fine) == (EpsilonVerdict.UNDEFINED, None)
    assert "undefined: no gradient yet" in str(measure_epsilon(adam_with(torch.zeros(5), torch.zeros(5))))


def test_what_is_not_finite_is_counted_apart() -> None:
    v = torch.tensor([1.0, math.inf, math.nan, 4.0]) * CORRECTION**2
    row = measure_epsilon(adam_with(torch.ones(4), v, eps=1.5)).row("w")
    assert (row.non_finite, row.counted, row.below, row.fraction) == (2, 2, 1, 0.5)
    assert row.median == pytest.approx(2.5 - 1.0)  # of 1 and 2


@pytest.mark.parametrize(
    ("below", "counted", "ratio", "verdict"),
    [
        (0, 200, 10.0, "fine"),
        (1, 200, 1e9, "fine"),
        (2, 200, 1e9, "bites"),
        (0, 200, 9.99, "bites"),  # nothing lies below, and every step is a tenth too short
        (99, 200, 1e9, "bites"),
        (100, 200, 1e9, "dominates"),
        (0, 0, math.nan, "undefined"),
        (None, 200, math.nan, "undefined"),
    ],
)
def test_verdicts_at_their_thresholds(below: int | None, counted: int, ratio: float, verdict: str) -> None:
    assert epsilon_verdict(below=below, counted=counted, median_ratio=ratio) == verdict


@pytest.mark.parametrize(
    ("low", "median", "found"),
    [(1.0, 10.0, 1.0), (0.999, 10.0, 0.1), (5.0, 9.99, 0.1), (3e-7, 1.0, 1e-7), (math.nan, math.nan, None)],
)
def test_largest_fine_epsilons(low: float, median: float, found: float | None) -> None:
    assert largest_fine(low=low, median=median) == found


def test_an_epsilon_of_zero_is_below_everything() -> None:
    row = measure_epsilon(adam_with(torch.ones(3), torch.ones(3), eps=0.0)).row("w")
    assert (row.below, row.median_ratio, row.verdict) == (0, math.inf, EpsilonVerdict.FINE)


def test_amsgrad_divides_by_the_largest() -> None:
    m, v = torch.ones(2), torch.ones(2) * CORRECTION**2
    optimizer = adam_with(m, v, largest=v * 16, amsgrad=True, eps=3.0)
    assert measure_epsilon(optimizer).row("w").below == 0
    assert measure_epsilon(adam_with(m, v, eps=3.0)).row("w").below == 2


def test_radam_adds_epsilon_before_the_correction() -> None:
    m, v = torch.ones(2), torch.full((2,), 0.25)
    optimizer = adam_with(m, v, kind=torch.optim.RAdam, eps=0.6)
    assert measure_epsilon(optimizer).row("w").median == 0.5
    assert {"RAdam", "SparseAdam"} == adam_moments.UNCORRECTED


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, foreach=False),
        lambda p: torch.optim.AdamW(p, fused=True),
        lambda p: torch.optim.AdamW(p, foreach=True),
        lambda p: torch.optim.NAdam(p),
        lambda p: AdamAtan2(p, second_moment=SQUARED),
        lambda p: AdamAtan2(p, second_moment=ROOT),
    ],
    ids=["single", "fused", "foreach", "nadam", "atan2", "atan2-root"],
)
def test_every_form_keeps_the_same_moments(make) -> None:
    """One gradient: v_hat is its square, whatever the form, so the median is the gradient's."""
    parameter = nn.Parameter(torch.ones(5))
    optimizer = make([parameter])
    parameter.grad = torch.tensor([1.0, -2.0, 3.0, -4.0, 5.0]) * 1e-7
    optimizer.step()
    row = measure_epsilon(optimizer, epsilon=2.5e-7).row("group 0, tensor 0")
    assert (row.below, row.counted, row.step) == (2, 5, 1)
    assert row.median == pytest.approx(3e-7, rel=1e-5)


def test_the_root_form_sees_what_the_squared_form_loses() -> None:
    for form, zeros in ((SQUARED, 3), (ROOT, 0)):
        parameter = nn.Parameter(torch.ones(3))
        optimizer = AdamAtan2([parameter], second_moment=form)
        parameter.grad = torch.full((3,), 1e-25)
        optimizer.step()
        report = measure_epsilon(optimizer)
        assert report.rows[0].zeros == zeros
        assert ("underflowed" in str(report)) == bool(zeros)


def test_keys_and_gradient_accumulation_of_a_state_are_the_optimizers() -> None:
    assert (SQUARED.key, ROOT.key) == (adam_moments.SQUARED_KEY, adam_moments.ROOT_KEY)


def test_an_optimizer_without_epsilon_gives_sizes_and_answers_for_one() -> None:
    model = build(16)
    optimizer = trained(AdamAtan2(model.named_parameters()), model)
    report = measure_epsilon(optimizer)
    assert {row.verdict for row in report.rows} == {EpsilonVerdict.UNDEFINED}
    assert all(row.median > 0 and row.below is None and row.epsilon is None for row in report.rows)
    assert "no epsilon; epsilon=... asks" in report.summary()
    asked = measure_epsilon(optimizer, epsilon=1e3)
    assert {row.verdict for row in asked.rows} == {EpsilonVerdict.DOMINATES}
    assert (
        measure_epsilon(trained(torch.optim.Adam(model.parameters()), model), epsilon=1e3).verdict
        == asked.verdict
    )


def test_layout_does_not_matter() -> None:
    m, v = (x.view(4, 5, 6) for x in drawn(120, seed=5))
    plain = measure_epsilon(adam_with(m, v, eps=1e-4)).rows[0]
    turned = adam_with(m, v, eps=1e-4)
    (state,) = turned.state.values()
    state["exp_avg"] = m.permute(2, 0, 1).contiguous().permute(1, 2, 0)  # the same numbers, other strides
    state["exp_avg_sq"] = v.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    assert measure_epsilon(turned).rows[0] == plain
    state["exp_avg_sq"] = v.clone()  # strides that differ between the two moments
    state["exp_avg"][1, 2, 3], state["exp_avg_sq"][1, 2, 3] = 0.0, 0.0  # one place in two orders of memory
    assert measure_epsilon(turned).rows[0].untouched == 1
    assert measure_epsilon(turned).rows[0].zeros == 0


def test_complex_parameters_count_both_parts() -> None:
    parameter = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    optimizer = torch.optim.Adam([parameter])
    parameter.grad = torch.tensor([1e-6 + 1e-3j, 1e-3 + 0j])
    optimizer.step()
    row = measure_epsilon(optimizer, epsilon=1e-5).rows[0]
    assert (row.coordinates, row.untouched, row.below) == (4, 1, 1)


def test_tensors_without_gradients_or_entries_have_rows() -> None:
    used, unused, empty = (nn.Parameter(torch.ones(size)) for size in (2, 3, 0))
    optimizer = torch.optim.Adam([("used", used), ("unused", unused), ("empty", empty)])
    used.grad, empty.grad = torch.full((2,), 5.0), torch.ones(0)
    optimizer.step()
    report = measure_epsilon(optimizer)
    assert [(row.name, row.coordinates, row.untouched, row.step) for row in report.rows] == [
        ("used", 2, 0, 1),
        ("unused", 3, 3, 0),
        ("empty", 0, 0, 0),
    ]
    assert report.verdict is EpsilonVerdict.FINE
    assert report.largest_fine == 0.1  # at most a tenth of the gradient
    unused.grad = torch.full((3,), 5e-4)
    optimizer.step()
    assert [row.largest_fine for row in measure_epsilon(optimizer).rows] == [0.1, 1e-5, None]
    assert measure_epsilon(optimizer).largest_fine == 1e-5


def test_betas_without_memory_need_no_correction() -> None:
    assert adam_moments.root_correction(3.0, 0.0) == 1.0
    on_device = adam_moments.root_correction(torch.tensor(2.0), BETAS[1])
    assert float(on_device) == pytest.approx(CORRECTION, rel=1e-6)


@pytest.mark.parametrize("step", [2.0, torch.ones((), device="meta")], ids=["host", "device"])
@pytest.mark.parametrize("count", [100, CHUNK + 7])
def test_nothing_waits_for_the_host_while_counting(count: int, step: float | torch.Tensor) -> None:
    """The meta device has no numbers, so what needs one fails there; and nothing of the host goes into an operation."""
    values = torch.ones(count, device="meta")
    correction = adam_moments.root_correction(step, BETAS[1])
    moments = adam_moments.Moments(values, values, values, True, correction, 1e-4, step)
    seen: dict[str, set[str]] = {}

    class Recorder(TorchDispatchMode):
        """Notes the device types of every operation."""

        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            found = operation(*args, **(kwargs or {}))
            tensors = [value for value in (*args, found) if isinstance(value, torch.Tensor)]
            seen.setdefault(operation.name(), set()).update(value.device.type for value in tensors)
            return found

    with Recorder():
        numbers = moment_sizes.device_sizes(moments)
    assert "aten::sort" in seen
    assert set().union(*seen.values()) == {"meta"}
    assert numbers.dtype == torch.int64
    assert numbers.numel() == moment_sizes.COUNTS + moment_sizes.ORDERED + moment_sizes.SKETCH
