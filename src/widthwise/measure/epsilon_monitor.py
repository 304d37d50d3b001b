"""`EpsilonMonitor`: an epsilon report every so many steps of an optimizer, without a line in the training loop."""

import csv
import io
import json
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn
from torch.optim import Optimizer

from widthwise.files import replace_text
from widthwise.measure.adam_moments import check_epsilon, unwrapped_optimizer
from widthwise.measure.epsilon_report import EpsilonReport
from widthwise.measure.epsilon_rows import Plan
from widthwise.measure.measure_epsilon import measure_epsilon
from widthwise.measure.optimizer_names import check_plan, tensor_names


class EpsilonMonitor:
    """Measure an optimizer's epsilon after every `every`-th step, and keep the series.

    It only reads: training is the same to the bit. Each measurement waits for the device once. Steps are counted from
    when the monitor was made, on top of `start`; a step that a loss scaler skips does not count. Under CUDA graphs a
    replayed step runs no hook: call `measure_epsilon` between replays instead.

    Args:
        optimizer: as for `measure_epsilon`, before or after its first step.
        every: steps between two measurements.
        plan: as for `measure_epsilon`, like `model`, `epsilon` and `base_epsilon`.
        start: how many steps training has done before, for a run that resumes.

    Raises:
        ValueError: `every` below 1, `start` below 0, and what can be told at once of `measure_epsilon`'s reasons.

    Example:
        >>> import torch
        >>> weight = nn.Parameter(torch.ones(2))
        >>> adam = torch.optim.Adam([("weight", weight)], eps=1e-3)
        >>> with EpsilonMonitor(adam, every=2) as monitor:
        ...     for _ in range(5):
        ...         weight.grad = torch.full((2,), 1e-5)
        ...         adam.step()
        >>> [(step, report.verdict.value) for step, report in monitor.series]
        [(2, 'dominates'), (4, 'dominates')]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        every: int = 100,
        plan: Plan | None = None,
        *,
        model: nn.Module | None = None,
        epsilon: float | None = None,
        base_epsilon: float | None = None,
        start: int = 0,
    ) -> None:
        for name, value, least in (("every", every, 1), ("start", start, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} = {value!r} must be a whole number of steps, {least} or more")
        for name, number in (("epsilon", epsilon), ("base_epsilon", base_epsilon)):
            if number is not None:
                check_epsilon(number, name)
        inner = unwrapped_optimizer(optimizer)
        names = tensor_names(inner, plan, model)
        if plan is not None:
            check_plan(plan, inner, names)
        self.every = every
        self.step = start
        self._series: list[tuple[int, EpsilonReport]] = []
        self._plan, self._model = plan, model
        self._epsilon, self._base_epsilon = epsilon, base_epsilon
        self._handle = inner.register_step_post_hook(self._after_step)

    def _after_step(self, optimizer: Optimizer, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        self.step += 1
        if self.step % self.every == 0:
            report = measure_epsilon(
                optimizer,
                self._plan,
                model=self._model,
                epsilon=self._epsilon,
                base_epsilon=self._base_epsilon,
            )
            self._series.append((self.step, report))

    @property
    def series(self) -> tuple[tuple[int, EpsilonReport], ...]:
        """What was measured: (step, report), ascending."""
        return tuple(self._series)

    def rows(self) -> list[dict[str, Any]]:
        """Every row of every report as `EpsilonReport.plain_rows` gives it, `step` being the monitor's."""
        return [row | {"step": step} for step, report in self._series for row in report.plain_rows()]

    def write_csv(self, path: Path | str) -> None:
        """Write `rows()` as a table, replacing the file at once or not at all; what is undefined is empty.

        Raises:
            ValueError: nothing was measured yet.
        """
        rows = self._measured_rows()
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        replace_text(Path(path), text.getvalue())

    def write_json_lines(self, path: Path | str) -> None:
        """Write `rows()`, one JSON object a line, replacing the file at once or not at all; what is undefined is null.

        Raises:
            ValueError: nothing was measured yet.
        """
        lines = [json.dumps(row, allow_nan=False) for row in self._measured_rows()]
        replace_text(Path(path), "\n".join(lines) + "\n")

    def _measured_rows(self) -> list[dict[str, Any]]:
        if not self._series:
            raise ValueError(
                f"nothing measured yet: {self.step} steps are done, and the first report is after {self.every}"
            )
        return self.rows()

    def close(self) -> None:
        """Stop measuring; the series stays. A second call does nothing."""
        self._handle.remove()

    def __enter__(self) -> "EpsilonMonitor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
