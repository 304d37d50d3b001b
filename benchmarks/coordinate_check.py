"""How often a coordinate check passes correct plans and finds broken ones; and one check on a GPU, 256 to 8192 wide.

    PYTHONPATH=src python benchmarks/coordinate_check.py    rates of false alarms and of detection

    with --device cuda --llama --out FILE   checks of a Llama, bf16, widths to 8192
    with --figure FILE FOLDER               its figures and pages, drawn anywhere
    with --smoke                            one small model, nothing written

The baseline of false alarms is the same interval without a margin, which fails whatever a finite width biases. In the
relative anchor NTK has the standard parameterization's numbers and mean-field has muP's, so equal plans run once.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, ROOT, Record, Row, machine, make_record, print_row, versions, write_json
from _record import row as result
from torch import Tensor, nn

sys.path.insert(0, str(ROOT / "tests"))

from check_breaks import BREAKS, Planner, changes_plan
from check_models import Llama, Mlp, mlp_batch, mlp_loss, next_token, tokens
from widthwise.measure import CoordinateCheck, Margins, Verdict, coordinate_check, plan_ladder
from widthwise.measure.check_json import check_from_json, check_to_json
from widthwise.measure.coordinate_check import judge
from widthwise.measure.expectation import Runs
from widthwise.measure.optimizers import optimizer_maker
from widthwise.measure.run_once import Recipe, run_once
from widthwise.theory import ADAM, PARAMETERIZATIONS, SGD, OptimizerRule

GROUP = 5
JUDGED = (Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED)
RATES = {SGD: 0.1, ADAM: 1e-3}


@dataclass(frozen=True)
class Model:
    """One model of the table.

    Args:
        seeds: of correct plans, in groups of five.
        steps: of training; broken plans are trained one step.
    """

    name: str
    build: Callable[[int], nn.Module]
    batch: Any
    loss: Callable[[nn.Module, Any], Tensor]
    widths: tuple[int, ...]
    seeds: int
    steps: int = 3


MODELS = (
    Model("MLP", Mlp, mlp_batch(), mlp_loss, (128, 256, 512, 1024), seeds=25),
    Model("Llama", Llama, tokens(4, 16), next_token, (128, 256, 512, 1024), seeds=10),
)


SMOKE = Model("MLP", Mlp, mlp_batch(), mlp_loss, (16, 32, 64), seeds=GROUP, steps=1)


def checks(model: Model, planner: Planner, optimizer: OptimizerRule) -> list[CoordinateCheck]:
    """One check for each group of seeds."""
    plans = {width: planner(width) for width in model.widths}
    rate = RATES[optimizer]
    recipe = Recipe(
        build=model.build, batch=lambda _: model.batch, loss=model.loss, steps=model.steps, device=None,
        optimizers=optimizer_maker(plans[model.widths[0]], rate, None, None),
    )  # fmt: skip
    found: list[CoordinateCheck] = []
    for start in range(0, model.seeds, GROUP):
        measured, tensors = {}, {}
        for width in model.widths:
            for seed in range(start, start + GROUP):
                measured[width, seed], tensors[width] = run_once(recipe, plans[width], seed)
        runs = Runs(plans, measured, tensors)
        found.append(judge(runs, margins=Margins(), steps=model.steps, learning_rate=rate))
    return found


def correct_rows(label: str, found: Sequence[CoordinateCheck]) -> list[Row]:
    """False alarms and undecided rows of correct plans."""
    judged = [row for check in found for row in check.rows if row.verdict in JUDGED]
    count = len(judged)
    alarms = sum(row.verdict is Verdict.FAIL for row in judged) / count
    undecided = sum(row.verdict is Verdict.UNDECIDED for row in judged) / count
    without = (
        sum(
            row.slope is not None
            and row.theory is not None
            and (row.slope.low > row.theory + 1e-3 or (row.slope.high < row.theory - 1e-3 and not row.bound))
            for row in judged
        )
        / count
    )
    passed = sum(check.verdict is Verdict.PASS for check in found) / len(found)
    ratio = round(alarms / without, 4) if without else None
    what = f"{label}; rows of a correct plan"
    baseline = round(without, 4)
    return [
        result(f"{what} that fail, of {count}", round(alarms, 5), "fraction", baseline, ratio, "<= 0.001"),
        result(f"{what} that stay undecided", round(undecided, 5), "fraction", None, None, "<= 0.01"),
        result(f"{label}; correct checks that pass, of {len(found)}", round(passed, 3), "fraction", None),
    ]


def broken_rows(label: str, found: Sequence[CoordinateCheck], role: str) -> list[Row]:
    """Detection of a broken plan, and whether the tensors to look at first include one of the broken role."""
    detected = sum(check.verdict is Verdict.FAIL for check in found) / len(found)
    named = sum(any(row.role == role for row in check.suspects) for check in found) / len(found)
    return [
        result(f"{label}; detected, of {len(found)}", round(detected, 3), "fraction", None, None, "1"),
        result(f"{label}; tensor named, of {len(found)}", round(named, 3), "fraction", None, None, "1"),
    ]


def numbers(planner: Planner, width: int) -> tuple[tuple[float, ...], ...]:
    """A plan's numbers, by which equal plans are told."""
    return tuple((round(row.init, 9), round(row.rate, 9)) for row in planner(width).rows.values())


