"""The paper's fourteen widths on one GPU: the largest at speed, gradients against n^(-g), four optimizers, epsilon.

    PYTHONPATH=src python benchmarks/wide_check.py          all parts, as far as --minutes go; writes its record

    --parts largest gradients optimizers formats fidelity      the order is kept
    --widths 128 256 ... 16384     --minutes 8     --text FILE (bytes; else uniform tokens)     --out FILE
    --micro-sequences 8       of a piece in the part `largest`: more are faster and take more memory
    --optimizer adam          of the part `largest`: adafactor takes 52 GiB less at width 16384
    --smoke       small models on a CPU, every part to its end, nothing written

Parts, each under the absolute anchor, multipliers in the forward pass, per-layer rates, full alignment:

  largest     the largest width, standard, bfloat16 weights and 8-bit state: ten steps of 4 pieces, then one step of 32,
              block inputs in host memory: memory, tokens a second, model TFLOP/s
  gradients   every width and parameterization at the start: RMS gradients by role, their powers of the width over all
              widths with intervals over two seeds
  optimizers  every width, parameterization and optimizer (SGD, Adam, Adafactor, Adam-atan2): ten steps; activations
              and their changes, the median of sqrt(v_hat) over epsilons of 1e-9, 1e-15 and per layer, by role
  formats     the last at three small widths with float32 state beside 8 bits
  fidelity    106 M parameters, 400 steps on text (the standard library's source, or --text), three seeds: bfloat16
              weights and 8-bit state against float32 ones

A part that fails, or that has no time left, says so in its rows and does not stop the next. The record is written
after every case.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _record import RESULTS, Row, attempted, machine, make_record, versions, write_json
from _wide_model import OPTIMIZERS, WIDTHS, Shape, Tokens
from _wide_parts import PARTS, Check

from widthwise.train import PYTHON_STDLIB, load_corpus

RESULT = RESULTS / "wide_check.json"
SMALL = Shape(depth=2, head_dim=16, vocabulary=96, context=16, base_width=32)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--widths", nargs="+", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--micro-sequences", type=int, default=8)
    parser.add_argument("--optimizer", choices=list(OPTIMIZERS), default="adam")
    parser.add_argument("--text", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--smoke", action="store_true")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts; 1 if any row failed."""
    asked = arguments(argv)
    device = torch.device("cpu" if asked.smoke else asked.device)
    shape = SMALL if asked.smoke else Shape()
    widths = tuple(asked.widths or ((32, 64, 96) if asked.smoke else WIDTHS))
    check = Check(
        shape=shape,
        widths=widths,
        trained=widths[:1] if asked.smoke else widths,
        tokens=Tokens(shape, device, None if asked.text is None else asked.text.read_bytes()),
        text=Tokens(shape, device, bytes(load_corpus(str(asked.text or PYTHON_STDLIB)).train)),
        fidelity_width=32 if asked.smoke else 768,
        optimizer=asked.optimizer,
        long_steps=8 if asked.smoke else 400,
        device=device,
        micro_sequences=2 if asked.smoke else asked.micro_sequences,
        repeated_to=96 if asked.smoke else 4096,
        few_sequences=2 if asked.smoke else 4,
        steps=2 if asked.smoke else asked.steps,
        deadline=time.monotonic() + 60 * asked.minutes,
    )
    rows: list[Row] = []

    def save() -> None:
        if asked.smoke:
            return
        cuda = device.type == "cuda"
        record = make_record(
            "wide_check",
            [finite(item) for item in rows],
            machine=machine(torch.cuda.get_device_name(device) if cuda else None),
            versions=versions("torch", "triton", "numpy"),
            cases=[finite(case) for case in check.cases],
        )
        write_json(asked.out, record)

    check.save = save
    for part in asked.parts:
        rows.extend(attempted(part, lambda part=part: PARTS[part](check)))
        save()
    return int(any("error" in item for item in rows))


def finite(value: Any) -> Any:
    """A value for JSON, which has no NaN: None in its place.

    Example:
        >>> finite({"losses": [1.0, float("nan")]})
        {'losses': [1.0, None]}
    """
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    raise SystemExit(main())
