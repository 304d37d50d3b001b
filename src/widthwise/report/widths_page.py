"""The tables of what a study measured over widths: gradients, epsilon, changes, alignment, what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from widthwise.analysis import AlignmentExponent, SizeSlope, size_slope
from widthwise.records import Magnitude, TrialStatus, read_alignment, read_curves, read_layers
from widthwise.report.alignment_series import ArmAlignment, arm_alignments
from widthwise.report.cost_table import cost_page_table
from widthwise.report.epsilon_shares import BITES, EPSILONS, EpsilonShares, epsilon_shares
from widthwise.report.measured_sizes import MeasuredSizes, Quantity, RoleSizes, measured_sizes
from widthwise.report.numbers import MISSING, fixed, percent, significant
from widthwise.report.page_table import PageRow, PageTable, as_page_table
from widthwise.theory import SOLVER_QUANTITIES


@dataclass(frozen=True)
class WidthsPage:
    """What the page shows.

    Args:
        head: sentences under the title.
        gradients: the sizes that the figure draws.
        shares: those that the other one does.
        notes: trials that diverged or failed, a line each.
    """

    title: str
    head: tuple[str, ...]
    gradients: tuple[RoleSizes, ...]
    shares: tuple[EpsilonShares, ...]
    tables: tuple[PageTable, ...]
    notes: tuple[str, ...]
    spec: str


def widths_page(store: Path) -> WidthsPage:
    """Read a store that measured sizes.

    Raises:
        ValueError: not a store, or nothing was measured yet.
    """
    measured = measured_sizes(store)
    study, shares = measured.study, epsilon_shares(measured)
    layers = read_layers(store)
    alignment = arm_alignments(study, layers, read_alignment(store), read_curves(store)) if layers else ()
    tables = (
        gradient_table(measured),
        epsilon_table(shares),
        change_table(measured),
        alignment_table(alignment),
        cost_page_table(study),
    )
    return WidthsPage(
        title=study.name,
        head=_head(measured),
        gradients=first_gradients(measured),
        shares=tuple(
            one for one in shares if one.optimizer == "adam" and one.magnitude is Magnitude.SECOND_MOMENT
        ),
        tables=tuple(table for table in tables if table is not None),
        notes=_notes(measured),
        spec=study.spec,
    )


def _head(measured: MeasuredSizes) -> tuple[str, ...]:
    study = measured.study
    widths = sorted({cell.width for cell in study.cells})
    ended = {status: sum(t.status is status for t in study.trials.values()) for status in TrialStatus}
    counts = ", ".join(f"{count} {status.value}" for status, count in ended.items() if count)
    return (
        f"{len(study.arms)} prescriptions at {len(widths)} widths from {widths[0]} to {widths[-1]}; trials: {counts}.",
        "Slopes are of ln(size) over ln(width), with 95 % intervals over seeds, layers and the widths' scatter about "
        "the line. With one seed, the scatter is all that is known: what a whole seed has in common is not covered.",
    )


def first_gradients(measured: MeasuredSizes) -> tuple[RoleSizes, ...]:
    """Of each parameterization's first arm: the first gradient knows no optimizer."""
    first: dict[str, str] = {}
    found: list[RoleSizes] = []
    for one in measured.sizes:
        if one.quantity is not Quantity.GRADIENT:
            continue
        if first.setdefault(one.arm.parameterization, one.arm.name) == one.arm.name:
            found.append(one)
    return tuple(found)


def gradient_table(measured: MeasuredSizes) -> PageTable | None:
    """Gradients at the start against n^(-g), and Adam's second moments in the end."""
    rows = [
        PageRow(
            one.arm.parameterization,
            (
                one.role,
                one.quantity.value,
                fixed(one.theory, 1),
                *slope_texts(size_slope(one.sizes), one.theory),
            ),
        )
        for one in (
            *first_gradients(measured),
            *(
                one
                for one in measured.sizes
                if one.quantity is Quantity.SECOND_MOMENT and one.arm.optimizer == "adam"
            ),
        )
    ]
    return as_page_table(
        "gradients",
        "Gradients against the width",
        "The power of the width of each role's root mean square gradient at the start, beside theory's -g, and of the "
        "median of Adam's √v̂ in the end, with the parameterization's multipliers in the forward pass. `position` is "
        "the position embedding, `vector` the gains.",
        ("parameterization", "role", "of", "theory, −g", "power", "95 % interval", "less theory", "widths"),
        rows,
    )


def slope_texts(found: SizeSlope, theory: float | None) -> tuple[str, str, str, str]:
    """The power, its interval, what it misses theory by, and how many widths it rests on."""
    if found.slope is None:
        return MISSING, found.missing, MISSING, str(len(found.widths))
    low, high = fixed(found.slope.low, 3), fixed(found.slope.high, 3)
    miss = MISSING if theory is None else fixed(found.slope.estimate - theory, 3)
    return fixed(found.slope.estimate, 3), f"{low} to {high}", miss, str(len(found.widths))


