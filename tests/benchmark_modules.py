"""The modules that benchmarks share, importable from tests; import this before any of them."""

import sys

from house_rules import SOURCE

ROOT = SOURCE.parent.parent
BENCHMARKS = ROOT / "benchmarks"

if str(BENCHMARKS) not in sys.path:
    sys.path.insert(0, str(BENCHMARKS))
