"""The solver: from (a, b), an optimizer and alignment to the largest stable learning-rate exponents of any network.

`solve` writes the stability conditions as a linear program, takes a proposal (the closed form; HiGHS where that is not
optimal) and returns it only with the certificate that proves it in exact arithmetic.
"""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from widthwise.theory.alignment import FULL, AnyAlignment
from widthwise.theory.closed_form import propose_closed_form
from widthwise.theory.conditions import (
    Condition,
    Conditions,
    Kind,
    LayerTerms,
    Logits,
    layer_terms,
    stability_conditions,
)
from widthwise.theory.forward import changes, gradient, least_slack
from widthwise.theory.gradient import gradient_exponent
from widthwise.theory.linear_program import (
    Certificate,
    InfeasibleError,
    LinearProgram,
    Row,
    UncertifiedError,
)
from widthwise.theory.network import ROLE_CHAIN, Layer, Network
from widthwise.theory.optimizer_rule import OptimizerRule
from widthwise.theory.parameterization import ZERO, Parameterization
from widthwise.theory.preference import SMALLEST_TOTAL, ParetoOverFull, Preference, rate_stages
from widthwise.theory.role import Role
from widthwise.theory.solution import LayerSolution, Solution


def solve(
    parameterization: Parameterization,
    optimizer: OptimizerRule,
    alignment: AnyAlignment,
    *,
    network: Network = ROLE_CHAIN,
    logits: Logits | str = Logits.BOUNDED,
    prefer: Preference = SMALLEST_TOTAL,
    slack: Fraction | None = None,
) -> Solution:
    """The largest stable learning rates, eta_l ~ n^(-c_l), of every layer of a network.

    Args:
        alignment: for all layers, or per layer.
        network: who reads whom; the default is the paper's chain of three roles.
        logits: "bounded" (at most constant, as in the paper) or "controlled" (they may grow, as cross-entropy allows).
        prefer: what is minimized where rates trade off.
        slack: the largest r that any layer's features may give up; None for any.

    Raises:
        ValueError: an alignment that does not fit the network, a preference for a role that it does not have or whose
            optimum is unbounded, a negative slack.
        InfeasibleError: conditions that no rates satisfy, with the amount by which they miss.
        UncertifiedError: a proposal that could not be proven; nothing is returned unproven. Known to happen for a bound
            on the slack of a frozen layer with several inputs alone.

    Example:
        >>> from widthwise.theory import ADAM, STANDARD
        >>> solution = solve(STANDARD, ADAM, FULL)
        >>> [str(layer.c) for layer in solution.layers.values()]
        ['0', '1', '1']
        >>> solution.why("hidden")
        'hidden rate limited by the update meeting aligned activations (alpha = 1)'

    Source: the conditions of Everett et al. 2024 (arXiv 2407.05872); see `conditions` for where they come from.
    """
    if logits not in list(Logits):
        raise ValueError(f"logits {logits!r}: must be one of {', '.join(Logits)}")
    logits = Logits(logits)
    if slack is not None and slack < 0:
        raise ValueError(
            f"slack {slack} must not be negative: no feature may change by more than its own size"
        )
    terms = layer_terms(parameterization, optimizer, alignment, network)
    if slack is not None:
        _check_slack(terms, network, slack)
    conditions = stability_conditions(terms, network, logits=logits, slack=slack)
    if isinstance(prefer, ParetoOverFull):
        full = solve(parameterization, optimizer, FULL, network=network, logits=logits)
        conditions = _no_worse_than(conditions, {name: layer.c for name, layer in full.layers.items()})
    program = LinearProgram(
        variables=len(conditions.variables), rows=conditions.rows, costs=_costs(conditions, prefer, network)
    )
    certificate = _certified(conditions, network, program)
    return _solution(
        Solution(
            parameterization=parameterization,
            optimizer=optimizer,
            alignment=alignment,
            network=network,
            logits=logits,
            prefer=prefer,
            slack=slack,
            layers={},
            total=ZERO,
            gradient=ZERO,
            conditions=conditions,
            certificate=certificate,
        )
    )


def _check_slack(terms: Mapping[str, LayerTerms], network: Network, slack: Fraction) -> None:
    """That no layer has to give up more than the bound whatever the rates; the rest is up to the program."""
    if slack < 0:
        raise ValueError(
            f"slack {slack} must not be negative: no feature may change by more than its own size"
        )
    least = least_slack(terms, network)
    for layer in network.layers:
        if layer.role is Role.READOUT:
            continue
        r = least[layer.name]
        if r is None:
            raise InfeasibleError(
                f"{layer.name!r} is frozen and reads nothing that changes, so its output gives up all change and no "
                f"slack of {slack} can hold; train it, or leave the slack open"
            )
        if r > slack:
            raise InfeasibleError(
                f"no rates satisfy the bound on slack: {layer.name!r} gives up at least {r}, more than {slack}; it "
                f"would have to be loosened by {r - slack}"
            )


