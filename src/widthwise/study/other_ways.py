"""How else a model that a device does not hold is trained in a study: one sentence, whoever finds it too large."""

from typing import TYPE_CHECKING

from widthwise.study.recipe import Recipe
from widthwise.study.train_wide import form_that_fits, is_wide

if TYPE_CHECKING:
    from widthwise.train import Recipe as TrainRecipe


def other_ways(recipe: Recipe, shared: "TrainRecipe", *, there: int, one_gpu: bool) -> str:
    """Clauses, each after a semicolon; empty where there are none, as for what is trained layer by layer already.

    Args:
        recipe: of a trial that is too large.
        shared: the training room's recipe of it, with what is measured.
        there: bytes of the device.
        one_gpu: whether the device is a GPU that trains by itself, so that several would have more.
    """
    if is_wide(recipe):
        return ""
    ways: list[str] = []
    form = None if "decays" in recipe else form_that_fits(shared, there=there)
    if form is not None:
        ways.append(
            f"it fits layer by layer ({form}), which keeps fewer bits, so that its trials are others (docs/wide.md)"
        )
    if one_gpu:
        ways.append("over several GPUs: torchrun --nproc-per-node N -m widthwise study run SPEC")
    return "".join(f"; {way}" for way in ways)
