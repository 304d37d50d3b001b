"""The experiment's studies, one specification each: which arms at which widths, and at which rates.

A case is an optimizer and a parameterization. Its studies, each a store of its own, follow one another:

    coarse       base width, rates a factor of 2 apart over the optimizer's whole range: the best one, x0
    base         base width, x0 and three octaves to each side, all seeds: the best one is the rate that is transferred;
                 and full alignment with a constant on the readout's rate, for each constant
    constants    base width: larger constants, where the largest of `base` was the best
    measure      the widths at which alignment is measured, at the transferred rate, all seeds
    lower        the same an octave lower, where a model of `measure` diverged
    small        the small width: the presets' best rates, all seeds
    large-WIDTH  each large width: every arm's best rate, one seed
    transferred  the largest width: every arm at its transferred rate, the other seeds
    more-WIDTH, more-transferred   the same of the arms that `constants` and `lower` changed or made possible
    finer-WIDTH  rates half an octave to each side of the best of a grid, and beyond it where it was the highest

At the base width every prescription and every parameterization is the same model: `coarse`, `base`, `constants` and
`finer` of the base width are an optimizer's, run once, under the name of its first case. An arm's window of rates lies
where theory puts its optimum if alignment is full or none, and reaches one octave or two further to each side.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from widthwise.theory import (
    ADAFACTOR,
    ADAM,
    FULL,
    NONE,
    PARAMETERIZATIONS,
    PRESCRIPTIONS,
    SGD,
    Prescription,
    predicted_drift,
)

RULES = {"adam": ADAM, "sgd": SGD, "adafactor": ADAFACTOR}
PRESETS = ("global", "full", "mid", "none")
VOCABULARY = 256
"""Bytes."""
RUINED_MARGIN = 0.05
RUINED = math.log(VOCABULARY) - RUINED_MARGIN
"""Nats: a model that ends here or above knows nothing, ln V, but for a margin; its run is ruined, not trained."""
SHARED = ("coarse", "base", "constants")
"""Studies of the base width, an optimizer's."""
Config = Mapping[str, Any]
Arms = list[dict[str, Any]]


def load_config(path: Path) -> Config:
    """The experiment's sizes."""
    return yaml.safe_load(path.read_text("utf-8"))


@dataclass(frozen=True)
class Case:
    """An optimizer with a parameterization."""

    optimizer: str
    parameterization: str

    @property
    def name(self) -> str:
        """As stores are called."""
        return f"{self.optimizer}-{self.parameterization}"

    def drifts(self, prescription: Prescription) -> tuple[float, float]:
        """How the best rate falls with the width under full and under no alignment."""
        at = (PARAMETERIZATIONS[self.parameterization], RULES[self.optimizer], prescription)
        return float(predicted_drift(*at, FULL)), float(predicted_drift(*at, NONE))


def cases(config: Config) -> list[Case]:
    """All cases, in the order of the file."""
    return [Case(o, p) for o in config["optimizers"] for p in config["parameterizations"]]


def store_name(config: Config, case: Case, study: str) -> str:
    """The file that a study of a case is in; the base width's are the optimizer's first case's."""
    if study in SHARED or study == f"finer-{config['base_width']}":
        case = Case(case.optimizer, config["parameterizations"][0])
    return f"{case.name}-{study}.sqlite"


@dataclass(frozen=True)
class Found:
    """What the base width said.

    Args:
        x: log2 of the rate that is transferred.
        constant: the readout's constant that was best at the base width; 1 for none.
        constant_x: log2 of the rate that was best with it.
    """

    x: int
    constant: float
    constant_x: int


def window(case: Case, config: Config, prescription: Prescription, *, width: int, x: int) -> dict[str, str]:
    """The rates to look at around an arm's optimum, from log2 of the base width's best rate."""
    octaves = math.log2(width / config["base_width"])
    full, none = (-drift * octaves for drift in case.drifts(prescription))
    low, high = math.floor(min(full, none)) - 2, math.ceil(max(full, none)) + 1
    return _rates(x + min(low, high - 4), x + high)


def _rates(low: int, high: int) -> dict[str, str]:
    return {"lowest": f"2^{low}", "highest": f"2^{high}"}


def write_spec(
    config: Config,
    case: Case,
    study: str,
    *,
    corpus: str,
    widths: list[int],
    arms: Arms,
    seeds: list[int],
    measured: bool = False,
) -> str:
    """The text of one study's specification."""
    spec = {
        "name": f"alignment, {case.optimizer}, {case.parameterization}: {study}",
        "model": config["model"],
        "widths": widths,
        "base_width": config["base_width"],
        "arms": [{"parameterization": case.parameterization, **arm} for arm in arms],
        "optimizer": config["optimizers"][case.optimizer]["spec"],
        "learning_rates": arms[0]["learning_rates"],
        "seeds": seeds,
        "training": config["training"],
        "corpus": corpus,
        "validation_windows": config["validation_windows"],
    }
    if measured:
        spec["measure"] = {"alignment": f"every {config['measure']['every']} steps", "layers": "all"}
    return yaml.safe_dump(spec, sort_keys=False)


