"""What the tests of widthwise.jax share: gradients, training loops, and an MLP with its twin in PyTorch."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn

from optim_cases import draw
from plan_training import batch_of

Tree = Any

LAYERS = ("Dense_0", "Dense_1", "Dense_2")
TORCH_NAMES = {
    f"{layer}.{leaf}": f"{2 * i}.{name}"
    for i, layer in enumerate(LAYERS)
    for leaf, name in (("kernel", "weight"), ("bias", "bias"))
}
"""The leaves of `init_mlp` -> the parameters of `plan_training.mlp`."""


def values(*shape: int, seed: int) -> np.ndarray:
    """float32 entries between 1/4 and 4 in size, as `optim_cases.draw` makes them."""
    return draw(*shape, seed=seed).numpy()


def normal(key: jax.Array, *shape: int, scale: float = 1.0) -> np.ndarray:
    """A normal draw by NumPy, which compiles nothing; of a traced key, the shape alone, without memory."""
    if isinstance(key, jax.core.Tracer):
        return np.broadcast_to(np.float32(0), shape)
    seed = np.asarray(jax.random.key_data(key))
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def init_mlp(width: int, key: jax.Array) -> Tree:
    """`plan_training.mlp` as a Flax-like tree, every leaf's spread that of nn.Linear, 1 / root of 3 fan-in."""
    sizes = [(5, width), (width, width), (width, 3)]
    flat = normal(key, sum((fan_in + 1) * fan_out for fan_in, fan_out in sizes))
    tree: Tree = {}
    for layer, (fan_in, fan_out) in zip(LAYERS, sizes, strict=True):
        here, flat = np.split(flat, [(fan_in + 1) * fan_out])
        kernel, bias = np.split(here * np.float32((3 * fan_in) ** -0.5), [fan_in * fan_out])
        tree[layer] = {"kernel": jnp.asarray(kernel.reshape(fan_in, fan_out)), "bias": jnp.asarray(bias)}
    return tree


def mlp_loss(params: Tree, inputs: jax.Array, classes: jax.Array) -> jax.Array:
    """Cross entropy of three classes."""
    x = inputs
    for layer in LAYERS[:-1]:
        x = jax.nn.relu(x @ params[layer]["kernel"] + params[layer]["bias"])
    logits = x @ params[LAYERS[-1]]["kernel"] + params[LAYERS[-1]]["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, classes).mean()


def tree_of(model: nn.Module) -> Tree:
    """The twin's parameters: kernels are transposed weights."""
    parameters = {name: jnp.asarray(p.detach().numpy().T) for name, p in model.named_parameters()}
    return {
        layer: {leaf: parameters[TORCH_NAMES[f"{layer}.{leaf}"]] for leaf in ("kernel", "bias")}
        for layer in LAYERS
    }


def train_mlp(optimizer: optax.GradientTransformation, params: Tree, steps: int) -> tuple[list[float], Tree]:
    """The losses of some steps on the batches of `plan_training`, and the last parameters."""

    @jax.jit
    def step(
        params: Tree, state: Tree, inputs: jax.Array, classes: jax.Array
    ) -> tuple[Tree, Tree, jax.Array]:
        loss, gradients = jax.value_and_grad(mlp_loss)(params, inputs, classes)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    state, losses = optimizer.init(params), []
    for number in range(steps):
        inputs, classes = (jnp.asarray(x.numpy()) for x in batch_of(number))
        params, state, loss = step(params, state, inputs, classes)
        losses.append(float(loss))
    return losses, params


def stepped(
    optimizer: optax.GradientTransformation, params: Tree, gradients: Sequence[Tree], *, jit: bool = True
) -> tuple[Tree, Tree]:
    """Parameters and state after one step for each tree of gradients.

    A compilation costs 0.3 s: a few steps of small arrays are faster without (`jit=False`).
    """

    def step(params: Tree, state: Tree, gradient: Tree) -> tuple[Tree, Tree]:
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step) if jit else step
    state = optimizer.init(params)
    for gradient in gradients:
        params, state = step(params, state, gradient)
    return params, state


def same_bits(one: Tree, other: Tree) -> bool:
    """Bit for bit, dtypes and structure included."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(x.dtype == y.dtype and np.array_equal(np.asarray(x), np.asarray(y)) for x, y in pairs)


def to_torch(array: Any) -> torch.Tensor:
    """A copy in PyTorch, bfloat16 too."""
    found = np.array(array, dtype=np.float32)
    return torch.tensor(found).to(torch.bfloat16 if array.dtype == jnp.bfloat16 else torch.float32)
