"""The suite's settings: one torch thread per worker, repeatable examples, device tests where there is one."""

import atexit
import gc
import os
from collections.abc import Iterator

if "PYTEST_XDIST_WORKER" in os.environ:
    # Read when torch first loads: workers that each start a thread per core would wait for one another.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MKL_NUM_THREADS"] = "1"

# Readline, which pytest loads, tells the workers that it starts of a terminal of 80 columns that is not there.
os.environ.pop("COLUMNS", None)

if not os.path.exists("/dev/nvidiactl"):
    # Triton chooses between its compiler and its interpreter when it first loads, whoever loads it.
    os.environ["TRITON_INTERPRET"] = "1"

# Read when jax first looks for devices: it would take most of an accelerator's memory, and the tests need none.
os.environ["JAX_PLATFORMS"] = "cpu"

import pytest
from hypothesis import settings

settings.register_profile("house", derandomize=True, deadline=None, database=None)
settings.load_profile("house")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """What the modules of all tests made at import stays to the end: no collection of garbage walks through it."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `cuda` on a machine without a CUDA device; torch is loaded only to answer that."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
