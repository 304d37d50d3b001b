"""Tied embeddings: one tensor that is both the embedding and the readout.

As an embedding its entries must stay of size one (b = 0), and so must its updates; as a readout the same entries would
make logits grow as n^(1/2) at initialization and as n^(alpha) when features align with updates. No power of n in its
own init and rate serves both. What serves both is a multiplier n^(-t) between the features and the readout,

    t = max(omega, alpha, u)    (1 under full alignment, 1/2 under none; at least 1/2)

which is a readout with a = t, b = 0. A final norm's gain gamma carries it: W (gamma * z) = n^(-t) W (gamma' * z) with
gamma = n^(-t) gamma', so the gain starts n^(-t) times smaller and, by the gauge, its rate falls by n^(-(1 + p - q) t).
The norm's bias enters in the same place and moves with it. A gain that starts at zero (Gemma's 1 + weight) cannot carry
a factor, and is refused. Factors of the model's own (Gemma multiplies its embedding
by the root of the width, T5 divides what enters the readout by it) are counted in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from widthwise.scaling.description import ModelDescription, TensorDescription
from widthwise.theory import AnyAlignment, InitExponents, Parameterization, Role, alignment_at


@dataclass(frozen=True)
class Ties:
    """What a tied readout makes of a plan.

    Args:
        parameterization: that the model can have; the one asked for, if nothing is tied.
        carried: t of each vector that carries n^(-t) for the readout.
        notes: what was done, in words.
    """

    parameterization: Parameterization
    carried: Mapping[str, Fraction]
    notes: tuple[str, ...] = ()


def resolve_ties(
    description: ModelDescription,
    parameterization: Parameterization,
    alignment: AnyAlignment,
    norm: str | None = None,
) -> Ties:
    """Where the factor of a tied readout goes.

    Args:
        norm: the module of the norm in front of it, where it cannot be told.

    Raises:
        ValueError: a tie of other roles than embedding and readout; tied readouts that need different factors; no gain
            that can carry the factor; a norm named where nothing is tied.
    """
    for tensor in description.tensors.values():
        _check_roles(tensor)
    tied = [tensor for tensor in description.tensors.values() if tied_readout(tensor)]
    if not tied:
        if norm is not None:
            raise ValueError(f"norm={norm!r} is for a readout that is tied to its embedding; none is")
        return Ties(parameterization, {})
    effective = tied_parameterization(parameterization, alignment)
    t = effective.readout.a
    exponents = {t + own_factors(tensor) for tensor in tied}
    if len(exponents) > 1:
        raise ValueError(
            f"{' and '.join(tensor.name for tensor in tied)} are tied readouts whose own forward factors differ, and "
            "one final norm cannot carry both; untie one of them (a readout of its own)"
        )
    (exponent,) = exponents
    ones = ", ".join(" = ".join((x.name, *(alias.name for alias in x.aliases))) for x in tied)
    if not exponent:
        return Ties(effective, {}, (f"{ones} is tied: the model's own factors are its readout's n^({-t})",))
    names = final_norm(description, norm, tied[0], exponent)
    gain, *others = names
    verb = "carry" if others else "carries"
    notes = [f"{ones} is tied: {', '.join(names)} {verb} its readout's n^({-exponent})"]
    if t < 1:
        notes.append(
            f"under {alignment.name} alignment the logit of a token that was just read still grows as n^({1 - t}): a "
            "residual stream carries its own row to the readout; full alignment prevents it"
        )
    own = [x.name for x in description.tensors.values() if set(x.roles) == {Role.READOUT}]
    notes += [
        f"{name} is a readout of its own: if it reads what {gain} makes, the factor is in there, so declare "
        f"Rule({name!r}, forward_factor=Fraction({-exponent}))"
        for name in own
        if not description.tensors[name].forward_factor
    ]
    return Ties(effective, dict.fromkeys(names, exponent), tuple(notes))


def _check_roles(tensor: TensorDescription) -> None:
    if len(set(tensor.roles)) > 1 and set(tensor.roles) != {Role.EMBEDDING, Role.READOUT}:
        uses = [(tensor.name, tensor.role), *((alias.name, alias.role) for alias in tensor.aliases)]
        listed = ", ".join(f"{name} ({role.value})" for name, role in uses)
        raise ValueError(
            f"one tensor has uses that scale differently: {listed}; a plan covers an embedding that is the readout "
            "too. Untie them, or give one role by rules"
        )


def tied_readout(tensor: TensorDescription) -> bool:
    """Whether a tensor is an embedding under one name and a readout under another."""
    return {Role.EMBEDDING, Role.READOUT} <= set(tensor.roles)


def as_embedding(tensor: TensorDescription) -> TensorDescription:
    """A tied tensor in its use as an embedding, which its own init and rate follow, whichever name comes first."""
    if not tied_readout(tensor) or tensor.role is Role.EMBEDDING:
        return tensor
    use = next(alias for alias in tensor.aliases if alias.role is Role.EMBEDDING)
    return replace(
        tensor,
        role=use.role,
        axes=use.axes,
        rule=use.rule,
        reason=use.reason,
        forward_factor=use.forward_factor,
    )


def own_factors(tensor: TensorDescription) -> Fraction:
    """e: the model's own forward multiplies the readout by n^e more than the embedding, so t + e is left to carry."""
    factors = {
        tensor.role: tensor.forward_factor,
        **{alias.role: alias.forward_factor for alias in tensor.aliases},
    }
    return factors[Role.READOUT] - factors[Role.EMBEDDING]


