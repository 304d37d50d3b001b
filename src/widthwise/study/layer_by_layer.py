"""What a model needs on one GPU when it is trained layer by layer (`training: {form: layer-major}`, docs/wide.md).

A study of that form is planned by `fit_wide`; here is what a model of any other would need instead.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from widthwise.study.gpu import Gpu

if TYPE_CHECKING:
    from widthwise.train import Recipe as TrainRecipe


@dataclass(frozen=True)
class LayerByLayer:
    """bfloat16 weights, and state in 8 bits or factored.

    Args:
        micro_batches: the fewest with which it fits, or, if it never does, those with which it takes least.
        bytes: on one GPU, what is measured not counted.
        fits: whether the GPU has them.
    """

    micro_batches: int
    bytes: int
    fits: bool


def layer_by_layer(recipe: "TrainRecipe", gpu: Gpu) -> LayerByLayer | None:
    """What a model would need; None where there is no such training of it: of an MLP, of state that has no 8 bits.

    Example:
        >>> from widthwise.models import Transformer
        >>> from widthwise.optim import AdamUpdate
        >>> from widthwise.study.gpu import GPUS
        >>> from widthwise.train import Precision, Recipe, WarmupCosine
        >>> model = Transformer(width=16384, depth=8, head_dim=128, vocabulary=32101, context=512)
        >>> recipe = Recipe(model, AdamUpdate(0.9, 0.98), WarmupCosine(10, 1), 4, Precision.BFLOAT16, 4, 4)
        >>> layer_by_layer(recipe, GPUS["h200"])
        LayerByLayer(micro_batches=1, bytes=123043640474, fits=True)
        >>> layer_by_layer(recipe, GPUS["h100"]).fits
        False
    """
    from widthwise.models import Transformer
    from widthwise.train.micro_batch import divisors
    from widthwise.wide import Storage, layer_major_budget

    if not isinstance(recipe.model, Transformer):
        return None
    try:
        Storage().updates(recipe.update)
    except ValueError:
        return None
    ways: list[LayerByLayer] = []
    for pieces in divisors(recipe.batch):
        storage = Storage(micro_batches=pieces)
        need = layer_major_budget(recipe.model, recipe.update, storage, batch=recipe.batch).total
        ways.append(LayerByLayer(pieces, need, fits=need <= gpu.bytes))
    return next((way for way in ways if way.fits), min(ways, key=lambda way: way.bytes))


def what_would(recipe: "TrainRecipe", gpu: Gpu) -> str:
    """What holds a model that no number of these GPUs holds as it is asked for; empty where nobody knows."""
    from widthwise.models import Transformer
    from widthwise.wide import Storage, machine_for

    alone = layer_by_layer(recipe, gpu)
    if alone is None:
        return ""
    pieces = alone.micro_batches
    if alone.fits:
        return (
            f"width {recipe.model.width} fits one {gpu.name} layer by layer, in {alone.bytes / 2**30:.0f} GiB "
            f"(training: {{form: {{kind: layer-major, micro_batches: {pieces}}}}})"
        )
    assert isinstance(recipe.model, Transformer)
    try:
        machine = machine_for(recipe.model, recipe.update, Storage(micro_batches=pieces), batch=recipe.batch)
    except ValueError as error:
        return str(error)
    how = "sharded" if machine.gpus > 1 else "layer by layer"
    return f"width {recipe.model.width} fits {machine.name} ({machine.gib:g} GiB each), {how}"
