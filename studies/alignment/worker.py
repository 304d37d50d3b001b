"""One job of the experiment, in a process of its own: its studies, one after the other."""

import time
from collections.abc import Mapping
from pathlib import Path

import plan
from plan import Arms, Case, Config, Found
from stored import Stores, best_rate, octave, read_or_reason

from widthwise.study import parse_spec, run_study
from widthwise.study.measured_spec import measured_rates_spec
from widthwise.study.rates_choice import RatesByRole
from widthwise.theory import Prescription

NEVER = 1e9
"""Seconds between checkpoints: a population of this experiment is shorter than writing one."""
SHARE = 0.9
"""Of a device's memory, for all processes that share it."""
Own = Mapping[str, tuple[object, Prescription]]


class Worker:
    """Runs one job's studies.

    Args:
        config: the experiment's sizes.
        case: an optimizer with a parameterization.
        work: where stores are.
        corpus: a text file, or the name of a corpus.
        device: `cuda` or `cpu`.
        sharing: how many processes share a device.
    """

    def __init__(
        self, config: Config, case: Case, work: Path, *, corpus: str, device: str, sharing: int
    ) -> None:
        self.config, self.case, self.corpus, self.device, self.sharing = config, case, corpus, device, sharing
        self.stores = Stores(work, config)

    def run(self, part: str) -> None:
        """One part; see `jobs.Job`."""
        if part == "base":
            self.base()
        elif part == "small":
            self.small()
        elif part == "more":
            self.more()
        elif part.startswith("finer-"):
            self.finer(int(part.removeprefix("finer-")))
        else:
            self.large(int(part))

    def train(
        self, study: str, *, width: int | None = None, widths: list[int] | None = None, **options: object
    ) -> Path:
        """Train a study, or what is left of it."""
        begun = time.monotonic()
        at = ([] if width is None else [width]) if widths is None else widths
        text = plan.write_spec(
            self.config,
            self.case,
            study,
            corpus=self.corpus,
            widths=at,
            **options,  # pyright: ignore
        )
        store = self.stores.path(self.case, study)
        size = self.members(max(at))
        run_study(parse_spec(text), store, device=self.device, population_size=size, checkpoint_seconds=NEVER)
        print(f"{store.name}: {time.monotonic() - begun:.1f} s", flush=True)
        return store

    def members(self, width: int) -> int | None:
        """How many models are trained side by side: a process' share of the device; None for as many as fit."""
        if self.sharing == 1 or self.device == "cpu":
            return None
        import torch

        share = SHARE * torch.cuda.get_device_properties(0).total_memory / 1e9 / self.sharing
        return max(1, int(share / self.config["gigabytes"][width]))

    def base(self) -> None:
        """What the base width says, of the optimizer's first case: every other is the same there."""
        c, case = self.config, self.case
        width, seeds = c["base_width"], c["seeds"]
        self.train("coarse", width=width, arms=plan.coarse_arms(c, case), seeds=seeds[:1])
        x = round(best_rate(list(self.stores.rows(case, "coarse")))[0])
        self.train("base", width=width, arms=plan.base_arms(c, case, x), seeds=seeds)
        more = c["optimizers"][case.optimizer]["more_readout_constants"]
        if more:
            self.train("constants", width=width, arms=plan.constant_arms(more, x), seeds=seeds)
        print(f"{case.name}: {self.found(more=True)}", flush=True)

    def found(self, *, more: bool) -> Found:
        """What the base width says, from its stores."""
        found = self.stores.found(self.case, more=more)
        if found is None:
            raise ValueError(f"{self.case.name}: the base width is not done")
        return found

    def small(self) -> None:
        """What the small widths say."""
        c, found = self.config, self.found(more=False)
        arms = plan.measured_arms(c, found.x)
        self.train("measure", widths=c["measured_widths"], arms=arms, seeds=c["seeds"], measured=True)
        width = c["small_width"]
        arms = plan.preset_arms(c, self.case, found, width)
        self.train("small", width=width, arms=arms, seeds=c["seeds"])

    def large(self, width: int) -> None:
        """Every arm at a large width; at the largest, first the other seeds at the transferred rates."""
        c, found = self.config, self.found(more=False)
        own = own_rates(self.stores.path(self.case, "measure"), c["measured_arms"][0])
        if width == c["large_widths"][-1]:
            arms = plan.transferred_arms(found, own)
            self.train("transferred", width=width, arms=arms, seeds=c["seeds"][1:])
        arms = plan.large_arms(c, self.case, found, width, own)
        self.train(f"large-{width}", width=width, arms=arms, seeds=c["seeds"][:1])

    def more(self) -> None:
        """The arms that a larger constant changed, and those that a measurement an octave lower made possible."""
        c, case, found, own = self.config, self.case, self.found(more=True), self._own_lower()
        changed = found.constant != self.found(more=False).constant
        if not own and not changed:
            return
        *_, largest = widths = c["large_widths"]
        arms = plan.own_transferred(found, own)
        arms += [plan.constant_arm(found, [f"2^{found.constant_x}"])] if changed else []
        self.train("more-transferred", width=largest, arms=arms, seeds=c["seeds"][1:])
        for width in reversed(widths):
            arms = plan.own_arms(c, case, found, width, own)
            arms += [plan.constant_at(c, case, found, width)] if changed else []
            self.train(f"more-{width}", width=width, arms=arms, seeds=c["seeds"][:1])

    def _own_lower(self) -> Own:
        """The measured rates from alignment an octave lower; none where they are had at the transferred rate."""
        c, arm = self.config, self.config["measured_arms"][0]
        if not isinstance(read_or_reason(self.stores.path(self.case, "measure"), arm), str):
            return {}
        arms = plan.measured_arms(c, self.found(more=False).x - 1)
        store = self.train("lower", widths=c["measured_widths"], arms=arms, seeds=c["seeds"], measured=True)
        return own_rates(store, arm)

    def finer(self, width: int) -> None:
        """Rates beside the best of every grid of a width, and above it where it was the highest."""
        c = self.config
        large = width in c["large_widths"]
        if width == c["base_width"]:
            studies, arms = ["base"], self._base_arms()
        elif large:
            studies = [f"large-{width}", f"more-{width}"]
            own = own_rates(self.stores.measure_path(self.case), c["measured_arms"][0])
            arms = plan.large_arms(c, self.case, self.found(more=False), width, own)
        else:
            studies, arms = ["small"], plan.preset_arms(c, self.case, self.found(more=False), width)
        runs = [o for study in studies for o in self.stores.rows(self.case, study)]
        finer: Arms = []
        for arm in arms:
            own_runs = [o for o in runs if o.prescription == arm["name"]]
            x_R = sorted({octave(o) for o in own_runs})
            best, _ = best_rate(own_runs)
            if len(x_R) > 1 and best == best:
                rates = [f"2^{x:g}" for x in plan.finer_rates(x_R, best)]
                finer.append({**arm, "learning_rates": rates})
        if finer:
            self.train(
                f"finer-{width}", width=width, arms=finer, seeds=c["seeds"][:1] if large else c["seeds"]
            )

    def _base_arms(self) -> Arms:
        """Of the base width, those that stand in other widths' tables: full, and the constant."""
        found = self.found(more=False)
        names = ("full", plan.constant_name(found.constant))
        return [arm for arm in plan.base_arms(self.config, self.case, found.x) if arm["name"] in names]


def own_rates(store: Path, arm: str) -> dict[str, tuple[object, Prescription]]:
    """The rates that were measured: of all layers, and of the readout with full alignment elsewhere.

    None where they cannot be measured, such as an undefined exponent: the other arms are trained without them.
    """
    measured = read_or_reason(store, arm)
    if isinstance(measured, str):
        print(f"not measured: {measured}", flush=True)
        return {}
    spec = measured_rates_spec(measured, name="measured")
    both = {"measured": spec, "readout": {**spec, "name": "readout", "hidden": "full"}}
    return {name: (one, RatesByRole.model_validate(one).prescription) for name, one in both.items()}
