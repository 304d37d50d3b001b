"""Tokenizers from their files: a SentencePiece model, or the JSON of Hugging Face's `tokenizers`."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_UNKNOWN = 0.01
"""A text of which more than this share of tokens is unknown to a tokenizer is not the text it was made for."""


@dataclass(frozen=True)
class Tokenizer:
    """A function from text to numbers, and what it may give.

    Args:
        file: where it came from.
        digest: SHA-256 of the file, hexadecimal.
        size: how many numbers it knows.
        unknown: the number of what it does not know; None where it knows every byte.
        encode: text -> numbers.
        start, end: what stands before and after every document; None for nothing.
    """

    file: str
    digest: str
    size: int
    unknown: int | None
    encode: Callable[[str], Sequence[int]]
    start: int | None = None
    end: int | None = None

    @property
    def identity(self) -> str:
        """What its tokens depend on, in a line."""
        return f"{self.digest}/{self.start}/{self.end}"


def load_tokenizer(
    file: str, *, vocabulary: int, start: int | None = None, end: int | None = None
) -> Tokenizer:
    """Read a tokenizer.

    Args:
        file: a SentencePiece `.model`, or a `.json` of Hugging Face's `tokenizers`.
        vocabulary: how many tokens the model knows; the tokenizer may know fewer.
        start, end: the numbers of a token before and after every document.

    Raises:
        ValueError: no such file, not a tokenizer, its library is not installed, or more tokens than the vocabulary.
    """
    path = Path(file).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"tokenizer {file!r} cannot be read: {error.strerror}") from error
    read = {".json": _hugging_face, ".model": _sentence_piece}.get(path.suffix)
    if read is None:
        raise ValueError(
            f"tokenizer {file!r} is neither a SentencePiece .model nor a .json of Hugging Face's tokenizers"
        )
    encode, size, unknown = read(path)
    largest = max(size - 1, start or 0, end or 0)
    if largest >= vocabulary:
        raise ValueError(
            f"tokenizer {file!r} has tokens up to {largest}, but the vocabulary is {vocabulary}: set "
            f"tokenizer.vocabulary to {largest + 1}, or give the tokenizer that goes with it"
        )
    return Tokenizer(file, hashlib.sha256(content).hexdigest(), size, unknown, encode, start, end)


def _hugging_face(path: Path) -> tuple[Callable[[str], Sequence[int]], int, int | None]:
    try:
        from tokenizers import Tokenizer as HuggingFace
    except ImportError as error:
        raise ValueError(f"tokenizer {str(path)!r} needs tokenizers: pip install 'widthwise[hf]'") from error
    try:
        found = HuggingFace.from_file(str(path))
    except Exception as error:  # the library raises no class of its own
        raise ValueError(f"tokenizer {str(path)!r} is not one of Hugging Face's: {error}") from error
    found.no_padding()
    found.no_truncation()
    names = (getattr(found.model, "unk_token", None), "<unk>", "[UNK]")
    unknown = next((found.token_to_id(n) for n in names if n and found.token_to_id(n) is not None), None)
    return lambda text: found.encode(text, add_special_tokens=False).ids, found.get_vocab_size(), unknown


def _sentence_piece(path: Path) -> tuple[Callable[[str], Sequence[int]], int, int | None]:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise ValueError(
            f"tokenizer {str(path)!r} needs sentencepiece: pip install 'widthwise[hf]'"
        ) from error
    try:
        found = SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise ValueError(f"tokenizer {str(path)!r} is no SentencePiece model: {error}") from error
    unknown = found.unk_id()
    return found.encode, found.get_piece_size(), unknown if unknown >= 0 else None
