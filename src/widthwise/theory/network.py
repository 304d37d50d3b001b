"""Networks: which layer reads which, as far as the width limit can see.

A chain is the paper's network. Anything else is a directed graph without cycles: a residual stream is a `Join` of what
was added to it; gating and attention join by multiplication, and the change of a product is

    d(x y) = dx y + x dy + dx dy  ~  n^(-min(r_x, r_y, r_x + r_y))

whose exponent is min(r_x, r_y), as for a sum, because no r is negative. So one kind of join serves both.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from widthwise.theory.role import Role


@dataclass(frozen=True)
class Layer:
    """A tensor and what it reads.

    Args:
        name: unique in the network.
        role: embedding (reads data, so no inputs), hidden, vector or readout.
        inputs: the nodes whose outputs it reads; of several, the one that changes most counts.
        frozen: whether the tensor is not trained.
    """

    name: str
    role: Role
    inputs: tuple[str, ...] = ()
    frozen: bool = False


@dataclass(frozen=True)
class Join:
    """Outputs that are added, or multiplied elementwise: r = min over the inputs."""

    name: str
    inputs: tuple[str, ...]


Node = Layer | Join


@dataclass(frozen=True)
class Network:
    """A directed graph of layers and joins, in any order.

    Raises:
        ValueError: no layers; a name twice; an input that does not exist; a cycle; an embedding that reads layers; a
            layer or a join without inputs; a readout that is read; a role without a place in a network; a node that no
            readout reaches.

    Example:
        >>> residual = Network((
        ...     Layer("embedding", Role.EMBEDDING),
        ...     Layer("up", Role.HIDDEN, ("embedding",)),
        ...     Layer("down", Role.HIDDEN, ("up",)),
        ...     Join("stream", ("embedding", "down")),
        ...     Layer("readout", Role.READOUT, ("stream",)),
        ... ))
        >>> [node.name for node in residual.order][-1]
        'readout'
    """

    nodes: tuple[Node, ...]
    order: tuple[Node, ...] = field(init=False, repr=False, compare=False)
    """The nodes, inputs before what reads them."""

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("the network is empty: it needs at least an embedding and a readout")
        by_name = {node.name: node for node in self.nodes}
        if len(by_name) < len(self.nodes):
            twice = sorted({n.name for n in self.nodes if sum(m.name == n.name for m in self.nodes) > 1})
            raise ValueError(f"the network has more than one node called {', '.join(map(repr, twice))}")
        for node in self.nodes:
            _check_node(node, by_name)
        try:
            sorter = TopologicalSorter({node.name: node.inputs for node in self.nodes})
            object.__setattr__(self, "order", tuple(by_name[name] for name in sorter.static_order()))
        except CycleError as error:
            raise ValueError(f"the network has a cycle: {' -> '.join(error.args[1])}; unroll it") from error
        reached = self.readouts_of
        for node in self.nodes:
            if not reached[node.name]:
                raise ValueError(
                    f"no readout reads from {node.name!r}, directly or not: it gets no gradient; remove it"
                )

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The nodes that hold a tensor."""
        return tuple(node for node in self.nodes if isinstance(node, Layer))

    @cached_property
    def readouts_of(self) -> dict[str, frozenset[str]]:
        """Node name -> the readouts that its output reaches; a readout reaches itself."""
        reached: dict[str, set[str]] = {node.name: set() for node in self.nodes}
        for node in reversed(self.order):
            if isinstance(node, Layer) and node.role is Role.READOUT:
                reached[node.name].add(node.name)
            for name in node.inputs:
                reached[name] |= reached[node.name]
        return {name: frozenset(readouts) for name, readouts in reached.items()}


def _check_node(node: Node, by_name: dict[str, Node]) -> None:
    unknown = sorted(set(node.inputs) - set(by_name))
    if unknown:
        raise ValueError(f"{node.name!r} reads {unknown[0]!r}, which is not in the network {sorted(by_name)}")
    for name in node.inputs:
        read = by_name[name]
        if isinstance(read, Layer) and read.role is Role.READOUT:
            raise ValueError(
                f"{node.name!r} reads the readout {name!r}: its output does not grow with the width"
            )
    if isinstance(node, Join):
        if not node.inputs:
            raise ValueError(f"the join {node.name!r} has no inputs")
    elif node.role is Role.FIXED:
        raise ValueError(f"{node.name!r}: a fixed tensor has no place in the width limit; leave it out")
    elif node.role is Role.EMBEDDING:
        if node.inputs:
            raise ValueError(
                f"the embedding {node.name!r} reads {list(node.inputs)}: an embedding reads data alone"
            )
    elif not node.inputs:
        raise ValueError(f"the {node.role} {node.name!r} reads nothing: name its inputs")


def chain(hidden: int) -> Network:
    """embedding -> hidden.1 -> ... -> hidden.L -> readout.

    Raises:
        ValueError: a negative number of hidden layers.

    Example:
        >>> [layer.name for layer in chain(2).layers]
        ['embedding', 'hidden.1', 'hidden.2', 'readout']
    """
    if hidden < 0:
        raise ValueError(f"a chain of {hidden} hidden layers does not exist")
    return Network(tuple(_chain(hidden)))


def _chain(hidden: int) -> Iterator[Layer]:
    before = "embedding"
    yield Layer(before, Role.EMBEDDING)
    for index in range(1, hidden + 1):
        yield Layer(f"hidden.{index}", Role.HIDDEN, (before,))
        before = f"hidden.{index}"
    yield Layer("readout", Role.READOUT, (before,))


ROLE_CHAIN = Network(
    (
        Layer("embedding", Role.EMBEDDING),
        Layer("hidden", Role.HIDDEN, ("embedding",)),
        Layer("readout", Role.READOUT, ("hidden",)),
    )
)
"""The paper's network: one layer of each role, called by its role's name."""
