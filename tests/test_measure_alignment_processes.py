"""Alignment of a model spread over two processes is that of the whole."""

from pathlib import Path

import pytest

from alignment_processes import CASES, reports_in_processes, whole
from widthwise.measure import AlignmentReport, Estimator, load_alignment
from widthwise.theory import AlignmentQuantity

pytestmark = pytest.mark.slow  # two processes that import torch

TOLERANCE = 1e-9
"""Float64: gradients and gathered sums are added in another order, which moves a log gain by 1e-13 or so."""


@pytest.fixture(scope="module")
def expected() -> AlignmentReport:
    return whole()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return reports_in_processes(tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_the_whole(
    case: str, expected: AlignmentReport, reports: dict[str, list[Path]]
) -> None:
    for path in reports[case]:
        found = load_alignment(path)
        assert [one.layer for one in found.layers] == ["1.weight", "3.weight", "4.weight"]
        assert [one.layer for one in found.looked_up] == ["0.weight"]
        assert found.unmeasured == expected.unmeasured
        for estimator in Estimator:
            for ours, theirs in zip(
                found.gains(estimator=estimator), expected.gains(estimator=estimator), strict=True
            ):
                assert ours.log_gain == pytest.approx(theirs.log_gain, abs=TOLERANCE), ours
        for ours, theirs in zip(found.layers, expected.layers, strict=True):
            assert ours.spectral_norm == pytest.approx(theirs.spectral_norm, rel=TOLERANCE)
        assert found.looked_up[0].change == pytest.approx(expected.looked_up[0].change, rel=TOLERANCE)


def test_the_parts_alone_are_other_numbers(expected: AlignmentReport, reports: dict[str, list[Path]]) -> None:
    """The comparison above could not pass without adding up: half the probe has another alignment."""
    from alignment_processes import build, probe, train
    from widthwise.measure import Snapshot, measure_alignment

    model = build()
    start = Snapshot.of(model)
    train(model, probe())
    half = measure_alignment(model, probe()[:2], reference=start).layer("3.weight")
    all_of_it = expected.layer("3.weight")
    for quantity in AlignmentQuantity:
        assert abs(half.log_gain(quantity) - all_of_it.log_gain(quantity)) > 1e-4
