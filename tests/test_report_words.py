"""The answer in words, and the reason wherever a value is missing."""

import dataclasses
import math

import pytest

from test_report_example import example
from widthwise.analysis.result import (
    ExponentFit,
    GroupNoise,
    Interval,
    PrescriptionResult,
    Regret,
    TransferResult,
    Verdict,
)
from widthwise.report.numbers import MISSING
from widthwise.report.tables import cell_rows, verdict_rows
from widthwise.report.uncertainty import line_band, optimum_interval
from widthwise.report.words import answer, headline, noise_sentence, theory_text

EXAMPLE = example(curves=False)
GLOBAL, FULL, MUP = EXAMPLE.analysis.results


def with_results(*results: PrescriptionResult) -> TransferResult:
    return dataclasses.replace(EXAMPLE.analysis, results=results)


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        (
            (GLOBAL, FULL, MUP),
            "The best learning rate transfers with mup-full; it does not with standard-global; "
            "standard-full is undecided.",
        ),
        ((GLOBAL,), "The best learning rate does not transfer with standard-global."),
        ((FULL,), "Whether the best learning rate transfers is undecided for standard-full."),
        ((MUP, MUP), "The best learning rate transfers with mup-full and mup-full."),
        ((), "The table holds no prescription to judge."),
    ],
)
def test_headline(results: tuple[PrescriptionResult, ...], sentence: str) -> None:
    assert headline(with_results(*results)) == sentence


def plain(result: PrescriptionResult) -> str:
    return answer(result, 0.01, 0.95).replace("\N{NO-BREAK SPACE}", " ")


def test_answer_has_the_numbers() -> None:
    assert plain(MUP) == (
        "transfers: keeping the best rate of width 32 at width 128 raises the loss by 0.12 % "
        "(95 % interval 0.00 to 0.43 %), below the margin of 1 %."
    )


def test_answer_with_only_a_bound() -> None:
    regret = Regret(32, 128, None, Interval(0.099, 0.099, math.inf))
    text = plain(dataclasses.replace(GLOBAL, regret=regret))
    assert text.endswith("raises the loss by at least 9.90 %, above the margin of 1 %.")


def test_answer_without_a_number_gives_the_reason_once() -> None:
    regret = Regret(32, 128, None, None)
    result = dataclasses.replace(FULL, regret=regret, reason="undecided: one seed leaves the noise unknown")
    assert plain(result) == "is undecided: one seed leaves the noise unknown."


def test_theory_is_inside_or_outside_the_total_interval() -> None:
    fit = dataclasses.replace(MUP.exponent, total=Interval(-0.9, -1.0, -0.8))
    texts = [theory_text(text, fit) for text in ("-1", "-7/8", "-1/2", "-2")]
    assert texts == ["−1 (inside)", "−7/8 (inside)", "−1/2 (outside)", "−2 (outside)"]
    assert theory_text("-1/2", dataclasses.replace(fit, total=None)) == "−1/2"


def test_a_missing_value_has_a_dash_and_a_reason() -> None:
    edge = next(row for row in cell_rows(EXAMPLE.analysis) if not row.usable)
    assert (edge.status, {entry.text for entry in edge.entries}) == ("best at the lowest rate", {MISSING})
    assert {entry.note for entry in edge.entries} == {"best at the lowest rate"}

    nothing = ExponentFit("p", (32,), None, None, None, None, None, None, 0)
    result = dataclasses.replace(
        FULL, exponent=nothing, regret=Regret(32, 128, None, None), reason="too few rates"
    )
    (row,) = verdict_rows(dataclasses.replace(EXAMPLE, analysis=with_results(result)))
    assert (row.regret.text, row.regret.note) == (MISSING, "too few rates.")
    assert (row.exponent.text, row.exponent.note) == (
        MISSING,
        "one width with a bracketed optimum; a slope needs two",
    )


def test_the_noise_of_every_group_is_said() -> None:
    several = dataclasses.replace(
        EXAMPLE.analysis, noises=(GroupNoise("adam", 0.12, 8), GroupNoise("sgd", 0.5, 6))
    )
    assert noise_sentence(several) == (
        "One seed's optimum scatters by 0.120 octaves with adam and 0.500 octaves with sgd (standard deviation, 8 and "
        "6 degrees of freedom, pooled over cells)."
    )


def test_unknown_noise_is_said() -> None:
    unknown = dataclasses.replace(EXAMPLE.analysis, noises=())
    assert noise_sentence(unknown) == "The noise of an optimum is unknown: it takes at least two seeds."
    fit = dataclasses.replace(MUP.exponent, statistical=None, total=None)
    band = line_band(dataclasses.replace(MUP, exponent=fit), unknown, 5.0)
    assert band is not None
    assert band.low == band.estimate == band.high
    assert optimum_interval(dataclasses.replace(MUP.cells[0], degrees_of_freedom=0), unknown) is None


def test_intervals_of_an_optimum_and_of_the_line() -> None:
    interval = optimum_interval(MUP.cells[0], EXAMPLE.analysis)
    assert interval is not None
    # t(0.975, 8) = 2.3060 (Abramowitz and Stegun, table 26.10), standard error 0.085, systematic 0.045
    assert interval.statistical == pytest.approx(2.3060 * 0.085, rel=1e-4)
    assert interval.total == pytest.approx(2.3060 * 0.085 + 0.045, rel=1e-4)
    middle = line_band(MUP, EXAMPLE.analysis, 6.0)
    end = line_band(MUP, EXAMPLE.analysis, 7.0)
    assert middle is not None
    assert end is not None
    assert middle.high - middle.estimate == pytest.approx(2.3060 * 0.085 / math.sqrt(3), rel=1e-4)
    assert end.high - end.estimate == pytest.approx(math.hypot(2.3060 * 0.085 / math.sqrt(3), 0.19), rel=1e-4)


def test_verdict_rows_hold_every_prescription() -> None:
    assert [row.verdict for row in verdict_rows(EXAMPLE)] == [
        Verdict.DOES_NOT.value,
        Verdict.UNDECIDED.value,
        Verdict.TRANSFERS.value,
    ]
