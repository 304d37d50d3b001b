"""Alignment of populations: against arithmetic by hand, alone and side by side, and training that it leaves alone."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from live_bytes import LiveBytes
from populations import (
    ADAM_UPDATE,
    CPU,
    SGD_MOMENTUM,
    letter_corpus,
    make_recipe,
    mlp,
    numbers,
    transformer,
)
from widthwise.models import MLP, PLAIN, ReferenceModel, Transformer, Weights
from widthwise.records import AlignmentPoint, Since
from widthwise.scaling import Gauge
from widthwise.theory import MUP, SGD
from widthwise.train import (
    AlignmentPlan,
    Checkpoint,
    Checkpoints,
    Divergence,
    Engine,
    Execution,
    Member,
    Outcome,
    Population,
    Precision,
    Recipe,
    TrainingStep,
    checkpoint_timer,
    initial_parameters,
    load_checkpoint,
    matrix_layers,
    member_memory,
    program_memory,
    save_checkpoint,
    train_population,
)
from widthwise.train.alignment import log_gains
from widthwise.train.batches import Batches, validation_windows
from widthwise.train.reference import current_reference, initial_reference

CORPUS = letter_corpus()
PROBE = validation_windows(CORPUS, windows=3, context=8, device=CPU)[:, :-1]
STEPS = 12
ROUNDING = 2e-6
"""Of a log gain: sums of some hundred squares of float32 numbers, each a float32 product of at most 128 terms."""


def crowd(model: ReferenceModel, *, gauge: Gauge = Gauge.FOLDED, ruined: bool = False) -> list[Member]:
    """Five of three seeds; the first two, and the third and fourth, begin alike."""
    seeds, rates = [0, 0, 1, 1, 2], [1e-2, 3e-3, 1e-2, 1e30 if ruined else 2e-3, 1e30 if ruined else 5e-3]
    return [
        Member(numbers(model, learning_rate=rate, parameterization=MUP, gauge=gauge), seed, i % 2)
        for i, (seed, rate) in enumerate(zip(seeds, rates, strict=True))
    ]


def recipe_of(model: ReferenceModel, plan: AlignmentPlan | None = None, **more: object) -> Recipe:
    recipe = make_recipe(
        model, ADAM_UPDATE, steps=STEPS, precision=Precision(more.get("precision", "float32"))
    )
    return replace(recipe, alignment=plan)


def plan_of(model: ReferenceModel, every: int = 4, **more: object) -> AlignmentPlan:
    return replace(AlignmentPlan(every, matrix_layers(model), tokens=20), **more)


def moved(parameters: Mapping[str, Tensor], size: float = 0.1) -> dict[str, Tensor]:
    """Weights that training could have reached: each tensor's own, plus noise that is not the same for any two."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: p + size * p.std() * torch.randn(p.shape, generator=generator) for name, p in parameters.items()
    }


def measured(model: ReferenceModel, members: list[Member], size: float = 0.1) -> Tensor:
    """[P, L, 4] of members whose weights have moved; each member's noise is its own seed's and rate's."""
    recipe = recipe_of(model)
    start = initial_parameters(recipe, members, CPU)
    now = {
        name: torch.stack([moved_one(name, p, m, size) for p, m in zip(start[name], members, strict=True)])
        for name in start
    }
    reference = initial_reference(recipe, members, start)
    return log_gains(model, now, reference, multipliers=None, probe_BxT=PROBE, layers=matrix_layers(model))


def moved_one(name: str, tensor: Tensor, member: Member, size: float) -> Tensor:
    rate = next(iter(member.numbers.values())).rate
    generator = torch.Generator().manual_seed(hash((len(name), member.init_seed, round(1e6 * rate))) % 2**31)
    return tensor + size * torch.randn(tensor.shape, generator=generator) / max(1, tensor.shape[0]) ** 0.5


def by_hand(model: MLP, start: dict[str, np.ndarray], now: dict[str, np.ndarray]) -> np.ndarray:
    """The chain z_l = relu(z_{l-1} W_l) and its log gains in float64 NumPy, one member: [L, 4]."""

    def inputs(weights: dict[str, np.ndarray]) -> list[np.ndarray]:
        tokens = PROBE.numpy()
        z = np.zeros((*tokens.shape, model.width))
        for lag in range(model.window):
            z[:, lag:] += weights["first_layer"][tokens[:, : tokens.shape[1] - lag] + lag * model.vocabulary]
        z = [np.maximum(z.reshape(-1, model.width), 0)]
        for layer in range(model.depth):
            z.append(np.maximum(z[-1] @ weights[f"hidden.{layer}"], 0))
        return z

    def rms(a: np.ndarray) -> float:
        return float(np.sqrt(np.mean(a**2)))

    rows = []
    for name, z0, z in zip(matrix_layers(model), inputs(start), inputs(now), strict=True):
        W0, W = start[name], now[name]
        pairs = [(z0, W - W0), (z - z0, W0), (z - z0, W - W0), (z, W)]
        rows.append([np.log(rms(a @ b) / (rms(a) * rms(b))) for a, b in pairs])
    return np.array(rows)


