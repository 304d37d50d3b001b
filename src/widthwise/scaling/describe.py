"""Describe a model: build it at three widths or more, and say of every tensor how it grows, its role and initializer.

    skeletons (meta device)  ->  growth of each dimension  ->  role: user's rule, module type, shape
    real draws (small)       ->  law of each initializer

The model's code is not touched: the factory is called, what it builds is read, and nothing of it is kept.
`describe_skeletons` is the part that knows no torch: skeletons, and something that draws, may come from elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from widthwise.scaling.axis import Axis
from widthwise.scaling.description import Alias, ModelDescription, TensorDescription
from widthwise.scaling.draws import draw_pair
from widthwise.scaling.growth import Growth, GrowthKind, fit_growth
from widthwise.scaling.initializers import InitializerFit
from widthwise.scaling.module_rules import ModuleAxes, ancestry, module_axes
from widthwise.scaling.own_initializers import DrawPair, measure_initializers
from widthwise.scaling.role_decision import (
    Ambiguous,
    Decision,
    ambiguity_message,
    decide,
    numberless,
)
from widthwise.scaling.rules import Rule, match_rules
from widthwise.scaling.skeleton import Names, Parameter, Skeleton, read_skeletons

if TYPE_CHECKING:
    from torch import nn

AxesOf = Callable[[str, Sequence[Parameter], tuple[Growth, ...]], ModuleAxes | None]
"""What a tensor's dimensions do, from its name, that at each width, and its laws; None if nothing says so."""

MOST_SEEDS = 32
"""Seeds that may be drawn at each width; two suffice unless a growing tensor has fewer than about a hundred entries."""


def describe(
    build: "Callable[[int], nn.Module]",
    *,
    widths: Sequence[int],
    rules: Sequence[Rule] = (),
    initializer_widths: Sequence[int] | None = None,
    most_seeds: int = MOST_SEEDS,
) -> ModelDescription:
    """Every tensor's growth, role and own initializer.

    Args:
        build: makes a fresh model of a width. Only widths that it accepts may be given: a factory with heads of 64
            cannot be asked for 96.
        widths: three or more at which shapes are read, on the meta device, so that they may be as large as those that
            will be trained.
        rules: what shapes and module types cannot say, one rule a tensor at most.
        initializer_widths: two or more at which the model is built for real, on the CPU, to measure its initializers:
            small ones, a factor of 4 or more apart. Left out, the three smallest of `widths`; give smaller ones if
            these do not fit in memory twice. A factory that cannot be built on the meta device is described at these
            alone, of which there must then be three.
        most_seeds: that may be drawn at each of these.

    Raises:
        ValueError: a factory that ignores the width, makes other tensors at other widths, creates tensors lazily, or
            shares memory between parameters; a dimension that grows by no law; a tensor whose role nobody can tell; a
            rule that matches nothing, or two that match one tensor; an initializer that follows no law. Each says what
            to change, or prints the `Rule(...)` to add.

    Example:
        >>> from torch import nn
        >>> def build(width):
        ...     return nn.Sequential(nn.Embedding(11, width), nn.Linear(width, 4 * width), nn.Linear(4 * width, 11))
        >>> description = describe(build, widths=(32, 64, 128))
        >>> {name: tensor.role.value for name, tensor in description.tensors.items() if tensor.growth[-1].grows}
        {'0.weight': 'embedding', '1.weight': 'hidden', '1.bias': 'vector', '2.weight': 'readout'}
        >>> str(description.tensors["2.weight"].initializer)
        'random n^(-1/2)'
    """
    ordered = _ascending(widths, least=3, what="widths")
    drawn_at = _ascending(initializer_widths or ordered[:3], least=2, what="initializer_widths")
    skeletons, built = read_skeletons(build, ordered, real_widths=drawn_at)
    return describe_skeletons(
        skeletons,
        built=built,
        drawn_at=drawn_at,
        draw=partial(draw_pair, build),
        axes_of=_axes_of_module,
        rules=rules,
        most_seeds=most_seeds,
    )


def _axes_of_module(
    name: str, parameters: Sequence[Parameter], growth: tuple[Growth, ...]
) -> ModuleAxes | None:
    owners = [parameter.owner for parameter in parameters]
    return module_axes(owners, parameters[0].local_name, len(growth))


def describe_skeletons(
    skeletons: Sequence[Skeleton],
    *,
    built: str,
    drawn_at: tuple[int, ...],
    draw: DrawPair,
    axes_of: AxesOf,
    rules: Sequence[Rule] = (),
    most_seeds: int = MOST_SEEDS,
) -> ModelDescription:
    """What `describe` does once shapes are read, for models of any library.

    Args:
        skeletons: at three widths or more, ascending.
        built: how they were read, as the description says it.
        drawn_at: widths at which `draw` is asked for the model's own initializers.
        draw: one pair of draws at a width.
        axes_of: what the library's conventions say about a tensor.
        rules: what they cannot say.
        most_seeds: that may be drawn at each width.

    Raises:
        ValueError: as `describe` does.
    """
    ordered = _ascending(
        [skeleton.width for skeleton in skeletons], least=3, what=f"widths of real builds ({built})"
    )
    _check_same(skeletons)
    growth = {name: _laws(name, skeletons) for name in skeletons[0].parameters}
    if not any(law.grows for laws in growth.values() for law in laws):
        raise ValueError(
            f"no tensor grows between widths {ordered}: build ignores the width, or always returns one model"
        )
    matched = match_rules(rules, growth)
    decisions = _decide_all(skeletons, growth, matched, axes_of)
    ties = {names[0]: names for names in skeletons[0].ties}
    fits = measure_initializers(
        draw,
        drawn_at,
        roles={first: decisions[first].role for first in ties},
        declared=_declared(ties, matched),
        most_seeds=most_seeds,
    )
    tensors = {
        first: _tensor(names, skeletons, growth, decisions, matched, fits.get(first))
        for first, names in ties.items()
    }
    return ModelDescription(ordered, drawn_at, built, tensors, _growing_heads(skeletons))


