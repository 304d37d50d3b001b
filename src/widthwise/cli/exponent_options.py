"""What the options of `widthwise exponents` say, as the theory's values: names are looked up, numbers read exactly."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from widthwise.theory import (
    ALIGNMENTS,
    FULL,
    MATRIX_ROLES,
    NONE,
    OPTIMIZER_RULES,
    PAPER_OPTIMIZERS,
    PARAMETERIZATIONS,
    PARETO_OVER_FULL,
    SMALLEST_TOTAL,
    Alignment,
    InitExponents,
    Lexicographic,
    OptimizerRule,
    Parameterization,
    Preference,
    Role,
)

NUMBER = re.compile(r"[+-]?([0-9]{1,9}(\.[0-9]{0,9}|/[0-9]{1,9})?|\.[0-9]{1,9})")
PREFERENCES = {"total": SMALLEST_TOTAL, "pareto": PARETO_OVER_FULL}

EXAMPLES = {"A,B": "0,1/2", "ALPHA,OMEGA,U": "1,1/2,3/4"}

T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """One (parameterization, optimizer, alignment) of the table."""

    parameterization: Parameterization
    optimizer: OptimizerRule
    alignment: Alignment

    def __str__(self) -> str:
        return f"{self.parameterization.name}, {self.optimizer.name}, {self.alignment.name}"


@dataclass(frozen=True)
class Shown:
    """What is printed of every solution.

    Args:
        layers: layer by layer, where only the three roles' triples stand otherwise.
        corners: the Pareto corners as well.
        explanation: what limits every rate as well.
    """

    layers: bool
    corners: bool
    explanation: bool


def cells(
    parameterizations: Sequence[Parameterization], optimizers: Sequence[str], alignments: Sequence[str]
) -> tuple[Cell, ...]:
    """Every combination, in the order asked for; without names the paper's: 3 optimizers, 2 alignments.

    Raises:
        ValueError: a name that does not exist, or an alignment that is neither a name nor three numbers.

    Example:
        >>> [str(cell) for cell in cells([PARAMETERIZATIONS["mup"]], ["muon"], [])]
        ['mup, muon, full', 'mup, muon, none']
    """
    rules = _named(optimizers, OPTIMIZER_RULES, "--optimizer") or PAPER_OPTIMIZERS
    assumptions = dict.fromkeys(map(read_alignment, alignments)) or (FULL, NONE)
    return tuple(Cell(p, o, a) for p in parameterizations for o in rules for a in assumptions)


def read_parameterizations(
    names: Sequence[str], embedding: str | None, hidden: str | None, readout: str | None
) -> tuple[Parameterization, ...]:
    """The named parameterizations, the one that three pairs A,B give, or without either the paper's four.

    Raises:
        ValueError: an unknown name, names and pairs, some pairs of the three, a pair that is none, or a network that is
            not stable at initialization.

    Example:
        >>> custom = read_parameterizations([], "0,0", "0.25,0.25", "1/2,1/2")[0]
        >>> custom.hidden.a
        Fraction(1, 4)
    """
    pairs = {"--embedding": embedding, "--hidden": hidden, "--readout": readout}
    missing = [option for option, pair in pairs.items() if pair is None]
    if len(missing) == len(pairs):
        return _named(names, PARAMETERIZATIONS, "--parameterization") or tuple(PARAMETERIZATIONS.values())
    given = [option for option in pairs if option not in missing]
    if names:
        raise ValueError(
            f"--parameterization {names[0]!r} and {' '.join(given)} contradict each other: give a name or three pairs"
        )
    if missing:
        raise ValueError(
            f"{' '.join(given)} without {' '.join(missing)}: a parameterization is all three pairs A,B"
        )
    layers = (InitExponents(*_numbers(option, text or "", "A,B")) for option, text in pairs.items())
    return (Parameterization("custom", *layers),)


def read_alignment(text: str) -> Alignment:
    """A named assumption, or the exponents ALPHA,OMEGA,U.

    Raises:
        ValueError: neither, naming what exists.

    Example:
        >>> read_alignment("1, .5, 0.75")
        Alignment(name='1,1/2,3/4', alpha=Fraction(1, 1), omega=Fraction(1, 2), u=Fraction(3, 4))
    """
    if text in ALIGNMENTS:
        return ALIGNMENTS[text]
    if "," not in text:
        raise ValueError(
            f"--alignment {text!r} is unknown; choose one of {list(ALIGNMENTS)} or give ALPHA,OMEGA,U"
        )
    alpha, omega, u = _numbers("--alignment", text, "ALPHA,OMEGA,U")
    return Alignment(f"{alpha},{omega},{u}", alpha=alpha, omega=omega, u=u)


def read_preference(text: str) -> Preference:
    """total, pareto, or roles in order of preference.

    Raises:
        ValueError: an unknown word, or a role twice.

    Example:
        >>> read_preference("readout,hidden").roles
        (<Role.READOUT: 'readout'>, <Role.HIDDEN: 'hidden'>)
    """
    if text in PREFERENCES:
        return PREFERENCES[text]
    names = [name.strip() for name in text.split(",")]
    roles = [role.value for role in MATRIX_ROLES]
    unknown = next((name for name in names if name not in roles), None)
    if unknown is not None:
        raise ValueError(
            f"--prefer {unknown!r} is unknown; choose {' or '.join(PREFERENCES)}, or roles among {roles}, "
            "the most wanted first"
        )
    return Lexicographic(tuple(map(Role, names)))


def read_number(option: str, text: str) -> Fraction:
    """An exact number: an integer, a fraction p/q, or a decimal.

    Raises:
        ValueError: anything else; NaN and infinity are no exponents.

    Example:
        >>> read_number("--slack", "0.1")
        Fraction(1, 10)
    """
    if not NUMBER.fullmatch(text.strip()) or re.search("/0+$", text.strip()):
        raise ValueError(f"{option}: {text!r} is no exact number; write an integer, 1/2 or 0.5")
    return Fraction(text.strip())


def _numbers(option: str, text: str, form: str) -> tuple[Fraction, ...]:
    parts = text.split(",")
    if len(parts) != len(form.split(",")):
        raise ValueError(f"{option} {text!r} is not of the form {form}, such as {EXAMPLES[form]}")
    return tuple(read_number(option, part) for part in parts)


def _named(names: Iterable[str], known: Mapping[str, T], option: str) -> tuple[T, ...]:
    for name in names:
        if name not in known:
            raise ValueError(f"{option} {name!r} is unknown; choose one of {list(known)}")
    return tuple(known[name] for name in dict.fromkeys(names))
