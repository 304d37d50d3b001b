"""What the population benchmark makes of its times, by hand; no model is timed here."""

from collections.abc import Callable

import pytest
import torch

import benchmark_modules  # noqa: F401

# isort: split
import _population_speed
import _timing
from _population_case import SMOKE, Case, Prepared, crowd_of
from _population_fidelity import nudged
from _population_speed import TINY, population_rows, single_rows
from _roofline import Product, Rates
from _roofline_rates import Ceilings

from widthwise.models import Transformer

TIMES = {"together": (4.0, 6.0, 5.0), "alone": (3.0,), "plain": (20.0, 10.0, 40.0), "product": (2.0,)}


class Flat(dict[Product, float]):
    """Every product at one rate."""

    def __missing__(self, product: Product) -> float:
        return 1e30


@pytest.fixture
def ceilings(monkeypatch: pytest.MonkeyPatch) -> Ceilings:
    """1e9 bytes a second, arithmetic for nothing, a square product of 64 with 1e9 FLOP a second."""
    found = object.__new__(Ceilings)
    found.device, found.size, found.copy, found.matmul = torch.device("cpu"), 64, 1e9, 1e9
    monkeypatch.setattr(Ceilings, "rates", lambda self, kernels: Rates(1e9, 1e30, Flat()))
    return found


@pytest.fixture(autouse=True)
def known_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        _population_speed,
        "contest",
        lambda contestants, scale: {name: _timing.Times(TIMES[name]) for name in contestants},
    )
    monkeypatch.setattr(_population_speed, "backends", lambda run, device: {"attention": "a"})


def test_a_populations_rows(ceilings: Ceilings) -> None:
    """3 members of 2 x 16 tokens in 5 ms: 19,200 a second; alone 3 ms and plainly 20 ms a step."""
    ran: dict[str, dict[str, str]] = {}
    rows = list(population_rows("small", TINY, SMOKE, ceilings, ran))
    label = "small: D=32, heads of 16, 2 blocks, 2x16 tokens, V=256"
    found = {(row["name"].removeprefix(f"{label}: "), row["baseline"]): row for row in rows}
    tokens = found["P=3: member-tokens", "plain compiled loop"]
    assert (tokens["value"], tokens["ratio"], tokens["target"]) == (0.0192, 12.0, 1)  # 3 x 20 / 5
    assert found["P=3: member-tokens", "engine at P=1"]["ratio"] == pytest.approx(1.8)  # 3 x 3 / 5
    assert found["P=1, a step", "plain compiled loop"]["ratio"] == pytest.approx(20 / 3)
    assert found["plain compiled loop, fastest round", "none"]["value"] == 10.0
    assert found["plain compiled loop, slowest round", "none"]["value"] == 40.0
    arithmetic = found["P=3: model arithmetic", "64^3 product"]
    assert arithmetic["value"] == pytest.approx(3 * TINY.flops / 5e-3 / 1e12)
    assert arithmetic["ratio"] == pytest.approx(3 * TINY.flops / 5e-3 / 1e9)
    roofline = found["P=3: roofline, unfused", "a step"]
    assert roofline["ratio"] == pytest.approx(roofline["value"] / 5)
    fused = found["P=3: roofline, fused MLP", "a step"]
    # Not moved: (200 - 110) D bytes a token and block, of 2 blocks and 96 tokens; the weights' bytes are the same.
    assert roofline["value"] - fused["value"] == pytest.approx(90 * 32 * 2 * 96 / 1e6, rel=1e-9)
    assert found["P=3: members that are not finite at the end", "none"]["value"] == 0
    assert list(ran) == [f"{label}: P=3"]


def test_one_models_rows(ceilings: Ceilings) -> None:
    """The product's rate is that of its turns: 2 x 64^3 FLOPs in 2 ms."""
    rows = list(single_rows("single", TINY, SMOKE, ceilings, {}))
    found = {(row["name"].rpartition("V=256: ")[2], row["baseline"]): row for row in rows}
    ceiling = 2 * 64**3 / 2e-3
    assert found["64^3 product", "none"]["value"] == pytest.approx(ceiling / 1e12)
    alone = found["P=1: model arithmetic", "64^3 product"]
    assert alone["ratio"] == pytest.approx(TINY.flops / 3e-3 / ceiling)
    assert alone["target"] == 1
    plain = found["plain compiled loop: model arithmetic", "64^3 product"]
    assert plain["ratio"] == pytest.approx(TINY.flops / 20e-3 / ceiling)
    assert plain["target"] is None


def test_what_does_not_fit_is_halved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[int] = []

    def contestant(case: Case, members: int, scale: object) -> Prepared:
        tried.append(members)
        if members > 2:
            raise torch.OutOfMemoryError("no memory")
        return Prepared(lambda: None, 0.0)

    monkeypatch.setattr(_population_speed, "engine_contestant", contestant)
    case = Case(TINY.model, 2, 9)
    found, _, _ = _population_speed._largest_that_fits(case, SMOKE)
    assert (tried, found.members) == ([9, 4, 2], 2)
    assert "9 members do not fit; 4 are tried" in capsys.readouterr().out
    monkeypatch.setattr(
        _population_speed,
        "engine_contestant",
        lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none")),
    )
    with pytest.raises(torch.OutOfMemoryError):
        _population_speed._largest_that_fits(case, SMOKE)


def test_a_copy_reads_and_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """1000 float32 numbers there and back in 2 s: 4000 bytes a second."""
    run: list[Callable[[], object]] = []

    def seconds(step: Callable[[], object], device: torch.device) -> float:
        run.append(step)
        return 2.0

    monkeypatch.setattr(_timing, "recorded_seconds", seconds)
    assert _timing.copy_rate(torch.device("cpu"), 1000) == 4000.0
    (step,) = run
    copied = step()
    assert isinstance(copied, torch.Tensor)
    assert copied.abs().max() > 1  # what was drawn, not zeros


def test_a_nudge_is_far_below_a_rounding_of_bfloat16() -> None:
    (member,) = crowd_of(Transformer(16, 1, 16, 8, 4), 1)
    found = nudged(member)
    assert {name for name in member.numbers if found.numbers[name] != member.numbers[name]} == {"readout"}
    ratio = found.numbers["readout"].init / member.numbers["readout"].init
    assert torch.tensor(ratio, dtype=torch.float32) != 1
    assert torch.tensor(ratio).to(torch.bfloat16) == 1


def test_a_member_that_is_not_finite_is_counted() -> None:
    class Fake:
        parameters = {"a": torch.ones(3, 2), "b": torch.ones(3, 1, 2)}  # noqa: RUF012

    assert Prepared(lambda: None, 0.0, Fake()).dead == 0  # type: ignore[arg-type]
    Fake.parameters["b"][1, 0, 1] = float("nan")
    Fake.parameters["a"][1] = float("inf")
    Fake.parameters["a"][2, 0] = float("inf")
    assert Prepared(lambda: None, 0.0, Fake()).dead == 2  # type: ignore[arg-type]
