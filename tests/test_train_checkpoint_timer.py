"""When a checkpoint is due: by hand, at both ends of a training, whatever it costs."""

from itertools import pairwise

import pytest

from widthwise.train.checkpoint_timer import SHARE, CheckpointTimer

SIX_GIGABYTES = 6_000_000_000
"""20 s at 3e8 bytes a second, and 20 s are a 20th of the time when 380 s were trained."""


def written_at(*, steps: int, every: float, seconds: float, resumed: int = 0) -> list[float]:
    """When checkpoints are written, in a training of one step a second whose clock begins at 0.

    Args:
        seconds: what each of them takes.
        resumed: the step from which it is gone on with.
    """
    now, written = [0.0], []
    timer = CheckpointTimer(every, clock=lambda: now[0])
    timer.begin(resumed)
    for done in range(resumed + 1, steps):
        now[0] += 1.0
        if timer.due(done=done, steps=steps, size=SIX_GIGABYTES):
            written.append(now[0])
            began, now[0] = now[0], now[0] + seconds
            timer.written(done=done, size=SIX_GIGABYTES, began=began)
    return written


def test_what_the_first_costs_is_known_from_its_bytes() -> None:
    """Afterwards counts what it took: 20 s as estimated, 4 s (every 76 s), 1 s (every 60 s, as asked)."""
    assert written_at(steps=2000, every=60.0, seconds=20.0) == [380.0, 780.0, 1180.0, 1580.0]
    assert written_at(steps=762, every=60.0, seconds=4.0) == [380.0, 460.0, 540.0, 620.0, 700.0]
    assert written_at(steps=1000, every=60.0, seconds=1.0)[:3] == [380.0, 441.0, 502.0]


def test_a_training_that_ends_before_one_pays_off_writes_none() -> None:
    """It has 380 s behind it, and needs as many before it."""
    assert written_at(steps=759, every=60.0, seconds=20.0) == []
    assert written_at(steps=760, every=60.0, seconds=20.0) == [380.0]


def test_time_counts_from_where_training_is_gone_on_with() -> None:
    assert written_at(steps=1260, every=60.0, seconds=20.0, resumed=500) == [380.0]
    assert written_at(steps=1259, every=60.0, seconds=20.0, resumed=500) == []


def test_they_can_be_asked_for_rarely_or_never() -> None:
    assert written_at(steps=3000, every=900.0, seconds=1.0) == [900.0, 1801.0, 2702.0]
    assert written_at(steps=9999, every=float("inf"), seconds=1.0) == []


@pytest.mark.parametrize("seconds", [1.0, 7.0, 50.0])
def test_they_take_no_more_than_their_share(seconds: float) -> None:
    """Whatever the disk, from one to the next."""
    written = written_at(steps=9000, every=0.0, seconds=seconds)
    gaps = [later - earlier for earlier, later in pairwise(written)]
    assert len(gaps) > 3
    assert all(seconds / gap <= SHARE for gap in gaps)
