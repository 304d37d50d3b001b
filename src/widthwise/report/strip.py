"""The strip over each panel of losses, in pixels: a row per width for the runs that have no place on the axis."""

STRIP_TOP = 9
STRIP_ROW = 12
