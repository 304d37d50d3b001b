"""The alignment experiment's runs: which were ruined, which constant won, and between which rates an optimum lies."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from house_rules import SOURCE
from widthwise.analysis import Interval, Observation

STUDY = SOURCE.parent.parent / "studies" / "alignment"
sys.path.insert(0, str(STUDY))

import plan  # noqa: E402
from brackets import Bracket, bracket, moved_between  # noqa: E402
from plan import Case, Found  # noqa: E402
from stored import End, Stores, end_of, ends_in_words  # noqa: E402

CONFIG = plan.load_config(STUDY / "base.yaml")
LN_256 = 5.545177444479562
Losses = Mapping[float, float | None]


def rows(arm: str, width: int, losses: Losses, seeds: Sequence[int] = (0,)) -> list[Observation]:
    return [
        Observation(arm, width, 2.0**x, seed, loss, f"{arm} {width} {x} {seed}")
        for x, loss in losses.items()
        for seed in seeds
    ]


class Table(Stores):
    """Stores of rows in memory."""

    def __init__(self, table: Mapping[str, list[Observation]]) -> None:
        super().__init__(Path("nowhere"), CONFIG)
        self.table = table

    def _rows(self, case: Case, study: str) -> Iterator[Observation]:
        del case
        return iter(self.table.get(study, []))


def test_a_run_at_the_loss_of_knowing_nothing_is_ruined() -> None:
    assert math.isclose(plan.RUINED, LN_256 - 0.05, rel_tol=1e-15)
    assert [end_of(loss) for loss in (None, 2.4, 5.49, LN_256 - 0.05, LN_256, 6.0)] == [
        *(End.DIVERGED, End.TRAINED, End.TRAINED),
        *(End.RUINED, End.RUINED, End.RUINED),
    ]
    assert ends_in_words([End.RUINED, End.TRAINED, End.DIVERGED, End.RUINED]) == "4, 1 diverged, 2 ruined"


def test_a_ruined_run_has_no_loss_in_the_analysis_but_is_counted() -> None:
    base = rows("full", 128, {-3: 2.6, -2: 2.5, -1: None}) + rows("full", 128, {0: LN_256}, seeds=(0, 1))
    stores, case = Table({"base": base}), Case("sgd", "standard")
    assert [o.loss for o in stores.rows(case, "base")] == [2.6, 2.5, None, None, None]
    runs = stores.runs(case)
    assert runs is not None
    assert [runs.ends[f"full 128 {x} 0"] for x in (-2, -1, 0)] == [End.TRAINED, End.DIVERGED, End.RUINED]
    assert {o.loss for o in runs.grid} == {2.6, 2.5, None}


def test_a_constant_of_the_second_set_replaces_the_arm_of_the_first() -> None:
    """At the base width 8 does better than 4; at 1024 the arm is the first's until the second's has been run."""
    grid = {-8: 2.3, -7: 2.2, -6: 2.25}
    base = rows("full", 128, grid) + rows("constant 4", 128, {x: loss - 0.1 for x, loss in grid.items()})
    second = rows("constant 8", 128, {-8: 2.0, -7: 2.1}) + rows("constant 16", 128, {-8: 2.05, -7: 2.3})
    table = {"base": base, "constants": second, "large-1024": rows("constant", 1024, {-8: 1.95, -7: 1.9})}
    table["transferred"] = rows("constant", 1024, {-7: 1.91}, seeds=(1, 2))
    case = Case("adam", "standard")
    stores = Table(table)
    assert (stores.found(case, more=False), stores.found(case, more=True)) == (
        Found(-7, 4, -7),
        Found(-7, 8, -8),
    )
    first = stores.runs(case)
    assert first is not None
    assert first.found.constant == 4
    assert [o.loss for o in first.transferred] == [1.9, 1.91, 1.91]
    table["more-1024"] = rows("constant", 1024, {-8: 1.8, -7: 1.85})
    table["more-transferred"] = rows("constant", 1024, {-8: 1.82}, seeds=(1, 2))
    then = Table(table).runs(case)
    assert then is not None
    assert then.found.constant == 8
    assert [o.loss for o in then.transferred] == [1.8, 1.82, 1.82]
    at_base = [o.loss for o in then.grid if (o.prescription, o.width) == ("constant", 128)]
    at_1024 = [o.loss for o in then.grid if (o.prescription, o.width) == ("constant", 1024)]
    assert (at_base, at_1024) == ([2.0, 2.1], [1.8, 1.85])


def test_an_optimum_lies_between_the_neighbours_of_the_best_rate() -> None:
    losses: dict[float, float | None] = {-4: 2.53, -3: 2.50, -2.5: None, -2: 2.49, -1.5: 2.6, -1: None}
    assert bracket(rows("full", 128, losses)) == Bracket(-2, -3, -1.5)  # -2.5 failed: no neighbour below
    assert bracket(rows("full", 128, {-4: 2.5, -3: 2.4, -2: None})) == Bracket(-3, -4, -2)
    assert bracket(rows("full", 128, {-4: 2.5, -3: 2.4})) == "the best rate is the highest that was run"
    assert bracket(rows("full", 128, {-4: 2.3, -3: 2.4})) == "no lower rate than the best trained"
    assert bracket(rows("full", 128, {-4: None, -3: None})) == "no rate trained with every seed"


def test_how_far_a_bracketed_optimum_moved_by_hand() -> None:
    """Best -2 in (-3, -1) and -4 in (-4.5, -3.5): moved by -2, at least -4.5 + 1, at most -3.5 + 3."""
    base = rows("full", 128, {-3: 2.5, -2: 2.49, -1: None, 0: None})
    large = rows("full", 1024, {-5: 2.48, -4.5: 2.47, -4: 2.46, -3.5: None})
    assert moved_between(base, large) == Interval(-2, -3.5, -0.5)
    other_seed = rows("full", 128, {-3: 2.5, -2: None, -1: None}, seeds=(1,))
    assert moved_between([*base, *other_seed], large) == Interval(
        -2, -3.5, -0.5
    )  # the large width has seed 0 alone
    highest = rows("full", 1024, {-5: 2.48, -4: 2.46})
    assert moved_between(base, highest) == "at 1024: the best rate is the highest that was run"


@pytest.mark.parametrize(
    ("grid", "best", "expected"),
    [([-5, -4, -3], -4, [-4.5, -3.5]), ([-5, -4, -3], -3, [-3.5, -2.5, -2, -1])],
)
def test_rates_beside_the_best_and_above_the_highest(
    grid: list[float], best: float, expected: list[float]
) -> None:
    assert plan.finer_rates(grid, best) == expected
