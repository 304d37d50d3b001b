"""Tokenizers, records and token files: what was read is what a tokenizer says, split by document, and read once."""

import hashlib
import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from sentencepiece import SentencePieceTrainer
from tokenizers import Tokenizer as HuggingFace
from tokenizers import models, pre_tokenizers, trainers

from study_example import text, tiny_source, train
from test_train_corpus import documents_of, folder, lines
from widthwise.study import run_study
from widthwise.study.expand import build_model, expand
from widthwise.study.runner import train_recipe
from widthwise.study.text import digest_of, load_text, longest_horizon
from widthwise.train import Corpus, load_corpus, load_tokenizer, load_tokens, token_corpus
from widthwise.train.batches import Batches, validation_windows
from widthwise.train.corpus import held_out
from widthwise.train.documents import documents, streamed

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tokenizer of each kind, made of the tiny study's text: `.json` of whole words, `.model` of byte pairs."""
    path = tmp_path_factory.mktemp("tokenizers")
    words = HuggingFace(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    words.train_from_iterator(
        [text()], trainers.WordLevelTrainer(special_tokens=["[UNK]", "[END]"], show_progress=False)
    )
    words.save(str(path / "words.json"))
    SentencePieceTrainer.train(
        sentence_iterator=iter(text().splitlines()), model_prefix=str(path / "pieces"), vocab_size=60,
        model_type="bpe", minloglevel=2,
    )  # fmt: skip
    return {"json": str(path / "words.json"), "model": str(path / "pieces.model")}


def write_lines(path: Path, texts: Sequence[str], field: str = "text") -> str:
    content = "".join(json.dumps({field: text, "url": "x"}) + "\n" for text in texts).encode()
    path.write_bytes(lzma.compress(content) if path.suffix == ".xz" else content)
    return str(path)


def write_parquet(path: Path, texts: Sequence[str], field: str = "text") -> str:
    parquet.write_table(pa.table({field: list(texts), "id": list(range(len(texts)))}), path, row_group_size=7)
    return str(path)


TEXTS = [line.decode().strip() for line in lines(45)]


def test_records_are_documents_whatever_holds_them(tmp_path: Path) -> None:
    """45 files, JSON lines, the same packed, and Parquet are the same corpus, to the bit."""
    expected = load_corpus(folder(tmp_path / "files", [t.encode() for t in TEXTS]))
    for source in (
        write_lines(tmp_path / "a.jsonl", TEXTS),
        write_lines(tmp_path / "a.jsonl.xz", TEXTS),
        write_parquet(tmp_path / "a.parquet", TEXTS),
    ):
        assert load_corpus(source).digest == expected.digest
    other = write_lines(tmp_path / "b.jsonl", TEXTS, field="body")
    assert load_corpus(other, text_field="body").digest == expected.digest


def test_a_folder_of_records_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    write_lines(tmp_path / "parts" / "2.jsonl", TEXTS[10:30])
    write_parquet(tmp_path / "parts" / "1.parquet", TEXTS[:10])
    (tmp_path / "parts" / "3.txt").write_text(TEXTS[30])
    assert [d.decode() for d in documents(str(tmp_path / "parts"), text_field="text")] == TEXTS[:31]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"a\.jsonl', line 2, is not JSON"),
        ("a.jsonl", b'{"text": "a"}\n\n{"body": "a"}\n', r"line 3: no text in field 'text'; it has \['body'\]: set"),
        ("a.jsonl", b"[1]\n", r"line 1: no text in field 'text'; it has list: set text_field"),
        ("a.jsonl.xz", b"no xz", r"a\.jsonl\.xz' cannot be read"),
        ("a.parquet", b"no parquet", r"a\.parquet' is no Parquet"),
    ],
)  # fmt: skip
def test_records_that_are_wrong(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=says):
        load_corpus(str(tmp_path / name))


