"""The planned sweep of one cell: what it asks for next, how it ends, and how near it comes to a full grid."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import benchmark_modules

# isort: split
import sweep_replay

from study_example import invented_store, valley, wide
from widthwise.records import read_study
from widthwise.study.sweep import Decision, Point, SweepOutcome, SweepRule, decide

RULE = SweepRule(
    origin=2.0**-8, step=0.25, last=16, coarse=4, window=8, fill=4, reach=16, stop_ratio=1.2, around=0
)
Loss = Callable[[int, int], float | None]
assert benchmark_modules


def sweep(
    loss: Loss, *, rule: SweepRule = RULE, neighbour: int | None = None, seeds: tuple[int, ...] = (0,)
) -> tuple[list[list[Point]], Decision]:
    """All rounds of one cell, and how it ended."""
    runs: dict[Point, float | None] = {}
    rounds: list[list[Point]] = []
    while (decision := decide(rule, runs, neighbour=neighbour, seeds=seeds)).wanted:
        rounds.append(list(decision.wanted))
        assert not runs.keys() & set(decision.wanted)
        runs |= {point: loss(*point) for point in decision.wanted}
    return rounds, decision


def bowl(best: float, *, edge: float = math.inf, curvature: float = 0.05) -> Loss:
    """A parabola over the lattice of `RULE`, in octaves; diverged from `edge` on."""
    return lambda k, seed: None if k >= edge else 2 + curvature * ((k - best) / 4) ** 2


def ks(points: list[Point]) -> list[int]:
    return [k for k, _ in points]


def test_rates_of_the_lattice_are_those_of_a_grid() -> None:
    """To the bit: a sweep and a full grid share their trials."""
    from widthwise.study.spec import RateGrid

    grid = RateGrid(lowest=2.0**-8, highest=2.0**-4, per_octave=4).rates()
    assert [RULE.rate(k) for k in range(17)] == list(grid)


def test_a_sweep_by_hand() -> None:
    """The best coarse rate is 8 of 0, 4, ..., 16; the lattice's is 7; 16 loses 1.2 times the best and more."""
    rounds, decision = sweep(bowl(7, curvature=0.1))
    assert ks(rounds[0]) == [0, 4, 8, 12, 16]
    assert ks(rounds[1]) == [5, 6, 7, 9, 10, 11]  # filled around 8, and no further: 2 + 0.1 (9/4)^2 > 2.4
    assert ks(rounds[2]) == [3]  # the best is 7 now
    assert len(rounds) == 3
    assert decision == Decision((), SweepOutcome.BRACKETED, 7, "the best rate lies between two worse ones")


def test_it_goes_right_until_the_loss_is_stop_ratio_times_the_best() -> None:
    """2 + 0.05 u^2 > 2.4 from u = 2.83 octaves on: the first coarse rate beyond 8 + 11.3 is 20."""
    rounds, _ = sweep(bowl(8))
    assert ks(rounds[1]) == [5, 6, 7, 9, 10, 11, 20]
    assert len(rounds) == 2
    further, _ = sweep(bowl(8), rule=replace(RULE, stop_ratio=1.3))
    assert max(k for points in further for k in ks(points)) == 24  # 0.05 u^2 > 0.6 from 3.46 octaves: 21.9
    none, _ = sweep(bowl(8, edge=14))
    assert max(k for points in none for k in ks(points)) == 16  # what diverged ends it as well


def test_a_loss_below_zero_is_lost_by_its_size() -> None:
    """-2 + 0.1 u^2, a loss such as a user's own function may have, is 0.2 * 2 worse from u = 2 octaves on."""
    rounds, decision = sweep(lambda k, seed: -2 + 0.1 * ((k - 8) / 4) ** 2)
    assert ks(rounds[1]) == [5, 6, 7, 9, 10, 11, 20]
    assert max(k for points in rounds for k in ks(points)) == 20
    assert (decision.outcome, decision.best) == (SweepOutcome.BRACKETED, 8)


