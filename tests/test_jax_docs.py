"""docs/jax.md: its Python blocks run in order, each after the first says something that could fail; loads no torch."""

import subprocess
import sys
from pathlib import Path

from test_house_docs import hasty_compilation, python_blocks

BLOCKS = python_blocks((Path(__file__).resolve().parent.parent / "docs" / "jax.md").read_text())


def test_the_page_runs_and_asserts() -> None:
    namespace: dict[str, object] = {"__name__": "jax_page"}
    with hasty_compilation():
        for place, source in BLOCKS.items():
            exec(compile(source, f"docs/jax.md {place}", "exec"), namespace)
    assert len(BLOCKS) == 4
    assert all("assert " in source or "AssertionError" in source for source in BLOCKS.values())


def test_the_room_loads_no_torch() -> None:
    """Two libraries that take an accelerator's memory do not belong in one process unasked."""
    code = "import sys, widthwise.jax; assert 'optax' in sys.modules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
