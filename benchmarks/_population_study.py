"""A thousand models through `run_study` into a store: how long, and how they ended.

Every model has width 128, 8 blocks, and 400 steps of 16 x 256 bytes: 1.6 M tokens. The anchor is absolute, so that the
four parameterizations are four starting points also at the base width. Under Adafactor, whose steps are relative to the
weights, standard and NTK come to the same numbers there, and so do muP and mean-field: such pairs train once.
"""

from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from _record import Row, row

NEEDED = ("pydantic", "yaml")
SECONDS = 600
MODELS = 1000
POPULATION = 130
"""Members side by side: two populations an optimizer, one of Adafactor."""

LOWEST = {"sgd": -10, "adam": -14, "adam-ps": -12, "adafactor": -12, "adam-atan2": -14}
"""The smallest base rate of each optimizer, as a power of 2."""


def missing() -> str | None:
    """Why a study cannot run on this machine, or None."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    if not lacking:
        return None
    return f"part `thousand` needs {' and '.join(lacking)}, not installed here: install it, or leave the part out"


def specification(corpus: str, *, smoke: bool) -> str:
    """YAML: four parameterizations, thirteen rates, five optimizers, five seeds; or a tiny one of the same kinds."""
    octaves = 1 if smoke else 12
    names = "standard, mup" if smoke else "standard, ntk, mup, mean-field"
    arms = "\n".join(
        f"  - {{parameterization: [{names}], rates: full, optimizer: {{kind: {kind}}}, "
        f"learning_rates: {{lowest: 2^{lowest}, highest: 2^{lowest + octaves}}}}}"
        for kind, lowest in LOWEST.items()
    )
    width, depth, head_dim, context = (32, 1, 16, 16) if smoke else (128, 8, 128, 256)
    steps, batch, precision = (2, 2, "float32") if smoke else (400, 16, "bfloat16")
    return f"""name: thousand
model: {{kind: transformer, depth: {depth}, head_dim: {head_dim}, context: {context}}}
widths: [{width}]
anchor: absolute
arms:
{arms}
optimizer: {{kind: adam}}
learning_rates: {{lowest: 2^-14, highest: 2^-2}}
seeds: {[0] if smoke else [0, 1, 2, 3, 4]}
training: {{steps: {steps}, batch: {batch}, precision: {precision}}}
corpus: {corpus!r}
"""


def study_rows(part: str, corpus: str, store: Path | None, *, smoke: bool) -> Iterator[Row]:
    """The whole study by the clock, drawing, compiling and writing included.

    Args:
        corpus: as a specification names it.
        store: where it goes; by default a folder that is removed afterwards.

    Raises:
        ValueError: a store that exists: what is left of it would be timed.
    """
    from widthwise.study import RunState, parse_spec, run_study

    shown = 0

    def tell(state: RunState) -> None:
        nonlocal shown
        if state.population > shown:
            shown = state.population
            print(f"population {shown} of {state.populations} begins, {state.seconds:.0f} s", flush=True)

    if store is not None and store.exists():
        raise ValueError(f"store {str(store)!r} exists, and only what it lacks would be timed; give another")
    source = parse_spec(specification(corpus, smoke=smoke))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "thousand.sqlite" if store is None else store
        started = perf_counter()
        found = run_study(
            source,
            path,
            device="cpu" if smoke else "cuda",
            population_size=4 if smoke else POPULATION,
            listener=tell,
        )
        seconds = perf_counter() - started
    count = len(found.trials)
    training = source.spec.training
    tokens = count * training.steps * training.batch * source.spec.model.context
    yield row(
        f"{part}: {count} models, {tokens / count / 1e6:.2g} M tokens each",
        seconds,
        "s",
        target=f"<= {SECONDS}",
    )
    yield row(f"{part}: models", count, "models", target=f">= {MODELS}")
    yield row(f"{part}: member-tokens, all included", tokens / seconds / 1e6, "M/s")
    statuses = Counter(trial.status.value for trial in found.trials.values())
    for status in sorted(statuses):
        yield row(f"{part}: {status}", statuses[status], "models")