def test_it_goes_left_until_there_is_a_worse_rate() -> None:
    rounds, decision = sweep(bowl(-5))
    assert [ks(points)[0] for points in rounds] == [0, -4, -8, -7, -9]
    assert (decision.outcome, decision.best) == (SweepOutcome.BRACKETED, -5)


def test_the_window_lies_around_the_neighbours_optimum() -> None:
    rounds, _ = sweep(bowl(7), neighbour=11)
    assert ks(rounds[0]) == [3, 7, 11, 15, 19]
    at_limit, _ = sweep(bowl(-14), neighbour=-13)
    assert ks(at_limit[0]) == [-16, -13, -9, -5]


def test_further_seeds_train_at_the_optimum_alone() -> None:
    rounds, decision = sweep(bowl(7), seeds=(3, 1, 4))
    assert {seed for points in rounds[:-1] for _, seed in points} == {3}
    assert rounds[-1] == [(7, 1), (7, 4)]
    assert decision.best == 7
    around, _ = sweep(bowl(7), seeds=(3, 1, 4), rule=replace(RULE, around=4))
    assert around[-1] == [(k, seed) for seed in (1, 4) for k in (3, 7, 11)]


def test_a_further_seed_moves_no_optimum() -> None:
    """A decision about rates is the first seed's alone, whatever the others lose."""
    runs: dict[Point, float | None] = {}
    while wanted := decide(RULE, runs, neighbour=None, seeds=[0]).wanted:
        runs |= {point: bowl(7)(*point) for point in wanted}
    for loss in (None, 1.0, 9.0):
        decision = decide(RULE, runs | {(7, 1): loss, (7, 2): loss}, neighbour=None, seeds=[0, 1, 2])
        assert (decision.wanted, decision.best) == ((), 7)


def test_it_says_that_the_next_rate_diverges() -> None:
    _, decision = sweep(bowl(9, edge=8))
    assert decision.outcome is SweepOutcome.STABILITY_EDGE
    assert decision.best == 7
    assert decision.reason == f"the next rate, {RULE.rate(8):.3g}, diverged"


def test_it_stops_at_its_limits_and_says_so() -> None:
    rounds, low = sweep(bowl(-40))
    assert (low.outcome, low.best, min(map(min, map(ks, rounds)))) == (SweepOutcome.LOWER_LIMIT, -16, -16)
    assert low.reason == f"no worse rate trained down to the limit of {RULE.rate(-16):.3g}"
    rounds, high = sweep(bowl(60))
    assert (high.outcome, high.best, max(map(max, map(ks, rounds)))) == (SweepOutcome.UPPER_LIMIT, 32, 32)
    _, flat = sweep(bowl(8, curvature=1e-4))
    assert flat.outcome is SweepOutcome.BRACKETED
    assert flat.reason.endswith(f"up to the limit of {RULE.rate(32):.3g} none lost 1.2 times as much")


def test_a_cell_in_which_nothing_trains() -> None:
    rounds, decision = sweep(lambda k, seed: None, seeds=(0, 1))
    assert [ks(points) for points in rounds] == [[0, 4, 8, 12, 16], [-8, -4], [-16, -12]]
    assert (decision.outcome, decision.best, decision.wanted) == (SweepOutcome.NONE_TRAINED, None, ())


def test_a_diverged_run_below_the_best_is_no_worse_rate() -> None:
    """The minimum counts as bracketed only by a rate that trained."""
    _, decision = sweep(lambda k, seed: None if k < 6 else bowl(7)(k, seed))
    assert (decision.outcome, decision.best) == (SweepOutcome.LOWER_LIMIT, 8)
    assert decision.reason.startswith("no worse rate trained down to")


losses = st.one_of(st.none(), st.floats(1.0, 12.0))