def test_a_chain_by_hand() -> None:
    model = mlp(16, depth=2)
    members = crowd(model)
    recipe = recipe_of(model)
    start = initial_parameters(recipe, members, CPU)
    now = moved(start)
    found = log_gains(
        model,
        now,
        initial_reference(recipe, members, start),
        multipliers=None,
        probe_BxT=PROBE,
        layers=matrix_layers(model),
    )
    for i in range(len(members)):
        one = [{name: p[i].double().numpy() for name, p in of.items()} for of in (start, now)]
        assert found[i].numpy() == pytest.approx(by_hand(model, *one), abs=ROUNDING)


def test_a_transformer_against_two_passes_in_float64() -> None:
    """The reference and the member apart, each by a forward pass of its own; layers in another order than asked."""
    model = transformer(16, depth=2)
    members = crowd(model)
    recipe = recipe_of(model)
    start = initial_parameters(recipe, members, CPU)
    now = moved(start)
    names = matrix_layers(model)[::-1]
    reference = initial_reference(recipe, members, start)
    found = log_gains(model, now, reference, multipliers=None, probe_BxT=PROBE, layers=names)
    seen: list[dict[str, Tensor]] = []
    for parameters in (start, now):
        inputs: dict[str, Tensor] = {}
        doubled = {name: p.double() for name, p in parameters.items()}
        weights = Weights(
            doubled,
            None,
            torch.float64,
            PLAIN,
            seen=lambda name, x, w, y, kept=inputs: kept.update({name: x}),
        )
        model.forward(weights, PROBE.expand(len(members), *PROBE.shape))
        seen.append(inputs)
    for i, name in enumerate(names):
        z0, z = (inputs[name] for inputs in seen)
        W0, W = start[name].double(), now[name].double()
        for j, (a, b) in enumerate([(z0, W - W0), (z - z0, W0), (z - z0, W - W0), (z, W)]):
            rms = [t.square().mean((1, 2)).sqrt() for t in (a @ b, a, b)]
            expected = (rms[0] / (rms[1] * rms[2])).log()
            assert found[:, i, j].numpy() == pytest.approx(expected.numpy(), abs=ROUNDING), (name, j)


@pytest.mark.parametrize("model", [mlp(16, depth=2), transformer(16, depth=2)], ids=["mlp", "transformer"])
def test_a_population_is_its_members_alone(model: ReferenceModel) -> None:
    """Some begin alike and share one start, which nobody alone can."""
    members = crowd(model)
    together = measured(model, members)
    alone = torch.cat([measured(model, [member]) for member in members])
    assert together.isfinite().all()
    assert torch.allclose(together, alone, rtol=0, atol=ROUNDING)
    assert (together[0] - together[1]).abs().max() > 1e-3  # of one start, and yet not the same


def test_an_untrained_member_is_undefined() -> None:
    """Nothing has changed: alpha, omega and u have no value; the whole product has."""
    model = transformer(16, depth=2)
    members = crowd(model)
    recipe = recipe_of(model)
    start = initial_parameters(recipe, members, CPU)
    found = log_gains(
        model,
        start,
        initial_reference(recipe, members, start),
        multipliers=None,
        probe_BxT=PROBE,
        layers=matrix_layers(model),
    )
    assert found[..., :3].isnan().all()
    assert found[..., 3].isfinite().all()


@pytest.mark.parametrize(
    ("device_bytes", "host_bytes"), [(0, None), (0, 0)], ids=["on the host", "drawn again"]
)
def test_starts_kept_elsewhere_are_the_same_bits(device_bytes: int, host_bytes: int | None) -> None:
    model = transformer(16)
    members = crowd(model)
    recipe = recipe_of(model)
    start = initial_parameters(recipe, members, CPU)
    kept = initial_reference(recipe, members, start)
    other = initial_reference(recipe, members, start, device_bytes=device_bytes, host_bytes=host_bytes)
    assert kept.rows.tolist() == other.rows.tolist() == [0, 0, 1, 1, 2]
    assert kept.firsts.tolist() == [0, 2, 4]
    for name, tensor in start.items():
        assert torch.equal(kept.tensor(name), other.tensor(name))
        assert torch.equal(kept.per_member(kept.tensor(name)), tensor)