def test_parquet_without_the_field(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no text in field 'text'; it has \['body', 'id'\]: set text_field"):
        load_corpus(write_parquet(tmp_path / "a.parquet", TEXTS, field="body"))
    nothing = tmp_path / "b.parquet"
    parquet.write_table(pa.table({"text": ["a", None]}), nothing)
    with pytest.raises(ValueError, match=r"b\.parquet', row 1: no text in field 'text'"):
        load_corpus(str(nothing))


@pytest.mark.parametrize("kind", ["json", "model"])
def test_tokens_are_the_tokenizers_split_as_bytes_are(
    tmp_path: Path, tokenizers: dict[str, str], kind: str
) -> None:
    """Every document by itself, between its marks, on the side on which its bytes are."""
    tokenizer = load_tokenizer(tokenizers[kind], vocabulary=100, start=98, end=99)
    texts = [line for line in text().splitlines()[:60] if line]
    source = write_lines(tmp_path / "a.jsonl", texts)
    corpus = load_tokens(source, tokenizer, folder=tmp_path / "cache")
    ranks = [hashlib.sha256(t.encode()).digest() for t in texts]
    last = held_out(ranks, source)
    for stream, held in ((corpus.train, False), (corpus.validation, True)):
        own = [t for t, rank in zip(texts, ranks, strict=True) if (rank <= last) is held]
        assert stream.tolist() == [token for t in own for token in (98, *tokenizer.encode(t), 99)]
    train_bytes, validation_bytes = documents_of(load_corpus(source))
    assert (corpus.train == 98).sum() == len(train_bytes)
    assert (corpus.validation == 98).sum() == len(validation_bytes)


def test_tokens_are_made_once(
    tmp_path: Path, tokenizers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, cache = write_lines(tmp_path / "a.jsonl", text().splitlines()[:60]), tmp_path / "cache"
    tokenizer = load_tokenizer(tokenizers["json"], vocabulary=20)
    first = load_tokens(source, tokenizer, folder=cache)
    (file,) = cache.iterdir()
    written = file.read_bytes()
    monkeypatch.setattr(token_corpus, "_write", lambda *_: pytest.fail("written again"))
    again = load_tokens(source, tokenizer, folder=cache)
    assert (again.digest, again.train.tolist()) == (first.digest, first.train.tolist())
    assert [p.name for p in cache.iterdir()] == [file.name]
    assert file.read_bytes() == written
    monkeypatch.undo()
    write_lines(tmp_path / "a.jsonl", text().splitlines()[:61])
    assert load_tokens(source, tokenizer, folder=cache).digest != first.digest
    marked = load_tokenizer(tokenizers["json"], vocabulary=20, end=19)
    assert load_tokens(source, marked, folder=cache).digest != first.digest
    assert len(list(cache.iterdir())) == 3


def test_a_token_file_that_is_cut_is_not_used(tmp_path: Path, tokenizers: dict[str, str]) -> None:
    source, cache = write_lines(tmp_path / "a.jsonl", text().splitlines()[:60]), tmp_path / "cache"
    tokenizer = load_tokenizer(tokenizers["json"], vocabulary=20)
    load_tokens(source, tokenizer, folder=cache)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(ValueError, match="is damaged: it is cut short; remove it"):
        load_tokens(source, tokenizer, folder=cache)


def test_as_much_is_taken_as_is_asked_for(tmp_path: Path, tokenizers: dict[str, str]) -> None:
    source = write_lines(tmp_path / "a.jsonl", text().splitlines()[:60])
    tokenizer = load_tokenizer(tokenizers["json"], vocabulary=20)
    whole = load_tokens(source, tokenizer, folder=tmp_path)
    part = load_tokens(source, tokenizer, most_tokens=100, folder=tmp_path)
    assert part.train.tolist() == whole.train[:100].tolist()
    assert part.validation.tolist() == whole.validation.tolist()
    assert part.digest != whole.digest


@pytest.mark.parametrize("kind", ["json", "model"])
def test_a_tokenizer_that_does_not_match_its_corpus(
    tmp_path: Path, tokenizers: dict[str, str], kind: str
) -> None:
    source = write_lines(tmp_path / "a.jsonl", ["Übermaß и мир", "完全に別の", "что"])
    with pytest.raises(
        ValueError, match=r"does not match corpus .*% of its \d+ tokens are unknown to it; give the"
    ):
        load_tokens(source, load_tokenizer(tokenizers[kind], vocabulary=100), folder=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("kind", ["json", "model"])
def test_a_tokenizer_that_is_larger_than_the_vocabulary(tokenizers: dict[str, str], kind: str) -> None:
    size = load_tokenizer(tokenizers[kind], vocabulary=100).size
    assert load_tokenizer(tokenizers[kind], vocabulary=size).size == size
    says = (
        rf"has tokens up to {size - 1}, but the vocabulary is 5: set tokenizer.vocabulary to {size}, or give"
    )
    with pytest.raises(ValueError, match=says):
        load_tokenizer(tokenizers[kind], vocabulary=5)
    with pytest.raises(ValueError, match=f"has tokens up to {size}, but the vocabulary is {size}"):
        load_tokenizer(tokenizers[kind], vocabulary=size, end=size)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no.json", "cannot be read: No such file"),
        ("bad.json", "is not one of Hugging Face's"),
        ("bad.model", "is no SentencePiece model"),
        ("bad.txt", r"is neither a SentencePiece \.model nor a \.json"),
    ],
)
def test_what_is_no_tokenizer(tmp_path: Path, name: str, says: str) -> None:
    if name.startswith("bad"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ValueError, match=says):
        load_tokenizer(str(tmp_path / name), vocabulary=100)


def test_bytes_that_are_no_text(tmp_path: Path, tokenizers: dict[str, str]) -> None:
    source = folder(tmp_path / "texts", [b"\xff\xfe", b"alpha", b"beta"])
    with pytest.raises(ValueError, match="is not UTF-8, as a tokenizer needs it"):
        load_tokens(source, load_tokenizer(tokenizers["json"], vocabulary=20), folder=tmp_path / "cache")


def test_batches_of_large_numbers() -> None:
    """16-bit tokens keep their values, above 2^15 too: windows against NumPy's own indexing."""
    rng = np.random.default_rng(0)
    corpus = Corpus(
        "c", rng.integers(2**16, size=500).astype("<u2"), rng.integers(2**16, size=90).astype("<u2"), "d"
    )
    batches = Batches(corpus, [3], steps=2, batch=4, context=8, device=CPU)
    starts = np.random.default_rng(3).integers(500 - 8, size=(2, 4))
    for step in (1, 2):
        expected = corpus.train[starts[step - 1][:, None] + np.arange(9)].astype(np.int64)
        assert batches.at(step)[0].tolist() == expected.tolist()
    assert int(corpus.train.max()) > 2**15
    windows = validation_windows(corpus, windows=3, context=8, device=CPU)
    assert windows[0].tolist() == corpus.validation[:9].tolist()
    assert windows[-1].tolist() == corpus.validation[-9:].tolist()


def tokenized(tmp_path: Path, tokenizers: dict[str, str], **changes: Any) -> dict[str, Any]:
    source = write_lines(tmp_path / "a.jsonl", text().splitlines())
    return {
        "corpus": source,
        "tokenizer": {"file": tokenizers["json"], "vocabulary": 12, "end": 1},
        **changes,
    }


def test_a_study_through_a_tokenizer(
    tmp_path: Path, tokenizers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIDTHWISE_CACHE", str(tmp_path / "cache"))
    source = tiny_source(**tokenized(tmp_path, tokenizers, widths=[8], seeds=[0]))
    study = train(source, tmp_path / "s.sqlite")
    recipe = json.loads(study.trials[1].recipe)
    assert recipe["model"]["vocabulary"] == 12
    assert recipe["corpus"] == study.corpus == digest_of(load_text(source.spec))
    assert train_recipe(recipe).model == build_model(source.spec, 8)
    losses = [trial.validation_loss for trial in study.trials.values()]
    assert all(loss is not None and 0.5 * np.log(12) < loss < 1.5 * np.log(12) for loss in losses)
    bytes_ = tiny_source(widths=[8], seeds=[0]).spec
    assert "vocabulary" not in expand(bytes_, corpus="0" * 64, population_size=1).trials[0].recipe["model"]


def test_a_corpus_smaller_than_the_horizon(tmp_path: Path) -> None:
    """1,200 bytes in documents of 40 and a mark; 20 steps of 2 x 8 tokens are fewer, 200 are more."""
    path = folder(tmp_path / "texts", lines(60))
    spec = tiny_source(path, training={"steps": 20, "batch": 2}).spec
    corpus = load_text(spec)
    assert corpus is not None
    long = tiny_source(path, training={"steps": 200, "batch": 2})
    assert longest_horizon(long.spec) == 3200
    epochs = 3200 / len(corpus.train)
    says = rf"1,134 training tokens; .*, 3,200 of them, is {epochs:.3g} epochs, more than 1.*`epochs: 2\.9`"
    with pytest.raises(ValueError, match=says):
        run_study(long, tmp_path / "s.sqlite", device="cpu")
    assert not (tmp_path / "s.sqlite").exists()
    allowed = tiny_source(path, training={"steps": 200, "batch": 2}, epochs=2.9).spec
    assert digest_of(load_text(allowed)) == corpus.digest


def test_the_longest_horizon_is_of_all_arms_and_widths() -> None:
    arm = {"parameterization": "mup", "rates": "full"}
    arms = [{**arm, "horizon": "compute-optimal", "widths": [8]}, {**arm, "horizon": [7, 9]}]
    spec = tiny_source(arms=arms).spec
    assert longest_horizon(spec) == round(20 * 2904 / 16) * 16
    everywhere = tiny_source(arms=[{**arm, "horizon": "compute-optimal"}]).spec
    assert longest_horizon(everywhere) == 20 * 7344  # of width 16


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"corpus_tokens": 5}, "corpus_tokens: is for a corpus that is read through a tokenizer"),
        ({"epochs": 0}, "epochs: Input should be greater than 0"),
        ({"tokenizer": {"file": "a.model"}}, "tokenizer.vocabulary: is missing; add it"),
        (
            {"tokenizer": {"file": "a.model", "vocabulary": 9, "start": 9}},
            "tokenizer: start 9 is no token of a vocabulary of 9; the last is 8",
        ),
    ],
)
def test_sections_that_contradict(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match="mistake") as caught:
        tiny_source(**changes)
    assert says in str(caught.value)


