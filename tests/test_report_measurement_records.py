"""Records that claims are judged by: those that are committed, what is read of them, and what is refused."""

import json
from pathlib import Path

import pytest

from benchmark_modules import BENCHMARKS
from widthwise.report.measurement_records import read_measurements
from widthwise.theory import AlignmentQuantity

RESULTS = BENCHMARKS / "results"


def test_the_committed_records_are_read() -> None:
    found = read_measurements([RESULTS / "wide_check.json", RESULTS / "claims_check.json"])
    assert {one.parameterization for one in found.gradients} == {"standard", "ntk", "mup", "mean-field"}
    assert {one.role for one in found.gradients} >= {"embedding", "hidden", "readout"}
    assert {one.width for one in found.gradients} >= {128, 16384}
    assert len(found.gauge) == 8
    assert {(one.optimizer, one.epsilon) for one in found.gauge} == {("adam-atan2", 0.0), ("adam", 1e-9)}
    assert {one.width for one in found.initial} == {64, 128, 256, 512}
    assert {(one.quantity, one.progress) for one in found.initial} == {(AlignmentQuantity.PRODUCT, 0.0)}
    assert {one.fan_in for one in found.initial if one.layer == "blocks.0.mlp.down"} == {256, 512, 1024, 2048}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[1]", "no cases of the parts 'gradients', 'gauge', 'alignment at initialization'"),
        ('{"cases": [{"part": "largest"}]}', "no cases of the parts"),
        (
            '{"cases": [{"part": "gauge", "pair": ["a", "b"]}]}',
            "a case of the part 'gauge' lacks or misstates 'seed'",
        ),
        ('{"cases": [{"part": "gradients", "rms": 3}]}', "a case of the part 'gradients' lacks or misstates"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason) as error:
        read_measurements([path])
    assert str(error.value).startswith(f"evidence {str(path)!r}: ")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_measurements([tmp_path / "none.json"])


def test_a_size_that_is_not_a_number_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    case = {"part": "gradients", "width": 8, "seed": 0, "parameterization": "ntk", "rms": {"hidden": None}}
    path.write_text(json.dumps({"cases": [case, {"part": "other"}]}))
    (one,) = read_measurements([path]).gradients
    assert one.rms != one.rms