@pytest.mark.parametrize(
    ("short_of_device", "short_of_host", "place"),
    [(0, 1, "device"), (1, 0, "host"), (1, 1, "drawn"), (1, None, "host"), (None, 1, "device")],
)
def test_where_starts_are_kept_by_the_bytes(
    short_of_device: int | None, short_of_host: int | None, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three distinct starts of five members, 4 bytes a number. What is kept is what was given, here twice the draw."""
    model = transformer(16)
    members, recipe = crowd(model), recipe_of(model)
    start = initial_parameters(recipe, members, CPU)
    size = 3 * 4 * model.parameter_count
    module, sent = sys.modules["widthwise.train.reference"], list[str]()
    original = module._on_host
    monkeypatch.setattr(module, "_on_host", lambda *given: sent.append("host") or original(*given))
    room = [None if short is None else size - short for short in (short_of_device, short_of_host)]
    kept = initial_reference(
        recipe, members, {n: 2 * t for n, t in start.items()}, device_bytes=room[0], host_bytes=room[1]
    )
    for name, tensor in start.items():
        assert torch.equal(kept.tensor(name), (1 if place == "drawn" else 2) * tensor[[0, 2, 4]])
    assert bool(sent) == (place == "host")


def test_what_is_kept_is_no_view_of_what_is_trained() -> None:
    model = mlp(16)
    recipe, members = recipe_of(model), crowd(model)
    start = initial_parameters(recipe, members, CPU)
    for reference in (initial_reference(recipe, members, start), current_reference(start)):
        before = reference.tensor("readout").clone()
        start["readout"].add_(1)
        assert torch.equal(reference.tensor("readout"), before)


def outcomes(model: ReferenceModel, plan: AlignmentPlan | None, **more: object) -> tuple[Outcome, ...]:
    return train_population(recipe_of(model, plan, **more), crowd(model), CORPUS, device=CPU)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", [mlp(16, depth=2), transformer(16)], ids=["mlp", "transformer"])
def test_training_is_the_same_to_the_bit(model: ReferenceModel, precision: str) -> None:
    plan = plan_of(model, every=1, since=(Since.START, Since.UPDATE))
    watched, plain = outcomes(model, plan, precision=precision), outcomes(model, None, precision=precision)
    assert tuple(replace(o, alignment=()) for o in watched) == plain
    assert all(len(o.alignment) == STEPS * 2 * len(matrix_layers(model)) for o in watched)


def test_points_are_those_of_the_weights_after_their_step() -> None:
    """Step by step beside it: since the start, and since the update before."""
    model = transformer(16)
    plan = plan_of(model, every=5, since=(Since.UPDATE, Since.START))
    members, recipe = crowd(model), recipe_of(model)
    found = train_population(replace(recipe, alignment=plan), members, CORPUS, device=CPU)
    batches = Batches(CORPUS, [0, 1], steps=STEPS, batch=recipe.batch, context=8, device=CPU)
    population = Population(recipe, members, CPU)
    step = TrainingStep(recipe, population, batches, torch.tensor([0, 1, 0, 1, 0]))
    start = initial_reference(recipe, members, population.parameters)
    expected: list[list[AlignmentPoint]] = [[] for _ in members]
    for done in range(1, STEPS + 1):
        before = current_reference(population.parameters)
        step.run()
        if done % 5:
            continue
        for since, reference in ((Since.UPDATE, before), (Since.START, start)):
            gains = log_gains(
                model,
                population.parameters,
                reference,
                multipliers=None,
                probe_BxT=PROBE,  # 20 tokens are three windows of 8
                layers=plan.layers,
            )
            for position, of_member in enumerate(gains.tolist()):
                for layer, values in zip(plan.layers, of_member, strict=True):
                    expected[position].append(AlignmentPoint(done, layer, since, *values))
    assert [list(o.alignment) for o in found] == expected


def test_multipliers_of_the_explicit_gauge_cancel() -> None:
    """Powers of 2 move without rounding: folded or not, alignment is the same up to the last bit of a logarithm."""
    model = mlp(16, depth=2)
    plan = plan_of(model)
    recipe = replace(make_recipe(model, SGD_MOMENTUM, steps=8), alignment=plan)
    found = []
    for gauge in (Gauge.FOLDED, Gauge.EXPLICIT):
        given = numbers(model, learning_rate=2.0**-6, parameterization=MUP, optimizer=SGD, gauge=gauge)
        assert (gauge is Gauge.EXPLICIT) == any(n.multiplier != 1 for n in given.values())
        found.append(train_population(recipe, [Member(given, 0, 0)], CORPUS, device=CPU))
    gains = [[(p.alpha, p.omega, p.u, p.product) for p in one.alignment] for (one,) in found]
    assert np.array(gains[0]) == pytest.approx(np.array(gains[1]), abs=1e-14)


@pytest.mark.parametrize("ruined", [False, True], ids=["whole", "compacted"])
def test_stopped_and_resumed_is_uninterrupted(
    ruined: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after a measurement that only the checkpoint holds; the dead keep what was measured before they died."""
    monkeypatch.setattr(sys.modules["widthwise.train.train_population"], "_POLL", 5)
    monkeypatch.setattr(checkpoint_timer, "SHARE", 1.0)
    model = transformer(16)
    recipe = recipe_of(model, plan_of(model, every=2))
    members = crowd(model, ruined=ruined)[1:]

    def train(stop_at: int | None = None) -> tuple[Outcome, ...]:
        def progress(step: int) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        kept = (
            Checkpoints(tmp_path / "p", every_seconds=0.0) if stop_at or (tmp_path / "p").exists() else None
        )
        return train_population(recipe, members, CORPUS, device=CPU, progress=progress, checkpoints=kept)

    whole = train()
    assert [len({p.step for p in o.alignment}) for o in whole] == ([6, 6, 0, 0] if ruined else [6] * 4)
    with pytest.raises(KeyboardInterrupt):
        train(stop_at=10)
    assert train() == whole


def test_another_plan_takes_no_checkpoint(tmp_path: Path) -> None:
    from widthwise.train import run_identity

    model = mlp(16)
    identities = {
        run_identity(recipe_of(model, plan), crowd(model), CORPUS)
        for plan in (None, plan_of(model), plan_of(model, every=3))
    }
    assert len(identities) == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"every": 0}, "every is 0; it must be at least 1"),
        ({"layers": ()}, "no layers are named"),
        ({"since": ()}, "counted from the start, the last update, or both"),
        ({"layers": ("first_layer",)}, r"\['first_layer'\] are no matrix layers of the model; it has"),
        ({"layers": ("readout", "readout")}, "name a layer twice"),
    ],
)
def test_bad_plans(changes: dict[str, object], says: str) -> None:
    model = mlp(16)
    with pytest.raises(ValueError, match=says):
        outcomes(model, plan_of(model, **changes))  # pyright: ignore[reportArgumentType]


