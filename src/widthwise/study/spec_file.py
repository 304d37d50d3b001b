"""From a file or a built-in name to a checked specification, with every mistake named by field, value and remedy."""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import get_args

import yaml
from pydantic import ValidationError

from widthwise.study.constants_from import with_found_constants, with_searched_from
from widthwise.study.fields import MistakesError, Section
from widthwise.study.measured_spec import resolve_measured, with_measured_from
from widthwise.study.spec import StudySpec

_SUFFIX = ".yaml"
_TAGS = frozenset(
    {
        *("transformer", "mlp", "own", "sgd", "adam", "adam-atan2", "adam-ps", "adafactor"),
        *("list", "grid", "planned", "fixed-steps", "per-parameter"),
        *("named-rates", "open-rates", "rates-by-role", "assumed-alignment", "own-alignment"),
    }
)
"""Which variant of a section was checked: pydantic puts it into a field's path, but no specification has it there."""
_WORDS = {
    "missing": "is missing; add it",
    "extra_forbidden": "there is no such field here; remove it or correct its name",
    "model_type": "must be a mapping, {field: value, ...}",
    "model_attributes_type": "must be a mapping, {field: value, ...}",
    "tuple_type": "must be a list, [value, ...]",
    "too_short": "is empty; add what it is to hold",
    "union_tag_not_found": "`kind` is missing; add it",
}


@dataclass(frozen=True)
class SpecSource:
    """A specification and the text it was read from, with measured rates written out."""

    spec: StudySpec
    text: str


def built_in_names() -> list[str]:
    """The names of the specifications that come with the package."""
    folder = resources.files("widthwise.study") / "specs"
    return sorted(p.name.removesuffix(_SUFFIX) for p in folder.iterdir() if p.name.endswith(_SUFFIX))


def load_spec(source: str) -> SpecSource:
    """Read a specification.

    Args:
        source: the path of a YAML file, or the name of a built-in specification.

    Raises:
        ValueError: no such file or name, not YAML, not a mapping, or a specification with mistakes (all are listed).
    """
    if source in built_in_names():
        return parse_spec(
            (resources.files("widthwise.study") / "specs" / (source + _SUFFIX)).read_text("utf-8")
        )
    path = Path(source)
    if not os.path.isfile(path):
        raise ValueError(
            f"spec {source!r} is neither a file nor a built-in study; give a YAML file or one of {built_in_names()}"
        )
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"spec {source!r} cannot be read: {error}; give a YAML file in UTF-8") from error
    _require_fields_once(text, source)
    return parse_spec(text, origin=source)


def parse_spec(text: str, *, origin: str = "the specification") -> SpecSource:
    """Check the text of a specification.

    Args:
        text: YAML.
        origin: what to call it in messages.

    Returns:
        The specification and its text; where constants come from a store, with their numbers in its place.

    Raises:
        ValueError: not YAML, not a mapping, a store that says nothing of alignment or has no such constants, or
            mistakes (all are listed, one a line).
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{origin} is not YAML: {error}") from error
    if not isinstance(data, dict):
        kind = {list: "a list", str: "a text", type(None): "empty"}.get(
            type(data), f"a {type(data).__name__}"
        )
        raise ValueError(
            f"{origin} is {kind}; it must be a mapping with the fields {list(StudySpec.model_fields)}"
        )
    given = data
    data, notes = resolve_measured(with_found_constants(data))
    if data is not given:
        comments = "".join(f"# {note}\n" for note in notes)
        text = comments + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    try:
        return SpecSource(StudySpec.model_validate(data), text)
    except ValidationError as error:
        raise ValueError(f"{origin} has {_mistakes(error)}") from error


def _require_fields_once(text: str, origin: str) -> None:
    """Check that no mapping says a field twice: YAML would take the last and not tell.

    Raises:
        ValueError: one does.
    """
    try:
        waiting = [yaml.compose(text, yaml.SafeLoader)]
    except yaml.YAMLError:
        return  # for the parser to say
    while waiting:
        match waiting.pop():
            case yaml.MappingNode(value=pairs):
                lines: dict[str, int] = {}
                for key, value in pairs:
                    line = key.start_mark.line + 1
                    if key.value in lines and isinstance(key, yaml.ScalarNode):
                        raise ValueError(
                            f"{origin} says {key.value!r} twice, in lines {lines[key.value]} and {line}; remove one"
                        )
                    if isinstance(key, yaml.ScalarNode):
                        lines[key.value] = line
                    waiting.append(value)
            case yaml.SequenceNode(value=items):
                waiting += items
            case _:
                pass


def with_corpus(source: SpecSource, corpus: str) -> SpecSource:
    """The same specification on another text.

    Args:
        corpus: as its field `corpus`.

    Raises:
        ValueError: an empty name.

    Example:
        >>> with_corpus(load_spec("quickstart"), "books.txt").spec.corpus
        'books.txt'
    """
    data = {**yaml.safe_load(source.text), "corpus": corpus}
    return parse_spec(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def with_constants(source: SpecSource, store: Path) -> SpecSource:
    """The same specification with the constants that a search has found where it says `searched`.

    Args:
        store: the search's.

    Raises:
        ValueError: nothing is searched for, or the store has not found what is.
    """
    data = with_searched_from(yaml.safe_load(source.text), str(store))
    return parse_spec(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def with_measured(source: SpecSource, store: Path) -> SpecSource:
    """The same specification with the rates that a study's measured alignment gives where it says `measured: given`.

    Args:
        store: the study's.

    Raises:
        ValueError: no rates wait for a store, or it says nothing of an arm's alignment.
    """
    data = with_measured_from(yaml.safe_load(source.text), str(store))
    return parse_spec(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))


def _mistakes(error: ValidationError) -> str:
    items = error.errors(include_url=False)
    inside = {item["loc"][:depth] for item in items for depth in range(1, len(item["loc"]))}
    lines: list[str] = []
    for item in items:
        found = item.get("ctx", {}).get("error")
        if isinstance(found, MistakesError):
            lines += [f"  {field}: {what}" for field, what in found.found]
            continue
        if item["type"] == "too_short" and item["loc"] in inside:
            continue  # What is wrong inside was left out of the count.
        field = ".".join(str(part) for part in item["loc"] if part not in _TAGS) or "the whole"
        message = _WORDS.get(item["type"], item["msg"].removeprefix("Value error, "))
        known = item["type"] in ("missing", "union_tag_not_found", "value_error")
        value = "" if known else f" (given: {item['input']!r:.80})"
        lines.append(f"  {field}: {message}{_hint(item['type'], item['loc'])}{value}")
    return f"{len(lines)} mistake{'s' * (len(lines) > 1)}:\n" + "\n".join(lines)


def _hint(kind: str, place: tuple[int | str, ...]) -> str:
    """The fields there that an unknown one may be meant for."""
    if kind != "extra_forbidden":
        return ""
    sections = {StudySpec}
    for part in place[:-1]:
        if isinstance(part, str) and part not in _TAGS:
            annotations = [s.model_fields[part].annotation for s in sections if part in s.model_fields]
            sections = set[type[Section]]().union(*map(_sections, annotations))
    close = get_close_matches(str(place[-1]), {name for section in sections for name in section.model_fields})
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _sections(annotation: object) -> set[type[Section]]:
    """The sections that a field may hold, in whatever lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return {annotation}
    return set[type[Section]]().union(*map(_sections, get_args(annotation)))
