"""The one kind of input to the analysis: a table of (width, prescription, rate, seed, loss)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Observation:
    """One training run as the analysis sees it.

    Args:
        prescription: how rates were given to layers, any label.
        width: the model's width.
        rate: the base learning rate, positive.
        seed: the run's seed; equal seeds at different rates are paired.
        loss: the final loss, or None for a run that diverged or failed: it has no loss, not a large one.
        run: what identifies the training run, when one run serves several prescriptions (at the base width all
            relative prescriptions are the same run). Noise is pooled over distinct runs only.
        group: noise is pooled within a group only: runs of optimizers that scatter differently are of different groups.
    """

    prescription: str
    width: int
    rate: float
    seed: int
    loss: float | None
    run: str | None = None
    group: str = ""
