"""How steps are run changes no result: plain, compiled, recorded; and what a record is refused for."""

from typing import Any

import pytest
import torch

from populations import (
    ADAM_UPDATE,
    ATAN2_UPDATE,
    CPU,
    SGD_MOMENTUM,
    letter_corpus,
    make_recipe,
    numbers,
    transformer,
)
from widthwise.optim import AdafactorUpdate, AdamUpdate, MemberUpdate, ParameterScaling
from widthwise.train import Engine, Member, Outcome, Population, engine_for, train_population

CORPUS = letter_corpus()
MODEL = transformer(32)
UPDATES: dict[str, MemberUpdate] = {
    "sgd": SGD_MOMENTUM,
    "adam": ADAM_UPDATE,
    "atan2": ATAN2_UPDATE,
    "adam-ps": AdamUpdate(0.9, 0.98, ParameterScaling(1e-8)),
    "adafactor": AdafactorUpdate(),
}


def members(*, ruined: bool = False) -> list[Member]:
    rates = [1e20 if ruined else 1e-2, 1e-2, 5e-3, 2e-3]
    return [Member(numbers(MODEL, learning_rate=rate), i, i % 2) for i, rate in enumerate(rates)]


def run(
    update: MemberUpdate, device: torch.device, engine: Engine, *, ruined: bool = False
) -> tuple[Outcome, ...]:
    recipe = make_recipe(MODEL, update, steps=12, curve_points=12)
    return train_population(recipe, members(ruined=ruined), CORPUS, device=device, engine=engine)


def test_compiled_losses_are_the_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """One graph, without a break, for the whole forward pass; the compiler's own code is left out here."""
    original = torch.compile

    def traced(function: Any, **options: Any) -> Any:
        assert options == {"fullgraph": True, "dynamic": False}
        return original(function, backend="aot_eager", **options)

    monkeypatch.setattr(torch, "compile", traced)
    torch._dynamo.reset()
    assert run(ADAM_UPDATE, CPU, Engine(compiled=True)) == run(ADAM_UPDATE, CPU, Engine())


def test_a_cpu_runs_plain_steps_and_records_none() -> None:
    recipe = make_recipe(MODEL, ADAM_UPDATE, steps=1000)
    assert engine_for(recipe, Population(recipe, members(), CPU)) == Engine(captured=False, compiled=False)
    with pytest.raises(
        ValueError, match=r"a captured step needs the optimizer's kernels.* leave captured at False"
    ):
        run(ADAM_UPDATE, CPU, Engine(captured=True))


def test_a_seed_twice_is_the_same_bits() -> None:
    assert run(ADAM_UPDATE, CPU, Engine()) == run(ADAM_UPDATE, CPU, Engine())


@pytest.mark.cuda
@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
def test_a_recorded_step_is_the_step(update: MemberUpdate) -> None:
    """Losses of every member, beside one that is ruined, to what two runs of CUDA's atomic additions differ by."""
    device = torch.device("cuda")
    plain, recorded = (run(update, device, Engine(captured=c), ruined=True) for c in (False, True))
    assert plain[0].divergence is not None
    assert recorded[0].divergence == plain[0].divergence
    for one, other in zip(plain[1:], recorded[1:], strict=True):
        assert [loss for _, loss in other.curve] == pytest.approx([loss for _, loss in one.curve], rel=1e-5)
