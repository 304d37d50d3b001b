"""What is shown while a study runs."""

import io
import sys
from dataclasses import replace

import pytest

from widthwise.cli.progress import describe, duration, show_progress
from widthwise.study import RunState
from widthwise.study.run_state import AtWork

STATE = RunState(
    populations=3,
    population=2,
    trials=24,
    trials_done=8,
    width=64,
    members=8,
    step=20,
    steps=100,
    work_done=30.0,
    work_before=10.0,
    work=110.0,
    tokens_per_second=12345.6,
    seconds=20.0,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (3725.2, "1 h 02 min"),
        (86400 * 2, "48 h 00 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_population_that_is_gone_on_with_says_so() -> None:
    assert describe(replace(STATE, resumed_step=20)).startswith(
        "8/24 models, 8 of width 64 at step 20/100, gone on with from step 20, "
    )


def test_a_round_of_planned_rates_is_named() -> None:
    assert describe(replace(STATE, round=3)) == "round 3: " + describe(STATE)


def test_describe() -> None:
    # 20 of work in 20 seconds; 80 are left.
    assert describe(STATE) == ("8/24 models, 8 of width 64 at step 20/100, 12.3 k tokens/s, 1 min 20 s left")


def test_several_populations_at_work() -> None:
    at_work = tuple(AtWork(i, 32 * i, 8, 10 * i, 100) for i in range(1, 7))
    assert describe(replace(STATE, at_work=at_work[:1])) == describe(STATE)
    assert describe(replace(STATE, at_work=at_work[:2])).startswith(
        "8/24 models, 8 of width 32 at 10/100, 8 of width 64 at 20/100, 12.3 k tokens/s"
    )
    assert "8 of width 128 at 40/100, 2 more populations, 12.3" in describe(replace(STATE, at_work=at_work))


def test_a_line_for_each_population_though_several_take_turns(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress() as listener:
        for step in range(3):
            for population in (1, 2):
                listener(replace(STATE, population=population, step=step))
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_models_that_train_alone_and_soon_end_have_no_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """A line at once, and then one in five seconds."""
    with show_progress() as listener:
        for population in range(100):
            listener(replace(STATE, population=population, members=1, seconds=0.125 * population))
    assert len(capsys.readouterr().err.splitlines()) == 3  # at 0, 5 and 10 seconds


def test_a_line_where_a_population_is_gone_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    """The same one, from its checkpoint at step 40: by another worker, say, after the first was lost."""
    with show_progress() as listener:
        for resumed in (0, 0, 40, 40):
            listener(replace(STATE, resumed_step=resumed))
    assert capsys.readouterr().err.splitlines() == [
        describe(replace(STATE, resumed_step=resumed)) for resumed in (0, 40)
    ]


def test_a_long_population_is_heard_of_every_minute(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress() as listener:
        for seconds in (5.0, 64.9, 65.0, 70.0, 124.9, 125.5):
            listener(replace(STATE, seconds=seconds))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [describe(replace(STATE, seconds=seconds)) for seconds in (5.0, 65.0, 125.5)]


def test_describe_before_anything_is_known() -> None:
    state = replace(STATE, work_done=10.0, tokens_per_second=None)
    assert state.seconds_left is None
    assert describe(state) == "8/24 models, 8 of width 64 at step 20/100"


def test_a_line_for_each_population_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    states = [
        replace(STATE, population=population, step=step, trials_done=8 * (population - 1 + ended))
        for population in (1, 2, 3)
        for step, ended in ((0, False), (20, False), (100, False), (100, True))
    ]
    with show_progress() as listener:
        for state in states:
            listener(state)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        describe(states[0]),
        describe(states[4]),
        describe(states[8]),
        describe(states[11]),
    ]
    assert captured.err.splitlines()[-1].startswith("24/24 models, 8 of width 64 at step 100/100")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    with show_progress() as listener:
        listener(STATE)
    assert "27 %" in terminal.getvalue()
    assert describe(STATE) in terminal.getvalue()
