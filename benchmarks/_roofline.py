"""The least time that a training step of a population can take on a device, from the kernels that it consists of.

    roofline = sum over kernels of max(bytes / copy rate, FLOPs / rate)

`rate` is, for a matrix product, what that very product (members x rows x inner x columns, with the step's own
transposes) reaches by itself on the device in the same run; for attention and for what a fusion keeps on chip, the rate
of a large square product, which nothing exceeds. Bytes are those that a kernel must read and write once: bfloat16
activations (2 bytes), 28 bytes of optimizer a parameter, of which the gradient's and the copies' are 4.

The unfused list moves 72 D bytes a token and block in the forward pass and 128 D in the backward pass, weights apart; a
fully fused MLP, which keeps its 4D features on chip and computes them again in the backward pass, 40 D and 70 D. A
fused loss keeps logits on chip in the same way. Element-wise kernels are counted as fused with their neighbours: a
residual addition with the norm that follows, its gradient with that norm's.

Legend: P members, N tokens a member and step, D width, V vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from widthwise.models import Transformer

ACTIVATION = 2
"""Bytes of an activation, a weight's copy for products, and its gradient: bfloat16."""

STATE = 24
"""Bytes an optimizer moves for a parameter beside gradient and copy: weight and two moments, read and written."""


@dataclass(frozen=True)
class Product:
    """P products [rows, inner] x [inner, columns], in a matrix layout.

    Args:
        layout: `nn` for a forward product, `nt` for its input's gradient (the weight transposed), `tn` for its weight's
            gradient (the input transposed).
    """

    members: int
    rows: int
    inner: int
    columns: int
    layout: str

    @property
    def flops(self) -> float:
        """2 P rows inner columns."""
        return 2.0 * self.members * self.rows * self.inner * self.columns

    @property
    def bytes(self) -> float:
        """Both operands read and the product written, once."""
        entries = self.rows * self.inner + self.inner * self.columns + self.rows * self.columns
        return float(ACTIVATION * self.members * entries)


@dataclass(frozen=True)
class Kernel:
    """One kernel of a step.

    Args:
        count: how often a step runs it.
        bytes, flops: of one run.
        product: the matrix product that it is; None for anything else.
    """

    name: str
    count: int
    bytes: float
    flops: float = 0.0
    product: Product | None = None


@dataclass(frozen=True)
class Fusion:
    """What a list of kernels keeps on chip.

    Args:
        mlp: the 4D features between a block's up- and down-projection.
        loss: the logits, and their gradient.
    """

    mlp: bool = False
    loss: bool = False


UNFUSED = Fusion()
FUSED_MLP = Fusion(mlp=True)
FUSED = Fusion(mlp=True, loss=True)


@dataclass(frozen=True)
class Rates:
    """What a device reached in this run.

    Args:
        copy: bytes a second, read and written.
        matmul: FLOP a second of a large square product.
        products: FLOP a second of each product by itself.
    """

    copy: float
    matmul: float
    products: Mapping[Product, float]

    def seconds(self, kernel: Kernel) -> float:
        """max(bytes / copy, FLOPs / rate), for all runs of a kernel in a step."""
        rate = self.matmul if kernel.product is None else self.products[kernel.product]
        return kernel.count * max(kernel.bytes / self.copy, kernel.flops / rate)


def roofline_seconds(kernels: list[Kernel], rates: Rates) -> float:
    """The sum over a step's kernels."""
    return sum(rates.seconds(kernel) for kernel in kernels)


def kernels_of(model: Transformer, *, members: int, batch: int, fusion: Fusion = UNFUSED) -> list[Kernel]:
    """Every kernel of one training step.

    Args:
        batch: sequences a member and step.
    """
    sizes = _Sizes(model, members, batch)
    return [*_blocks(sizes, fusion), *_ends(sizes), *_head(sizes, fusion), _optimizer(sizes)]


@dataclass(frozen=True)
class _Sizes:
    model: Transformer
    members: int
    batch: int

    @property
    def tokens(self) -> int:
        return self.batch * self.model.context

    def each_token(self, per_token: float) -> float:
        """Bytes of one kernel that moves so many for each token of each member."""
        return self.members * self.tokens * per_token

    def products(self, name: str, inner: int, columns: int, count: int) -> list[Kernel]:
        """A linear layer: forward, gradient of its input, gradient of its weight."""
        P, N = self.members, self.tokens
        three = {
            name: Product(P, N, inner, columns, "nn"),
            f"{name}, input's gradient": Product(P, N, columns, inner, "nt"),
            f"{name}, weight's gradient": Product(P, inner, N, columns, "tn"),
        }
        return [Kernel(key, count, p.bytes, p.flops, p) for key, p in three.items()]


