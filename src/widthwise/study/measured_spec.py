"""`rates: {measured: STORE, arm: NAME}` in a specification: read from the store and written out as exact fractions.

Where the store is `given`, it is named when the study is run (`with_measured_from`).

What a study keeps is the rewritten text, so that going on with it needs no other file.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from widthwise.study.measured_rates import MeasuredStore, read_measured
from widthwise.study.rates_choice import GIVEN
from widthwise.theory import AlignmentQuantity, measured_alignment

KEY = "measured"
FIELDS = frozenset({KEY, "arm", "name", "weighting"})


def measured_rates_spec(measured: MeasuredStore, *, name: str = "measured") -> dict[str, Any]:
    """The rates of an arm, `{name, hidden: {alpha, omega, u}, readout: {...}}`, with exact fractions."""
    layers = measured_alignment(measured.roles).layers
    return {
        "name": name,
        **{
            role: {str(quantity): str(getattr(own, quantity)) for quantity in ("alpha", "omega", "u")}
            for role, own in layers.items()
        },
    }


def resolve_measured(data: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    """A specification's data with every `measured` replaced, and a line for each that says where it came from.

    What is not well formed is left for the specification's own check to refuse.

    Raises:
        ValueError: as `read_measured` does, with the field's place in front.
    """
    notes: list[str] = []
    arms = data.get("arms")
    if not isinstance(arms, list):
        return data, notes
    resolved = [
        {**arm, "rates": _resolve(arm["rates"], f"arms.{i}.rates", notes)} if _has_rates(arm) else arm
        for i, arm in enumerate(arms)
    ]
    return ({**data, "arms": resolved}, notes) if notes else (data, notes)


def with_measured_from(data: Mapping[str, Any], store: str) -> Mapping[str, Any]:
    """The fields of a specification that measures in a store what is `given`.

    Raises:
        ValueError: nothing is.
    """
    arms = data.get("arms")
    given = arms if isinstance(arms, list) else []
    named = [{**arm, "rates": _named(arm["rates"], store)} if _has_rates(arm) else arm for arm in given]
    if named == given:
        raise ValueError(
            f"no arm of the specification has `rates: {{measured: {GIVEN}, arm: NAME}}`, so that none takes them from "
            f"{store!r}; leave it out"
        )
    return {**data, "arms": named}


def _named(rates: object, store: str) -> object:
    if isinstance(rates, list):
        return [_named(one, store) for one in rates]
    return {**rates, KEY: store} if isinstance(rates, dict) and rates.get(KEY) == GIVEN else rates


def _has_rates(arm: object) -> bool:
    return isinstance(arm, dict) and "rates" in arm


def _resolve(rates: object, place: str, notes: list[str]) -> object:
    if isinstance(rates, list):
        return [_resolve(one, f"{place}.{i}", notes) for i, one in enumerate(rates)]
    if not isinstance(rates, dict) or KEY not in rates or rates[KEY] == GIVEN:
        return rates
    unknown = sorted(set(rates) - FIELDS)
    if unknown:
        raise ValueError(f"{place}: {unknown[0]!r} is no field of measured rates; they are {sorted(FIELDS)}")
    from widthwise.analysis import Weighting

    if (weighting := rates.get("weighting")) is not None and weighting not in list(Weighting):
        raise ValueError(f"{place}.weighting: {weighting!r} must be one of {', '.join(Weighting)}")
    try:
        found = read_measured(
            Path(str(rates[KEY])),
            arm=rates.get("arm"),
            weighting=None if weighting is None else Weighting(weighting),
        )
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    notes += [f"{place}: measured in {rates[KEY]}, arm {found.series.arm}", *_sources(found)]
    return measured_rates_spec(found, name=rates.get("name", "measured"))


def _sources(found: MeasuredStore) -> Iterator[str]:
    widths = ", ".join(map(str, found.series.rates))
    yield f"  widths {widths}; {len(found.series.seeds)} seed(s); mean over training by {found.weighting}"
    for role, own in found.roles.items():
        for quantity in (AlignmentQuantity.ALPHA, AlignmentQuantity.OMEGA, AlignmentQuantity.U):
            one = getattr(own, quantity)
            yield f"  {role} {quantity} = {one.value:.3f} ({one.low:.3f} to {one.high:.3f})"
