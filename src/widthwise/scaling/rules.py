"""A user's rules: what shapes and module types cannot say about a tensor, by the tensor's name.

A rule's pattern is compared with the dotted name part by part, so `*` stays within one part: `blocks.*.scale` is
`blocks.0.scale` and not `blocks.0.mlp.scale`. A tensor that two rules match is an error, and so is a rule that
matches no tensor.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction

from widthwise.theory import Role


@dataclass(frozen=True)
class Rule:
    """One user rule.

    Args:
        pattern: the tensor's name, `*`, `?` and `[...]` standing for text within one dotted part.
        role: the tensor's role. Left out, `contracted` or `produced` decides it, or else what would without this rule.
        contracted: dimensions that are summed over, counted from 0.
        produced: dimensions that index the layer's output. With either given, every other dimension is elementwise.
        forward_factor: e, where the model's own forward multiplies the layer's output by n^e: 1/2 for an embedding
            that the model multiplies by the root of its width, -1/2 for a tied readout that it divides by it.
        initializer_exponent: b, where the tensor's own initializer falls as n^(-b); left out, it is measured.
        reason: why, as the description prints it.

    Raises:
        ValueError: a rule that says nothing, or a role besides `contracted` or `produced`.

    Example:
        >>> Rule("decoder.positions", role=Role.EMBEDDING, reason="one row a position").role.value
        'embedding'
        >>> Rule("decoder.positions")
        Traceback (most recent call last):
        ...
        ValueError: Rule('decoder.positions') says nothing; give a role, contracted or produced dimensions, \
a forward factor or an initializer exponent
    """

    pattern: str
    role: Role | None = None
    contracted: tuple[int, ...] = ()
    produced: tuple[int, ...] = ()
    forward_factor: Fraction = Fraction(0)
    initializer_exponent: Fraction | None = None
    reason: str = "declared"

    def __post_init__(self) -> None:
        dimensions = (*self.contracted, *self.produced)
        if (
            self.role is None
            and not dimensions
            and not self.forward_factor
            and self.initializer_exponent is None
        ):
            raise ValueError(
                f"Rule({self.pattern!r}) says nothing; give a role, contracted or produced dimensions, "
                "a forward factor or an initializer exponent"
            )
        if self.role is not None and dimensions:
            raise ValueError(
                f"Rule({self.pattern!r}) gives the role {self.role.value} and dimensions {dimensions} that imply one; "
                "give either"
            )
        if len(set(dimensions)) < len(dimensions):
            raise ValueError(f"Rule({self.pattern!r}) names a dimension twice: {dimensions}")

    @property
    def decides_role(self) -> bool:
        """Whether the rule says the tensor's role, or what implies it."""
        return self.role is not None or bool(self.contracted or self.produced)

    def matches(self, name: str) -> bool:
        """Whether the rule is about this tensor.

        Example:
            >>> rule = Rule("blocks.*.scale", role=Role.VECTOR)
            >>> rule.matches("blocks.0.scale"), rule.matches("blocks.0.mlp.scale")
            (True, False)
        """
        parts, patterns = name.split("."), self.pattern.split(".")
        return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def match_rules(rules: Sequence[Rule], names: Iterable[str]) -> Mapping[str, Rule]:
    """The rule of each tensor that one matches.

    Raises:
        ValueError: two rules match one tensor, or a rule matches none.
    """
    found: dict[str, Rule] = {}
    known = list(names)
    for rule in rules:
        matched = [name for name in known if rule.matches(name)]
        if not matched:
            raise ValueError(f"Rule({rule.pattern!r}) matches no tensor of {', '.join(known)}; remove it")
        for name in matched:
            if name in found:
                raise ValueError(
                    f"tensor {name!r} is matched by Rule({found[name].pattern!r}) and Rule({rule.pattern!r}); "
                    "say everything about a tensor in one rule"
                )
            found[name] = rule
    return found
