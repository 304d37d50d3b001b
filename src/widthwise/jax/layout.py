"""What the dimensions of a leaf do, by the last part of its name: the conventions of a JAX library.

A pytree has no modules that could say it, so a layout does. In Flax a kernel is [..., in, out], transposed against
PyTorch's weight, and a table is [rows, features].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from widthwise.jax.leaf_names import SEPARATOR
from widthwise.scaling import Axis, Growth
from widthwise.scaling.module_rules import ModuleAxes

C, P, E, S = Axis.CONTRACTED, Axis.PRODUCED, Axis.ELEMENTWISE, Axis.STACKED


@dataclass(frozen=True)
class Layout:
    """A library's names for parameters.

    Args:
        name: of the library, as plans print it.
        rows: the last part of a leaf's name -> what each dimension does. A row's first axis stands for every further
            dimension in front, so that one row serves dense layers and convolutions.

    Example:
        >>> HAIKU = Layout("haiku", {"w": (C, P), "embeddings": (S, P), "b": (E,), "scale": (E,), "offset": (E,)})
        >>> [axis.value for axis in HAIKU.rows["w"]]
        ['contracted', 'produced']
    """

    name: str
    rows: Mapping[str, tuple[Axis, ...]]

    def axes(self, name: str, growth: Sequence[Growth]) -> ModuleAxes | None:
        """What a leaf's dimensions do, or None where its name does not settle it.

        A kernel of three dimensions or more is [*window, in, out] in a convolution and [in, *out] or [*in, out] in an
        attention projection. All of them agree where only the last dimension grows, and where nothing does. Where two
        or more grow, the shape alone says hidden; what is left is ambiguous.

        Args:
            name: of the leaf.
            growth: one law a dimension.
        """
        last = name.rpartition(SEPARATOR)[2]
        row = self.rows.get(last)
        if row is None or len(growth) < len(row):
            return None
        spread = len(growth) > len(row)
        grows = [law.grows for law in growth]
        if spread and len(set(row)) > 1 and any(grows[:-1]):
            return None
        axes = (row[0],) * (len(growth) - len(row)) + row[-len(growth) :]
        return ModuleAxes(f"{self.name} {last}", axes)


FLAX = Layout("flax", {"kernel": (C, P), "embedding": (S, P), "bias": (E,), "scale": (E,)})
"""Flax's Dense, Conv, Embed and norms, and what follows their names."""
