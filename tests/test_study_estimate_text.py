"""The printed estimate, of an estimate that is made by hand."""

from widthwise.study.estimate import ShapeEstimate, StudyEstimate
from widthwise.study.estimate_text import GIB, _amount, estimate_lines
from widthwise.study.fit import Fit
from widthwise.study.gpu import GPUS


def shape(
    *, tokens: int, hours: float, members: int, gib: int, gpus: int = 1, width: int = 64
) -> ShapeEstimate:
    fit = Fit(members, 1, False, gpus, gib * GIB, 1.0, 0.0)
    return ShapeEstimate(
        width=width,
        optimizer="adam",
        search=False,
        parameters=2000,
        non_embedding=1000,
        steps=10,
        tokens=tokens,
        trials=3,
        flops=1e12,
        populations=2,
        gpu_seconds=3600 * hours,
        fit=fit,
        layer_by_layer=None,
    )


def test_the_table_sums_and_spans_the_shapes_of_a_width() -> None:
    """Three shapes of width 64: hours 1 + 2 + 150 at 2 dollars, 9 trials, 3e12 FLOPs, at most 7 GiB, 2 to 8 members."""
    shapes = (
        shape(tokens=100, hours=1, members=2, gib=5),
        shape(tokens=300, hours=2, members=8, gib=7),
        shape(tokens=200, hours=150, members=4, gib=6),
        shape(tokens=100, hours=87, members=1, gib=9, gpus=2, width=128),
        shape(tokens=100, hours=0, members=1, gib=9, gpus=4, width=256),
    )
    found = StudyEstimate("mine", GPUS["h200"], 2.0, arms=1, cells=20, trials=15, shapes=shapes)
    lines = estimate_lines(found, gpus=5)
    assert "  240 GPU-hours, 480 dollars" in lines
    assert "  2 days on 5 GPUs, none of them ever idle" in lines
    rows = {line.split()[0]: line.split() for line in lines if line}
    expected = ["64", "2,000", "1,000", "100-300", "9", "3e+12", "2-8", "1", "7.0", "153", "306"]
    assert rows["64"] == expected
    assert rows["adam"][:8] == ["adam", "needs", "several", "GPUs", "from", "width", "128", "on:"]


def test_amounts_have_three_digits_and_no_power_of_ten() -> None:
    assert [_amount(value) for value in (0.09996, 99.94, 99.96, 999.6)] == ["0.1", "99.9", "100", "1,000"]