def test_settings_of_precision_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program has allowed for its products, on CUDA and on a CPU, is not allowed while it is measured."""
    settings = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # pyright: ignore
    before = [setting.fp32_precision for setting in settings]
    module, during = sys.modules["widthwise.train.alignment"], set[tuple[str, ...]]()

    def mean_squares(norms: Sequence[Tensor], entries: int) -> Tensor:
        during.add(tuple(setting.fp32_precision for setting in settings))
        return original(norms, entries)

    original = module.mean_squares
    monkeypatch.setattr(module, "mean_squares", mean_squares)
    try:
        for setting, allowed in zip(settings, ("tf32", "bf16"), strict=True):
            setting.fp32_precision = allowed
        model = mlp(8)
        outcomes(model, plan_of(model))
        assert during == {("ieee", "ieee")}
        assert [setting.fp32_precision for setting in settings] == ["tf32", "bf16"]
    finally:
        for setting, own in zip(settings, before, strict=True):
            setting.fp32_precision = own


@pytest.mark.cuda
@pytest.mark.parametrize("every", [1, 5, 7])
def test_between_replays_of_a_recorded_step(every: int) -> None:
    """The steps of a proof are trained one by one where something is to be measured among them."""
    model = transformer(32)
    plan = plan_of(model, every=every, since=(Since.START, Since.UPDATE))
    recipe = recipe_of(model, plan)
    recorded, plain = (
        train_population(recipe, crowd(model), CORPUS, device=torch.device("cuda"), engine=Engine(captured=c))
        for c in (True, False)
    )
    for one, other in zip(recorded, plain, strict=True):
        assert [p.step for p in one.alignment] == [p.step for p in other.alignment]
        gains = [
            np.array([(p.alpha, p.omega, p.u, p.product) for p in o.alignment], dtype=np.float64)  # None: NaN
            for o in (one, other)
        ]
        assert gains[0] == pytest.approx(gains[1], abs=1e-3, nan_ok=True)
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-5)


@pytest.mark.parametrize("alike", [False, True], ids=["of their own", "alike"])
@pytest.mark.parametrize(
    "model",
    [
        Transformer(width=64, depth=2, head_dim=16, vocabulary=256, context=32),
        MLP(width=64, depth=2, window=3, vocabulary=64, context=32),
    ],
    ids=["transformer", "mlp"],
)
def test_measuring_takes_the_memory_that_is_said(model: ReferenceModel, alike: bool) -> None:
    """An upper bound: members that share a start need less, and not all of a layer's tensors are there at once."""
    recipe = replace(
        make_recipe(model, SGD_MOMENTUM, steps=8),
        alignment=plan_of(model, tokens=256),
    )
    members = [Member(numbers(model, learning_rate=0.01 + i), 0 if alike else i, 0) for i in range(3)]
    assert recipe.alignment is not None
    windows = validation_windows(letter_corpus(), windows=8, context=32, device=CPU)
    with LiveBytes() as live:
        population = Population(recipe, members, CPU)
        before = live.now()
        reference = initial_reference(recipe, members, population.parameters)
        starts = live.now() - before
        live.peak = 0
        log_gains(
            model,
            population.parameters,
            reference,
            multipliers=None,
            probe_BxT=windows[:, :-1],
            layers=recipe.alignment.layers,
        )
    program = program_memory(recipe, Execution(), corpus_bytes=0, data_seeds=1, starts=1 if alike else 3)
    assert next(t.bytes for t in program.terms if t.name == "starts") == pytest.approx(starts, rel=1e-3)
    (measuring,) = (m for m in member_memory(recipe, Execution()).between if m.name == "measuring")
    ratio = (live.peak - starts - before) / (3 * measuring.bytes)
    assert (0.4 if alike else 0.6) <= ratio <= 1.0


