"""The stability conditions of a network as the rows of a linear program.

Legend: c_l says the layer's rate is eta ~ n^(-c_l); r_l that its output changes by n^(-r_l); G that gradients reach the
features as n^(-G) (needed where an optimizer scales with the gradient); s_l + c_l is the exponent of its update's
entries, s = a + e + q b + p (G + a), without the G for a readout. For every layer l and every input j of it,

    update    r_l <= s_l + c_l - alpha_l             the update meets the activations
    cross     r_l <= s_l + c_l + r_j - u_l           the update meets the activations' change
    initial   r_l <= a_l + b_l + r_j - omega_l       the initial weights meet the activations' change
    bounded   r_l >= 0                               no feature's change outgrows the feature
    scale     c_l >= 0                               (q = 1) no update outgrows the weights that set its size
    gradient  G <= a + b,  G <= s + c                (p = 1) of every readout: its initial weights, its update

with r_l replaced by 0 for a readout (logits at most constant). In the network's equations r_l and G *are* the minimum
of their bounds. They only ever help what follows, so as variables below every bound they attain it wherever it matters:
the program is linear, with no integers and no big constants.

Source: Everett et al. 2024 (arXiv 2407.05872), whose table prints a maximum for the gradient exponent; the minimum is
what its own values satisfy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from widthwise.theory.alignment import AnyAlignment, PerLayerAlignment, alignment_at
from widthwise.theory.linear_program import Row
from widthwise.theory.network import Layer, Network, Node
from widthwise.theory.optimizer_rule import OptimizerRule
from widthwise.theory.parameterization import ZERO, Parameterization
from widthwise.theory.role import Role


class Logits(StrEnum):
    """What is asked of the logits: at most constant in the width, or nothing.

    Under cross-entropy, logits may grow while gradients and activations stay of size one ("controlled divergence",
    arXiv 2505.22491); then the readout's conditions are dropped.
    """

    BOUNDED = "bounded"
    CONTROLLED = "controlled"


class Kind(StrEnum):
    """Which condition a row is."""

    UPDATE = "update"
    CROSS = "cross"
    INITIAL = "initial"
    BOUNDED = "bounded"
    SCALE = "scale"
    GRADIENT_INITIAL = "gradient-initial"
    GRADIENT_UPDATE = "gradient-update"
    SLACK = "slack"
    FROZEN = "frozen"
    NO_WORSE = "no-worse"


@dataclass(frozen=True)
class Condition:
    """What a row says: its kind, the layer it limits, and the input that it comes through."""

    kind: Kind
    layer: str
    through: str | None = None


Variable = tuple[str, str]
"""("c" | "r", layer) or ("G", the readouts it belongs to)."""


@dataclass(frozen=True)
class LayerTerms:
    """One layer's constants: size s (without c and G), initial exponent a + b, its alignment, its optimizer's rule."""

    layer: Layer
    rule: OptimizerRule
    size: Fraction
    initial: Fraction
    alpha: Fraction
    omega: Fraction
    u: Fraction


@dataclass(frozen=True)
class Conditions:
    """The rows of a problem with what each of them means.

    Args:
        variables: variable -> its index.
        gradient_of: layer -> the variable G that its update takes, where it takes one.
        unchanged: nodes whose output never changes (frozen, reading nothing that changes).
        unconstrained: layers that no condition limits: their rate may grow without bound.
    """

    terms: Mapping[str, LayerTerms]
    variables: Mapping[Variable, int]
    rows: tuple[Row, ...]
    meanings: tuple[Condition, ...]
    gradient_of: Mapping[str, Variable]
    unchanged: frozenset[str]
    unconstrained: frozenset[str]


def layer_terms(
    parameterization: Parameterization, optimizer: OptimizerRule, alignment: AnyAlignment, network: Network
) -> dict[str, LayerTerms]:
    """Every layer's constants.

    Raises:
        ValueError: a per-layer alignment that lacks a layer or names one that the network does not have.
    """
    if isinstance(alignment, PerLayerAlignment):
        unknown = sorted(set(alignment.layers) - {layer.name for layer in network.layers})
        if unknown:
            raise ValueError(
                f"alignment {alignment.name!r} is for layer {unknown[0]!r}, which the network does not have; "
                f"its layers are {[layer.name for layer in network.layers]}"
            )
    roles = {layer.role for layer in network.layers}
    scales = {role: _scales(parameterization, optimizer.at(role), role) for role in roles}
    return {
        layer.name: _terms(optimizer.at(layer.role), scales[layer.role], alignment, layer)
        for layer in network.layers
    }


def _scales(parameterization: Parameterization, rule: OptimizerRule, role: Role) -> tuple[Fraction, Fraction]:
    """Size s and initial exponent a + b, which depend on the role alone."""
    a, b = parameterization[role].a, parameterization[role].b
    return a + rule.entry_exponent + rule.parameter_power * b + rule.gradient_power * a, a + b


def _terms(
    rule: OptimizerRule, scales: tuple[Fraction, Fraction], alignment: AnyAlignment, layer: Layer
) -> LayerTerms:
    alpha = omega = u = ZERO
    if layer.role in (Role.HIDDEN, Role.READOUT):
        assumed = alignment_at(alignment, layer.name)
        alpha, omega, u = assumed.alpha, assumed.omega, assumed.u
        if rule.alignment is not None:
            alpha = u = rule.alignment
    return LayerTerms(
        layer=layer,
        rule=rule,
        size=scales[0],
        initial=scales[1],
        alpha=alpha,
        omega=omega,
        u=u,
    )


def stability_conditions(
    terms: Mapping[str, LayerTerms], network: Network, *, logits: Logits, slack: Fraction | None
) -> Conditions:
    """The rows of a network.

    Args:
        slack: the largest r that any layer may give up (None: any).
    """
    unchanged = unchanged_nodes(network)
    builder = _Builder(terms, network, unchanged, logits, slack)
    for node in network.order:
        builder.add(node)
    # G's own rows come last: only the gradients that some layer takes are variables.
    for variable in dict.fromkeys(builder.gradient_of.values()):
        builder.add_gradient(variable)
    limited = {name for kind, name in builder.variables if kind == "c"}
    trained = {layer.name for layer in network.layers if not layer.frozen}
    return Conditions(
        terms=terms,
        variables=builder.variables,
        rows=tuple(builder.rows),
        meanings=tuple(builder.meanings),
        gradient_of=builder.gradient_of,
        unchanged=unchanged,
        unconstrained=frozenset(trained - limited),
    )


def unchanged_nodes(network: Network) -> frozenset[str]:
    """The nodes whose output never changes: frozen, or joins, and reading nothing that changes."""
    found: set[str] = set()
    for node in network.order:
        trained = isinstance(node, Layer) and not node.frozen
        if not trained and found.issuperset(node.inputs):
            found.add(node.name)
    return frozenset(found)


class _Builder:
    """Rows and variables, in the order in which they are met."""

    def __init__(
        self,
        terms: Mapping[str, LayerTerms],
        network: Network,
        unchanged: frozenset[str],
        logits: Logits,
        slack: Fraction | None,
    ) -> None:
        self.terms = terms
        self.readouts_of = network.readouts_of
        self.unchanged = unchanged
        self.logits = logits
        self.slack = slack
        self.variables: dict[Variable, int] = {}
        self.rows: list[Row] = []
        self.meanings: list[Condition] = []
        self.gradient_of: dict[str, Variable] = {}

    def row(
        self, condition: Condition, positive: list[Variable], negative: list[Variable], k: Fraction
    ) -> None:
        signed = [(variable, 1) for variable in positive] + [(variable, -1) for variable in negative]
        indices = {self.variables.setdefault(v, len(self.variables)): sign for v, sign in signed}
        self.rows.append(Row(indices, k))
        self.meanings.append(condition)

    def add(self, node: Node) -> None:
        changing = [("r", name) for name in node.inputs if name not in self.unchanged]
        if not isinstance(node, Layer):
            for change in changing:
                self.row(Condition(Kind.INITIAL, node.name, change[1]), [change], [("r", node.name)], ZERO)
            return
        if node.name in self.unchanged:
            return
        term = self.terms[node.name]
        readout = node.role is Role.READOUT
        if not (readout and self.logits is Logits.CONTROLLED):
            out: list[Variable] = [] if readout else [("r", node.name)]
            for condition, positive, k in self._bounds(term, changing):
                self.row(condition, positive, out, k)
            for change in out:
                self.row(Condition(Kind.BOUNDED, node.name), [change], [], ZERO)
                self._add_slack(term, change, changing)
        if term.rule.parameter_power and not node.frozen:
            self.row(Condition(Kind.SCALE, node.name), [("c", node.name)], [], ZERO)

    def _bounds(
        self, term: LayerTerms, changing: list[Variable]
    ) -> Iterator[tuple[Condition, list[Variable], Fraction]]:
        """What r of a layer lies below: (meaning, variables added up, constant)."""
        name = term.layer.name
        if not term.layer.frozen:
            moved: list[Variable] = [("c", name), *self._gradient(term)]
            yield Condition(Kind.UPDATE, name), moved, term.size - term.alpha
            for change in changing:
                yield Condition(Kind.CROSS, name, change[1]), [*moved, change], term.size - term.u
        for change in changing:
            yield Condition(Kind.INITIAL, name, change[1]), [change], term.initial - term.omega

    def _gradient(self, term: LayerTerms) -> list[Variable]:
        if not term.rule.gradient_power or term.layer.role is Role.READOUT:
            return []
        variable = ("G", ", ".join(sorted(self.readouts_of[term.layer.name])))
        self.gradient_of[term.layer.name] = variable
        return [variable]

    def _add_slack(self, term: LayerTerms, change: Variable, changing: list[Variable]) -> None:
        if self.slack is None:
            return
        self.row(Condition(Kind.SLACK, term.layer.name), [], [change], self.slack)
        # A frozen layer's change is given, not chosen: r below its bound would be a promise not kept. Of several inputs
        # the smallest r counts, which is not linear; `solve` then checks the bound at the solution.
        if term.layer.frozen and len(changing) == 1:
            frozen = Condition(Kind.FROZEN, term.layer.name, changing[0][1])
            self.row(frozen, [change], changing, term.omega - term.initial)

    def add_gradient(self, variable: Variable) -> None:
        readouts = next(self.readouts_of[layer] for layer, v in self.gradient_of.items() if v == variable)
        for name in sorted(readouts):
            term = self.terms[name]
            self.row(Condition(Kind.GRADIENT_INITIAL, name), [], [variable], term.initial)
            if not term.layer.frozen:
                self.row(Condition(Kind.GRADIENT_UPDATE, name), [("c", name)], [variable], term.size)
