"""One model of one width under one seed, trained a few steps and measured: plain numbers by what they are of."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from widthwise.measure.contribution import Arguments, Site, find_sites, module_output
from widthwise.measure.recorder import Recording, called_modules, first_floating, record, rms
from widthwise.measure.undisturbed import evaluation_mode
from widthwise.scaling import PlanRow, ScalingPlan
from widthwise.scaling.parameter_names import rows_of
from widthwise.scaling.seeding import seeded
from widthwise.theory import MATRIX_ROLES


class Quantity(StrEnum):
    """What is measured, each a root mean square.

    Of a tensor: its scale after `initialize_` over its initializer's own (factor), its entries (weights), its
    gradient, its change (update), what this does to its output (effect), its input (input), the input's change (input
    change) and what that does to the output (propagation). Of a module: its output at step 0 (feature) and the output's
    change (change).
    Computed from these: a tensor's alignment exponents alpha and omega.
    """

    FACTOR = "init factor"
    WEIGHTS = "weights"
    GRADIENT = "gradient"
    UPDATE = "update"
    EFFECT = "effect"
    INPUT = "input"
    INPUT_CHANGE = "input change"
    PROPAGATION = "propagation"
    FEATURE = "feature"
    CHANGE = "change"
    ALPHA = "alpha"
    OMEGA = "omega"
    LOSS = "loss"


@dataclass(frozen=True)
class Key:
    """One measured number.

    Args:
        name: of the tensor or of the module.
        step: after how many updates.
    """

    quantity: Quantity
    name: str
    step: int


@dataclass(frozen=True)
class Tensors:
    """What a run says of the model besides its numbers.

    Args:
        rows: the plan's row of every name of every tensor.
        sites: where it acts.
        first_names: each name's first: another one than itself for a tied tensor.
        shapes: of every feature.
    """

    rows: Mapping[str, PlanRow]
    sites: Mapping[str, Site | None]
    first_names: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Recipe:
    """What all runs of a check share; see `coordinate_check`."""

    build: Callable[[int], nn.Module]
    batch: Callable[[int], Any]
    loss: Callable[[nn.Module, Any], Tensor]
    optimizers: Callable[[ScalingPlan, nn.Module], Sequence[Optimizer]]
    steps: int
    device: torch.device | str | None


def run_once(recipe: Recipe, plan: ScalingPlan, seed: int) -> tuple[dict[Key, float], Tensors]:
    """Build, initialize, train and measure one model."""
    measured: dict[Key, float] = {}
    with seeded(seed):
        with torch.device(recipe.device) if recipe.device is not None else nullcontext():
            model = recipe.build(plan.width)
        evaluation_mode(model)
        rows = rows_of(plan.rows, model)
        own = {name: rms(parameter) for name, parameter in model.named_parameters()}
        plan.initialize_(model)
        for name, parameter in model.named_parameters():
            size = rms(parameter)
            measured[Key(Quantity.WEIGHTS, name, 0)] = size
            measured[Key(Quantity.FACTOR, name, 0)] = size / own[name] if own[name] else float("nan")
        return _train(recipe, plan, model, rows, measured)


def _train(
    recipe: Recipe,
    plan: ScalingPlan,
    model: nn.Module,
    rows: Mapping[str, PlanRow],
    measured: dict[Key, float],
) -> tuple[dict[Key, float], Tensors]:
    probe = recipe.batch(0)

    def forward() -> None:
        measured.setdefault(Key(Quantity.LOSS, "", step), recipe.loss(model, probe).item())

    step = 0
    tensors = _tensors(model, rows, called_modules(model, forward))
    sites = {site.module for site in tensors.sites.values() if site is not None}
    before = record(model, forward, inputs_of=sites)
    for name, feature in before.features.items():
        measured[Key(Quantity.FEATURE, name, 0)] = rms(feature)
    start = Start(model, tensors, before)
    still = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizers = recipe.optimizers(plan, model)
    for step in range(1, recipe.steps + 1):
        for optimizer in optimizers:
            optimizer.zero_grad()
        recipe.loss(model, recipe.batch(step - 1)).backward()
        for name, parameter in model.named_parameters():
            if name in still and parameter.grad is not None:
                measured[Key(Quantity.GRADIENT, name, step)] = rms(parameter.grad)
        for optimizer in optimizers:
            optimizer.step()
        after = record(model, forward, inputs_of=sites)
        for name, feature in after.features.items():
            if name in before.features and before.features[name].shape == feature.shape:
                measured[Key(Quantity.CHANGE, name, step)] = _difference(feature, before.features[name])
        _measure_updates(start, still, step, measured)
        if step == 1:
            _measure_inputs(start, after, measured)
    shapes = {name: tuple(feature.shape) for name, feature in before.features.items()}
    return measured, Tensors(tensors.rows, tensors.sites, tensors.first_names, shapes)


def _tensors(model: nn.Module, rows: Mapping[str, PlanRow], called: frozenset[str]) -> Tensors:
    first: dict[int, str] = {}
    first_names: dict[str, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first_names[name] = first.setdefault(id(parameter), name)
    named = {name: rows[first_name] for name, first_name in first_names.items()}
    return Tensors(named, find_sites(model, called), first_names, {})


def _difference(one: Tensor, two: Tensor) -> float:
    return rms(one.double() - two.double())


class Start:
    """A model before its first step: its tensors, its modules' inputs, and what they make of these."""

    def __init__(self, model: nn.Module, tensors: Tensors, before: Recording) -> None:
        self.model, self.tensors, self.inputs = model, tensors, before.inputs
        self.values = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        self._outputs: dict[str, Tensor] = {}

    def output(
        self, site: Site, *, inputs: Arguments | None = None, changed: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """A module's output with its initial tensors and inputs, or with some of them replaced."""
        prefix = f"{site.module}." if site.module else ""
        names = self.tensors.first_names.items()
        held = {name.removeprefix(prefix): self.values[one] for name, one in names if name.startswith(prefix)}
        module = self.model.get_submodule(site.module)
        return module_output(module, inputs or self.inputs[site.module], {**held, **(changed or {})})

    def change(self, site: Site, output: Tensor) -> float:
        """The root mean square by which an output differs from the initial one."""
        if site.module not in self._outputs:
            self._outputs[site.module] = self.output(site)
        return _difference(output, self._outputs[site.module])


def _measure_updates(start: Start, still: set[str], step: int, measured: dict[Key, float]) -> None:
    """dW and dW z of the tensors that had not moved before this step: at step 1, nearly all."""
    now = {name: parameter.detach() for name, parameter in start.model.named_parameters() if name in still}
    for name, first_name in start.tensors.first_names.items():
        if first_name not in now:
            continue
        size = _difference(now[first_name], start.values[first_name])
        if name == first_name:
            measured[Key(Quantity.UPDATE, name, step)] = size
        if not size:
            continue
        still.discard(first_name)
        site = start.tensors.sites[name]
        if site is not None and site.local:
            output = start.output(site, changed={site.parameter: now[first_name]})
            measured[Key(Quantity.EFFECT, name, step)] = start.change(site, output)


def _measure_inputs(start: Start, after: Recording, measured: dict[Key, float]) -> None:
    """z, dz and W dz of every matrix with a floating-point input."""
    for name, row in start.tensors.rows.items():
        site = start.tensors.sites[name]
        if row.role not in MATRIX_ROLES or site is None or not site.local:
            continue
        now = after.inputs.get(site.module)
        z, moved = first_floating(start.inputs[site.module]), first_floating(now)
        if z is None or moved is None or now is None or z.shape != moved.shape:
            continue
        measured[Key(Quantity.INPUT, name, 0)] = rms(z)
        measured[Key(Quantity.INPUT_CHANGE, name, 1)] = _difference(moved, z)
        measured[Key(Quantity.PROPAGATION, name, 1)] = start.change(site, start.output(site, inputs=now))
