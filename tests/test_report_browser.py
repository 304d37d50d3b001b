"""The page in a real browser: every chart is drawn, nothing complains, nothing is fetched, wide and narrow."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chromium import CHROMIUM, Browser
from test_report_example import example
from widthwise.report import render_page

HOSTILE = "</script><img src=x onerror=console.error(1)>'\"\\"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    try:
        browser.attach()
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    data = example(names={"mup-full": HOSTILE})
    path.write_text(render_page(dataclasses.replace(data, title=HOSTILE)))
    return path


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)])
def test_every_chart_is_drawn_and_fits(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.value("document.querySelectorAll('img').length") == 0
    charts = browser.value(
        "[...document.querySelectorAll('[data-figure]')].map((chart) => [chart.querySelectorAll('svg path').length,"
        " chart.querySelector('svg').getBoundingClientRect().width <= chart.clientWidth + 0.5])"
    )
    assert len(charts) == 6
    assert all(paths > 10 and fits for paths, fits in charts)
    assert (
        browser.value("document.documentElement.scrollWidth === document.documentElement.clientWidth") is True
    )
    titles = browser.value(
        "[...document.querySelectorAll('[data-figure] svg text')].map((text) => text.textContent)"
    )
    assert sum(HOSTILE[:12] in title for title in titles) >= 3


def test_a_prescription_can_be_hidden_and_a_width_chosen(browser: Browser, page: Path) -> None:
    browser.open(page, width=1400, dark=False)
    panels = "document.querySelectorAll('[data-figure=loss-against-rate] .role-scope').length"
    before = browser.value(panels)
    browser.value("document.querySelector('input[data-axis=name]').click()")
    browser.wait_for(f"{panels} < {before}")
    select = "document.querySelector('[data-figure=training-curves] select')"
    browser.wait_for(f"{select} !== null")
    path = "document.querySelector('[data-figure=training-curves] svg .mark-line path').getAttribute('d')"
    drawn = browser.value(path)
    browser.value(f"{select}.selectedIndex = 0; {select}.dispatchEvent(new Event('change'))")
    browser.wait_for(f"{path} !== {json.dumps(drawn)}")
    assert browser.complaints() == []


def test_a_width_keeps_its_colour_whatever_is_chosen(browser: Browser, page: Path) -> None:
    """Without the smallest of three, the legend names two, in the colours that they had, and so are lines and marks."""
    browser.open(page, width=1400, dark=False)
    chart = "document.querySelector('[data-figure=loss-against-rate]')"
    legend = (
        f"[...{chart}.querySelectorAll('.role-legend-label text')].map((text, k) => [text.textContent,"
        f" {chart}.querySelectorAll('.role-legend-symbol path')[k].getAttribute('stroke')])"
    )
    drawn = (
        f"[...new Set([...{chart}.querySelectorAll('.mark-line path, .mark-symbol.role-mark path')].flatMap("
        "(mark) => ['stroke', 'fill'].map((of) => mark.getAttribute(of))))].filter((colour) => colour?.startsWith('#'))"
    )
    named = dict(browser.value(legend))
    assert list(named) == ["32", "64", "128"]
    assert set(named.values()) <= set(browser.value(drawn))
    browser.value("document.querySelector('input[data-axis=width]').click()")
    browser.wait_for("document.documentElement.dataset.ready === 'yes'")
    smallest = named.pop("32")
    assert dict(browser.value(legend)) == named
    shown = set(browser.value(drawn))
    assert set(named.values()) <= shown
    assert smallest not in shown
    assert browser.complaints() == []