def coarse_arms(config: Config, case: Case) -> Arms:
    """One arm over the optimizer's whole range."""
    grid = config["optimizers"][case.optimizer]
    rates = {"lowest": grid["lowest"], "highest": grid["highest"]}
    return [{"name": "full", "rates": "full", "learning_rates": rates}]


def base_arms(config: Config, case: Case, x: int) -> Arms:
    """The base width's own optimum, without and with a constant on the readout."""
    rates = _rates(x - 3, x + 3)
    values = config["optimizers"][case.optimizer]["readout_constants"]
    return [{"name": "full", "rates": "full", "learning_rates": rates}, *constant_arms(values, x)]


def constant_arms(values: Sequence[float], x: int) -> Arms:
    """Full alignment with each constant on the readout."""
    return [
        {
            "name": constant_name(value),
            "rates": "full",
            "constants": {"readout": value},
            "learning_rates": _rates(x - 2, x + 2),
        }
        for value in values
    ]


def constant_name(value: float) -> str:
    """An arm of the base width with a constant on its readout."""
    return f"constant {value:g}"


def measured_arms(config: Config, x: int) -> Arms:
    """Where alignment is measured: at one rate."""
    rates = [f"2^{x}"]
    return [{"name": name, "rates": name, "learning_rates": rates} for name in config["measured_arms"]]


def preset_arms(config: Config, case: Case, found: Found, width: int) -> Arms:
    """The presets, each in its window."""
    return [
        {
            "name": name,
            "rates": name,
            "learning_rates": window(case, config, PRESCRIPTIONS[name], width=width, x=found.x),
        }
        for name in PRESETS
    ]


def constant_arm(found: Found, learning_rates: object) -> dict[str, Any]:
    """Full alignment with the readout's constant."""
    return {
        "name": "constant",
        "rates": "full",
        "constants": {"readout": found.constant},
        "learning_rates": learning_rates,
    }


def large_arms(
    config: Config, case: Case, found: Found, width: int, own: Mapping[str, tuple[object, Prescription]]
) -> Arms:
    """Every arm in its window; `readout`, measured at the readout alone, at the transferred rate.

    Args:
        own: name -> the rates as a specification says them, and the prescription that they are.
    """
    arms = preset_arms(config, case, found, width)
    return [*arms, *own_arms(config, case, found, width, own), constant_at(config, case, found, width)]


def own_arms(
    config: Config, case: Case, found: Found, width: int, own: Mapping[str, tuple[object, Prescription]]
) -> Arms:
    """The measured arms of `large_arms`."""
    arms: Arms = []
    for name, (rates, prescription) in own.items():
        at = [f"2^{found.x}"]
        if name != "readout":
            at = window(case, config, prescription, width=width, x=found.x)
        arms.append({"name": name, "rates": rates, "learning_rates": at})
    return arms


def constant_at(config: Config, case: Case, found: Found, width: int) -> dict[str, Any]:
    """The constant's arm in its window at a width."""
    return constant_arm(found, window(case, config, PRESCRIPTIONS["full"], width=width, x=found.constant_x))


def transferred_arms(found: Found, own: Mapping[str, tuple[object, Prescription]]) -> Arms:
    """Every arm at its transferred rate."""
    presets = [_at_one_rate(name, name, found.x) for name in PRESETS]
    return [*presets, *own_transferred(found, own), constant_arm(found, [f"2^{found.constant_x}"])]


def own_transferred(found: Found, own: Mapping[str, tuple[object, Prescription]]) -> Arms:
    """The measured arms of `transferred_arms`."""
    return [_at_one_rate(name, rates, found.x) for name, (rates, _) in own.items()]


def _at_one_rate(name: str, rates: object, x: int) -> dict[str, Any]:
    return {"name": name, "rates": rates, "learning_rates": [f"2^{x}"]}


def finer_rates(x_R: Sequence[float], best: float) -> list[float]:
    """log2 of the rates to look at around the best of a grid of factors of 2.

    Half an octave to each side; an octave and two above it where it was the highest.

    Example:
        >>> finer_rates([-4, -3, -2], -3), finer_rates([-4, -3, -2], -2)
        ([-3.5, -2.5], [-2.5, -1.5, -1, 0])
    """
    beyond = [best + 1, best + 2] if best == max(x_R) else []
    return [best - 0.5, best + 0.5, *beyond]
