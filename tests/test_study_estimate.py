"""What a study would take: the paper's figures, sums by hand, what was measured, and what does not fit."""

import json
import re
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import yaml

from study_example import command, snapshot, tiny_source
from widthwise.models import Transformer
from widthwise.optim import AdafactorConstants, AdafactorUpdate, AdamUpdate, MemberUpdate
from widthwise.study import load_spec, parse_spec
from widthwise.study.estimate import StudyEstimate, estimate_study
from widthwise.study.estimate_text import estimate_lines
from widthwise.study.expand import expand, expand_arms
from widthwise.study.fit import Fit, fit
from widthwise.study.gpu import GPUS, Gpu, gpu_named
from widthwise.study.layer_by_layer import layer_by_layer
from widthwise.study.runner import train_recipe
from widthwise.study.sharded_memory import shard
from widthwise.train import ActivationPlan, Engine, Execution, Precision, Recipe, WarmupCosine, execution_on
from widthwise.train.choose_population import MARGIN
from widthwise.train.micro_batch import divisors
from widthwise.wide import Storage, layer_major_budget, sharded_memory

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
PARAMETERS = {
    128: 9_858_432,
    256: 22_862_592,
    512: 58_308_096,
    768: 106_336_512,
    1024: 166_947_840,
    1536: 325_919_232,
    2048: 535_222_272,
    2560: 794_856_960,
    3072: 1_104_823_296,
    4096: 1_875_750_912,
    6144: 4_021_585_920,
    8192: 6_972_727_296,
    12288: 15_290_929_152,
    16384: 26_830_356_480,
}
"""Everett et al. 2024: every width of the paper and its parameters, to the digit."""
TOTAL = 5.4e24
"""An outsider's estimate of the whole study's floating-point operations, read by two people off the paper's grids."""


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    result = command("study", "plan", "paper-full", "--format", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_the_papers_parameter_counts_to_the_digit(paper: dict[str, Any]) -> None:
    found = {shape["width"]: shape["parameters"] for shape in paper["shapes"]}
    assert found == PARAMETERS
    for shape in paper["shapes"]:
        assert shape["parameters"] - shape["non_embedding"] == 32_101 * shape["width"]


def test_the_papers_total_is_of_the_right_order(paper: dict[str, Any]) -> None:
    """Which grids were run is not known to better than a factor of two."""
    assert TOTAL / 2 < paper["flops"] < 2 * TOTAL


def test_the_papers_horizons(paper: dict[str, Any]) -> None:
    fixed = [shape for shape in paper["shapes"] if shape["steps"] == 50_000]
    assert {shape["tokens"] for shape in fixed} == {50_000 * 256 * 512}
    others = {shape["width"]: shape for shape in paper["shapes"] if shape["steps"] != 50_000}
    assert max(others) == 6144
    for shape in others.values():
        # Whole steps of 131,072 tokens.
        assert abs(shape["tokens"] - 20 * shape["non_embedding"]) <= 256 * 512 / 2


def test_the_papers_largest_models_are_sharded_and_the_smallest_are_not(paper: dict[str, Any]) -> None:
    gpus = {(s["width"], s["optimizer"]): s["fit"]["gpus"] for s in paper["shapes"] if s["steps"] == 50_000}
    assert {gpus[width, "adam"] for width in PARAMETERS if width <= 4096} == {1}
    # 26.8 B weights and Adam's moments in float32 are 322 GB alone: three H200s at least, of 149 GB each.
    assert gpus[16384, "adam"] >= 4
    # 16 bytes a parameter of a block, 52 GB, are whole beside a quarter of 12 bytes of all, 80 GB: four are too few.
    assert gpus[16384, "sgd"] == gpus[16384, "adam"] == 8
    assert gpus[8192, "sgd"] < gpus[8192, "adam"]


def test_each_search_for_constants_is_at_the_base_width_once_for_what_agrees_there(
    paper: dict[str, Any],
) -> None:
    """4 parameterizations x Adam, Adam with parameter scaling, SGD; Adam's two per layer epsilons have 8 more.

    At the base width prescriptions agree, and an epsilon per layer from a base is the constant one.
    """
    searches = [shape for shape in paper["shapes"] if shape["search"]]
    assert {shape["width"] for shape in searches} == {1024}
    assert paper["searched"] == sum(shape["trials"] for shape in searches) == 12 * 800


def test_totals_are_sums(paper: dict[str, Any]) -> None:
    shapes = paper["shapes"]
    assert paper["trials"] + paper["searched"] == sum(shape["trials"] for shape in shapes)
    assert paper["merged"] == paper["cells"] - paper["trials"] > 0
    assert paper["tokens"] == sum(shape["trials"] * shape["tokens"] for shape in shapes)
    assert paper["gpu_hours"] == pytest.approx(sum(shape["gpu_seconds"] for shape in shapes) / 3600)
    assert paper["dollars"] == pytest.approx(paper["gpu_hours"] * paper["price"])
    assert all(shape["fit"]["bytes"] <= 0.9 * paper["gpu"]["bytes"] for shape in shapes)


def estimate(gpu: str = "h200", *, price: float | None = None, **changes: Any) -> StudyEstimate:
    return estimate_study(tiny_source(**changes).spec, gpu_named(gpu), price=price)


def test_a_tiny_study_by_hand() -> None:
    """8 trials of width 8, which serve both arms, and 16 of width 16; 4 steps of 2 x 8 tokens each."""
    found = estimate(price=2.0)
    assert (found.arms, found.cells, found.trials, found.merged, found.searched) == (2, 32, 24, 8, 0)
    small, large = found.shapes
    assert [(s.width, s.trials, s.tokens) for s in found.shapes] == [(8, 8, 64), (16, 16, 64)]
    # A token: 6 (12 D^2 + 256 D) of products, 6 L D of attention.
    assert small.flops == 8 * 64 * (6 * (12 * 64 + 256 * 8) + 6 * 8 * 8)
    assert large.flops == 16 * 64 * (6 * (12 * 256 + 256 * 16) + 6 * 8 * 16)
    assert found.flops == small.flops + large.flops
    assert found.tokens == 24 * 64
    # So few tokens are launches alone: 0.14 ms for the one block, 4 steps, and 10 s to begin, one population each.
    assert found.populations == 2
    assert found.hours * 3600 == pytest.approx(2 * (10 + 4 * 0.14e-3))
    assert found.dollars == 2 * found.hours


def test_what_a_gpu_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every trial of a shape and every one of a search, the text's bytes, and one start for each arm and seed."""
    asked: list[tuple[int, dict[str, int]]] = []

    def recorded(recipe: Recipe, gpu: Gpu, **given: int) -> Fit | None:
        asked.append((recipe.model.width, given))
        return fit(recipe, gpu, **given)

    monkeypatch.setattr("widthwise.study.estimate.fit", recorded)
    arms = [{"parameterization": "mup", "rates": "full", "constants": ["default", "searched"]}]
    tokenizer = {"file": "not-read.model", "vocabulary": 300}
    estimate(arms=arms, tokenizer=tokenizer, constants_search={"trials": 50})
    text = 4 * 2 * 8 * 2  # steps of two windows of 8 tokens, of two bytes each
    both = {"corpus_bytes": text, "seeds": 2, "starts": 2 * 2}
    search = {"trials": 50, "corpus_bytes": text, "seeds": 1, "starts": 1}
    assert asked == [(8, {"trials": 16, **both}), (16, {"trials": 16, **both}), (8, search)]
    asked.clear()
    estimate(arms=arms[:1], widths=[8])
    assert asked[0][1]["corpus_bytes"] == text // 2


def test_every_gpu_of_a_sharded_model_begins() -> None:
    """10 s on each of three, and steps as long as their one member's; no step is shorter than the launches."""
    sharded = Fit(1, 1, recompute=False, gpus=3, bytes=0, step_seconds=0.5, floor_seconds=0.1)
    assert sharded.gpu_seconds(1, 100) == 3 * 10 + 100 * 0.5
    assert replace(sharded, gpus=1).gpu_seconds(1, 100) == 10 + 50
    assert replace(sharded, floor_seconds=1.0).gpu_seconds(1, 100) == 30 + 100
    assert replace(sharded, floor_seconds=0.0).gpu_seconds(1, 100) == 50  # of a CPU, which compiles nothing


def test_every_population_fits_and_one_more_member_would_not() -> None:
    changes = {"model": {"kind": "transformer", "depth": 8, "head_dim": 128, "context": 512}, "widths": [512]}
    (shape,) = estimate(**changes, seeds=list(range(40)), training={"steps": 30, "batch": 64}).shapes
    assert shape.fit is not None
    usable = 0.9 * GPUS["h200"].bytes
    assert shape.fit.bytes <= usable < shape.fit.bytes * (shape.fit.members + 1) / shape.fit.members
    assert shape.populations == -(-shape.trials // shape.fit.members) > 1


def thousand(width: int, members: int) -> StudyEstimate:
    """The study of `benchmarks/population.py`: 400 steps of 16 x 256 bytes."""
    spec = {
        "model": {"kind": "transformer", "depth": 8, "head_dim": 128, "context": 256},
        "widths": [width],
        "arms": [{"parameterization": "standard", "rates": "global"}],
        "optimizer": {"kind": "adam-atan2"},
        "learning_rates": [0.001],
        "seeds": list(range(members)),
        "training": {"steps": 400, "batch": 16, "precision": "bfloat16"},
    }
    return estimate(**spec)


@pytest.mark.parametrize("width", [128, 256])
def test_steps_take_what_they_were_measured_to(width: int) -> None:
    """52 members on an H200, from the record; the model of traffic is held to a tenth."""
    record = json.loads((RESULTS / "population-h200.json").read_text())
    name = f"small: D={width}, 16x256 tokens, V=256: P=52: a step"
    (measured,) = [row["value"] for row in record["rows"] if row["name"] == name]
    (shape,) = thousand(width, 52).shapes
    assert shape.fit is not None
    assert 52e3 * shape.fit.step_seconds == pytest.approx(measured, rel=0.1)


def test_a_thousand_models_take_what_they_were_measured_to() -> None:
    """Five optimizers, drawing, compiling and writing included, in the record; here one of them."""
    record = json.loads((RESULTS / "population-h200.json").read_text())
    (measured,) = [
        row["value"] for row in record["rows"] if row["name"].startswith("thousand: 1170 models, 1.6")
    ]
    assert 3600 * thousand(128, 1170).hours == pytest.approx(measured, rel=0.25)


def test_the_fewest_gpus_whose_parts_fit() -> None:
    """Two at least: `choose_population` is for one. Nothing is recorded, and no copies in two precisions are kept."""
    changes = {
        "model": {"kind": "transformer", "depth": 8, "head_dim": 128, "context": 512},
        "widths": [1024],
    }
    spec = tiny_source(**changes, training={"steps": 30, "batch": 64, "precision": "bfloat16"}).spec
    recipe = train_recipe(expand(spec, corpus="0" * 64, population_size=1).trials[0].recipe)
    execution = execution_on(recipe, (9, 0))
    assert execution.copies
    assert execution.engine != Engine()
    for gpus in (2, 8):
        part = replace(recipe, batch=64 // gpus)
        ways = [ActivationPlan(n, recompute=r) for r in (False, True) for n in divisors(part.batch)]
        held = [
            sharded_memory(part, Execution(True, fused=True, kernels=True, activations=w), gpus) for w in ways
        ]
        least = min(memory.bytes for memory in held)
        large_enough = replace(GPUS["h200"], bytes=ceil((least + 100) / (1 - MARGIN)))
        found = shard(recipe, large_enough, execution, 90)
        assert found is not None
        assert found[0] == gpus
        assert found[2] - 90 == held[ways.index(found[1])].bytes == least
    assert shard(recipe, replace(GPUS["h200"], bytes=2**20), execution, 90) is None


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "s.yaml"
    path.write_text(tiny_source(**changes).text)
    return path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--gpu", "tpu"], ["gpu 'tpu' is unknown", "['h200', 'h100', 'a100', 'cpu']"]),
        (["--price", "-1"], ["price -1.0 must be finite and at least 0 dollars"]),
        (["--price", "inf"], ["price inf must be finite"]),
        (["--gpus", "0"], ["--gpus", "0 is not in the range"]),
    ],
)
def test_options_that_are_wrong(tmp_path: Path, options: list[str], says: list[str]) -> None:
    path = write(tmp_path)
    before = snapshot(tmp_path)
    result = command("study", "plan", path, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert all(part in result.stderr for part in says), result.stderr
    assert snapshot(tmp_path) == before


def test_models_that_no_device_holds_are_all_named(tmp_path: Path) -> None:
    model = {"kind": "transformer", "depth": 8, "head_dim": 128, "context": 64}
    path = write(tmp_path, model=model, widths=[128, 16384, 24576], training={"steps": 4, "batch": 2})
    result = command("study", "plan", path, "--gpu", "a100")
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        "no number of GPUs that is planned for (up to 256 a100, 79 GiB each) holds a model of"
        in result.stderr
    )
    assert "width 16384 (25,779,519,488 parameters), width 24576 (" in result.stderr
    assert (
        "choose another --gpu, leave these widths out, or choose a smaller batch or context" in result.stderr
    )
    # Over two GPUs, as many as there are sequences, neither fits; nor does the wider one layer by layer.
    assert "; width 16384 fits one H200 (139 GiB each), layer by layer; width 24576 (58." in result.stderr
    assert "GPUs of 139 GiB do, sharded, with a batch of at least" in result.stderr
    assert (
        command("study", "plan", write(tmp_path, model=model, widths=[128]), "--gpu", "a100").exit_code == 0
    )


def wide_recipe(width: int, *, batch: int, update: MemberUpdate | None = None) -> Recipe:
    model = Transformer(width=width, depth=8, head_dim=128, vocabulary=32_101, context=512)
    adam = AdamUpdate(0.9, 0.98)
    return Recipe(model, update or adam, WarmupCosine(10, 1), batch, Precision.BFLOAT16, 4, 4)


def test_what_a_model_needs_layer_by_layer_is_its_budget_in_the_fewest_pieces() -> None:
    recipe = wide_recipe(12288, batch=256)
    found = layer_by_layer(recipe, GPUS["h200"])
    assert found is not None
    assert found.fits
    assert 1 < found.micro_batches < 256
    needs = {
        pieces: layer_major_budget(
            recipe.model, recipe.update, Storage(micro_batches=pieces), batch=256
        ).total
        for pieces in (found.micro_batches // 2, found.micro_batches)
    }
    assert needs[found.micro_batches] == found.bytes <= GPUS["h200"].bytes < needs[found.micro_batches // 2]
    assert not layer_by_layer(recipe, replace(GPUS["h200"], bytes=found.bytes // 2)).fits
    momentum = AdafactorUpdate(AdafactorConstants(momentum=0.9))  # its state is not to be had in 8 bits
    assert layer_by_layer(wide_recipe(256, batch=4, update=momentum), GPUS["h200"]) is None


def test_from_which_width_on_several_gpus_are_needed_and_what_one_would_need(paper: dict[str, Any]) -> None:
    """Adam's 16 bytes a parameter: 112 GB at width 8192, of which 134 are usable, but for one block's gradients."""
    several = {
        (s["width"], s["optimizer"]): (s["fit"]["gpus"], s["layer_by_layer"]["fits"])
        for s in paper["shapes"]
        if s["fit"]["gpus"] > 1
    }
    assert several[8192, "adam"] == (2, True)
    assert several[16384, "adam"] == (8, False)  # block inputs of 256 sequences stay on the device: 43 GB
    assert several[12288, "adam"] == several[12288, "sgd"] == (4, True)
    assert several[16384, "sgd"] == (8, True)
    assert (8192, "sgd") not in several
    assert all(s["layer_by_layer"] is None for s in paper["shapes"] if s["fit"]["gpus"] == 1)
    text = " ".join(command("study", "plan", "paper-full").stdout.split())
    assert (
        "adam needs several GPUs from width 8192 on: 2 at 8192 (or one layer by layer, in 101 GiB), 4 at"
        in text
    )
    assert "8 at 16384 (layer by layer takes 161 GiB)." in text
    assert "sgd needs several GPUs from width 12288 on: 4 at 12288 (" in text


def test_a_refusal_says_how_a_study_would_hold_the_model() -> None:
    spec = load_spec("paper-widths").spec
    usual = spec.training.model_copy(update={"form": None, "batch": 2})  # over two GPUs at most
    with pytest.raises(ValueError, match=r"width 16384 fits one h200 layer by layer, in 114 GiB \(training"):
        estimate_study(spec.model_copy(update={"training": usual, "measure": None}), GPUS["h200"])


def test_constants_that_are_yet_to_be_found_cannot_be_trained() -> None:
    arm = {"parameterization": "mup", "rates": ["full", "none"], "constants": ["default", "searched"]}
    spec = tiny_source(arms=[arm]).spec
    with pytest.raises(
        ValueError, match=r"arms \['mup-full-optimal', 'mup-none-optimal'\] are yet to be searched"
    ):
        expand(spec, corpus="0" * 64, population_size=1)
    found = estimate_study(spec, GPUS["h200"])
    assert found.searched == 800
    # Those to be found are other runs than the default ones, and at the base width one for both prescriptions.
    assert found.trials == 2 * 8 + 4 * 8


def test_constants_are_searched_at_the_base_width_where_their_arm_is_not_trained() -> None:
    arms = [{"parameterization": "mup", "rates": "full", "constants": "searched", "widths": [16]}]
    found = estimate(arms=arms, constants_search={"trials": 5})
    assert [(shape.width, shape.trials) for shape in found.shapes if shape.search] == [(8, 5)]


def test_the_text_says_all_of_it() -> None:
    result = command("study", "plan", "quickstart", "--gpu", "h100", "--gpus", 4)
    assert result.exit_code == 0, result.stderr
    text = " ".join(result.stdout.split())
    for part in (
        "quickstart on h100 (79 GiB)",
        "3 arms, 162 cells",
        "126 trials: 36 cells are the same run as another's",
        "3 populations",
        "days on 4 GPUs",
        "speed of h100: assumed",
        "price: 2.5 dollars a GPU-hour, assumed.",
        "467,584",
    ):
        assert part in text
    named = command("study", "plan", "quickstart", "--gpu", "h100", "--price", 3)
    assert "price: 3 dollars a GPU-hour." in named.stdout
    rows = [line for line in result.stdout.splitlines() if re.match(r" +(32|64|128) ", line)]
    assert len({len(row) for row in rows}) == 1


def test_the_text_keeps_to_a_terminal_and_says_the_same() -> None:
    found = estimate(widths=[8, 4096])
    whole, parts = estimate_lines(found, gpus=2), estimate_lines(found, gpus=2, columns=80)
    assert max(map(len, whole)) > 80 >= max(map(len, parts))
    assert set(" ".join(parts).split()) == set(" ".join(whole).split())
    heads = [line.split() for line in parts if line.startswith("width ")]
    assert [(head[0], head[-1]) for head in heads] == [("width", "trial"), ("width", "dollars")]
    assert estimate_lines(found, gpus=2, columns=300) == whole


def test_another_corpus_is_another_specification() -> None:
    from widthwise.study import with_corpus

    source = load_spec("quickstart")
    changed = with_corpus(source, "büch: er.txt")
    assert changed.spec == source.spec.model_copy(update={"corpus": "büch: er.txt"})
    assert parse_spec(changed.text).spec == changed.spec
    assert yaml.safe_load(changed.text)["corpus"] == "büch: er.txt"
    with pytest.raises(ValueError, match="corpus: String should have at least 1 character"):
        with_corpus(source, "")


def test_what_is_measured_takes_its_memory() -> None:
    """The distinct starts stand with the program: two seeds of two arms, on a device with room for them."""
    plain, measured = (
        estimate(measure=measure).shapes[0] for measure in (None, {"alignment": "every 2 steps"})
    )
    assert plain.fit is not None
    assert measured.fit is not None
    assert plain.fit.members == measured.fit.members
    assert measured.fit.bytes - plain.fit.bytes >= 4 * 4 * plain.parameters


@pytest.mark.parametrize(
    ("name", "gpu", "hours"),
    [("paper-h200", "h200", 4), ("paper-h200-constants", "h200", 1), ("paper-laptop", "cpu", 1)],
)
def test_the_smaller_studies_of_the_paper_take_hours_and_an_hour(name: str, gpu: str, hours: float) -> None:
    spec = load_spec(name).spec
    found = estimate_study(spec, gpu_named(gpu))
    assert hours / 4 < found.hours < hours
    assert spec.anchor == "absolute"
    assert all(shape.fit is not None and shape.fit.gpus == 1 for shape in found.shapes)


def test_the_study_for_one_gpu_has_the_arms_that_are_judged() -> None:
    """Global, full, mid and none for Adam; Adafactor at two widths; epsilon and the arctangent; constants apart."""
    arms = {arm.name: arm for arm in expand_arms(load_spec("paper-h200").spec)}
    for parameterization in ("standard", "ntk", "mup", "mean-field"):
        names = {name.removeprefix(f"adam-{parameterization}-") for name in arms}
        assert {"global", "full", "mid", "none", "full-eps-1e-15", "full-per-layer-eps-1e-12"} <= names
        for optimizer in ("adam-ps", "sgd"):
            assert {
                f"{optimizer}-{parameterization}-{rates}" for rates in ("global", "full", "none")
            } <= arms.keys()
        assert arms[f"adafactor-{parameterization}-full"].widths == (256, 512)
    plain = load_spec("paper-h200").spec.model_copy(update={"measure": None, "name": ""})
    other = load_spec("paper-h200-constants").spec
    for field in (
        "model",
        "widths",
        "base_width",
        "anchor",
        "training",
        "optimizer",
        "learning_rates",
        "seeds",
    ):
        assert getattr(plain, field) == getattr(other, field)
    assert other.constants_search.trials == 64
