"""What each process of `test_study_sharded.py` runs, under torchrun: `python study_sharded.py SPEC STORE PHASE`.

fails     the writer does when its first population of width 16 has come to step 40: a checkpoint of step 20 is left
small     devices that have no memory for more than two members
"""

import sys
from pathlib import Path
from typing import Any

import torch

from widthwise.study import RunState, Sharded, load_spec, run_study


def fail(state: RunState) -> None:
    if state.width == 16 and state.step >= 40:
        raise RuntimeError("the writer is gone")


def on_small_devices() -> None:
    from widthwise.wide import train_sharded as module

    whole = module.train_sharded

    def train_sharded(recipe: Any, members: Any, corpus: Any, **options: Any) -> Any:
        if len(members) > 2:
            raise torch.OutOfMemoryError("two members and no more")
        return whole(recipe, members, corpus, **options)

    module.train_sharded = train_sharded


if __name__ == "__main__":
    if sys.argv[3] == "small":
        on_small_devices()
    run_study(
        load_spec(sys.argv[1]),
        Path(sys.argv[2]),
        device="cpu",
        executor=Sharded(),
        listener=fail if sys.argv[3] == "fails" else None,
        checkpoint_seconds=0.0,
    )
