"""A made-up study for the report's tests: three prescriptions, three widths, nine rates, two seeds."""

import math
import random

from widthwise.analysis.observation import Observation
from widthwise.analysis.result import (
    CellOptimum,
    CellStatus,
    ExponentFit,
    GroupNoise,
    Interval,
    PrescriptionResult,
    RatePoint,
    Regret,
    TransferResult,
    Verdict,
)
from widthwise.report import PageData, TrainingCurve

WIDTHS = (32, 64, 128)
RATES = tuple(2.0**k for k in range(-12, -3))
SLOPES = {"standard-global": -0.96, "standard-full": -0.05, "mup-full": 0.02}
EDGE = ("standard-global", 128)


def example(*, names: dict[str, str] | None = None, curves: bool = True) -> PageData:
    """A study in which muP transfers, the standard global rate does not and one prescription is undecided."""
    rename = names or {}
    results, observations = [], []
    for name, slope in SLOPES.items():
        label = rename.get(name, name)
        cells = tuple(_cell(label, name, width, slope) for width in WIDTHS)
        results.append(_result(label, name, slope, cells))
        observations += _observations(label, cells)
    predictions = {
        "standard-global": {"full alignment": "-1", "no alignment": "-1/2"},
        "standard-full": {"full alignment": "0", "no alignment": "1/2"},
        "mup-full": {"full alignment": "0", "no alignment": "1/2"},
    }
    return PageData(
        title="Quickstart: does the rate transfer?",
        observations=tuple(observations),
        analysis=TransferResult(
            results=tuple(results),
            margin=0.01,
            level=0.95,
            noises=(GroupNoise("", 0.12, 8),),
            notes=("standard-global at width 128 is best at the lowest rate: its optimum is not used.",),
        ),
        predictions={rename.get(name, name): value for name, value in predictions.items()},
        counts={"completed": 144, "diverged": 16, "failed": 2, "pending": 0},
        curves=_curves(rename) if curves else (),
        spec="widths: [32, 64, 128]\nrates: 2^-12 .. 2^-4\nseeds: [0, 1]\n",
        machine={"device": "cpu, 2 threads", "python": "3.12.1", "torch": "2.11.0"},
        failures=(
            "mup-full/128/2^-4/seed 1: diverged at step 120 (loss 41.2)",
            "mup-full/64/2^-9/seed 0: failed",
        ),
    )


def _optimum(name: str, width: int, slope: float) -> float:
    shift = {32: 0.0, 64: 0.06, 128: -0.05}[width]
    return -8.0 + slope * 1.9 * math.log2(width / 32) + shift + (0.4 if name == "mup-full" else 0.0)


def _loss(width: int, distance: float) -> float:
    floor = 3.1 - 0.22 * math.log2(width / 32)
    return floor + 0.035 * distance**2 + (0.8 * (distance - 2.5) ** 3 if distance > 2.5 else 0.0)


def _cell(label: str, name: str, width: int, slope: float) -> CellOptimum:
    best = _optimum(name, width, slope)
    noise = random.Random(f"{name} {width}")
    points = []
    for rate in RATES:
        distance = math.log2(rate) - best
        if distance > 4.2 + noise.random():
            points.append(RatePoint(rate, None, None, None, 0, 2))
            continue
        loss, spread = _loss(width, distance), 0.012 + 0.01 * noise.random()
        one = distance > 3.6
        points.append(
            RatePoint(
                rate,
                loss,
                loss if one else loss - spread,
                loss if one else loss + spread,
                1 + (not one),
                int(one),
            )
        )
    if (name, width) == EDGE:
        return CellOptimum(
            label, width, CellStatus.EDGE_LOW, tuple(points), None, None, None, None, None, None
        )
    return CellOptimum(
        label,
        width,
        CellStatus.BRACKETED,
        tuple(points),
        best,
        best - 0.04,
        best + 0.05,
        0.085,
        0.045,
        _loss(width, 0.0),
        8,
    )


def _result(label: str, name: str, slope: float, cells: tuple[CellOptimum, ...]) -> PrescriptionResult:
    used = [cell for cell in cells if cell.best is not None]
    widths = tuple(cell.width for cell in used)
    x = [math.log2(width) for width in widths]
    y = [cell.best for cell in used if cell.best is not None]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    exponent = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)
    fit = ExponentFit(
        label, widths, my - exponent * mx, exponent, exponent - 0.03, exponent + 0.04,
        Interval(exponent, exponent - 0.14, exponent + 0.14), Interval(exponent, exponent - 0.19, exponent + 0.19), 8,
    )  # fmt: skip
    verdict, loss = {
        "standard-global": (Verdict.DOES_NOT, Interval(0.084, 0.041, math.inf)),
        "standard-full": (Verdict.UNDECIDED, Interval(0.006, 0.0011, 0.0172)),
        "mup-full": (Verdict.TRANSFERS, Interval(0.0012, 0.0, 0.0043)),
    }[name]
    regret = Regret(32, 128, Interval(-slope * 2, -slope * 2 - 0.3, -slope * 2 + 0.3), loss)
    side = {Verdict.TRANSFERS: "below", Verdict.DOES_NOT: "above", Verdict.UNDECIDED: "on both sides of"}[
        verdict
    ]
    low, high = 100 * loss.low, 100 * loss.high
    reason = f"the loss given up, {100 * loss.estimate:.2f} % [{low:.2f}, {high:.2f}], lies {side} 1 %."
    return PrescriptionResult(label, cells, fit, regret, verdict, reason)


def _observations(label: str, cells: tuple[CellOptimum, ...]) -> list[Observation]:
    return [
        Observation(label, cell.width, point.rate, seed, point.loss if seed < point.trained else None)
        for cell in cells
        for point in cell.points
        for seed in (0, 1)
    ]


def _curves(rename: dict[str, str]) -> tuple[TrainingCurve, ...]:
    curves = []
    for name, slope in SLOPES.items():
        for width in WIDTHS:
            for rate in RATES:
                distance = math.log2(rate) - _optimum(name, width, slope)
                noise = random.Random(f"{name} {width} {rate}")
                last = 120 if distance > 4.5 else 1000
                steps = tuple(range(0, last + 1, 5))
                final, pace = min(_loss(width, distance), 4.5), 0.02 * 2 ** min(distance, 1.5)
                losses = tuple(
                    final
                    + (5.55 - final) / (1 + pace * step)
                    + 0.02 * noise.gauss(0, 1)
                    + (0.05 * step if last == 120 else 0)
                    for step in steps
                )
                curves.append(TrainingCurve(rename.get(name, name), width, rate, 0, steps, losses))
    return tuple(curves)


def test_the_example_holds_what_a_page_must_cope_with() -> None:
    data = example()
    cells = [cell for result in data.analysis.results for cell in result.cells]
    assert {result.verdict for result in data.analysis.results} == set(Verdict)
    assert {cell.status for cell in cells} == {CellStatus.BRACKETED, CellStatus.EDGE_LOW}
    assert any(point.loss is None for cell in cells for point in cell.points)
    assert len(data.observations) == 3 * 3 * 9 * 2
