"""A report on disk: all of it or nothing."""

import os
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest

from test_report_example import example
from widthwise.report import write, write_report
from widthwise.report.write import PAGE_NAME

DATA = example(curves=False)
STEMS = ["loss-given-up", "exponents", "loss-against-rate", "best-rate-against-width", "loss-against-size"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_report(DATA, tmp_path_factory.mktemp("study") / "new" / "folder")


def test_the_files(written: tuple[Path, ...]) -> None:
    names = [PAGE_NAME, *(f"{stem}{kind}" for stem in STEMS for kind in (".png", ".svg"))]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted(names)


def test_images_are_what_they_say(written: tuple[Path, ...]) -> None:
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".png":
            assert content.startswith(b"\x89PNG\r\n\x1a\n")
            assert len(content) > 20_000
            width, height = struct.unpack(">II", content[16:24])
            assert 1000 < width < 4000
            assert 400 < height < 3000
        elif path.suffix == ".svg":
            root = ElementTree.fromstring(content)
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            texts = list(root.itertext())
            assert "mup-full" in texts
            assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 10


def test_it_is_the_page_and_writing_again_replaces(written: tuple[Path, ...]) -> None:
    before = written[0].read_bytes()
    written[0].write_text("old")
    assert write_report(DATA, written[0].parent) == written
    assert written[0].read_bytes() == before


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(
            ValueError, match=r"taken is a file, so no report can be written to .*; name another folder"
        ):
            write_report(DATA, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_where_a_file_must_go(tmp_path: Path) -> None:
    (tmp_path / "loss-given-up.png").mkdir()
    with pytest.raises(ValueError, match="is a folder where a file of the report must go"):
        write_report(DATA, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["loss-given-up.png"]


def test_a_folder_that_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="is not writable, so no report"):
        write_report(DATA, tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path.write_bytes

    def fail(path: Path, content: bytes) -> int:
        if path.name == "b":
            raise OSError(28, "No space left on device")
        return plain(path, content)

    monkeypatch.setattr(Path, "write_bytes", fail)
    (tmp_path / "a").write_text("old")
    with pytest.raises(ValueError, match="No space left on device; free some space"):
        write.write_all(tmp_path, {"a": b"new", "b": b"new"})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"
