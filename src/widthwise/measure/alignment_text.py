"""An alignment report as text: ratios of one width, and what is left out with its reason."""

from widthwise.measure.alignment_report import AlignmentReport, LayerAlignment
from widthwise.measure.epsilon_text import UNDEFINED, number
from widthwise.text_table import aligned
from widthwise.theory import AlignmentQuantity

HEADER = (
    "layer", "role", "fan-in", *(quantity.value for quantity in AlignmentQuantity), "directions", "dW / W_0", "|dW|_2",
)  # fmt: skip
HEAD = "Log alignment ratios at one width, a diagnostic: exponents are slopes over three widths (widthwise align)."


def alignment_text(report: AlignmentReport) -> str:
    """The table of layers, the tables that are looked up, and every other tensor with the reason why not."""
    body = aligned([HEADER, *(_cells(layer) for layer in report.layers)])
    noted = [f"{one.layer}: {one.note}" for one in report.layers if one.note]
    tables = [
        f"{one.layer}: looked up, sums over nothing; dW / W_0 = {number(one.relative_change)}"
        for one in report.looked_up
    ]
    rest = [f"{one.layer}: {one.reason}" for one in report.unmeasured]
    return "\n".join([HEAD, *body, *noted, *tables, *rest])


def _cells(layer: LayerAlignment) -> tuple[str, ...]:
    return (
        layer.layer,
        UNDEFINED if layer.role is None else layer.role.value,
        str(layer.fan_in),
        *(number(layer.ratio(quantity)) for quantity in AlignmentQuantity),
        number(layer.effective_dimension()),
        number(layer.relative_change),
        number(layer.spectral_norm),
    )
