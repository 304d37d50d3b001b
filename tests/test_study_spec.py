"""Specifications: defaults, what may be written, and that every mistake is named at once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from study_example import tiny, tiny_source, tiny_text
from widthwise.study import POPULATION_SIZE, StudySpec, built_in_names, load_spec, parse_spec
from widthwise.study.expand import expand, expand_arms
from widthwise.study.rate_spec import RateGrid, RateList

MINIMAL = """\
name: n
model: {kind: transformer, depth: 1, head_dim: 4, context: 8}
widths: [16, 8]
arms: [{parameterization: mup, rates: full}]
optimizer: {kind: adam}
learning_rates: [0.5, 0.125, 0.5]
seeds: [3, 1]
training: {steps: 20, batch: 2}
corpus: python-stdlib
"""


def complaints(**changes: Any) -> list[str]:
    """The lines of the refusal after its first."""
    with pytest.raises(ValueError, match="mistake") as caught:
        tiny_source(**changes)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_every_default_stands() -> None:
    assert parse_spec(MINIMAL).spec.model_dump(mode="json") == {
        "name": "n",
        "model": {"kind": "transformer", "depth": 1, "head_dim": 4, "context": 8, "vocabulary": None},
        "widths": [8, 16],
        "base_width": None,
        "anchor": "relative",
        "gauge": "folded",
        "arms": [
            {
                "parameterization": ["mup"],
                "rates": ["full"],
                "name": None,
                "optimizer": None,
                "learning_rates": None,
                "constants": [
                    {"searched": False, "name": "default", "embedding": 1.0, "hidden": 1.0, "readout": 1.0}
                ],
                "epsilon": None,
                "weight_decay": [0.0],
                "horizon": None,
                "widths": None,
            }
        ],
        "optimizer": {
            "kind": "adam",
            "beta1": 0.9,
            "beta2": 0.98,
            "epsilon": 1e-9,
            "epsilon_policy": "constant",
        },
        "learning_rates": {"values": [0.5, 0.125, 0.5]},
        "seeds": [3, 1],
        "training": {
            "steps": 20,
            "horizon": None,
            "batch": 2,
            "warmup": 0.1,
            "floor": 0.0,
            "precision": "float32",
            "divergence": {"margin": 1.0, "steps": 50},
            "form": None,
        },
        "corpus": "python-stdlib",
        "text_field": "text",
        "tokenizer": None,
        "corpus_tokens": None,
        "epochs": 1.0,
        "validation_windows": 64,
        "constants_search": {"trials": 800, "batch": 100, "lowest": 0.01, "highest": 100.0},
        "measure": None,
    }


@pytest.mark.parametrize(
    ("optimizer", "constants"),
    [
        ({"kind": "sgd"}, {"kind": "sgd", "momentum": 0.9}),
        (
            {"kind": "adafactor"},
            {
                "kind": "adafactor",
                "decay_rate": 0.8,
                "clipping_threshold": 1.0,
                "momentum": None,
                "min_dim_size_to_factor": 128,
                "floor": 1e-8,
            },
        ),
        ({"kind": "adam-atan2"}, {"kind": "adam-atan2", "beta1": 0.9, "beta2": 0.98, "a": 1.0, "b": 1.0}),
    ],
)
def test_optimizer_defaults(optimizer: dict[str, str], constants: dict[str, Any]) -> None:
    assert tiny_source(optimizer=optimizer).spec.optimizer.model_dump(mode="json") == constants


def test_base_width_is_the_smallest_unless_given() -> None:
    assert tiny_source(widths=[16, 8]).spec.base == 8
    spec = tiny_source(base_width=32).spec
    assert (spec.base, spec.all_widths) == (32, (8, 16, 32))


def test_a_specification_keeps_its_text() -> None:
    assert parse_spec(MINIMAL).text == MINIMAL


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("2^-7.5", 2**-7.5),
        ("2^3", 8.0),
        ("2^0", 1.0),
        (" 2^-1 ", 0.5),
        ("1e-3", 0.001),
        (0.25, 0.25),
        (3, 3.0),
    ],
)
def test_rates_may_be_powers_of_two(written: object, rate: float) -> None:
    assert tiny_source(learning_rates=[written]).spec.learning_rates.rates() == (rate,)


@pytest.mark.parametrize("written", ["2^", "2^x", "3^2", "2^-7.5.1", "2**3", "fast"])
def test_what_is_no_rate(written: str) -> None:
    (line,) = complaints(learning_rates=[written])
    assert line.startswith("learning_rates.values.0:")
    assert repr(written) in line


@pytest.mark.parametrize("written", ["2^2000", "2^-2000", ".inf", ".nan", 0, -1, "-2^3"])
def test_a_rate_is_positive_and_finite(written: object) -> None:
    (line,) = complaints(learning_rates=[yaml.safe_load(str(written))])
    assert line.startswith("learning_rates.values.0:")
    assert "given:" in line


@pytest.mark.parametrize(
    ("lowest", "highest", "per_octave", "rates"),
    [
        ("2^-4", "2^-1", 1, [2**-4, 2**-3, 2**-2, 2**-1]),
        ("2^-2", "2^-1", 2, [2**-2, 2**-1.5, 2**-1]),
        (1.0, 1.0, 3, [1.0]),
        (1.0, 3.9, 1, [1.0, 2.0]),
        (0.3, 0.3 * 2 ** (2 / 3), 3, [0.3, 0.3 * 2 ** (1 / 3), 0.3 * 2 ** (2 / 3)]),
    ],
)
def test_grid_spacing(lowest: object, highest: object, per_octave: int, rates: list[float]) -> None:
    grid = RateGrid.model_validate({"lowest": lowest, "highest": highest, "per_octave": per_octave})
    assert grid.rates() == tuple(rates)


def test_grid_of_powers_of_two_is_exact() -> None:
    grid = RateGrid(lowest=2.0**-20, highest=2.0**4)
    assert grid.rates() == tuple(2.0**k for k in range(-20, 5))


def test_list_of_rates_is_ascending_and_each_once() -> None:
    assert RateList(values=(0.5, 0.125, 0.5)).rates() == (0.125, 0.5)


def test_lists_in_arms_stand_for_all_combinations() -> None:
    arms = expand_arms(
        tiny_source(arms=[{"parameterization": ["standard", "mup"], "rates": ["full", "global"]}]).spec
    )
    assert [arm.name for arm in arms] == ["standard-full", "standard-global", "mup-full", "mup-global"]
    assert [(arm.parameterization.name, arm.prescription.name) for arm in arms] == [
        ("standard", "full"), ("standard", "global"), ("mup", "full"), ("mup", "global"),
    ]  # fmt: skip


def test_all_names_of_the_theory_are_accepted() -> None:
    names = ["standard", "ntk", "mup", "mean-field"]
    rates = ["global", "full", "mid", "none"]
    arms = expand_arms(tiny_source(arms=[{"parameterization": names, "rates": rates}]).spec)
    assert [arm.name for arm in arms] == [f"{name}-{rate}" for name in names for rate in rates]


def test_an_arm_may_be_named() -> None:
    one = [{"parameterization": "mup", "rates": "full", "name": " ours "}]
    assert [arm.name for arm in expand_arms(tiny_source(arms=one).spec)] == ["ours"]
    two = [{"parameterization": "mup", "rates": ["full", "none"], "name": "ours"}]
    assert [arm.name for arm in expand_arms(tiny_source(arms=two).spec)] == ["ours-mup-full", "ours-mup-none"]


def test_an_arm_may_have_its_own_optimizer_and_rates() -> None:
    arms = expand_arms(
        tiny_source(
            arms=[
                {"parameterization": "mup", "rates": "full"},
                {
                    "parameterization": "mup",
                    "rates": "full",
                    "optimizer": {"kind": "sgd", "momentum": 0.5},
                    "learning_rates": [1, 2],
                },
            ]
        ).spec
    )
    assert [arm.name for arm in arms] == ["adam-mup-full", "sgd-mup-full"]
    assert [arm.learning_rates for arm in arms] == [(2**-8, 2**-7, 2**-6, 2**-5), (1.0, 2.0)]
    assert arms[1].optimizer.model_dump() == {"kind": "sgd", "momentum": 0.5}
    assert [arm.rule.name for arm in arms] == ["adam", "sgd"]


def test_the_same_optimizer_in_two_arms_needs_names() -> None:
    arms: list[dict[str, Any]] = [
        {"parameterization": "mup", "rates": "full"},
        {"parameterization": "mup", "rates": "full", "optimizer": {"kind": "adam", "epsilon": 1e-6}},
    ]
    with pytest.raises(ValueError, match=r"arms \['mup-full'\] stand more than once.*give each a `name`"):
        expand_arms(tiny_source(arms=arms).spec)
    arms[1]["name"] = "large-epsilon"
    assert [arm.name for arm in expand_arms(tiny_source(arms=arms).spec)] == ["mup-full", "large-epsilon"]


def test_predictions_are_kept_with_the_arm() -> None:
    (row,) = [arm.row() for arm in expand_arms(tiny_source(arms=[tiny()["arms"][0]]).spec)]
    assert (row.name, row.parameterization, row.prescription, row.optimizer) == (
        "standard-global", "standard", "global", "adam",
    )  # fmt: skip
    # One rate for all layers must fall as the hidden layers' and the readout's: n^-1 if aligned, n^-1/2 if not.
    assert (row.predicted_full, row.predicted_none) == ("-1", "-1/2")


def test_all_mistakes_are_named_at_once() -> None:
    lines = complaints(
        name="",
        model={"kind": "transformer", "depth": 0, "head_dim": 4},
        widths=[8, 8],
        arms=[{"parameterization": "mu-p", "rates": "all"}],
        optimizer={"kind": "adam", "epsilon": -1, "betas": 1},
        learning_rates={"lowest": 0, "highest": 1},
        seeds=[0, 0],
        training={"steps": 0, "batch": 2, "warmup": 1},
        corpus="",
        colour="red",
    )
    assert [line.split(":")[0] for line in lines] == [
        "name",
        "model.depth",
        "model.context",
        "widths",
        "arms.0.parameterization.0",
        "arms.0.rates.0",
        "optimizer.epsilon",
        "optimizer.betas",
        "learning_rates.lowest",
        "seeds",
        "training.steps",
        "training.warmup",
        "corpus",
        "colour",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"colour": "red"},
            "colour: there is no such field here; remove it or correct its name (given: 'red')",
        ),
        (
            {"optimizer": {"kind": "adam", "eps": 1}},
            "optimizer.eps: there is no such field here; remove it or correct its name; did you mean epsilon? "
            "(given: 1)",
        ),
        (
            {"arms": [{"parameterization": "mup", "rates": "full", "constants": [{"hiden": 2}]}]},
            "arms.0.constants.0.hiden: there is no such field here; remove it or correct its name; did you mean "
            "hidden? (given: 2)",
        ),
        (
            {"training": {"batch": 2, "steps": 100, "warmup": 10}},
            "training.warmup: 10 is no share of the steps, in which the rate rises; write 0 to less than 1",
        ),
        (
            {"training": {"batch": 2}},
            "training: neither of `steps` and `horizon` is given; write one of them",
        ),
        ({"optimizer": {"epsilon": 0.1}}, "optimizer: `kind` is missing; add it"),
        ({"optimizer": ["adam"]}, "optimizer: must be a mapping, {field: value, ...} (given: ['adam'])"),
        ({"widths": 8}, "widths: must be a list, [value, ...] (given: 8)"),
        ({"widths": [-8]}, "widths.0: Input should be greater than or equal to 1 (given: -8)"),
        ({"seeds": [2**63]}, f"seeds.0: Input should be less than {2**63} (given: {2**63})"),
        ({"seeds": [1, 0, 1]}, "seeds: seeds [1, 0, 1] name a seed twice; name each once"),
        ({"widths": [8, 16, 8]}, "widths: widths [8, 16, 8] name a width twice; name each once"),
        (
            {"widths": [8, 10, 14]},
            "the whole: widths [10, 14] are not multiples of model.head_dim 4; "
            "change them or choose a head_dim that divides all of [8, 10, 14]",
        ),
        (
            {"base_width": 6},
            "the whole: widths [6] are not multiples of model.head_dim 4; "
            "change them or choose a head_dim that divides all of [6, 8, 16]",
        ),
        (
            {"learning_rates": {"lowest": 0.5, "highest": 0.25}},
            "learning_rates: highest 0.25 is below lowest 0.5; exchange them",
        ),
        (
            {"training": {"steps": 3, "batch": 2, "warmup": 0.9}},
            "training: warmup 0.9 of steps 3 leaves no step after it; lower it",
        ),
    ],
)
def test_a_mistake_says_field_value_and_remedy(changes: dict[str, Any], line: str) -> None:
    assert complaints(**changes) == [line]


def test_warmup_is_rounded_to_steps() -> None:
    training = {"steps": 25, "batch": 2, "warmup": 0.3}
    assert tiny_source(training=training).spec.training.warmup_steps(25) == 8


def test_specifications_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        tiny_source().spec.name = "other"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "is empty; it must be a mapping with the fields"),
        ("- name: n\n", "is a list; it must be a mapping"),
        ("quickstart\n", "is a text; it must be a mapping"),
        ("12\n", "is a int; it must be a mapping"),
        ("name: {a\n", "is not YAML: while parsing a flow mapping"),
        ("name: !!python/object/apply:os.system [echo]\n", "is not YAML: could not determine a constructor"),
        ("name: !!python/name:os.system\n", "is not YAML: could not determine a constructor"),
    ],
)
def test_what_is_no_specification(written: str, says: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_spec(written, origin="s.yaml")
    assert str(caught.value).startswith("s.yaml")
    assert says in str(caught.value)


def test_load_reads_files_and_built_in_names(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(tiny_text())
    assert load_spec(str(path)).spec == tiny_source().spec
    assert built_in_names() == [
        "paper-full",
        "paper-h200",
        "paper-h200-constants",
        "paper-h200-horizon",
        "paper-h200-measured",
        "paper-laptop",
        "paper-widths",
        "paper-widths-laptop",
        "quickstart",
    ]
    with pytest.raises(
        ValueError, match=r"spec 'quick' is neither a file nor a built-in.*paper-full.*quickstart"
    ):
        load_spec("quick")
    with pytest.raises(ValueError, match="neither a file nor"):
        load_spec("x" * 5000)
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(ValueError, match=r"cannot be read.*UTF-8"):
        load_spec(str(path))


def test_quickstart_expands_and_shares_its_base_width() -> None:
    spec = load_spec("quickstart").spec
    assert isinstance(spec, StudySpec)
    plan = expand(spec, corpus="0" * 64, population_size=POPULATION_SIZE)
    assert len(plan.arms) == 3
    assert len(plan.cells) == 3 * 3 * 9 * 2  # arms, widths, rates, seeds
    # The base width's 18 trials serve all three arms.
    assert len(plan.trials) == 18 + 2 * 3 * 18
    trial = {(c.arm, c.width, c.learning_rate, c.seed): c.trial for c in plan.cells}
    for arm, width, rate, seed in trial:
        shared = {trial[other.name, width, rate, seed] for other in plan.arms}
        assert len(shared) == (1 if width == spec.base else 3), (arm, width)
