"""The page that compares the one-GPU study with the paper: what the kept stores say, and how it is made."""

import sys
from pathlib import Path

import pytest

from house_rules import SOURCE
from study_example import invented_store, valley, wide

ROOT = SOURCE.parent.parent
sys.path.insert(0, str(ROOT / "studies" / "paper-h200"))

from reproduce import ARCHIVE, PAGE, main, page, unpacked  # noqa: E402


def test_the_page_is_what_the_kept_stores_say() -> None:
    if not ARCHIVE.exists():
        assert not PAGE.exists(), "a page needs the stores that it was made from"
        pytest.skip("the study's stores are not kept here yet")
    with unpacked(None) as folder:
        assert page(folder, None) == PAGE.read_text(encoding="utf-8")


def test_a_page_of_a_folder_of_stores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = wide(name="small", arms=[{"parameterization": "mup", "rates": ["global", "full"]}])
    losses = valley({"mup-global": -1.0, "mup-full": 0.0})
    invented_store(tmp_path / "paper-h200.sqlite", source, losses)
    out = tmp_path / "page.md"
    picture = tmp_path / "page.png"
    main(["--stores", str(tmp_path), "--out", str(out), "--figure", str(picture), "--text", "old books"])
    assert capsys.readouterr().out == f"{out}\n{picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    text = out.read_text(encoding="utf-8")
    assert text.startswith("# small, beside the paper")
    assert "old books" in text
    assert "| 14 | Standard = NTK and muP = mean-field up to gauge; a fixed epsilon breaks it." in text
    with pytest.raises(SystemExit, match=r"does not exist|Missing argument"):
        main(["--stores", str(tmp_path / "none"), "--out", str(out)])
