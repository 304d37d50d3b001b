"""Simulations for docs/theory.md: products, layers, gradients and updates at a width n, made of seeded random numbers.

Most functions take exponents and give size(rng, n), whose slope over widths is then measured.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from widthwise.theory import Alignment, InitExponents, OptimizerRule, Parameterization, Role

Array = np.ndarray[Any, np.dtype[np.float64]]
Size = Callable[[np.random.Generator, int], Any]
INPUTS, OUTPUTS = 32, 256
"""Dimensions that do not grow."""


def rms(v: ArrayLike) -> float:
    """The root mean square of a vector's or a matrix's entries."""
    return float(np.sqrt(np.mean(np.square(v))))


def gaussian(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape)


def power(n: int, exponent: Any) -> float:
    return float(n) ** float(exponent)


def weight_size(a: Any, b: Any) -> Size:
    """n^(-a) W."""
    return lambda rng, n: rms(power(n, -a) * (power(n, -b) * gaussian(rng, n, n)))


def frame(rng: np.random.Generator, n: int, k_z: Any, k_dz: Any) -> tuple[Array, Array, Array]:
    """Random orthogonal z and dz, and a w of cosines n^(-k_z) and n^(-k_dz) with them; each of RMS 1."""
    q = np.linalg.qr(gaussian(rng, n, 3))[0] * np.sqrt(n)
    cosines = np.array([power(n, -k_z), power(n, -k_dz)])
    rest = np.sqrt(max(0.0, 1.0 - float(cosines @ cosines)))
    return q[:, 0], q[:, 1], q @ np.array([*cosines, rest])


def rank_one(rng: np.random.Generator, n: int, k: Any) -> tuple[Array, Array]:
    """A matrix whose rows all have the cosine n^(-k) with z, up to signs; and z."""
    z, _, w = frame(rng, n, k, 99)
    return np.outer(np.sign(gaussian(rng, n)), w), z


def aligned_product(k: Any) -> Size:
    return lambda rng, n: rms(np.matmul(*rank_one(rng, n, k)))


def independent_product(rows: int | None = None, *, a_plus_b: Any = 0) -> Size:
    """n^(-(a + b)) times a Gaussian matrix times an independent vector; n rows, or a fixed number."""
    return lambda rng, n: rms(power(n, -a_plus_b) * gaussian(rng, rows or n, n) @ gaussian(rng, n))


def narrow_product(a_plus_b: Any) -> Size:
    """The same over a dimension that does not grow."""
    return lambda rng, n: rms(power(n, -a_plus_b) * gaussian(rng, n, INPUTS) @ np.ones(INPUTS))


def ratio_and_overlap(W: Array, z: Array) -> tuple[float, float]:
    """log_n(RMS(W z) / (RMS(W) RMS(z))), and the overlap sum_i f_i h_i of W's singular values with z."""
    _, sizes, right = np.linalg.svd(W)
    overlap = (sizes**2 / np.sum(sizes**2)) @ ((right @ z) ** 2 / (z @ z))
    return float(np.log(rms(W @ z) / (rms(W) * rms(z))) / np.log(len(z))), float(overlap)


def top_singular_product(rng: np.random.Generator, n: int) -> float:
    """A Gaussian matrix times its top singular vector, by 20 steps of power iteration."""
    W, v = gaussian(rng, n, n), gaussian(rng, n)
    for _ in range(20):
        v = W.T @ (W @ v)
        v = v / rms(v)
    return rms(W @ v) / rms(W)


def initial_sizes(p: Parameterization) -> Size:
    """Features of an embedding and of a hidden layer, and logits, at initialization."""

    def size(rng: np.random.Generator, n: int) -> list[float]:
        def effective(role: Role, *shape: int) -> Array:
            return power(n, -p[role].a) * (power(n, -p[role].b) * gaussian(rng, *shape))

        z = np.tanh(effective(Role.EMBEDDING, n, INPUTS) @ np.full(INPUTS, INPUTS**-0.5))
        z2 = np.tanh(effective(Role.HIDDEN, n, n) @ z)
        return [rms(z), rms(z2), rms(effective(Role.READOUT, OUTPUTS, n) @ z2)]

    return size


