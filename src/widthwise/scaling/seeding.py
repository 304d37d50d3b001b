"""Builds under a seed of their own, after which the caller's random state is as it was."""

import random
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """A block under a seed; the state of torch, its devices and `random` is restored after it.

    A factory that draws from elsewhere (NumPy's global generator) is not repeatable, and advances that generator.

    Example:
        >>> import torch
        >>> before = torch.random.get_rng_state()
        >>> with seeded(1):
        ...     one = torch.rand(2)
        >>> with seeded(1):
        ...     other = torch.rand(2)
        >>> torch.equal(one, other), torch.equal(torch.random.get_rng_state(), before)
        (True, True)
    """
    import torch

    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    state = random.getstate()
    try:
        with torch.random.fork_rng(devices=devices):  # pyright: ignore[reportUnknownMemberType]
            _seed(seed)
            random.seed(seed)
            yield
    finally:
        random.setstate(state)


def _seed(seed: int) -> None:
    """`torch.manual_seed`, which for each kind of device that is not there yet formats a stack trace to keep."""
    import torch

    if torch.accelerator.is_available():
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    else:
        torch.default_generator.manual_seed(seed)