@settings(max_examples=150, deadline=None)
@given(
    table=st.lists(losses, min_size=49, max_size=49),
    neighbour=st.one_of(st.none(), st.integers(-16, 32)),
    shift=st.integers(-3, 3),
)
def test_whatever_the_losses_it_ends_within_its_limits_and_keeps_its_word(
    table: list[float | None], neighbour: int | None, shift: int
) -> None:
    loss: Loss = lambda k, seed: table[k + 16]  # noqa: E731
    rounds, decision = sweep(loss, neighbour=neighbour, seeds=(0, 1))
    run = {k: table[k + 16] for points in rounds for k, seed in points if seed == 0}
    assert all(RULE.floor <= k <= RULE.ceiling for k in run)
    trained = {k: value for k, value in run.items() if value is not None}
    if decision.best is None:
        assert decision.outcome is SweepOutcome.NONE_TRAINED
        assert not trained
        assert RULE.floor in run
        return
    best = decision.best
    assert trained[best] == min(trained.values())
    if decision.outcome in (SweepOutcome.BRACKETED, SweepOutcome.STABILITY_EDGE):
        assert any(k < best for k in trained)
        assert (run[best + 1] is None) == (decision.outcome is SweepOutcome.STABILITY_EDGE)
        end = min((k for k, value in run.items() if k > best and value is None), default=99)
        full = range(max(best - 4, -16), min(best + 4, 32, end - 1) + 1)
        assert set(full) <= run.keys()
        over = [k for k, v in run.items() if k > best and (v is None or v > 1.2 * trained[best])]
        assert bool(over) != ("none lost" in decision.reason)
    # Nothing depends on where the lattice begins.
    moved = replace(RULE, origin=RULE.origin * 2.0 ** (shift * RULE.step))
    assert sweep(loss, rule=moved, neighbour=neighbour, seeds=(0, 1))[0] == rounds


def test_replayed_on_simulated_grids() -> None:
    """The bar: within 0.15 octave (median over cells) for 40 % of the tokens, on every surface."""
    rule = sweep_replay.rule_of(0.25, sweep_replay.OCTAVES)
    for curve in sweep_replay.CURVES.values():
        arms = sweep_replay.simulated_arms(curve, step=0.25, seeds=1, arms=4)
        cells = [cell for arm in arms for cell in sweep_replay.replay(rule, arm, [0])]
        apart = sorted(abs(c.planned - c.full) for c in cells if c.planned is not None and c.full is not None)
        assert len(apart) >= 19
        assert apart[len(apart) // 2] <= 0.15
        assert sum(c.runs for c in cells) / sum(c.grid_runs for c in cells) <= 0.40


def test_replayed_on_a_stores_grid(tmp_path: Path) -> None:
    """Invented losses on a grid of 2^0.25: the sweep asks for runs that it has and finds the optimum."""
    grid = {"lowest": "2^-12", "highest": "2^-4", "per_octave": 4}
    source = wide(learning_rates=grid, anchor="absolute", widths=[8, 16], seeds=[3])
    invented_store(
        tmp_path / "s.sqlite", source, valley({"standard-global": -0.5, "mup-full": 0.0}, noise=0.0005)
    )
    rule, arms, seeds = sweep_replay.store_arms(read_study(tmp_path / "s.sqlite"))
    assert (len(arms), seeds, rule.last, rule.step) == (2, (3,), 32, 0.25)
    for arm, drift in zip(arms, (-0.5, 0.0), strict=True):
        for place, cell in enumerate(sweep_replay.replay(rule, arm, seeds)):
            assert cell.runs < 0.5 * len({k for k, _ in arm[0].runs})
            # 9 losses within an octave, noise 0.0005, curvature 0.06: the vertex has a deviation of 0.005 octaves.
            assert cell.planned == pytest.approx(-7 + drift * place, abs=0.03)
            assert cell.planned == pytest.approx(cell.full, abs=0.03)


def test_a_grid_with_a_hole_is_not_replayed(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    invented_store(path, wide(), valley({"standard-global": 0, "mup-full": 0}), populations=2)
    with pytest.raises(ValueError, match="has runs that are pending; replay a full grid"):
        sweep_replay.store_arms(read_study(path))
