"""What each process of `test_study_sharded.py` runs, under torchrun: `python study_sharded.py SPEC STORE`.

A study whose writer fails when its first population of width 16 has come to step 40: a checkpoint of step 20 is left.
"""

import sys
from pathlib import Path

from widthwise.study import RunState, Sharded, load_spec, run_study


def fail(state: RunState) -> None:
    if state.width == 16 and state.step >= 40:
        raise RuntimeError("the writer is gone")


if __name__ == "__main__":
    run_study(
        load_spec(sys.argv[1]),
        Path(sys.argv[2]),
        device="cpu",
        executor=Sharded(),
        listener=fail,
        checkpoint_seconds=0.0,
    )