def three_terms(*, update: Any, r_in: Any, a_plus_b: Any, alpha: Any, u: Any) -> Size:
    """dW z, W dz, dW dz and the change that they add up to; W is Gaussian, dW's entries are n^(-update)."""

    def size(rng: np.random.Generator, n: int) -> list[float]:
        z, dz, w = frame(rng, n, 1 - alpha, 1 - u)
        dz = power(n, -r_in) * dz
        dW = power(n, -update) * np.outer(np.sign(gaussian(rng, n)), w)
        W = power(n, -a_plus_b) * gaussian(rng, n, n)
        return [rms(dW @ z), rms(W @ dz), rms(dW @ dz), rms((W + dW) @ (z + dz) - W @ z)]

    return size


def product_change(r_x: Any, r_y: Any) -> Size:
    """The change of x + y and of x y, elementwise."""

    def size(rng: np.random.Generator, n: int) -> list[float]:
        x, y, dx, dy = gaussian(rng, 4, n)
        dx, dy = power(n, -r_x) * dx, power(n, -r_y) * dy
        return [rms(dx + dy), rms((x + dx) * (y + dy) - x * y)]

    return size


def gradients(p: Parameterization) -> Size:
    """The gradients of the three weights and of the last features, by autograd, from one logit whose gradient is 1."""
    import torch

    def size(rng: np.random.Generator, n: int) -> list[float]:
        shapes = {Role.EMBEDDING: (n, INPUTS), Role.HIDDEN: (n, n), Role.READOUT: (1, n)}
        weights = [
            torch.tensor(power(n, -p[role].b) * gaussian(rng, *shape), requires_grad=True)
            for role, shape in shapes.items()
        ]
        first, second, out = (power(n, -p[role].a) * w for role, w in zip(shapes, weights, strict=True))
        z2 = torch.tanh(second @ torch.tanh(first @ torch.full((INPUTS,), INPUTS**-0.5, dtype=torch.float64)))
        z2.retain_grad()
        (out @ z2).backward()
        return [rms(tensor.grad.numpy()) for tensor in (*weights, z2) if tensor.grad is not None]

    return size


def gradient_through_readout(*, a: Any, b: Any, c: Any) -> Size:
    """What reaches the features through n^(-a) (W + dW), with dW one step of SGD from z, a logit's gradient being 1."""

    def size(rng: np.random.Generator, n: int) -> float:
        W, z = power(n, -b) * gaussian(rng, n), gaussian(rng, n)
        return rms(power(n, -a) * (W + power(n, -c) * power(n, -a) * z))

    return size


def update_size(*, p: int, q: int, g: Any, b: Any, c: Any) -> Size:
    """One step of SGD (p), or of Adam without epsilon, with parameter scaling (q)."""

    def size(rng: np.random.Generator, n: int) -> float:
        W, gradient = power(n, -b) * gaussian(rng, n), power(n, -g) * gaussian(rng, n)
        direction = gradient if p else gradient / np.sqrt(gradient**2)
        return rms(power(n, -c) * direction * (rms(W) if q else 1.0))

    return size


def scaled_weights(*, steps: int, b: Any, c: Any) -> Size:
    """Weights after steps whose size is proportional to their own."""

    def size(rng: np.random.Generator, n: int) -> float:
        W = power(n, -b) * gaussian(rng, n)
        for _ in range(steps):
            W = W + power(n, -c) * rms(W) * np.sign(gaussian(rng, n))
        return rms(W)

    return size


def adam_update(*, g: Any, k: Any, constant: float) -> Size:
    """Adam's first step with epsilon = constant n^(-k)."""

    def size(rng: np.random.Generator, n: int) -> float:
        gradient = power(n, -g) * gaussian(rng, n)
        return rms(gradient / (np.abs(gradient) + constant * power(n, -k)))

    return size