def tied_parameterization(parameterization: Parameterization, alignment: AnyAlignment) -> Parameterization:
    """The parameterization that a tied model can have: embedding (0, 0), readout (t, 0), hidden as it was.

    Example:
        >>> from widthwise.theory import FULL, STANDARD
        >>> tied_parameterization(STANDARD, FULL).readout.a
        Fraction(1, 1)
    """
    zero = Fraction(0)
    at_readout = alignment_at(alignment, Role.READOUT.value)
    t = max(Fraction(1, 2), at_readout.omega, at_readout.update)
    return Parameterization(
        name=f"{parameterization.name}, tied",
        embedding=InitExponents(zero, zero),
        hidden=parameterization.hidden,
        readout=InitExponents(t, zero),
    )


def final_norm(
    description: ModelDescription, name: str | None, tied: TensorDescription, exponent: Fraction
) -> tuple[str, ...]:
    """The vectors of the norm in front of a tied readout: its gain, and its bias if it has one.

    Args:
        name: the norm's module as the user names it; None to look for the one norm that no numbered layer holds and
            that comes after every hidden matrix.
        tied: the tensor, and `exponent` the t that is to be carried, for the message.

    Raises:
        ValueError: no such norm, or several; a norm whose gain starts at zero.
    """
    vectors = [tensor for tensor in description.tensors.values() if tensor.role is Role.VECTOR]
    modules = [name] if name is not None else _final_modules(description)
    found = [v for v in vectors if v.name.rpartition(".")[0] in modules]
    if name is not None and not found:
        raise ValueError(f"norm={name!r} holds no gain of a growing dimension; norms: {_norms(vectors)}")
    if len(modules) != 1:
        why = (
            f"several norms could be it: {', '.join(modules)}"
            if modules
            else f"no norm stands behind every hidden matrix (norms: {_norms(vectors)})"
        )
        raise ValueError(_refusal(tied, exponent, f"{why}. Name its module, norm=..., if there is one"))
    if not any(_starts(v) for v in found):
        why = f"{found[0].name} starts at 0, and no factor on it is a factor on what it makes"
        raise ValueError(_refusal(tied, exponent, why))
    return tuple(v.name for v in found)


def _refusal(tied: TensorDescription, exponent: Fraction, why: str) -> str:
    uses = [(tied.name, tied.role, tied.forward_factor)]
    uses += [(alias.name, alias.role, alias.forward_factor) for alias in tied.aliases]
    readout, factor = next((name, factor) for name, role, factor in uses if role is Role.READOUT)
    return (
        f"{tied.name} is both embedding and readout, and its readout's n^({-exponent}) needs a final norm's gain to "
        f"sit in: {why}. Otherwise there are two ways out: untie them (a readout of its own); or multiply the logits "
        f"by (n / base width)^({-exponent}) in the model and say so, Rule({readout!r}, "
        f"forward_factor=Fraction({factor - exponent}))"
    )


def _final_modules(description: ModelDescription) -> list[str]:
    """Norms outside numbered layers that are made after the last hidden matrix: one in front may be the embedding's."""
    tensors = list(description.tensors.values())
    last = max((i for i, tensor in enumerate(tensors) if tensor.role is Role.HIDDEN), default=-1)
    found = [
        tensor.name.rpartition(".")[0]
        for tensor in tensors[last + 1 :]
        if tensor.role is Role.VECTOR and _is_outer_norm(tensor)
    ]
    return list(dict.fromkeys(found))


def _is_outer_norm(tensor: TensorDescription) -> bool:
    numbered = any(part.isdecimal() for part in tensor.name.split("."))
    return not numbered and "norm" in tensor.rule.rpartition(".")[2].lower()


def _starts(tensor: TensorDescription) -> bool:
    """Whether a vector starts at something else than zero."""
    return tensor.initializer is not None and any(tensor.initializer.scales)


def _norms(vectors: Sequence[TensorDescription]) -> str:
    return (
        ", ".join(sorted({v.name.rpartition(".")[0] for v in vectors if "norm" in v.rule.lower()})) or "none"
    )
