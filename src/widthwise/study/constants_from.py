"""`constants: {from: STORE}` in a specification: the numbers that a search has found, put in its place when it is read.

An arm whose constants come from a search is written out for each parameterization, with the numbers of its own; what a
study keeps of its specification then stands on its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from widthwise.records import read_study
from widthwise.study.arm_spec import SEARCHED
from widthwise.study.constants_search import FoundConstants, found_constants
from widthwise.study.constants_text import constants_fields

FROM = "from"
Fields = dict[str, Any]


def with_found_constants(data: Fields) -> Fields:
    """The fields of a specification with the numbers of its searches; as they are if it names none.

    Raises:
        ValueError: a store that is no search, or one that has not searched for an arm's constants.
    """
    arms = data.get("arms")
    if not isinstance(arms, list) or not any(isinstance(arm, dict) and _stores(arm) for arm in arms):
        return data
    optimizer = data.get("optimizer")
    resolved: list[Any] = []
    for arm in arms:
        if isinstance(arm, dict) and _stores(arm):
            resolved += _written_out(arm, arm.get("optimizer") or optimizer)
        else:
            resolved.append(arm)
    return {**data, "arms": resolved}


def with_searched_from(data: Fields, store: str) -> Fields:
    """The fields of a specification that takes its searched constants from a store.

    Raises:
        ValueError: none of its constants is `searched`.
    """
    arms = data.get("arms")
    given = [arm for arm in arms if isinstance(arm, dict)] if isinstance(arms, list) else []
    taken = [
        {**arm, "constants": [_taken(choice, store) for choice in _choices(arm)]}
        if "constants" in arm
        else arm
        for arm in given
    ]
    if taken == [{**arm, "constants": _choices(arm)} if "constants" in arm else arm for arm in given]:
        raise ValueError(
            f"no arm of the specification has `constants: searched`, so that none takes them from {store!r}; "
            "leave it out"
        )
    return {**data, "arms": taken}


def _taken(choice: object, store: str) -> object:
    if choice == SEARCHED:
        return {FROM: store}
    if isinstance(choice, dict) and choice.get("searched") is True:
        return {**{field: value for field, value in choice.items() if field != "searched"}, FROM: store}
    return choice


def _choices(arm: Fields) -> list[Any]:
    given = arm.get("constants")
    return given if isinstance(given, list) else [given]


def _stores(arm: Fields) -> list[str]:
    """The stores that an arm's constants come from."""
    return [str(choice[FROM]) for choice in _choices(arm) if isinstance(choice, dict) and FROM in choice]


def _written_out(arm: Fields, optimizer: object) -> list[Fields]:
    """The arm once for each parameterization."""
    names = arm.get("parameterization")
    parameterizations = names if isinstance(names, list) else [names]
    found = {store: _found(store) for store in _stores(arm)}
    kind = str(optimizer.get("kind")) if isinstance(optimizer, dict) else ""
    written: list[Fields] = []
    for parameterization in parameterizations:
        constants = [
            _numbers(choice, found, kind, str(parameterization))
            if isinstance(choice, dict) and FROM in choice
            else choice
            for choice in _choices(arm)
        ]
        written.append({**arm, "parameterization": parameterization, "constants": constants})
    return written


def _found(store: str) -> Mapping[tuple[str, str], FoundConstants]:
    from widthwise.study.spec_file import parse_spec

    study = read_study(Path(store))
    if not study.proposals:
        raise ValueError(
            f"store {store!r} is no search for constants; `widthwise study constants SPEC --store {store}` makes one"
        )
    return {
        (one.optimizer, one.parameterization): one
        for one in found_constants(study, parse_spec(study.spec).spec)
    }


def _numbers(
    choice: Fields,
    found: Mapping[str, Mapping[tuple[str, str], FoundConstants]],
    optimizer: str,
    parameterization: str,
) -> Fields:
    store = str(choice[FROM])
    if (optimizer, parameterization) not in found[store]:
        has = ", ".join(f"{kind} and {name}" for kind, name in found[store])
        raise ValueError(
            f"store {store!r} has no constants for {optimizer} and {parameterization}; it has them for {has}"
        )
    rest = {field: value for field, value in choice.items() if field != FROM}
    return {**rest, **constants_fields(found[store][optimizer, parameterization])}