def gauge_losses(optimizer: str, shift: float, powers: Mapping[str, Any], *, steps: int = 8) -> list[float]:
    """Losses of a two-layer network with its multipliers divided by a shift and every hyperparameter moved.

    Args:
        optimizer: "sgd", "adam" or "adafactor" (here Adam with parameter scaling).
        shift: n^theta; a power of two keeps floating point exact.
        powers: hyperparameter -> how many powers of the shift it takes up.
    """
    rng = np.random.default_rng(0)
    width, inputs, batch = 16, 4, 8
    x, y = rng.standard_normal((inputs, batch)), rng.standard_normal((1, batch))
    weights = [rng.standard_normal((width, inputs)) / 2, 0.01 * rng.standard_normal((1, width))]

    def moved(name: str, value: float) -> float:
        return value * shift ** int(powers[name])

    weights = [moved("weights", 1.0) * w for w in weights]
    m = [np.zeros_like(w) for w in weights]
    v = [np.zeros_like(w) for w in weights]
    losses: list[float] = []
    for _ in range(steps):
        first, second = (w / shift for w in weights)
        z = np.tanh(first @ x)
        error = second @ z - y
        losses.append(float(np.mean(error**2)))
        back = 2 * error / batch
        effective = [(second.T @ back * (1 - z**2)) @ x.T, back @ z.T]
        for i, w in enumerate(weights):
            g = effective[i] / shift + moved("L2", 0.01) * w
            m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.99 * v[i] + 0.01 * g**2
            step = g if optimizer == "sgd" else m[i] / (np.sqrt(v[i]) + moved("epsilon", 1e-2))
            if optimizer == "adafactor":
                step = step * max(np.sqrt(np.mean(w**2)), moved("RMS floor", 0.1))
            rate = moved("rate", 0.05)
            decay = rate * moved("coupled decay", 0.1) + moved("independent decay", 0.01)
            weights[i] = w - rate * step - decay * w
    return losses


def accepted(**pairs: tuple[Fraction, Fraction]) -> bool:
    """Whether (a, b) of a role, with stable ones elsewhere, make a parameterization."""
    half = Fraction(1, 2)
    layers = {
        "embedding": (half, -half),
        "hidden": (half, Fraction(0)),
        "readout": (half, Fraction(0)),
    } | pairs
    try:
        return bool(Parameterization("try", **{role: InitExponents(*pair) for role, pair in layers.items()}))
    except ValueError:
        return False


def searched_rates(
    s: Sequence[Fraction], p: Parameterization, rule: OptimizerRule, alignment: Alignment
) -> tuple[Fraction, ...]:
    """The stable rates of the smallest sum of c, ties by the sum of r, of all in [-2, 2] in steps of 1/4.

    Args:
        s: of embedding, hidden and readout, without G.
    """
    c1, ch, co = np.meshgrid(*[np.arange(-2, 2.25, 0.25)] * 3, indexing="ij")
    s1, sh, so, ab = map(float, (*s, p.readout.a + p.readout.b))
    alpha, omega, u = map(float, (alignment.alpha, alignment.omega, alignment.u))
    G = rule.gradient_power * np.minimum(ab, so + co)
    r1 = s1 + G + c1
    rh = np.minimum.reduce([sh + G + ch - alpha, sh + G + ch + r1 - u, 0.5 + r1 - omega])
    logits = np.minimum.reduce([so + co - alpha, so + co + rh - u, ab + rh - omega])
    stable = np.minimum.reduce([r1, rh, logits, *[c1, ch, co] * rule.parameter_power]) >= 0
    best = np.where(stable, 1000 * (c1 + ch + co) + r1 + rh, np.inf).argmin()
    return tuple(Fraction(float(c.flat[best])) for c in (c1, ch, co))
