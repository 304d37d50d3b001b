"""Corpora: where text is read from, and how documents are split; nothing is left to chance or to file names."""

import hashlib
import lzma
import random
import sysconfig
from pathlib import Path

import pytest

from widthwise.train import PYTHON_STDLIB, VOCABULARY, Corpus, load_corpus


def lines(count: int, seed: int = 0) -> list[bytes]:
    """Lines of 20 bytes, all different."""
    rng = random.Random(seed)
    return [f"{i:06d} {''.join(rng.choices('abcdef ', k=12))}\n".encode() for i in range(count)]


def folder(path: Path, documents: list[bytes]) -> str:
    path.mkdir()
    for number, document in enumerate(documents):
        (path / f"{number:04d}.txt").write_bytes(document)
    return str(path)


def documents_of(corpus: Corpus) -> tuple[list[bytes], list[bytes]]:
    """The documents of the training and the validation stream: a zero byte ends each."""
    streams = corpus.train.tobytes(), corpus.validation.tobytes()
    assert all(stream.endswith(b"\0") for stream in streams)
    train, validation = (stream.split(b"\0")[:-1] for stream in streams)
    return train, validation


def test_a_folders_files_are_its_documents(tmp_path: Path) -> None:
    """Of 45 documents the 4 with the smallest hashes are held out; the rest keep the order of their paths."""
    texts = lines(45)
    train, validation = documents_of(load_corpus(folder(tmp_path / "texts", texts)))
    held_out = sorted(texts, key=lambda text: hashlib.sha256(text).digest())[:4]
    assert validation == [text for text in texts if text in held_out]
    assert train == [text for text in texts if text not in held_out]


def test_folders_are_read_to_the_bottom(tmp_path: Path) -> None:
    texts = lines(12)
    folder(tmp_path / "a", texts[:6])
    folder(tmp_path / "a" / "b", texts[6:])
    train, validation = documents_of(load_corpus(str(tmp_path / "a")))
    assert sorted(train + validation) == sorted(texts)
    assert len(validation) == 1


def test_a_file_is_cut_at_line_ends(tmp_path: Path) -> None:
    """A 32nd of 640 lines is 20 of them: 32 documents of 20 lines, of which 3 are held out."""
    texts = lines(640)
    path = tmp_path / "text.txt"
    path.write_bytes(b"".join(texts))
    train, validation = documents_of(load_corpus(str(path)))
    blocks = [b"".join(texts[first : first + 20]) for first in range(0, 640, 20)]
    assert sorted(train + validation) == sorted(blocks)
    assert len(validation) == 3


def test_long_lines_are_not_cut(tmp_path: Path) -> None:
    """A document ends at the first line end at or after its size, and at the end of the file."""
    texts = [b"short\n", b"x" * 1000 + b"\n", b"y\n", b"z" * 10]
    path = tmp_path / "text.txt"
    path.write_bytes(b"".join(texts))
    train, validation = documents_of(load_corpus(str(path)))  # size 1018 // 32 = 31
    assert sorted(train + validation) == sorted([texts[0] + texts[1], texts[2] + texts[3]])


