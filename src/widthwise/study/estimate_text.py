"""An estimate of a study for people, and as JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from widthwise.study.estimate import ShapeEstimate, StudyEstimate
from widthwise.study.fit import LAUNCH_SECONDS, SHARDED_SHARE, START_SECONDS
from widthwise.study.fit_wide import BLOCK_SECONDS, TRIAL_SECONDS
from widthwise.text_table import aligned, folded

KIND, VERSION = "widthwise study estimate", 1
GIB = 2**30
COLUMNS = (
    "width",
    "parameters",
    "non-embedding",
    "tokens a trial",
    "trials",
    "FLOPs",
    "members",
    "GPUs",
    "GiB",
    "GPU-hours",
    "dollars",
)


def assumptions(estimate: StudyEstimate) -> list[str]:
    """What the figures rest on, a sentence each."""
    from widthwise.train import TOKENS_SHARE

    gpu = estimate.gpu
    lines = [
        "FLOPs are those of training's matrix products: 6 a token and weight of blocks and readout, and 6 L D a token "
        "and block of causal attention; not recomputing, embeddings, norms, the optimizer and validation",
        f"speed of {gpu.name}: {gpu.speed}",
        "memory: the sum that populations are sized by, with a tenth left free; a text is as long as the horizon, and "
        f"stays on the host where its tokens take more than {TOKENS_SHARE:.2%} of a GPU's memory",
        f"price: {estimate.price:g} dollars a GPU-hour"
        + (", assumed" if estimate.price == gpu.price else ""),
        "trials that diverge are counted in full",
    ]
    if estimate.swept:
        lines.append(
            "rates that are planned while the study runs are counted as many as simulated searches took, each in one "
            "population, though they come in rounds"
        )
    wide = [shape.fit is not None and shape.fit.layer_major for shape in estimate.shapes]
    if any(wide):
        lines.append(
            f"layer by layer, blocks are computed twice, a step takes at least {1e3 * BLOCK_SECONDS:g} ms a block, "
            f"and a trial {TRIAL_SECONDS:g} s and its measurements beside its steps"
        )
    if gpu.capability is not None and not all(wide):
        lines.insert(
            2,
            f"a step takes at least {1e3 * LAUNCH_SECONDS:g} ms a block, and a population {START_SECONDS:g} s to begin",
        )
    if any(shape.fit is not None and shape.fit.gpus > 1 for shape in estimate.shapes):
        lines.append(
            f"a model that one GPU does not hold is sharded, at {SHARDED_SHARE:.0%} of one GPU's rate: assumed"
        )
    return lines


def estimate_lines(
    estimate: StudyEstimate, *, gpus: int | None = None, columns: int | None = None
) -> list[str]:
    """The estimate as lines of text.

    Args:
        gpus: how many work at once, for the time that it takes; None to leave that out.
        columns: of the terminal: sentences are folded to them, and a wider table stands in two; None for no limit.
    """
    searched = f", and {estimate.searched:,} of the search for constants" if estimate.searched else ""
    lines = [
        f"{estimate.name} on {estimate.gpu.name} ({estimate.gpu.bytes / GIB:.0f} GiB)",
        "",
        f"  {estimate.arms:,} arms, {estimate.cells:,} cells",
        f"  {estimate.trials:,} trials: {estimate.merged:,} cells are the same run as another's{searched}",
        f"  {estimate.populations:,} populations",
        f"  {estimate.tokens:.3g} tokens, {estimate.flops:.3g} FLOPs",
        f"  {_amount(estimate.hours)} GPU-hours, {_amount(estimate.dollars)} dollars",
    ]
    if gpus is not None:
        lines.append(f"  {_amount(estimate.hours / gpus / 24)} days on {gpus:,} GPUs, none of them ever idle")
    several = several_gpus(estimate)
    return [
        *_folded(lines, columns),
        "",
        *_table(estimate, columns),
        "",
        *([*_folded(map(_sentence, several), columns), ""] if several else []),
        *_folded(map(_sentence, assumptions(estimate)), columns),
    ]


def _sentence(line: str) -> str:
    return f"  {line}."


def _folded(lines: Iterable[str], columns: int | None) -> list[str]:
    return [part for line in lines for part in folded(line, columns, indent="    ")]


def several_gpus(estimate: StudyEstimate) -> list[str]:
    """From which width on a model needs several GPUs, of each optimizer: how many, and what one would need instead."""
    found: list[str] = []
    for optimizer in dict.fromkeys(shape.optimizer for shape in estimate.shapes):
        wide: dict[int, str] = {}
        for shape in estimate.shapes:
            if shape.optimizer == optimizer and shape.fit is not None and shape.fit.gpus > 1:
                wide.setdefault(shape.width, _instead(shape))
        if wide:
            widths = ", ".join(wide[width] for width in sorted(wide))
            found.append(f"{optimizer} needs several GPUs from width {min(wide)} on: {widths}")
    if found:
        found.append(
            "several: torchrun --nproc-per-node N -m widthwise study run SPEC. One: training: {form: layer-major}, "
            "which keeps fewer bits, so that its trials are others (docs/wide.md)"
        )
    return found


def _instead(shape: ShapeEstimate) -> str:
    assert shape.fit is not None
    gpus, alone = f"{shape.fit.gpus} at {shape.width}", shape.layer_by_layer
    if alone is None:
        return gpus
    how = "or one layer by layer, in" if alone.fits else "layer by layer takes"
    return f"{gpus} ({how} {alone.bytes / GIB:.0f} GiB)"


def _table(estimate: StudyEstimate, columns: int | None) -> list[str]:
    widths = sorted({shape.width for shape in estimate.shapes})
    rows = [COLUMNS, *(_row(estimate, [s for s in estimate.shapes if s.width == w]) for w in widths)]
    whole = aligned(rows, right=True)
    if columns is None or len(whole[0]) <= columns:
        return whole
    cut = COLUMNS.index("trials")
    parts = [row[:cut] for row in rows], [(row[0], *row[cut:]) for row in rows]
    return [*aligned(parts[0], right=True), "", *aligned(parts[1], right=True)]


def _row(estimate: StudyEstimate, shapes: Sequence[ShapeEstimate]) -> tuple[str, ...]:
    """All shapes of one width: sums, and the largest of what each GPU needs."""
    fits = [shape.fit for shape in shapes if shape.fit is not None]
    hours = sum(shape.gpu_seconds for shape in shapes) / 3600
    return (
        str(shapes[0].width),
        f"{shapes[0].parameters:,}",
        f"{shapes[0].non_embedding:,}",
        _span([f"{tokens:.3g}" for tokens in sorted({shape.tokens for shape in shapes})]),
        f"{sum(shape.trials for shape in shapes):,}",
        f"{sum(shape.flops for shape in shapes):.3g}",
        _span([str(members) for members in sorted({fit.members for fit in fits})]),
        _span([str(gpus) for gpus in sorted({fit.gpus for fit in fits})]),
        f"{max(fit.bytes for fit in fits) / GIB:.1f}",
        _amount(hours),
        _amount(hours * estimate.price),
    )


def _amount(value: float) -> str:
    """Three digits or more.

    Example:
        >>> _amount(0.012345), _amount(12345.6)
        ('0.0123', '12,346')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _span(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{values[0]}-{values[-1]}"


def estimate_json(estimate: StudyEstimate) -> str:
    """The estimate as a JSON document, each shape by itself."""
    totals = ("arms", "cells", "trials", "merged", "searched", "populations", "tokens", "flops")
    value: dict[str, Any] = {
        "kind": KIND,
        "version": VERSION,
        "study": estimate.name,
        "gpu": {"name": estimate.gpu.name, "bytes": estimate.gpu.bytes, "speed": estimate.gpu.speed},
        "price": estimate.price,
        **{name: getattr(estimate, name) for name in totals},
        "gpu_hours": estimate.hours,
        "dollars": estimate.dollars,
        "assumptions": assumptions(estimate),
        "shapes": [asdict(shape) for shape in estimate.shapes],
    }
    return json.dumps(value, indent=1)
