"""The page holds everything, loads nothing, and no text of the data becomes markup."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import pytest

from test_report_example import SLOPES, example
from widthwise.analysis import transfer
from widthwise.analysis.result import CellStatus, Interval, Regret
from widthwise.report import PageData, render_page
from widthwise.report.page import safe_json

HOSTILE = "</script><img src=x onerror=alert(1)>\"'`\\{{7*7}}\u2028"


class Reader(HTMLParser):
    """The elements of a page, their attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(page)
        self.text = re.sub(r"\s+", " ", " ".join(self.words)).replace("\N{NO-BREAK SPACE}", " ")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self._inside == "script" else self.words).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(example())


@pytest.fixture(scope="module")
def reader(page: str) -> Reader:
    return Reader(page)


def test_sections_in_order(reader: Reader) -> None:
    ids = [attributes["id"] for attributes in reader.all("h2")]
    figures = [
        "loss-given-up",
        "exponents",
        "loss-against-rate",
        "best-rate-against-width",
        "loss-against-size",
        "training-curves",
    ]
    assert ids == ["verdicts", *(f"figure-{name}" for name in figures), "notes", "trials", "cells", "origin"]


def test_the_answer_and_the_facts_are_there(reader: Reader) -> None:
    for text in (
        "The best learning rate transfers with mup-full; it does not with standard-global; standard-full is undecided.",
        "0.12 % (95 % interval 0.00 to 0.43 %)",
        "completed 144",
        "diverged at step 120 (loss 41.2)",
        "One seed's optimum scatters by 0.120 octaves",
        "seeds: [0, 1]",
        "cpu, 2 threads",
        "−1 (outside)",
        "theory, no alignment",
        "best at the lowest rate",
    ):
        assert text in reader.text


def test_nothing_is_loaded_from_elsewhere(reader: Reader) -> None:
    loading = {"src", "href", "action", "data", "poster", "srcset", "formaction"}
    assert [(tag, a) for tag, a in reader.elements if loading & a.keys()] == []
    assert {"link", "iframe", "object", "embed", "base", "img"} & {tag for tag, _ in reader.elements} == set()
    policy = next(
        a["content"] for a in reader.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_styles_import_nothing(page: str) -> None:
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style


def test_tables_and_figures_are_described(reader: Reader) -> None:
    assert all(a.get("scope") in ("row", "col") for a in reader.all("th"))
    charts = [a for a in reader.all("div") if "data-figure" in a]
    assert len(charts) == 6
    assert all(a["role"] == "group" and a["aria-label"] for a in charts)
    assert reader.all("html")[0]["lang"] == "en"


def test_equal_data_gives_equal_bytes(page: str) -> None:
    assert render_page(example()) == page


def test_a_hostile_name_stays_text() -> None:
    data = example(names={"mup-full": HOSTILE})
    failures = (HOSTILE,)
    notes = dataclasses.replace(data.analysis, notes=(HOSTILE,))
    data = dataclasses.replace(
        data,
        title=HOSTILE,
        spec=HOSTILE,
        failures=failures,
        machine={HOSTILE: HOSTILE},
        analysis=notes,
        counts={HOSTILE: 3},
    )
    page = render_page(data)
    reader = Reader(page)
    assert "img" not in {tag for tag, _ in reader.elements}
    assert not [a for _, a in reader.elements if "onerror" in a]
    assert len(reader.all("script")) == 3
    assert page.count("</script>") == 3
    assert "onerror=alert(1)>" in reader.text
    payload = json.loads(reader.scripts[0])
    (table,) = payload["figures"]["loss-given-up"]["tables"]
    assert HOSTILE in table["prescription"]
    assert HOSTILE in payload["arms"]
    boxes = [a["value"] for a in reader.all("input") if a["data-axis"] == "name"]
    assert boxes == ["standard-global", "standard-full", HOSTILE]
    assert HOSTILE in {a.get("data-prescription") for a in reader.all("tr")}


def test_safe_json_is_json_without_a_character_that_html_reads() -> None:
    value = {"b": HOSTILE, "a": [1.5, None, True]}
    text = str(safe_json(value))
    assert json.loads(text) == value
    assert not set("<>&'\u2028\u2029") & set(text)
    with pytest.raises(ValueError, match="Out of range float"):
        safe_json({"a": math.nan})


def test_missing_and_infinite_values_are_said() -> None:
    data = example(curves=False)
    first, second, third = data.analysis.results
    bare = dataclasses.replace(
        second,
        regret=Regret(32, 128, None, None),
        exponent=dataclasses.replace(
            second.exponent, exponent=None, intercept=None, statistical=None, total=None, widths=()
        ),
        cells=tuple(
            dataclasses.replace(
                cell, status=CellStatus.UNRESOLVED, best=None, parabola=None, cubic=None, loss=None
            )
            for cell in second.cells
        ),
        reason="undecided: no width has a minimum",
    )
    lost = dataclasses.replace(third, regret=Regret(32, 128, None, Interval(math.inf, math.inf, math.inf)))
    analysis = dataclasses.replace(data.analysis, results=(first, bare, lost), noises=())
    reader = Reader(render_page(dataclasses.replace(data, analysis=analysis)))
    assert "is undecided: no width has a minimum." in reader.text
    assert "no width with a bracketed optimum; a slope needs two" in reader.text
    assert "diverges" in reader.text
    assert not re.search(r"\b(None|nan|inf)\b", reader.text)


def test_a_bare_table_has_a_page() -> None:
    data = example()
    bare = PageData(title="table.csv", observations=data.observations, analysis=data.analysis)
    reader = Reader(render_page(bare))
    assert "162 runs; how many trials were started is not known." in reader.text
    assert "The machine is not known." in reader.text
    assert "Specification" not in reader.text
    assert "theory," not in reader.text.split("Loss given up at")[0]


def test_no_results_still_make_a_page() -> None:
    data = dataclasses.replace(
        example(curves=False), analysis=dataclasses.replace(example().analysis, results=())
    )
    assert "The table holds no prescription to judge." in Reader(render_page(data)).text


def test_the_analysis_own_result_renders() -> None:
    data = example(curves=False)
    reader = Reader(render_page(dataclasses.replace(data, analysis=transfer(data.observations))))
    assert all(name in reader.text for name in SLOPES)
    assert (
        "does not transfer with standard-global" in reader.text
        or "it does not with standard-global" in reader.text
    )
