"""What a study cost: seconds, tokens and arithmetic of its populations, by shape and by host."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from widthwise.records import PopulationRow, StoredStudy
from widthwise.report.model_size import token_flops
from widthwise.report.numbers import MISSING, significant
from widthwise.report.page_table import PageRow, PageTable, as_page_table


@dataclass
class _Cost:
    """Sums over populations."""

    populations: int = 0
    trials: int = 0
    seconds: float = 0.0
    tokens: int | None = 0
    flops: float | None = 0.0
    hosts: dict[int, float] = field(default_factory=dict)

    def texts(self) -> tuple[str, ...]:
        tokens = MISSING if self.tokens is None else significant(float(self.tokens))
        rate = MISSING if not self.seconds or self.tokens is None else significant(self.tokens / self.seconds)
        speed = (
            MISSING
            if not self.seconds or self.flops is None
            else significant(self.flops / self.seconds / 1e12)
        )
        flops = MISSING if self.flops is None else significant(self.flops)
        return (
            str(self.populations), str(self.trials), significant(self.seconds), tokens, rate, flops, speed,
        )  # fmt: skip


_COLUMNS = ("populations", "trials", "seconds", "tokens", "tokens a second", "FLOPs", "TFLOP/s")


def cost_page_table(study: StoredStudy) -> PageTable | None:
    """The completed populations by width and optimizer, then by host, then all; None before one is completed.

    Tokens are those trained: of a trial that diverged, up to where it did. Seconds are those of the process that
    completed a population, which may have gone on from another's checkpoint: its rate is then too high. Of a user's own
    training function neither tokens nor FLOPs are known.
    """
    shapes: dict[tuple[int, str], _Cost] = {}
    hosts: dict[int, _Cost] = {}
    total = _Cost()
    for population in study.populations:
        if not population.completed:
            continue
        recipe = json.loads(study.trials[population.trials[0]].recipe)
        tokens = _tokens(study, population, recipe)
        a_token = token_flops(recipe["model"])
        shape = (recipe["model"]["width"], str(recipe["optimizer"].get("kind", MISSING)))
        costs = [shapes.setdefault(shape, _Cost()), total]
        if population.host is not None:
            costs.append(hosts.setdefault(population.host, _Cost()))
        for cost in costs:
            cost.populations += 1
            cost.trials += len(population.trials)
            cost.seconds += population.seconds or 0.0
            cost.tokens = None if cost.tokens is None or tokens is None else cost.tokens + tokens
            if cost.flops is not None:
                cost.flops = None if a_token is None or tokens is None else cost.flops + tokens * a_token
    rows = [
        PageRow(f"width {width}, {optimizer}", cost.texts(), width=width)
        for (width, optimizer), cost in sorted(shapes.items())
    ]
    rows += [PageRow(_host(study, id_), cost.texts(), quiet=True) for id_, cost in sorted(hosts.items())]
    if total.populations:
        rows.append(PageRow("all", total.texts()))
    return as_page_table(
        "cost",
        "What it cost",
        "Completed populations by shape, then by host. Tokens are those of every trial, up to where it diverged; FLOPs "
        "those of its matrix products and attention.",
        ("of", *_COLUMNS),
        rows,
        folded=len(rows) > 40,
    )


def _tokens(study: StoredStudy, population: PopulationRow, recipe: Mapping[str, object]) -> int | None:
    model = recipe["model"]
    assert isinstance(model, dict)
    if "context" not in model:
        return None
    schedule = recipe["schedule"]
    assert isinstance(schedule, dict)
    batch, steps = recipe["batch"], schedule["steps"]
    assert isinstance(batch, int)
    begun = population.revisions[0].from_step
    trained = (study.trials[trial].step for trial in population.trials)
    return sum((steps if step is None else step) - begun for step in trained) * batch * model["context"]


def _host(study: StoredStudy, id_: int) -> str:
    facts = study.hosts[id_ - 1] if id_ <= len(study.hosts) else {}
    named = [facts[key] for key in ("machine", "device") if key in facts]
    return f"host {id_}: {', '.join(named)}" if named else f"host {id_}"
