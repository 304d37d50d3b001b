"""A script of `studies/`, as a module."""

from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from house_rules import SOURCE


def study_script(study: str, name: str) -> Any:
    """`studies/STUDY/NAME.py`."""
    path = SOURCE.parent.parent / "studies" / study / f"{name}.py"
    spec = spec_from_file_location(f"studies_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
