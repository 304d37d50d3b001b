"""`widthwise --version`, and that `--help` says each command in a whole sentence."""

import platform
from importlib.metadata import version

from typer.testing import CliRunner

from test_house_import_weight import HEAVY, loaded_by, tops
from widthwise import __version__
from widthwise.cli import app


def test_versions_are_one_line() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == (
        f"widthwise {__version__}, torch {version('torch')}, Python {platform.python_version()}\n"
    )


def test_asking_for_versions_loads_nothing_heavy() -> None:
    loaded = loaded_by("-m", "widthwise", "--version")
    assert "widthwise.cli.version" in loaded
    assert not tops(loaded) & HEAVY


def test_no_command_is_cut_short_in_a_terminal_of_80_columns() -> None:
    for arguments in ((), ("study",)):
        said = CliRunner().invoke(app, [*arguments, "--help"]).stdout
        assert "Commands:" in said
        assert "..." not in said.partition("Commands:")[2]