def table(models: Sequence[Model], *, short: bool = False) -> list[Row]:
    """Every model, parameterization and optimizer: correct, and with each single rule broken."""
    rows: list[Row] = []
    for model in models:
        known: dict[object, tuple[str, list[Row]]] = {}
        for parameterization in list(PARAMETERIZATIONS.values())[: 1 if short else None]:
            for optimizer in (SGD,) if short else (SGD, ADAM):
                label = f"{model.name}; {parameterization.name}; {optimizer.name}"
                planner = plan_ladder(
                    model.build,
                    base_width=model.widths[0],
                    parameterization=parameterization,
                    optimizer=optimizer,
                )
                key = (optimizer, numbers(planner, model.widths[-1]))
                if key not in known:
                    known[key] = (label, measured_rows(model, planner, optimizer, label))
                first, found = known[key]
                for item in found:
                    rows.append({**item, "name": item["name"].replace(first, label)})
                    print_row(rows[-1])
    return rows


def measured_rows(model: Model, planner: Planner, optimizer: OptimizerRule, label: str) -> list[Row]:
    """One correct plan and its broken ones; those that break nothing are left out."""
    rows = correct_rows(label, checks(model, planner, optimizer))
    short, plan = replace(model, seeds=GROUP, steps=1), planner
    if model.build is Llama:
        short = replace(short, build=partial(Llama, layers=1))
        base_width = model.widths[0]
        kind = planner(base_width).parameterization
        plan = plan_ladder(short.build, base_width=base_width, parameterization=kind, optimizer=optimizer)
    for name, (broken, role) in BREAKS.items():
        if changes_plan(broken(plan), plan, model.widths[-1]):
            rows += broken_rows(f"{label}; {name} broken", checks(short, broken(plan), optimizer), role.value)
    return rows


GPU_WIDTHS = (256, 512, 1024, 2048, 4096, 8192)


def bf16_loss(model: nn.Module, batch: Tensor) -> Tensor:
    """Trained under autocast; measured in float32, where a small change of an output is not rounded away."""
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=torch.is_grad_enabled()):
        return next_token(model, batch)


def gpu_record(device: str, widths: Sequence[int], seeds: int) -> Record:
    """Checks of a two-layer Llama with heads of 64, and the summary rows."""
    build = partial(Llama, vocabulary=512, head_dim=64)
    batch = tokens(2, 16, vocabulary=512).to(device)
    found: dict[str, CoordinateCheck] = {}
    rows: list[Row] = []
    for name in ("standard", "mup"):
        for optimizer in (ADAM, SGD):
            label = f"Llama; {name}; {optimizer.name}"
            start = time.perf_counter()
            planner = plan_ladder(
                build, base_width=widths[0], parameterization=PARAMETERIZATIONS[name], optimizer=optimizer
            )
            check = coordinate_check(
                build, batch, bf16_loss, plan=planner, widths=widths, seeds=seeds, device=device,
                learning_rate=RATES[optimizer],
            )  # fmt: skip
            found[label] = check
            judged = [row for row in check.rows if row.verdict in JUDGED]
            passed = sum(row.verdict is Verdict.PASS for row in judged) / len(judged)
            seconds = round(time.perf_counter() - start, 1)
            what = f"{label}; rows that pass, of {len(judged)}"
            rows.append(result(what, round(passed, 4), "fraction", None, None, "1"))
            rows.append(result(f"{label}; time", seconds, "s", None))
            print(label, check.summary(), f"{seconds} s", sep="\n", flush=True)
    name = torch.cuda.get_device_name() if device.startswith("cuda") else None
    head = make_record(f"coordinate_check_{device}", rows, machine=machine(name), versions=versions("torch"))
    return {**head, "checks": {label: check_to_json(check) for label, check in found.items()}}


def draw(source: Path, folder: Path) -> None:
    """The pages and figures of a record's checks, each in a folder of its own."""
    from widthwise.cli.check import check_page
    from widthwise.report.write_check import write_check

    checks: Mapping[str, Any] = json.loads(source.read_text(encoding="utf-8"))["checks"]
    for label, value in checks.items():
        for path in write_check(
            check_page(check_from_json(value), label), folder / label.replace("; ", "-").lower()
        ):
            print(path)


def main(given: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama", action="store_true", help="the wide checks instead of the table")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--widths", default=",".join(map(str, GPU_WIDTHS)), help="of the wide checks")
    parser.add_argument("--seeds", type=int, default=GROUP, help="a width, of the wide checks")
    parser.add_argument("--out", type=Path, help="where the record goes; benchmarks/results unless said")
    parser.add_argument("--smoke", action="store_true", help="one small model; prints, writes nothing")
    parser.add_argument("--figure", nargs=2, type=Path, metavar=("FILE", "FOLDER"))
    arguments = parser.parse_args(given)
    if arguments.figure:
        draw(*arguments.figure)
        return
    if arguments.llama:
        widths = tuple(int(part) for part in arguments.widths.split(","))
        record = gpu_record(arguments.device, widths, arguments.seeds)
        path = arguments.out or RESULTS / f"coordinate_check-{arguments.device}.json"
        write_json(path, record, indent=None)
        return
    torch.set_num_threads(1)  # as the record was made
    start = time.process_time()
    if arguments.smoke:
        table([SMOKE], short=True)
        return
    record = make_record("coordinate_check", table(MODELS), machine=machine(), versions=versions("torch"))
    write_json(arguments.out or RESULTS / "coordinate_check.json", record)
    print(f"{time.process_time() - start:.0f} s of processor time")


if __name__ == "__main__":
    main()
