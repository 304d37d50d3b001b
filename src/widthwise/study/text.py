"""The text that a study trains on, as every process that needs it reads it; a user's own function reads its own."""

from typing import TYPE_CHECKING

from widthwise.study.arms import expand_arms
from widthwise.study.expand import build_model
from widthwise.study.horizon import non_embedding, resolved_steps
from widthwise.study.own_spec import OwnSpec
from widthwise.study.spec import StudySpec
from widthwise.study.unused import require_records, require_used
from widthwise.user_code import find_callable

if TYPE_CHECKING:
    from widthwise.train import Corpus

NO_TEXT = "none"
"""Stands for the text's hash in the store of a study that has none."""


def load_text(spec: StudySpec) -> "Corpus | None":
    """Read a new study's text, through a tokenizer if it has one; None for a user's own function, which must be there.

    Raises:
        ValueError: it cannot be read, is too short or shorter than the longest horizon allows, does not go with its
            tokenizer, or there is no such function; or the specification says what nothing would use.
    """
    require_used(spec)
    text = _read(spec)
    if text is not None:
        require_records(spec)
        assert not isinstance(spec.model, OwnSpec)
        text.require(batch=spec.training.batch, context=spec.model.context)
        text.require_epochs(longest_horizon(spec), most=spec.epochs)
    return text


def begun_text(spec: StudySpec, digest: str, *, where: str) -> "Corpus | None":
    """The same of a study that has begun: the text of this hash, which was long enough then.

    Raises:
        ValueError: it cannot be read, or is another.
    """
    text = _read(spec)
    if digest_of(text) != digest:
        name = "" if text is None else repr(text.name)
        raise ValueError(
            f"corpus {name} is not the text that {where} was begun with (SHA-256 {digest_of(text)[:12]} "
            f"instead of {digest[:12]}); restore it or begin another store"
        )
    return text


def _read(spec: StudySpec) -> "Corpus | None":
    from widthwise.train import C4, load_corpus, load_tokenizer, load_tokens

    if isinstance(spec.model, OwnSpec):
        find_callable(spec.model.runner, what="model.runner")
        return None
    source, given = spec.corpus, spec.tokenizer
    assert source is not None  # checked with the specification
    if given is not None:
        tokenizer = load_tokenizer(given.file, vocabulary=given.vocabulary, start=given.start, end=given.end)
        return load_tokens(source, tokenizer, text_field=spec.text_field, most_tokens=spec.corpus_tokens)
    if source == C4:
        raise ValueError(
            f"corpus {C4!r} is read through a tokenizer; give one: tokenizer: {{file: ..., vocabulary: ...}}"
        )
    return load_corpus(source, text_field=spec.text_field)


def longest_horizon(spec: StudySpec) -> int:
    """The tokens of the longest trial of a study of reference models."""
    assert not isinstance(spec.model, OwnSpec)
    tokens = spec.training.batch * spec.model.context
    arms = expand_arms(spec)
    longest = 0
    for width in spec.widths:
        shapes = {name: t.shape for name, t in build_model(spec, width).tensors().items()}
        parameters = non_embedding(shapes)
        horizons = [arm.horizon for arm in arms if width in arm.widths]
        steps = (resolved_steps(h, parameters=parameters, tokens_a_step=tokens) for h in horizons)
        longest = max([longest, *steps])
    return longest * tokens


def digest_of(text: "Corpus | None") -> str:
    """The hash that names a study's text."""
    return NO_TEXT if text is None else text.digest


def tokens_of(text: "Corpus | None") -> int:
    """The bytes of its training tokens, which a device holds; 0 for a study that has no text."""
    return 0 if text is None else text.train.nbytes