def test_documents_of_a_long_file_are_about_a_block(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_bytes(b"".join(lines(150_000)))
    sizes = [len(document) for stream in documents_of(load_corpus(str(path))) for document in stream]
    assert sum(sizes) == 3_000_000
    assert sorted(sizes)[1:] == [65_540] * (len(sizes) - 1)  # 65536 bytes, to the end of a line of 20


def test_xz_is_the_text_in_it(tmp_path: Path) -> None:
    text = b"".join(lines(100))
    (tmp_path / "text.txt").write_bytes(text)
    (tmp_path / "text.txt.xz").write_bytes(lzma.compress(text))
    plain, packed = load_corpus(str(tmp_path / "text.txt")), load_corpus(str(tmp_path / "text.txt.xz"))
    assert packed.digest == plain.digest
    assert packed.name == str(tmp_path / "text.txt.xz")
    assert (packed.train == plain.train).all()
    assert (packed.validation == plain.validation).all()


def test_the_split_repeats_and_is_disjoint(tmp_path: Path) -> None:
    source = folder(tmp_path / "texts", lines(30))
    one, other = load_corpus(source), load_corpus(source)
    assert one.digest == other.digest
    assert documents_of(one) == documents_of(other)
    train, validation = documents_of(one)
    assert not set(train) & set(validation)
    assert len(train) == 27


def test_the_split_is_by_content(tmp_path: Path) -> None:
    """Under other names, in another order, the same documents are held out."""
    texts = lines(30)
    shuffled = random.Random(1).sample(texts, len(texts))
    one = documents_of(load_corpus(folder(tmp_path / "one", texts)))
    other = documents_of(load_corpus(folder(tmp_path / "other", shuffled)))
    assert [sorted(stream) for stream in one] == [sorted(stream) for stream in other]


@pytest.mark.parametrize("copies", [2, 3, 7])
def test_copies_are_never_on_both_sides(tmp_path: Path, copies: int) -> None:
    """Also where the tenth held out ends between copies: 11 documents in 2, 3 or 7 copies."""
    texts = lines(11) * copies
    train, validation = documents_of(load_corpus(folder(tmp_path / "texts", texts)))
    assert not set(train) & set(validation)
    assert sorted(train + validation) == sorted(texts)
    assert all(validation.count(document) == copies for document in validation)


@pytest.mark.parametrize("seed", range(4))
def test_copies_of_one_document_leave_the_other(tmp_path: Path, seed: int) -> None:
    """Twenty copies of one document and one of another: either may be the one held out, never both."""
    one, other = lines(2, seed)
    train, validation = documents_of(load_corpus(folder(tmp_path / "texts", [*[one] * 20, other])))
    assert [set(train), set(validation)] in ([{one}, {other}], [{other}, {one}])


def test_the_digest_names_the_content(tmp_path: Path) -> None:
    texts = lines(30)
    first = load_corpus(folder(tmp_path / "a", texts))
    elsewhere = load_corpus(folder(tmp_path / "b", texts))
    assert elsewhere.digest == first.digest
    assert len(first.digest) == 64
    changed = [*texts[:29], texts[29].replace(b"000029", b"000030")]
    assert load_corpus(folder(tmp_path / "c", changed)).digest != first.digest


def sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def test_the_digest_knows_where_the_streams_part(tmp_path: Path) -> None:
    """The same bytes with another share of them held out: c of (a, b, c), and b0c of (a, b0c)."""
    candidates = (lines(3, seed) for seed in range(100))
    a, b, c = next(
        (a, b, c)
        for a, b, c in candidates
        if sha256(c) < min(sha256(a), sha256(b)) and sha256(b + b"\0" + c) < sha256(a)
    )
    three = load_corpus(folder(tmp_path / "three", [a, b, c]))
    two = load_corpus(folder(tmp_path / "two", [a, b + b"\0" + c]))
    streams = [corpus.train.tobytes() + corpus.validation.tobytes() for corpus in (two, three)]
    assert streams[0] == streams[1]
    assert len(three.validation) < len(two.validation)
    assert three.digest != two.digest


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder(tmp_path / "texts", lines(4))
    assert load_corpus("~/texts").name == "~/texts"


def test_empty_files_are_no_documents(tmp_path: Path) -> None:
    texts = lines(20)
    with_empty = folder(tmp_path / "a", [b"", *texts[:10], b"", *texts[10:]])
    assert load_corpus(with_empty).digest == load_corpus(folder(tmp_path / "b", texts)).digest


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"nothing.txt' does not exist; give 'python-stdlib', a text file or"
    ):
        load_corpus(str(tmp_path / "nothing.txt"))


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name in ("empty.txt", "folder"):
        with pytest.raises(ValueError, match=f"{name}' is empty; give a file or folder that holds text"):
            load_corpus(str(tmp_path / name))


def test_one_document(tmp_path: Path) -> None:
    (tmp_path / "line.txt").write_bytes(b"one line of text, no more")
    folder(tmp_path / "copies", [b"the same\n"] * 3)
    folder(tmp_path / "single", [b"two lines\nin one file\n"])
    for name in ("line.txt", "copies", "single"):
        with pytest.raises(
            ValueError, match=f"{name}' is one document .*; it needs at least two that differ"
        ):
            load_corpus(str(tmp_path / name))


@pytest.mark.parametrize("data", [b"not compressed", lzma.compress(b"a\n" * 1000)[:-20]], ids=["text", "cut"])
def test_xz_that_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "text.xz").write_bytes(data)
    with pytest.raises(ValueError, match=r"text.xz' cannot be read: "):
        load_corpus(str(tmp_path / "text.xz"))


@pytest.mark.parametrize(
    ("batch", "context", "message"),
    [
        (4, 200, "has 567 training tokens, fewer than the 804 that a batch of 4 x 200 needs"),
        (1, 70, "has 63 validation tokens, fewer than the 71 that a batch of 1 x 70 needs"),
    ],
)
def test_too_short_for_a_batch(tmp_path: Path, batch: int, context: int, message: str) -> None:
    """30 documents of 20 bytes and a zero: 27 and 3 of 21 tokens."""
    corpus = load_corpus(folder(tmp_path / "texts", lines(30)))
    with pytest.raises(ValueError, match=message):
        corpus.require(batch=batch, context=context)


def test_just_long_enough(tmp_path: Path) -> None:
    corpus = load_corpus(folder(tmp_path / "texts", lines(30)))
    corpus.require(batch=9, context=62)  # 9 * 63 = 567 and 63
    with pytest.raises(ValueError, match="fewer than the 64"):
        corpus.require(batch=1, context=63)


def test_python_stdlib_leaves_out_what_is_not_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests, installed packages and other files than modules."""
    kept = ["a.py", "b.py", "package/c.py", "package/deeper/d.py", "testing.py"]
    left = ["test/e.py", "package/tests/f.py", "site-packages/g.py", "lib/dist-packages/h.py", "data.txt"]
    for name in kept + left:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    train, validation = documents_of(load_corpus(PYTHON_STDLIB))
    assert sorted(train + validation) == sorted(f"# {name}\n".encode() for name in kept)


def test_python_stdlib() -> None:
    """What every machine has: megabytes of source, a tenth of it held out."""
    corpus = load_corpus(PYTHON_STDLIB)
    assert corpus.name == PYTHON_STDLIB
    assert len(corpus.train) > 3_000_000
    assert 0.02 < len(corpus.validation) / len(corpus.train) < 0.5
    assert int(corpus.train.max()) < VOCABULARY == 256
    assert b"class JSONDecoder" in corpus.train.tobytes() + corpus.validation.tobytes()
    corpus.require(batch=512, context=512)
