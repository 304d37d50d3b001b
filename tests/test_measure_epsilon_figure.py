"""The figures of epsilon reports: what they draw from plain rows, what they leave out, and that they can be drawn."""

from pathlib import Path
from typing import Any

import pytest

from widthwise.report.epsilon_figure import epsilon_figures, step_figure, width_figure, write_epsilon_figures
from widthwise.report.figure import static_spec


def row(**values: Any) -> dict[str, Any]:
    """A role's row: at width 64 after 10 steps, a tenth of it below epsilon."""
    return {
        "kind": "role", "name": "hidden", "role": "hidden", "width": 64, "step": 10, "epsilon": 1e-6,
        "exponent": "3/2", "fraction": 0.1, "median_ratio": 8.0, **values,
    }  # fmt: skip


def by_width(**values: Any) -> list[dict[str, Any]]:
    return [row(width=width, median_ratio=8.0 * (64 / width), **values) for width in (64, 256)]


def drawn(figure: Any, kind: str) -> list[tuple[str, str, int, float]]:
    return [(r["panel"], r["line"], r["x"], r["value"]) for r in figure.rows if r["kind"] == kind]


def test_widths_with_theory_through_the_smallest() -> None:
    figure = width_figure(by_width())
    assert figure is not None
    assert drawn(figure, "ratio") == [
        ("", "hidden", 64, pytest.approx(8)),
        ("", "hidden", 256, pytest.approx(2)),
    ]
    assert drawn(figure, "fraction") == [("", "hidden", 64, 0.1), ("", "hidden", 256, 0.1)]
    assert drawn(figure, "theory") == [
        ("", "hidden", 64, pytest.approx(8)),
        ("", "hidden", 256, pytest.approx(1)),
    ]
    assert "Dashed" in " ".join(figure.caption)


def test_theory_is_flat_where_epsilon_follows_the_gradient() -> None:
    rows = [row(width=64), row(width=256, epsilon=1e-6 / 8)]
    figure = width_figure(rows)
    assert figure is not None
    assert [value for *_, value in drawn(figure, "theory")] == [pytest.approx(8), pytest.approx(8)]


def test_without_an_exponent_there_is_no_theory() -> None:
    figure = width_figure(by_width(exponent=None))
    assert figure is not None
    assert drawn(figure, "theory") == []
    assert "Dashed" not in " ".join(figure.caption)


def test_repetitions_are_averaged_as_their_axes_are() -> None:
    rows = [
        row(width=w, seed=s, median_ratio=r, fraction=f)
        for w in (64, 256)
        for s, r, f in ((0, 2, 0.1), (1, 8, 0.3))
    ]
    figure = width_figure(rows)
    assert figure is not None
    assert [value for *_, value in drawn(figure, "ratio")] == [pytest.approx(4)] * 2  # geometric
    assert [value for *_, value in drawn(figure, "fraction")] == [pytest.approx(0.2)] * 2
    assert "Means over 2 seeds." in figure.caption


def test_the_last_shared_step_is_compared_unless_said() -> None:
    rows = [*by_width(step=10), *by_width(step=20, fraction=0.2), row(step=30)]
    figure = width_figure(rows)
    assert figure is not None
    assert figure.title.endswith("after 20 steps")
    assert {value for *_, value in drawn(figure, "fraction")} == {0.2}
    earlier = width_figure(rows, step=10)
    assert earlier is not None
    assert {value for *_, value in drawn(earlier, "fraction")} == {0.1}
    with pytest.raises(
        ValueError, match=r"step 30 was not measured in every run at every width; these were: \[10, 20\]"
    ):
        width_figure(rows, step=30)


def test_steps_of_the_widest_in_a_panel_a_run() -> None:
    rows = [row(step=s, width=w, run=run) for s in (10, 20) for w in (64, 256) for run in ("a", "b")]
    figure = step_figure(rows)
    assert figure is not None
    assert "width 256" in figure.title
    assert [(panel, x) for panel, _, x, _ in drawn(figure, "ratio")] == [
        ("a", 10),
        ("b", 10),
        ("a", 20),
        ("b", 20),
    ]


def test_what_is_undefined_is_not_drawn() -> None:
    rows = [*by_width(), *(row(width=w, name="vector", fraction=None, median_ratio=None) for w in (64, 256))]
    rows += [
        row(width=w, name="readout", median_ratio=0.0) for w in (64, 256)
    ]  # v has underflowed: not on a log axis
    figure = width_figure(rows)
    assert figure is not None
    assert {line for _, line, *_ in drawn(figure, "ratio")} == {"hidden"}
    assert {line for _, line, *_ in drawn(figure, "fraction")} == {"hidden", "readout"}


def test_tensors_are_drawn_where_there_are_no_roles() -> None:
    tensors = [
        row(kind="tensor", name=f"layers.{k}", role="", width=None, step=s) for k in range(12) for s in (1, 2)
    ]
    figure = step_figure(tensors)
    assert figure is not None
    assert len({line for _, line, *_ in drawn(figure, "ratio")}) == 12
    both = step_figure([*tensors, row(width=None, step=1), row(width=None, step=2)])
    assert both is not None
    assert {line for _, line, *_ in drawn(both, "ratio")} == {"hidden"}


def test_one_width_and_one_step_are_no_figure(tmp_path: Path) -> None:
    assert epsilon_figures([row()]) == ()
    with pytest.raises(ValueError, match="nothing to draw: rows of two steps or of two widths"):
        write_epsilon_figures([row()], tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_images_are_written_all_together(tmp_path: Path) -> None:
    rows = [
        row(step=s, width=w, run=run) for s in (10, 20) for w in (64, 256) for run in ("a", "b", "c", "d")
    ]
    paths = write_epsilon_figures(rows, tmp_path, note="A note.")
    assert [path.name for path in paths] == [
        "epsilon-widths.png", "epsilon-widths.svg", "epsilon-steps.png", "epsilon-steps.svg",
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths[::2])
    svg = paths[1].read_text()
    for text in ("Epsilon and gradients by width", "A note.", "coordinates below ε", ">d<"):
        assert text in svg
    (widths, _) = epsilon_figures(rows)
    assert max(map(len, static_spec(widths)["title"]["subtitle"])) < 180
