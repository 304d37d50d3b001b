"""The lock pins each direct dependency to a version that pyproject.toml accepts; no accelerator package."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from house_rules import SOURCE

ROOT = SOURCE.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILD = PROJECT["build-system"]["requires"]
DEVELOPMENT = PROJECT["dependency-groups"]["dev"]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    entries = [line for line in lines if line and not line.startswith(("#", "-r "))]
    loose = [entry for entry in entries if not re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+", entry)]
    assert loose == [], "not pinned to one version"
    return {entry.split("==")[0]: entry.split("==")[1] for entry in entries}


@pytest.mark.parametrize(
    ("requirement", "file"),
    [(line, "run.txt") for line in [*PROJECT["project"]["dependencies"], *BUILD]]
    + [(line, "dev.txt") for line in DEVELOPMENT],
)
def test_direct_dependencies_are_pinned(requirement: str, file: str) -> None:
    wanted = Requirement(requirement)
    assert wanted.specifier.contains(pins(file)[canonicalize_name(wanted.name)])


def test_development_adds_to_the_package() -> None:
    assert "-r run.txt" in (ROOT / "requirements" / "dev.txt").read_text().splitlines()
    assert not set(pins("run.txt")) & set(pins("dev.txt"))


def test_torch_is_pinned_and_its_accelerator_packages_are_left_to_it() -> None:
    run = pins("run.txt")
    assert run["torch"] == "2.13.0"
    assert not [name for name in run if name.startswith(("nvidia", "cuda", "triton"))]