def _blocks(sizes: _Sizes, fusion: Fusion) -> list[Kernel]:
    """Of every block: per token 72 D bytes forward and 128 D backward, or 40 D and 70 D with a fused MLP."""
    D, L, T = sizes.model.width, sizes.model.depth, sizes.model.context
    attention = sizes.each_token(2.0 * T * D)  # two products over half of T positions, 2 FLOPs each

    def moved(name: str, per_token: float, count: int = L, flops: float = 0.0) -> Kernel:
        return Kernel(name, count, sizes.each_token(per_token), flops)

    return [
        moved("residual and norm", 8 * D, 2 * L),
        moved("residual and norm, gradient", 8 * D, 2 * L),
        moved("gain's gradient", 4 * D, 2 * L),
        *sizes.products("qkv", D, 3 * D, L),
        moved("attention", 8 * D, L, attention),
        moved("attention, gradient", 16 * D, L, 2.5 * attention),  # five products instead of two
        *sizes.products("output", D, D, L),
        *(_fused_mlp(sizes) if fusion.mlp else _mlp(sizes)),
    ]


def _mlp(sizes: _Sizes) -> list[Kernel]:
    D, L = sizes.model.width, sizes.model.depth
    return [
        *sizes.products("up", D, 4 * D, L),
        Kernel("gelu", L, sizes.each_token(16 * D)),
        Kernel("gelu, gradient", L, sizes.each_token(24 * D)),
        *sizes.products("down", 4 * D, D, L),
    ]


def _fused_mlp(sizes: _Sizes) -> list[Kernel]:
    """Input and output alone; the backward pass computes the up-projection again: five products instead of four."""
    D, L = sizes.model.width, sizes.model.depth
    weights = ACTIVATION * sizes.members * 8 * D * D
    one = sizes.each_token(8.0 * D * D)
    return [
        Kernel("mlp", L, sizes.each_token(4 * D) + weights, 2 * one),
        Kernel("mlp, gradient", L, sizes.each_token(6 * D) + 2 * weights, 5 * one),
    ]


def _ends(sizes: _Sizes) -> list[Kernel]:
    """Embedding with positions, the first norm (no residual before it), the last norm's gradient (none after it)."""
    D, V, T = sizes.model.width, sizes.model.vocabulary, sizes.model.context
    read, written = (4.0 * sizes.members * D * (rows + T) for rows in (min(V, sizes.tokens), V))
    return [
        Kernel("embedding", 1, sizes.each_token(2 * D) + read),
        Kernel("embedding, gradient", 1, sizes.each_token(2 * D) + written),
        Kernel("first norm", 1, sizes.each_token(4 * D)),
        Kernel("last norm, gradient", 1, sizes.each_token(6 * D)),
        Kernel("last gain's gradient", 1, sizes.each_token(4 * D)),
    ]


def _head(sizes: _Sizes, fusion: Fusion) -> list[Kernel]:
    """Readout and cross-entropy. Fused: the logits are computed again in the backward pass, four products in all."""
    D, V = sizes.model.width, sizes.model.vocabulary
    if fusion.loss:
        one, weight = sizes.each_token(2.0 * D * V), ACTIVATION * sizes.members * D * V
        return [
            Kernel("readout and loss", 1, sizes.each_token(2 * D) + weight, one),
            Kernel("readout and loss, gradient", 1, sizes.each_token(4 * D) + 2 * weight, 3 * one),
        ]
    return [
        *sizes.products("readout", D, V, 1),
        Kernel("loss", 1, sizes.each_token(2 * V)),
        Kernel("loss, gradient", 1, sizes.each_token(4 * V)),
    ]


def _optimizer(sizes: _Sizes) -> Kernel:
    """Adam: state, and 4 bytes of gradient and copy (2 + 2 for matrices, 4 for gradients in float32)."""
    return Kernel("optimizer", 1, (STATE + 4.0) * sizes.members * sizes.model.parameter_count)