def test_c4_is_read_through_a_tokenizer_and_has_an_end(tokenizers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="corpus 'c4' is read through a tokenizer"):
        load_text(tiny_source("c4").spec)
    tokenizer = {"file": tokenizers["json"], "vocabulary": 20}
    with pytest.raises(
        ValueError, match="'c4' is a stream without an end: say how much of it to take, `corpus_tokens`"
    ):
        load_text(tiny_source("c4", tokenizer=tokenizer).spec)


def test_a_data_set_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way C4 is read, on files of its form that are here: through `datasets`, split by split."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    files = {
        split: write_lines(tmp_path / f"{split}.jsonl", TEXTS[:n])
        for split, n in (("train", 30), ("validation", 5))
    }
    for split, count in (("train", 30), ("validation", 5)):
        found = streamed(split, text_field="text", dataset="json", data_files=files)
        assert [d.decode() for d in found] == TEXTS[:count]
    with pytest.raises(
        ValueError, match=r"'json', train, record 0: no text in field 'body'; it has \['text', 'url'\]"
    ):
        list(streamed("train", text_field="body", dataset="json", data_files=files))


def test_c4s_own_splits_become_the_streams(
    tmp_path: Path, tokenizers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = text().splitlines()
    splits = {"train": words[:50], "validation": words[50:60]}
    monkeypatch.setattr(
        token_corpus, "streamed", lambda split, text_field: (t.encode() for t in splits[split])
    )
    tokenizer = load_tokenizer(tokenizers["json"], vocabulary=20, end=1)
    corpus = load_tokens("c4", tokenizer, most_tokens=100, folder=tmp_path)
    expected = {name: [i for t in texts for i in (*tokenizer.encode(t), 1)] for name, texts in splits.items()}
    assert corpus.train.tolist() == expected["train"][:100]
    assert corpus.validation.tolist() == expected["validation"]