def _no_worse_than(conditions: Conditions, rates: Mapping[str, Fraction | None]) -> Conditions:
    extra = {
        name: Row({conditions.variables["c", name]: -1}, rate)
        for name, rate in rates.items()
        if rate is not None and ("c", name) in conditions.variables
    }
    return replace(
        conditions,
        rows=(*conditions.rows, *extra.values()),
        meanings=(*conditions.meanings, *(Condition(Kind.NO_WORSE, name) for name in extra)),
    )


def _costs(conditions: Conditions, prefer: Preference, network: Network) -> tuple[dict[int, int], ...]:
    """The preferred sums of c; then the sum of r over the layers; then, as large as possible, the sum of G."""
    layers = {layer.name for layer in network.layers}
    rates = (
        {i: 1 for (symbol, name), i in conditions.variables.items() if symbol == "c" and name in stage}
        for stage in rate_stages(prefer, network)
    )
    changes = {i: 1 for (symbol, name), i in conditions.variables.items() if symbol == "r" and name in layers}
    gradients = {i: -1 for (symbol, _), i in conditions.variables.items() if symbol == "G"}
    return (*rates, changes, gradients)


def _certified(conditions: Conditions, network: Network, program: LinearProgram) -> Certificate:
    closed = propose_closed_form(conditions, network, program)
    if closed is not None:
        try:
            return closed.check()
        except UncertifiedError:
            pass  # the closed form is not optimal here: HiGHS is asked
    from widthwise.theory import highs

    try:
        return highs.solve_with_highs(program)
    except highs.NoVertexError as error:
        if error.status == highs.UNBOUNDED:
            raise ValueError(
                f"the preference has no optimum: its sum number {error.stage + 1} falls without bound, because nothing "
                "limits the readout when logits may grow; prefer the total, or name the readout last"
            ) from error
        if error.status == highs.INFEASIBLE:
            raise InfeasibleError(_why_infeasible(conditions)) from error
        raise UncertifiedError(f"HiGHS gave no proposal: {error}") from error


def _why_infeasible(conditions: Conditions) -> str:
    """The smallest amount by which the optional bounds must be loosened, from a program that is itself certified."""
    from widthwise.theory.highs import solve_with_highs

    optional = (Kind.SLACK, Kind.NO_WORSE)
    miss = len(conditions.variables)
    rows = tuple(
        replace(row, coefficients={**row.coefficients, miss: 1}) if meaning.kind in optional else row
        for row, meaning in zip(conditions.rows, conditions.meanings, strict=True)
    )
    elastic = LinearProgram(miss + 1, (*rows, Row({miss: 1}, ZERO)), ({miss: 1},))
    amount = solve_with_highs(elastic).point[miss]
    if not amount:
        raise UncertifiedError(
            "HiGHS calls the conditions infeasible, and the certificate says that they are not"
        )
    kinds = {meaning.kind for meaning in conditions.meanings}
    asked = [
        text
        for kind, text in (
            (Kind.SLACK, "the bound on slack"),
            (Kind.NO_WORSE, "that no rate falls below its value for full alignment"),
        )
        if kind in kinds
    ]
    return f"no rates satisfy {' and '.join(asked)}: it would have to be loosened by {amount}"


def _solution(draft: Solution) -> Solution:
    """The draft with its layers read off the certificate's point."""
    conditions, point = draft.conditions, draft.certificate.point
    rates = {name: point[index] for (symbol, name), index in conditions.variables.items() if symbol == "c"}
    moved = changes(conditions, draft.network, rates)
    if draft.slack is not None:
        for layer in draft.network.layers:
            r = moved[layer.name]
            if layer.role is not Role.READOUT and r is not None and r > draft.slack:
                # A frozen layer of several inputs: the smallest r counts, which no linear program says.
                raise UncertifiedError(
                    f"the change of {layer.name!r} gives up {r}, more than the bound {draft.slack}"
                )
    gradients = {
        role: gradient_exponent(draft.parameterization, role)
        for role in {layer.role for layer in draft.network.layers}
    }
    layers = {
        layer.name: _layer(draft, layer, rates, moved, gradients[layer.role])
        for layer in draft.network.layers
    }
    readouts = [layer.name for layer in draft.network.layers if layer.role is Role.READOUT]
    return replace(
        draft,
        layers=layers,
        total=sum(rates.values(), start=ZERO),
        gradient=gradient(conditions, readouts, rates),
    )


def _layer(
    draft: Solution,
    layer: Layer,
    rates: Mapping[str, Fraction],
    moved: Mapping[str, Fraction | None],
    g: Fraction,
) -> LayerSolution:
    exponents = draft.parameterization[layer.role]
    return LayerSolution(
        layer=layer.name,
        role=layer.role,
        a=exponents.a,
        b=exponents.b,
        c=rates.get(layer.name),
        g=g,
        r=moved[layer.name],
        unconstrained=layer.name in draft.conditions.unconstrained,
    )
