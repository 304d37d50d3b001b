"""How many bytes of tensors are alive, counted operation by operation: what an allocator would see."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveBytes(TorchDispatchMode):
    """Counts the storages of all tensors that operations inside return, each once; `peak` is the most at any time.

    What an operation holds for itself and frees before it returns is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self._bound = 0
        self.peak = 0

    def now(self) -> int:
        """Bytes alive now."""
        alive = {key: entry for key, entry in self._storages.items() if not entry[0].expired()}
        self._storages = alive
        self._bound = sum(size for _, size in alive.values())
        return self._bound

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if not isinstance(tensor, torch.Tensor) or tensor.device.type == "meta":
                continue
            storage = tensor.untyped_storage()
            self._storages[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
            self._bound += storage.nbytes()
        if self._bound > self.peak:  # an upper bound: looking who is gone takes long
            self.peak = max(self.peak, self.now())
        return result