def epsilon_table(shares: Sequence[EpsilonShares]) -> PageTable | None:
    """What each epsilon exceeds at the largest width, and from which width on it bites."""
    groups: dict[tuple[str, str, str, Magnitude], list[EpsilonShares]] = {}
    for one in shares:
        if one.magnitude is Magnitude.SECOND_MOMENT or one.optimizer == "adam":
            groups.setdefault((one.optimizer, one.parameterization, one.role, one.magnitude), []).append(one)
    rows: list[PageRow] = []
    for (optimizer, parameterization, role, magnitude), of in groups.items():
        ordered = sorted(of, key=lambda one: one.width)
        first, last = ordered[0], ordered[-1]
        texts = [role, "√v̂" if magnitude is Magnitude.SECOND_MOMENT else "first |g|"]
        texts += [*(significant(one.median, 2) for one in (first, last))]
        for epsilon in EPSILONS:
            name = epsilon.name
            texts += [percent(last.below[name]), percent(last.near[name]), _bites_from(ordered, name)]
        rows.append(PageRow(f"{optimizer}, {parameterization}", tuple(texts)))
    ends = sorted({one.width for one in shares})
    each = [f"{what} {e.name}" for e in EPSILONS for what in ("below", "below 10 ×", "bites from:")]
    return as_page_table(
        "epsilon",
        "What Adam's epsilon exceeds",
        f"The median of √v̂ after the last step at widths {ends[0]} and {ends[-1]}; of the coordinates that ever had a "
        "gradient, the share with √v̂ below each epsilon, and below ten times it, at the largest width. An epsilon "
        f"bites from the width on at which {percent(BITES)} of them lie below it. Per layer: 1e-9 at the base width, "
        "then n^(-g). After the first step √v̂ is |g|, which is exact; later ones are as the state keeps them. "
        "Adam-atan2 has no epsilon: its second moments stand there for what one would have done."
        if ends
        else "",
        ("optimizer, parameterization", "role", "of", f"median at {ends[0]}", f"median at {ends[-1]}", *each)
        if ends
        else ("",),
        rows,
    )


def _bites_from(ordered: Sequence[EpsilonShares], name: str) -> str:
    """The smallest width from which on every wider one has its share."""
    width = None
    for one in reversed(ordered):
        if not one.below[name] >= BITES:
            break
        width = one.width
    return "never" if width is None else str(width)


def change_table(measured: MeasuredSizes) -> PageTable | None:
    """How changes of weights, inputs and outputs grow with the width."""
    rows: list[PageRow] = []
    asked = (Quantity.CHANGE, Quantity.INPUT_CHANGE, Quantity.OUTPUT_CHANGE)
    for one in measured.sizes:
        if one.quantity in asked:
            theory = MISSING if one.theory is None else f"{'at most ' * one.bound}{fixed(one.theory, 1)}"
            power, interval, _, widths = slope_texts(size_slope(one.sizes), one.theory)
            texts = (one.role, one.quantity.value, theory, power, interval, widths)
            rows.append(PageRow(one.arm.name, texts, prescription=one.arm.name))
    return as_page_table(
        "changes",
        "Coordinates: what training changes",
        "The power of the width of root mean square changes since the start, after the last step: of weights, and on "
        "the probe of each layer's input and output. Under rates for full alignment theory lets inputs and outputs "
        "change by order one; where alignment is less, they change less.",
        ("prescription", "role", "of", "theory", "power", "95 % interval", "widths"),
        rows,
        folded=len(rows) > 40,
    )


def alignment_table(alignment: Sequence[ArmAlignment]) -> PageTable | None:
    """Exponents of alignment over the widths, after the last step."""
    rows: list[PageRow] = []
    for arm in alignment:
        last = max((one.progress for one in arm.steps.exponents), default=None)
        found: dict[str, dict[str, str]] = {}
        for one in arm.steps.exponents:
            if one.progress == last:
                found.setdefault(one.name, {})[one.quantity.value] = _exponent_text(one)
        for role, texts in found.items():
            entries = (role, *(texts.get(quantity.value, MISSING) for quantity in SOLVER_QUANTITIES))
            rows.append(
                PageRow(arm.prescription, (*entries, str(len(arm.rates))), prescription=arm.prescription)
            )
    return as_page_table(
        "alignment",
        "Alignment exponents",
        "Slopes of the log gains over the widths after the last step, with 95 % intervals. No alignment is 1/2, full "
        "alignment alpha = u = 1 with omega = 1/2.",
        ("prescription", "role", *(quantity.value for quantity in SOLVER_QUANTITIES), "widths"),
        rows,
        folded=len(rows) > 40,
    )


def _exponent_text(one: AlignmentExponent) -> str:
    if one.undefined:
        return one.undefined
    e = one.exponent
    return f"{fixed(e.value, 2)} ({fixed(e.low, 2)} to {fixed(e.high, 2)})"


def _notes(measured: MeasuredSizes) -> tuple[str, ...]:
    study = measured.study
    first = {cell.trial: cell for cell in reversed(study.cells)}
    return tuple(
        f"{first[id_].arm}, width {first[id_].width}: {trial.status.value}"
        f"{'' if trial.step is None else f' at step {trial.step}'}, {trial.reason}"
        for id_, trial in study.trials.items()
        if trial.reason is not None
    )
