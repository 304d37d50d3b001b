"""The network's equations: how much every output changes under given rates, with minima instead of inequalities."""

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

from widthwise.theory.conditions import Conditions, LayerTerms
from widthwise.theory.network import Layer, Network
from widthwise.theory.parameterization import ZERO


def changes(
    conditions: Conditions, network: Network, rates: Mapping[str, Fraction]
) -> dict[str, Fraction | None]:
    """The exponent r of every node's change, from c of every trained layer; None where nothing changes or limits it.

        r = min(s + c + p G - alpha,  s + c + p G + r_j - u,  a + b + r_j - omega)      over the inputs j
        G = min(a + b, s + c)                                                           over the readouts

    Args:
        rates: layer -> c; a trained layer that is not named is unconstrained.
    """
    terms = conditions.terms
    sent_back = {
        readouts: gradient(conditions, readouts, rates)
        for readouts in {network.readouts_of[name] for name in conditions.gradient_of}
    }
    constants = (
        x for term in terms.values() for x in (term.size, term.initial, term.alpha, term.omega, term.u)
    )
    values = (*constants, *rates.values(), *sent_back.values())
    units = math.lcm(*{x.denominator for x in values})  # everything in units of 1 / units: exact, and fast

    def scaled(value: Fraction) -> int:
        return value.numerator * (units // value.denominator)

    moved: dict[str, int | None] = {}
    for node in network.order:
        inputs = [r for r in (moved[name] for name in node.inputs) if r is not None]
        if not isinstance(node, Layer):
            moved[node.name] = min(inputs, default=None)
            continue
        term = terms[node.name]
        bounds = [scaled(term.initial) + r - scaled(term.omega) for r in inputs]
        if node.name in conditions.unconstrained:
            bounds = []
        elif not node.frozen:
            size = scaled(term.size) + scaled(rates[node.name])
            if node.name in conditions.gradient_of:
                size += scaled(sent_back[network.readouts_of[node.name]])
            bounds += [size - scaled(term.alpha), *(size + r - scaled(term.u) for r in inputs)]
        moved[node.name] = min(bounds, default=None)
    return {name: None if r is None else Fraction(r, units) for name, r in moved.items()}


def least_slack(terms: Mapping[str, LayerTerms], network: Network) -> dict[str, Fraction | None]:
    """The smallest r that any stable rates can give each node; None where the output cannot change at all.

    Rates and inputs' changes only ever raise r, so each is taken as small as it can be: a rate without a bound makes r
    as small as stability allows, 0; one that may not exceed its weights' scale (q = 1) stops at c = 0.
    """
    least: dict[str, Fraction | None] = {}
    for node in network.order:
        inputs = [r for r in (least[name] for name in node.inputs) if r is not None]
        if not isinstance(node, Layer):
            least[node.name] = min(inputs, default=None)
            continue
        term = terms[node.name]
        bounds = [term.initial + r - term.omega for r in inputs]
        if not node.frozen and not term.rule.parameter_power:
            bounds = [ZERO]
        elif not node.frozen:
            bounds += [term.size - term.alpha, *(term.size + r - term.u for r in inputs)]
        least[node.name] = max(min(bounds), ZERO) if bounds else None
    return least


def gradient(conditions: Conditions, readouts: Iterable[str], rates: Mapping[str, Fraction]) -> Fraction:
    """The exponent G of the gradients that these readouts send back, n^(-G): the larger of each one's two parts counts.

    An unconstrained readout is taken at its initial weights.
    """
    bounds: list[Fraction] = []
    for name in readouts:
        term = conditions.terms[name]
        bounds.append(term.initial)
        if name in rates:
            bounds.append(term.size + rates[name])
    return min(bounds)
