"""Which role a tensor has, who said so, and what to do when nobody can.

A user's rule decides first, then the module that holds the tensor, then the shape alone:

* nothing grows: fixed;
* one dimension is larger than 1, and it grows: a vector;
* two or more grow: hidden, whichever of them is contracted;
* one grows beside others that do not: embedding, readout and vector look the same. That is an error, which prints the
  tensor, the candidates and the lines that settle it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from widthwise.scaling.axis import Axis, role_of
from widthwise.scaling.growth import Growth
from widthwise.scaling.module_rules import ModuleAxes
from widthwise.scaling.rules import Rule
from widthwise.theory import Role

SHAPE = "shape"
CANDIDATES = {
    Role.EMBEDDING: "its rows are looked up or summed over a dimension that does not grow",
    Role.READOUT: "the dimension that grows is summed over",
    Role.VECTOR: "it acts elementwise",
}
"""The roles of a tensor of which one dimension grows, and what each would mean."""


@dataclass(frozen=True)
class Decision:
    """A tensor's role, what each dimension does, who decided (a rule, a class or the shape), and why."""

    role: Role
    axes: tuple[Axis, ...]
    rule: str
    reason: str


def decide(
    name: str, growth: tuple[Growth, ...], *, rule: Rule | None = None, module: ModuleAxes | None = None
) -> Decision | None:
    """The role of one tensor, or None where only the user can say.

    Args:
        name: of the tensor, for errors.
        growth: one law a dimension.
        rule: the user's, if one matches.
        module: what the owner's class says, if it is known.

    Raises:
        ValueError: a rule that the shape contradicts.

    Example:
        >>> from widthwise.scaling.growth import fit_growth
        >>> fixed, growing = fit_growth((2, 4, 8), (7, 7, 7)), fit_growth((2, 4, 8), (2, 4, 8))
        >>> decide("scale", (growing,)).role.value, decide("mix", (growing, growing)).role.value
        ('vector', 'hidden')
        >>> decide("table", (fixed, growing)) is None
        True
    """
    if rule is not None and rule.decides_role:
        return _declared(name, growth, rule)
    grows = tuple(law.grows for law in growth)
    if not any(grows):
        axes = module.axes if module else (Axis.UNKNOWN,) * len(growth)
        return Decision(Role.FIXED, axes, module.module if module else SHAPE, "nothing grows")
    if module is not None:
        role = role_of(module.axes, grows)
        return Decision(role, module.axes, module.module, _use(module.axes))
    if sum(grows) > 1:
        axes = tuple(Axis.UNKNOWN for _ in growth)
        return Decision(
            Role.HIDDEN, axes, SHAPE, "two or more dimensions grow: hidden, whichever is contracted"
        )
    if all(law.grows or law.size == 1 for law in growth):
        axes = tuple(Axis.ELEMENTWISE for _ in growth)
        return Decision(Role.VECTOR, axes, SHAPE, "its one dimension grows: taken to act elementwise")
    return None


def _use(axes: Sequence[Axis]) -> str:
    """What a class says, in words: `dimension 0 produced, 1 contracted`."""
    return "dimension " + ", ".join(f"{position} {axis.value}" for position, axis in enumerate(axes))


def _declared(name: str, growth: tuple[Growth, ...], rule: Rule) -> Decision:
    grows = tuple(law.grows for law in growth)
    source = f"Rule({rule.pattern!r})"
    if rule.role is not None:
        needed = {Role.FIXED: 0, Role.HIDDEN: 2}.get(rule.role, 1)
        if sum(grows) < needed:
            raise ValueError(
                f"{source} makes tensor {name!r} {shape_text(growth)} {rule.role.value}, which needs {needed} growing "
                f"dimensions and has {sum(grows)}; correct the rule's role or remove it"
            )
        return Decision(rule.role, tuple(Axis.UNKNOWN for _ in growth), source, rule.reason)
    beyond = [
        dimension for dimension in (*rule.contracted, *rule.produced) if not 0 <= dimension < len(growth)
    ]
    if beyond:
        raise ValueError(
            f"{source} names dimensions {beyond} of tensor {name!r} {shape_text(growth)}, which has {len(growth)}, "
            "counted from 0; correct the rule"
        )
    uses = dict.fromkeys(rule.contracted, Axis.CONTRACTED) | dict.fromkeys(rule.produced, Axis.PRODUCED)
    axes = tuple(uses.get(position, Axis.ELEMENTWISE) for position in range(len(growth)))
    return Decision(role_of(axes, grows), axes, source, rule.reason)


def numberless(name: str) -> str:
    """A tensor's name with its numbered parts left open: the pattern that the layers of a stack share.

    Example:
        >>> numberless("blocks.11.mlp.up")
        'blocks.*.mlp.up'
    """
    return ".".join("*" if part.isdecimal() else part for part in name.split("."))


def shape_text(growth: Sequence[Growth]) -> str:
    """A shape by its laws, as `[16, 3n]`."""
    return "[" + ", ".join(map(str, growth)) + "]"


@dataclass(frozen=True)
class Ambiguous:
    """A tensor that nobody could place: its name, laws, and the class that holds it."""

    name: str
    growth: tuple[Growth, ...]
    owner: str

    @property
    def pattern(self) -> str:
        """The name as a rule's pattern that serves every layer."""
        return numberless(self.name)


def ambiguity_message(tensors: Sequence[Ambiguous]) -> str:
    """The error's text: every tensor once a pattern, each with its candidates as lines to copy."""
    first_of: dict[str, Ambiguous] = {}
    for tensor in tensors:
        first_of.setdefault(tensor.pattern, tensor)
    count = "1 tensor has" if len(tensors) == 1 else f"{len(tensors)} tensors have"
    lines = [
        f"{count} no role: shapes and module types do not decide it. "
        "Add one line for each of these to rules=(...):"
    ]
    for pattern, tensor in first_of.items():
        count = sum(other.pattern == pattern for other in tensors)
        others = f" and {count - 1} more" if count > 1 else ""
        lines.append(
            f"  {tensor.name} {shape_text(tensor.growth)} in {tensor.owner}{others}: one dimension grows"
        )
        lines += [
            f"    Rule({pattern!r}, role=Role.{role.name}),  # {why}" for role, why in CANDIDATES.items()
        ]
    return "\n".join(lines)
