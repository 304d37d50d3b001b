"""What was run, what the arms are, and the alignment that was measured: exponents, over training, against presets."""

from markdown_table import NOT_RUN, interval, table
from plan import Case, Config, cases
from progress import exponents_over_training, ratios_over_training
from stored import Stores, all_studies, ends_in_words

from widthwise.analysis import Weighting
from widthwise.study.arms import RULES
from widthwise.study.measured_rates import MeasuredStore
from widthwise.theory import MATRIX_ROLES, PARAMETERIZATIONS, PRESCRIPTIONS, prescribed_exponent


def has_series(stores: Stores, config: Config, case: Case) -> bool:
    """Whether a case's alignment can be read as exponents under the first measured arm's rates."""
    return isinstance(stores.measured(case, config["measured_arms"][0]), MeasuredStore)


def run_table(stores: Stores, config: Config) -> str:
    """Which studies there are: how many models were trained, and how many of them diverged or were ruined."""
    all_cases = cases(config)
    rows = [
        [study, *counts]
        for study in all_studies(config)
        if set(counts := [_count(stores, case, study) for case in all_cases]) != {NOT_RUN}
    ]
    return table(("study", *(case.name for case in all_cases)), rows)


def _count(stores: Stores, case: Case, study: str) -> str:
    ends = list(stores.ends(case, [study]).values())
    return ends_in_words(ends) if ends else NOT_RUN


def exponent_table(stores: Stores, config: Config) -> str:
    """Exponents by role, mean over training weighed by loss, under each measured arm."""
    rows: list[list[str]] = []
    for case in cases(config):
        lower = stores.measure_path(case) == stores.path(case, "lower")
        for arm in config["measured_arms"]:
            found = stores.measured(case, arm)
            at = f"{arm}, an octave lower" if lower else arm
            if isinstance(found, str):
                if stores.path(case, "measure").exists():
                    why = found.partition(": ")[2].partition(";")[0]
                    rows.append([case.name, at, "-", *["-"] * 4, why])
                continue
            for role, own in found.roles.items():
                rate = found.solution.interval(role)
                rows.append(
                    [
                        *(case.name, at, role, interval(own.alpha), interval(own.omega), interval(own.u)),
                        *(interval(rate), ", ".join(found.nearest.layers[role].inside) or "none of them"),
                    ]
                )
    head = ("case", "at the rates of", "role", "alpha", "omega", "u", "c", "presets within c's interval")
    return table(head, rows)


def ratio_table(stores: Stores, config: Config) -> str:
    """The ratios of each width in the middle of training and at its end: a diagnostic, no exponent."""
    rows: list[list[str]] = []
    for case in cases(config):
        if not has_series(stores, config, case):
            continue
        found = ratios_over_training(stores.measure_path(case), config["measured_arms"][0])
        times = sorted({time for *_, time in found})
        for role in ("hidden", "readout"):
            for quantity in ("alpha", "u"):
                at = [times[0], times[len(times) // 2], times[-1]]
                series = [[found[role, quantity, n, t] for t in at] for n in config["measured_widths"]]
                cells = (" / ".join(f"{ratio:.2f}" for ratio in one) for one in series)
                rows.append([case.name, role, quantity, *cells])
    head = ("case", "role", "ratio: first, middle, last", *(f"width {n}" for n in config["measured_widths"]))
    return table(head, rows)


def nearest_table(stores: Stores, config: Config) -> str:
    """Which preset a case's measured rates are like, in words."""
    rows: list[list[str]] = []
    for case in cases(config):
        for weighting in Weighting:
            found = stores.measured(case, config["measured_arms"][0], weighting)
            if isinstance(found, MeasuredStore):
                c = ", ".join(
                    f"{role} {float(found.solution.interval(role).value):.2f}" for role in found.roles
                )
                rows.append([case.name, str(weighting), c, str(found.nearest)])
    return table(("case", "mean over training by", "c", "against the presets"), rows)


def progress_table(stores: Stores, config: Config) -> str:
    """Alpha and u as exponents over widths at some times of training, by role."""
    rows: list[list[str]] = []
    for case in cases(config):
        if not has_series(stores, config, case):
            continue
        series = exponents_over_training(stores.measure_path(case), config["measured_arms"][0])
        shown = [t for i, t in enumerate(sorted(series)) if i % 2 == 0]
        for role in ("hidden", "readout"):
            for quantity in ("alpha", "u", "omega"):
                cells = [interval(series[t].get((role, quantity))) for t in shown]
                rows.append([case.name, role, quantity, *cells])
        head = ("case", "role", "exponent", *(f"at {t:.0%}" for t in shown))
    return table(head, rows) if rows else ""


def prescription_table(stores: Stores, config: Config) -> str:
    """The c of every arm, by role: what the arms are."""
    rows: list[list[str]] = []
    for case in cases(config):
        if stores.runs(case) is None:
            continue
        measured = stores.measured(case, config["measured_arms"][0])
        own = {"measured": measured.prescription} if isinstance(measured, MeasuredStore) else {}
        at = (PARAMETERIZATIONS[case.parameterization], RULES[case.optimizer])
        for name, arm in {**PRESCRIPTIONS, **own}.items():
            rows.append(
                [
                    case.name,
                    name,
                    *(f"{float(prescribed_exponent(*at, arm, role)):g}" for role in MATRIX_ROLES),
                ]
            )
    return table(("case", "arm", "c embedding", "c hidden", "c readout"), rows)
