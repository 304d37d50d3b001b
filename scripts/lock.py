"""Write requirements/run.txt and requirements/dev.txt from what the running environment has installed.

`make lock` runs it after a deliberate upgrade. The closure of the dependencies named in pyproject.toml is
walked through the installed metadata, so the environment's versions, and nothing else, become the pins. Local
version labels (`+cpu`) are dropped, and so are the accelerator packages that some builds of torch bring:
torch pins those itself, and each machine takes the build that its own pip offers.
"""

import tomllib
from collections.abc import Iterable
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
ACCELERATOR = ("nvidia", "cuda", "triton", "pytorch-triton")


def closure(roots: Iterable[str]) -> dict[str, str]:
    """Every package that the requirements need on this machine, with its installed version."""
    pins: dict[str, str] = {}
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in pins or name.startswith(ACCELERATOR):
            continue
        pins[name] = Version(version(name)).public
        needed = (Requirement(line) for line in requires(name) or ())
        waiting += [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return pins


def lines(pins: dict[str, str]) -> str:
    return "".join(f"{name}=={pins[name]}\n" for name in sorted(pins))


def main() -> None:
    """Write both files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    build = [*project["build-system"]["requires"], "editables"]
    run = closure([*project["project"]["dependencies"], *build])
    dev = closure(project["dependency-groups"]["dev"])
    folder = ROOT / "requirements"
    (folder / "run.txt").write_text(
        "# Written by `make lock`: the package, its build backend, nothing else.\n" + lines(run)
    )
    extra = {name: pin for name, pin in dev.items() if name not in run}
    (folder / "dev.txt").write_text(
        "# Written by `make lock`: what `make test` adds.\n-r run.txt\n" + lines(extra)
    )


if __name__ == "__main__":
    main()
