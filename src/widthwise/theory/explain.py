"""Why a rate is what it is: the conditions that bind, their prices, and a sentence."""

from dataclasses import dataclass
from fractions import Fraction

from widthwise.theory.conditions import Kind
from widthwise.theory.network import Layer
from widthwise.theory.parameterization import ZERO
from widthwise.theory.role import Role
from widthwise.theory.solution import TIE_BREAKS, Solution

LIMITS = (Kind.UPDATE, Kind.CROSS, Kind.SCALE, Kind.GRADIENT_UPDATE, Kind.NO_WORSE)
NAMED = 3
"""How many amplifying layers a sentence names before it counts the rest."""


@dataclass(frozen=True)
class Binding:
    """A condition that a layer's rate meets with equality.

    Args:
        kind: which condition.
        exponent: the alignment exponent in it (alpha or u), where it has one.
        through: the input that it comes through, where it names one.
        price: by how much the preferred sum of c would fall if the condition were loosened by one.
    """

    kind: Kind
    exponent: Fraction | None
    through: str | None
    price: Fraction


def bindings(solution: Solution, layer: str) -> tuple[Binding, ...]:
    """The tight conditions on a layer's rate, the highest price first."""
    conditions, certificate = solution.conditions, solution.certificate
    term = conditions.terms[layer]
    contracts = term.layer.role in (Role.HIDDEN, Role.READOUT)
    found = [
        Binding(
            kind=meaning.kind,
            exponent={Kind.UPDATE: term.alpha, Kind.CROSS: term.u}.get(meaning.kind) if contracts else None,
            through=meaning.through,
            price=next((prices[row] for prices in certificate.prices[:-TIE_BREAKS] if prices.get(row)), ZERO),
        )
        for row, meaning in enumerate(conditions.meanings)
        if meaning.layer == layer and meaning.kind in LIMITS and certificate.slack(row) == 0
    ]
    return tuple(sorted(found, key=lambda binding: -binding.price))


def sentence(solution: Solution, layer: str) -> str:
    """Why the layer's rate is what it is, in words."""
    found = solution[layer]
    described = solution.conditions.terms[layer].layer
    if described.frozen:
        return f"{layer} is frozen: it has no rate"
    if found.unconstrained:
        return f"{layer} rate unconstrained: logits may grow, and nothing else limits it"
    first = solution.binding(layer)[0]
    limit = f"{layer} rate limited by {_because(described, first)}"
    if found.r and found.role is not Role.READOUT:
        reason = (
            "the largest that such updates can do"
            if first.kind is Kind.SCALE
            else _slack_reason(solution, layer)
        )
        return f"{limit}; its output changes by only n^-({found.r}), {reason}"
    return limit


def _because(layer: Layer, binding: Binding) -> str:
    contracts = layer.role in (Role.HIDDEN, Role.READOUT)
    match binding.kind:
        case Kind.UPDATE if contracts:
            return f"the update meeting {_aligned(binding.exponent)}activations (alpha = {binding.exponent})"
        case Kind.UPDATE:
            return "its own update, which must not outgrow the features"
        case Kind.CROSS:
            return f"the update meeting the change of {binding.through} (u = {binding.exponent})"
        case Kind.SCALE:
            return "the size of its own weights, to which its updates are proportional (c >= 0)"
        case Kind.GRADIENT_UPDATE:
            return "the gradient: a larger readout update would enlarge every gradient that passes through it"
        case _:
            return "its rate for full alignment, below which it must not fall"


def _aligned(exponent: Fraction | None) -> str:
    return {Fraction(1): "aligned ", Fraction(1, 2): "independent "}.get(exponent or ZERO, "")


def _slack_reason(solution: Solution, layer: str) -> str:
    """Which layers make a layer give up slack: those downstream whose initial weights amplify a change."""
    conditions = solution.conditions
    downstream = {layer}
    amplifiers: list[str] = []
    for node in solution.network.order:
        if downstream.isdisjoint(node.inputs):
            continue
        downstream.add(node.name)
        term = conditions.terms.get(node.name)
        if term is not None and term.omega > term.initial:
            amplifiers.append(f"{node.name} (omega = {term.omega})")
    if not amplifiers:
        return "so that later layers may learn faster"
    more = f" and {len(amplifiers) - NAMED} more" if len(amplifiers) > NAMED else ""
    return f"because initial weights amplify it in {', '.join(amplifiers[:NAMED])}{more}"
