"""A described model: every tensor's growth, role and initializer, as frozen values with a printed table and JSON.

Nothing here knows torch. `describe` makes these values; a plan is computed from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from widthwise.scaling.axis import Axis
from widthwise.scaling.growth import Growth
from widthwise.scaling.initializers import InitializerFit
from widthwise.scaling.role_decision import numberless, shape_text
from widthwise.text_table import aligned
from widthwise.theory import Role


@dataclass(frozen=True)
class Alias:
    """Another name of a tied tensor, with the role that it has under this name.

    Args:
        axes: what each dimension does under this name.
        rule: who decided: a user's rule, a class, or the shape.
        forward_factor: e, where the model multiplies this use's output by n^e.
    """

    name: str
    role: Role
    axes: tuple[Axis, ...]
    rule: str
    reason: str
    forward_factor: Fraction


@dataclass(frozen=True)
class TensorDescription:
    """One parameter tensor.

    Args:
        name: as `named_parameters` gives it first.
        shapes: in elements, at each described width.
        growth: the law of each dimension.
        axes: what each dimension does; unknown where the shape alone, or a rule that names a role, decided.
        role: under this name; see `aliases` for the others.
        rule: who decided: `Rule('...')`, a qualified class name, or `shape`.
        reason: why, in a few words.
        initializer: the tensor's own; None for a tensor without entries.
        forward_factor: e, where the model's own forward multiplies this use's output by n^e, as a rule declares.
        aliases: the tensor's other names, if it is tied.
        trainable: False if it is frozen.
        note: what a reader should know beyond the role; may be empty.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    growth: tuple[Growth, ...]
    axes: tuple[Axis, ...]
    role: Role
    rule: str
    reason: str
    initializer: InitializerFit | None
    forward_factor: Fraction = Fraction(0)
    aliases: tuple[Alias, ...] = ()
    trainable: bool = True
    note: str = ""

    @property
    def roles(self) -> tuple[Role, ...]:
        """The role under every name, this one first."""
        return (self.role, *(alias.role for alias in self.aliases))


@dataclass(frozen=True)
class ModelDescription:
    """A model as a function of its width.

    Args:
        widths: at which shapes were read.
        initializer_widths: at which initializers were drawn.
        built: how the shapes were read: `meta`, or why real builds were needed.
        tensors: by name, in the model's order; tied tensors once.
        growing_heads: sizes of attention heads at the described widths, where they are not the same at each: by module,
            layers that differ only in their number as one.
    """

    widths: tuple[int, ...]
    initializer_widths: tuple[int, ...]
    built: str
    tensors: Mapping[str, TensorDescription]
    growing_heads: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    def table(self) -> str:
        """The description as plain text, layers that differ only in their number in one row.

        Example:
            >>> from torch import nn
            >>> from widthwise.scaling import describe
            >>> print(describe(lambda n: nn.Sequential(nn.Linear(4, n, bias=False)), widths=(64, 128, 256)).table())
            tensor    shape   role       initializer  decided by
            0.weight  [n, 4]  embedding  random n^0   Linear
        """
        groups: dict[tuple[str, ...], list[str]] = {}
        for tensor in self.tensors.values():
            groups.setdefault((numberless(tensor.name), *_cells(tensor), _remark(tensor)), []).append(
                tensor.name
            )
        lines = [HEADER]
        remarks = [""]
        for (pattern, *cells, remark), names in groups.items():
            lines.append((names[0] if len(names) == 1 else f"{pattern} (x{len(names)})", *cells))
            remarks.append(remark)
        return "\n".join(
            line + (f"  # {remark}" if remark else "")
            for line, remark in zip(aligned(lines), remarks, strict=True)
        )


HEADER: tuple[str, ...] = ("tensor", "shape", "role", "initializer", "decided by")


def _cells(tensor: TensorDescription) -> tuple[str, ...]:
    rule = tensor.rule if tensor.rule.startswith("Rule(") else tensor.rule.rpartition(".")[2]
    initializer = "none" if tensor.initializer is None else str(tensor.initializer)
    return (shape_text(tensor.growth), tensor.role.value, initializer, rule)


def _remark(tensor: TensorDescription) -> str:
    tied = [f"tied to {numberless(alias.name)} ({alias.role.value})" for alias in tensor.aliases]
    factor = [f"forward factor n^({tensor.forward_factor})"] if tensor.forward_factor else []
    return "; ".join(
        [*tied, *factor, *([] if tensor.trainable else ["frozen"]), *filter(None, [tensor.note])]
    )
