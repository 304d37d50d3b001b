"""The alignment experiment's page says in words what its tables say, which are made from the stores."""

import re
import sys
from collections.abc import Iterator

import pytest

from house_rules import SOURCE

ROOT = SOURCE.parent.parent
sys.path.insert(0, str(ROOT / "studies" / "alignment"))

from summarize import BEGIN, PAGE  # noqa: E402

PROSE, _, TABLES = PAGE.read_text("utf-8").partition(BEGIN)
WORDS = " ".join(PROSE.split())
README = " ".join((ROOT / "README.md").read_text("utf-8").split())
NUMBER = re.compile(r"[-+]?\d+\.\d+")


def numbers(text: str) -> list[float]:
    return [float(found) for found in NUMBER.findall(text)]


def rows(title: str) -> Iterator[list[str]]:
    """The cells of a table's rows, without its head."""
    table = TABLES.split(f"### {title}\n\n")[1].split("\n\n")[0]
    for line in table.splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def difference(case: str, start: str) -> tuple[list[float], list[float]]:
    """A difference at the largest width, with its interval: by all arms' noise, and by the two arms' seeds alone."""
    (found,) = (
        row for row in rows("Differences at the largest width") if row[0] == case and row[1].startswith(start)
    )
    return numbers(found[2]), numbers(found[3])


N = r"(-?\d\.\d{3})"
RANGE = rf"{N} to {N}"
DIFFERENCES = {
    "Adam, standard, full": (
        "adam-standard",
        "measured - (full, the nearest",
        -1,
        rf"by {N} nats against full and",
        "e",
    ),
    "Adam, standard, constant": (
        "adam-standard",
        "measured - (full with the readout",
        -1,
        rf"against full and {N} \({RANGE} by all arms' noise; by the seeds of the two arms alone {RANGE}\)",
        "epq",
    ),
    "Adafactor, muP, full": (
        "adafactor-mup",
        "measured - (full)",
        1,
        rf"Adafactor with muP, by {N} \({RANGE} by its own seeds; by all arms' noise, which .* large, {RANGE}\)",
        "eqp",
    ),
    "Adam, muP, constant": (
        "adam-mup",
        "constant - (full)",
        -1,
        rf"it gains {N} nats at .* \({RANGE} by all arms' noise; by these arms' seeds alone {RANGE}:",
        "epq",
    ),
}
"""Case, row, sign in words, the words, and in which order they say estimate (e), all arms' (p) and own interval (q)."""


@pytest.mark.parametrize(("case", "start", "sign", "words", "order"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_differences_in_words_are_the_tables(
    case: str, start: str, sign: int, words: str, order: str
) -> None:
    """Three decimals of the same number of which the table has four: half a unit of each apart."""
    found = re.search(words, WORDS)
    assert found is not None, f"the page no longer says: {words}"
    pooled, own = difference(case, start)
    bounds = {"e": pooled[:1], "p": pooled[1:], "q": own[1:]}
    expected = [value for part in order for value in sorted(sign * bound for bound in bounds[part])]
    assert [float(said) for said in found.groups()] == pytest.approx(expected, abs=5.51e-4)


SHORT = {"adam": "Adam", "sgd": "SGD", "adafactor": "Adafactor", "standard": "standard", "mup": "muP"}


def test_the_drifts_in_short_are_the_tables() -> None:
    """To the digit, and in italics where the interval does not hold zero; README's four too."""
    said: dict[tuple[str, str], list[str]] = {}
    case = ""
    for line in PROSE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 6 and cells[1].isdigit():
            case = cells[0] or case
            said[case, cells[1]] = cells[2:]
    found = list(rows("Moved less predicted, mean over arms, octaves"))
    assert len(said) == len(found) == 12
    for name, width, _, *cells in found:
        for one, cell in zip(
            said[", ".join(SHORT[part] for part in name.split("-")), width], cells, strict=True
        ):
            estimate, low, high = numbers(cell)
            assert numbers(one) == [estimate, low, high]
            assert one.startswith("*") == (low > 0 or high < 0)
    adam = said["Adam, standard", "1024"]
    preset = [adam[3], *adam[:3]]
    names = ("measured", "full", "mid", "none")
    assert ", ".join(f"{n} {c.strip('*')}" for n, c in zip(names, preset, strict=True)) in README


def test_the_losses_in_short_are_the_tables() -> None:
    """Each of the nearest preset, the constant alone and measured; the difference with its own interval."""
    head = ["global", "full", "mid", "none", "measured", "constant"]
    table = rows("Loss at the largest width, at the transferred rate")
    losses = {row[0]: dict(zip(head, row[3:9], strict=True)) for row in table}
    seen = 0
    for name, by_arm in losses.items():
        title = ", ".join(SHORT[part] for part in name.split("-"))
        (line,) = (x for x in PROSE.splitlines() if x.startswith(f"| {title} | full "))
        cells = [cell.strip().replace("*", "") for cell in line.strip("|").split("|")]
        for arm, loss in re.findall(r"\(?(full|mid) (\d\.\d{4})", cells[1]):
            assert float(loss) == numbers(by_arm[arm])[0]
        assert numbers(cells[2])[0] == numbers(by_arm["constant"])[0]
        if NUMBER.match(cells[3]):
            assert numbers(cells[3]) == numbers(by_arm["measured"])[:1]
        if len(numbers(cells[4])) == 3:
            start = "measured - (full)" if name == "adafactor-mup" else "measured - (full, the nearest"
            assert numbers(cells[4]) == pytest.approx(difference(name, start)[1], abs=5.51e-4)
            seen += 1
    assert (len(losses), seen) == (6, 4)
