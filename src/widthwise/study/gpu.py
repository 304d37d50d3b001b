"""GPUs that a study can be planned for: memory, price, and what is known of their speed."""

from collections.abc import Mapping
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Gpu:
    """One kind of device.

    Args:
        device: what torch calls it; `train.throughput_of` knows its rates by that.
        bytes: of memory, as torch sees it.
        capability: its compute capability; None for a CPU.
        price: US dollars an hour, assumed; clouds differ by a factor of three.
        speed: where its rates come from.
    """

    name: str
    device: str
    bytes: int
    capability: tuple[int, int] | None
    price: float
    speed: str


GPUS: Mapping[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu("h200", "NVIDIA H200", 139 * GIB, (9, 0), 3.5, "measured: benchmarks/results/population-h200.json"),
        Gpu("h100", "NVIDIA H100 80GB HBM3", 79 * GIB, (9, 0), 2.5,
            "assumed: the H200's arithmetic, memory traffic in the proportion of 3.35 to 4.8 TB/s"),
        Gpu("a100", "NVIDIA A100-SXM4-80GB", 79 * GIB, (8, 0), 1.5,
            "assumed: the maker's 312 TFLOP/s and 2.04 TB/s in the H200's proportions"),
        Gpu("cpu", "", 8 * GIB, None, 0.0,
            "assumed: 40 GFLOP/s in float32, two cores of 2024"),
    )
}  # fmt: skip
"""By the names that the command line uses."""


def gpu_named(name: str) -> Gpu:
    """A kind of GPU by its name.

    Raises:
        ValueError: none that is known.
    """
    if name not in GPUS:
        raise ValueError(f"gpu {name!r} is unknown; choose one of {list(GPUS)}")
    return GPUS[name]