def test_weights_before_an_update_stand() -> None:
    model = mlp(16)
    both = plan_of(model, since=(Since.START, Since.UPDATE))
    one, two = (
        sum(t.bytes for t in member_memory(recipe_of(model, plan), Execution()).standing)
        for plan in (plan_of(model), both)
    )
    assert two - one == 4 * model.parameter_count


def test_a_seed_with_other_scales_is_another_start() -> None:
    """W_0 is scale times draw: members of one seed, one of them at twice the scale and one with a multiplier."""
    model = mlp(16)
    base = numbers(model, learning_rate=1e-2)
    doubled = {name: replace(n, init=2 * n.init) for name, n in base.items()}
    multiplied = {name: replace(n, multiplier=0.5) for name, n in base.items()}
    members = [Member(of, 0, 0) for of in (base, doubled, base, multiplied)]
    recipe = recipe_of(model)
    start = initial_parameters(recipe, members, CPU)
    reference = initial_reference(recipe, members, start)
    assert reference.rows.tolist() == [0, 1, 0, 2]
    for name, tensor in start.items():
        assert torch.equal(reference.per_member(reference.tensor(name)), tensor)


@pytest.mark.parametrize("model", [mlp(16, depth=2), transformer(16, depth=2)], ids=["mlp", "transformer"])
def test_a_pass_that_is_measured_is_the_pass(model: ReferenceModel) -> None:
    """Every matrix layer is seen once, in order, and the logits are the same to the bit."""
    members = crowd(model)
    parameters = initial_parameters(recipe_of(model), members, CPU)
    tokens = PROBE.expand(len(members), *PROBE.shape)
    seen: list[str] = []
    weights = Weights(parameters, None, torch.float32, PLAIN, seen=lambda name, x, w, y: seen.append(name))
    assert torch.equal(model.forward(weights, tokens), model.logits(parameters, tokens))
    assert tuple(seen) == matrix_layers(model)


def test_a_checkpoint_keeps_what_the_dead_had_measured(tmp_path: Path) -> None:
    points = (
        AlignmentPoint(4, "readout", Since.START, 0.1, None, -0.25, 1e-9),
        AlignmentPoint(4, "readout", Since.UPDATE, None, None, None, 2.0),
    )
    dead = Outcome(None, Divergence(6, "non-finite loss"), ((3, 2.5),), points)
    kept = Checkpoint("mine", 8, (0,), {1: dead}, {"losses": torch.zeros(1, 8)})
    save_checkpoint(tmp_path / "p", kept)
    found = load_checkpoint(tmp_path / "p", identity="mine")
    assert found is not None
    assert found.ended == {1: dead}
