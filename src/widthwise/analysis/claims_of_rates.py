"""The claims about the best rate: 1, 2, 3, 10 and 16."""

import math
from dataclasses import replace
from itertools import pairwise

from widthwise.analysis.arm_label import ArmLabel
from widthwise.analysis.claim import ClaimVerdict, Condition, Gap, all_of, below_zero, within
from widthwise.analysis.evidence import PARAMETERIZATIONS, Evidence
from widthwise.analysis.published import rate_laws
from widthwise.analysis.result import Interval
from widthwise.analysis.sensitivity import Headroom, headroom

PAPER_SLACK = 0.2
FLAT = 0.15
KEPT_LOSS = 0.005
_ORDER = ("mup", "standard", "ntk", "mean-field")


def adam(parameterization: str, prescription: str, **axes: str) -> ArmLabel:
    """The label of an Adam prescription with the paper's defaults elsewhere."""
    return replace(ArmLabel(parameterization, "adam", prescription), **axes)


def claim_1(study: Evidence) -> ClaimVerdict:
    """The exponents under one global rate: their order, and each against the paper's two fits."""
    conditions: list[Condition] = []
    for lower, higher in pairwise(_ORDER):
        labels = adam(lower, "global"), adam(higher, "global")
        conditions.append(
            below_zero(
                f"exponent of {lower} less that of {higher}",
                study.exponent_difference(*labels),
                missing=study.missing(*labels),
            )
        )
    for name in _ORDER:
        paper = [w.exponent for w in rate_laws() if w.parameterization == name and w.horizon == "fixed"]
        low, high = min(paper) - PAPER_SLACK, max(paper) + PAPER_SLACK
        label = adam(name, "global")
        conditions.append(
            within(
                f"exponent of {name}", study.exponent(label), low, high, missing=study.missing(label),
                demand=f"{low:.2f} to {high:.2f}: within {PAPER_SLACK} of the paper's {min(paper)} to {max(paper)}",
            )
        )  # fmt: skip
    claim = "With one global rate the optimum falls with the width: muP <= standard < NTK < mean-field"
    return ClaimVerdict(1, claim, all_of(conditions), tuple(conditions))


def _flat(study: Evidence, name: str) -> Condition:
    label = adam(name, "full")
    return within(
        f"exponent of the base rate, {name} with full-alignment rates", study.exponent(label), -FLAT, FLAT,
        missing=study.missing(label), demand=f"-{FLAT} to {FLAT}",
    )  # fmt: skip


def claim_2(study: Evidence) -> ClaimVerdict:
    """Per-layer rates make the base rate transfer, for all four."""
    conditions = tuple(_flat(study, name) for name in PARAMETERIZATIONS)
    claim = "Per-layer rates (full alignment) make the base rate transfer in all four parameterizations"
    return ClaimVerdict(2, claim, all_of(conditions), conditions)


def claim_3(study: Evidence) -> ClaimVerdict:
    """Transfer is not muP's alone: claim 2 and the loss given up, for the other three."""
    conditions: list[Condition] = []
    for name in ("standard", "ntk", "mean-field"):
        label = adam(name, "full")
        arm = study.arm(label)
        loss = study.results[arm].regret.loss if arm is not None else None
        conditions += [
            _flat(study, name),
            within(
                f"relative loss given up at the largest width, {name}", loss, -math.inf, KEPT_LOSS,
                missing=study.missing(label), demand=f"below {KEPT_LOSS:.1%}",
            ),
        ]  # fmt: skip
    return ClaimVerdict(3, "Transfer is not muP's alone", all_of(conditions), tuple(conditions))


def claim_10(study: Evidence) -> ClaimVerdict:
    """The distance from the best rate to the edge of stability, full alignment's less no alignment's."""
    conditions: list[Condition] = []
    for name in PARAMETERIZATIONS:
        labels = adam(name, "full"), adam(name, "none")
        full, none = (_headroom(study, label, study.largest_width(*labels)) for label in labels)
        difference = None
        if full is not None and none is not None:
            a, b = full.octaves, none.octaves
            difference = Interval(a.estimate - b.estimate, a.low - b.high, a.high - b.low)
        what = f"octaves from the best rate to the edge of stability, full less none, {name}"
        conditions.append(below_zero(what, difference, missing=study.missing(*labels)))
    return ClaimVerdict(
        10, "Full alignment has its optimum closest to the largest stable rate", all_of(conditions),
        tuple(conditions),
        "The edge lies between the largest stable rate and the next that was run; unstable is a rate that diverged or "
        "whose loss is above 1.2 times the best. Intervals, of which that space is a part, are subtracted end by end.",
    )  # fmt: skip


def _headroom(study: Evidence, label: ArmLabel, width: int | None) -> Headroom | None:
    fit = next((f for f in study.cells(label) if f.cell.width == width), None)
    return None if fit is None else headroom(fit, study.noise(label), level=study.level)


def claim_16(study: Evidence) -> ClaimVerdict:
    """The exponent under a compute-optimal horizon less that under fixed steps: reported, never decided."""
    conditions: list[Condition] = []
    for name in PARAMETERIZATIONS:
        labels = adam(name, "global", horizon="compute-optimal"), adam(name, "global")
        found = study.exponent_difference(*labels)
        widths = ", ".join(map(str, study.pairs(*labels)))
        what = f"exponent, compute-optimal less fixed horizon, {name}" + (
            f", widths {widths}" if widths else ""
        )
        demand = "about 0" if name == "ntk" else "-0.3 to -0.2"
        gap = Gap("") if found is not None else study.missing(*labels)
        conditions.append(Condition(what, demand, found, gap.standing, gap.reason))
    return ClaimVerdict(
        16, "A compute-optimal horizon lowers the fitted exponent", all_of(conditions), tuple(conditions),
        "Reported and not decidable: over the widths that both horizons have, which are small, since at large ones "
        "a compute-optimal horizon would repeat the corpus many times.",
    )  # fmt: skip
