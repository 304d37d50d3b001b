"""The text that a study trains on, as every process that needs it reads it; a user's own function reads its own."""

from typing import TYPE_CHECKING

from widthwise.study.own_spec import OwnSpec
from widthwise.study.spec import StudySpec
from widthwise.user_code import find_callable

if TYPE_CHECKING:
    from widthwise.train import Corpus

NO_TEXT = "none"
"""Stands for the text's hash in the store of a study that has none."""


def load_text(spec: StudySpec) -> "Corpus | None":
    """Read a study's text; None for a user's own function, which must be there.

    Raises:
        ValueError: it cannot be read, is too short, or there is no such function.
    """
    from widthwise.train import load_corpus

    if isinstance(spec.model, OwnSpec):
        find_callable(spec.model.runner, what="model.runner")
        return None
    assert spec.corpus is not None  # checked with the specification
    corpus = load_corpus(spec.corpus)
    corpus.require(batch=spec.training.batch, context=spec.model.context)
    return corpus


def digest_of(text: "Corpus | None") -> str:
    """The hash that names a study's text."""
    return NO_TEXT if text is None else text.digest


def tokens_of(text: "Corpus | None") -> int:
    """The length of its training stream; 0 for a study that has no text."""
    return 0 if text is None else len(text.train)


def require_same(text: "Corpus | None", digest: str, *, where: str) -> None:
    """Check that a text is the one that a store was begun with.

    Raises:
        ValueError: it is another.
    """
    if digest_of(text) != digest:
        name = "" if text is None else repr(text.name)
        raise ValueError(
            f"corpus {name} is not the text that {where} was begun with (SHA-256 {digest_of(text)[:12]} "
            f"instead of {digest[:12]}); restore it or begin another store"
        )
