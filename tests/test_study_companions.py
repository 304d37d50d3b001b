"""`paper-h200` and the studies beside it: the same model, text and training, so that one table can hold them all."""

import pytest

from widthwise.analysis import ArmLabel, Evidence, FittedTable, Standing, judge_claims
from widthwise.study import StudySpec, arm_axes, load_spec, own_epsilon
from widthwise.study.arms import Arm, expand_arms
from widthwise.study.estimate import estimate_study
from widthwise.study.gpu import gpu_named
from widthwise.study.rate_spec import RateSweep
from widthwise.study.rates_choice import OpenRates

MAIN = load_spec("paper-h200").spec
COMPANIONS = ("paper-h200-constants", "paper-h200-measured", "paper-h200-horizon")
SAME = (
    "model", "base_width", "anchor", "gauge", "corpus", "tokenizer", "seeds", "validation_windows", "training",
    "optimizer", "learning_rates",
)  # fmt: skip


def arms(spec: StudySpec) -> dict[str, Arm]:
    return {arm.name: arm for arm in expand_arms(spec)}


@pytest.mark.parametrize("name", COMPANIONS)
def test_a_companion_is_the_same_study(name: str) -> None:
    spec = load_spec(name).spec
    assert {field: getattr(spec, field) for field in SAME} == {field: getattr(MAIN, field) for field in SAME}
    assert set(spec.widths) <= set(MAIN.widths)


@pytest.mark.parametrize("name", COMPANIONS)
def test_a_companion_trains_nothing_that_the_main_study_trains(name: str) -> None:
    """What an arm trains: its numbers, or how they are yet to be found."""

    def trained(arm: Arm) -> tuple[object, ...]:
        numbers = arm.parameterization, arm.prescription, arm.optimizer, arm.constants, arm.weight_decay
        return *numbers, arm.horizon, arm.measured

    own, main = arms(load_spec(name).spec), arms(MAIN)
    assert not [
        arm.name for arm in own.values() if trained(arm) in {trained(other) for other in main.values()}
    ]


def test_measured_rates_come_from_arms_that_measure() -> None:
    """Each from its own parameterization, over all widths, and swept as that is."""
    assert MAIN.measure is not None
    spec, main = load_spec("paper-h200-measured").spec, arms(MAIN)
    given = {part.parameterization[0]: part for part in spec.arms}
    assert list(given) == ["standard", "mup", "ntk", "mean-field"]
    for name, part in given.items():
        (rates,) = part.rates
        assert isinstance(rates, OpenRates)
        source = main[str(rates.arm)]
        assert (source.parameterization.name, source.optimizer.kind, source.prescription.name) == (
            name,
            "adam",
            "mid",
        )
        assert source.widths == spec.widths
        assert source.grid == arms(spec)[f"{name}-measured"].grid


def test_horizons_are_compared_with_the_main_studys_own_runs() -> None:
    spec, main = load_spec("paper-h200-horizon").spec, arms(MAIN)
    own = arms(spec)
    assert len(own) == 4
    for name in ("standard", "mup", "ntk", "mean-field"):
        optimal = own[f"{name}-global-compute-optimal"]
        assert optimal.grid == main[f"adam-{name}-global"].grid
        assert isinstance(optimal.grid, RateSweep)
    steps = {(s.width, s.steps) for s in estimate_study(spec, gpu_named("h200")).shapes}
    # 20 (8 (12 D^2 + 2 D) + 256 D + 256 D + D) tokens, of 16 * 256 a step
    assert steps == {(128, 8011), (256, 31381)}


def test_constants_are_compared_with_the_main_studys_own_runs() -> None:
    """What is tuned has the arm without in the main study, and nothing is trained twice."""
    main, own = arms(MAIN), arms(load_spec("paper-h200-constants").spec)
    assert len(own) == 4
    for name, arm in own.items():
        plain = main[f"adam-{arm.parameterization.name}-{arm.prescription.name}"]
        assert (arm.grid, arm.widths, arm.optimizer) == (plain.grid, plain.widths, plain.optimizer)
        assert "searched" in name or "optimal" in name


def test_the_studies_plan_what_the_claims_ask_for() -> None:
    """Nothing is finished yet, and no claim asks for a prescription that is planned nowhere."""
    texts = [load_spec(name).text for name in ("paper-h200", *COMPANIONS)]
    axes = {f"{k} {arm}": own for k, text in enumerate(texts) for arm, own in arm_axes(text).items()}
    labels = {name: ArmLabel(**own) for name, own in axes.items()}
    (epsilon,) = {own_epsilon(text) for text in texts}
    verdicts = judge_claims(Evidence(FittedTable({}, {}), labels, epsilon=epsilon))
    assert {verdict.standing for verdict in verdicts} == {Standing.NOT_RUN}
    reasons = {condition.reason for verdict in verdicts for condition in verdict.conditions}
    assert not [reason for reason in reasons if "the study has no" in reason]
    assert [v.number for v in verdicts if any("--evidence" in c.reason for c in v.conditions)] == [11, 14, 15]