def _growing_heads(skeletons: Sequence[Skeleton]) -> Mapping[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name in skeletons[0].heads:
        sizes = tuple(skeleton.heads[name] for skeleton in skeletons if name in skeleton.heads)
        if len(set(sizes)) > 1:
            found.setdefault(numberless(name), sizes)
    return found


def _ascending(widths: Sequence[int], *, least: int, what: str) -> tuple[int, ...]:
    found = tuple(sorted(set(widths)))
    if len(found) < least or len(found) < len(widths) or found[0] < 1:
        raise ValueError(f"{what} are {tuple(widths)}; give {least} or more, positive and all different")
    return found


def _check_same(skeletons: Sequence[Skeleton]) -> None:
    """That every width has the same tensors, tied in the same way and with as many dimensions."""
    first = skeletons[0]
    for other in skeletons[1:]:
        odd = sorted(set(first.parameters) ^ set(other.parameters))
        if odd:
            raise ValueError(
                f"widths {first.width} and {other.width} have different tensors: {', '.join(odd)} exists at one "
                "of them only; a factory may change sizes with the width, not layers or names"
            )
        if first.ties != other.ties:
            raise ValueError(
                f"widths {first.width} and {other.width} tie different tensors; tie the same at each"
            )
        for name, parameter in first.parameters.items():
            shapes = (parameter.shape, other.parameters[name].shape)
            if len(shapes[0]) != len(shapes[1]):
                raise ValueError(
                    f"tensor {name!r} has shape {shapes[0]} at width {first.width} and {shapes[1]} at width "
                    f"{other.width}; a factory may change sizes with the width, not the number of dimensions"
                )


def _laws(name: str, skeletons: Sequence[Skeleton]) -> tuple[Growth, ...]:
    widths = [skeleton.width for skeleton in skeletons]
    laws: list[Growth] = []
    for dimension, sizes in enumerate(
        zip(*(skeleton.parameters[name].shape for skeleton in skeletons), strict=True)
    ):
        try:
            laws.append(fit_growth(widths, sizes))
        except ValueError as error:
            raise ValueError(f"tensor {name!r}, dimension {dimension}: {error}") from error
    return tuple(laws)


def _decide_all(
    skeletons: Sequence[Skeleton],
    growth: Mapping[str, tuple[Growth, ...]],
    matched: Mapping[str, Rule],
    axes_of: AxesOf,
) -> Mapping[str, Decision]:
    decisions: dict[str, Decision] = {}
    ambiguous: list[Ambiguous] = []
    for name, laws in growth.items():
        parameters = [skeleton.parameters[name] for skeleton in skeletons]
        decision = decide(name, laws, rule=matched.get(name), module=axes_of(name, parameters, laws))
        if decision is None:
            ambiguous.append(Ambiguous(name, laws, ancestry(parameters[0].owner)[0]))
        else:
            decisions[name] = decision
    if ambiguous:
        raise ValueError(ambiguity_message(ambiguous))
    return decisions


def _declared(ties: Mapping[str, Names], matched: Mapping[str, Rule]) -> Mapping[str, Fraction]:
    """The initializer exponents that rules declare, under any name of a tensor."""
    found: dict[str, Fraction] = {}
    for first, names in ties.items():
        for name in names:
            rule = matched.get(name)
            if rule is not None and rule.initializer_exponent is not None:
                found[first] = rule.initializer_exponent
    return found


def _tensor(
    names: Names,
    skeletons: Sequence[Skeleton],
    growth: Mapping[str, tuple[Growth, ...]],
    decisions: Mapping[str, Decision],
    matched: Mapping[str, Rule],
    initializer: InitializerFit | None,
) -> TensorDescription:
    first, *others = names
    factors = {name: matched[name].forward_factor if name in matched else Fraction(0) for name in names}
    decision = decisions[first]
    return TensorDescription(
        name=first,
        shapes=tuple(skeleton.parameters[first].shape for skeleton in skeletons),
        growth=growth[first],
        axes=decision.axes,
        role=decision.role,
        rule=decision.rule,
        reason=decision.reason,
        initializer=initializer,
        forward_factor=factors[first],
        aliases=tuple(
            Alias(name, found.role, found.axes, found.rule, found.reason, factors[name])
            for name in others
            for found in (decisions[name],)
        ),
        trainable=skeletons[0].parameters[first].trainable,
        note=_note(growth[first], decision),
    )


def _note(laws: Sequence[Growth], decision: Decision) -> str:
    """What the role does not say: powers other than 1, and dimensions of which a part grows."""
    remarks: list[str] = []
    for dimension, (law, axis) in enumerate(zip(laws, decision.axes, strict=True)):
        if law.grows and law.exponent != 1:
            remarks.append(
                f"dimension {dimension} grows as n^({law.exponent}), where the theory's layers grow as n"
            )
        if law.kind is GrowthKind.AFFINE and axis is Axis.PRODUCED:
            remarks.append(f"{law.offset} of dimension {dimension} do not grow")
    return "; ".join(remarks)
