"""Where `ltx2 gateway` and `ltx2 studio` come from: a package beside this one.

A worker's image leaves it out. The command is taken by name, as a plugin is: this package imports
nothing that stands above it.
"""

import argparse
import importlib
from typing import Any

from ltx2.errors import ConfigError

COMMAND = "gateway.command"
MISSING = "the gateway is not installed here: pip install 'ltx2[gateway]'"


def add_command(commands: Any) -> None:  # noqa: ANN401 - argparse has no public name for it
    """Add them; where the package is not installed, commands that say so."""
    try:
        command = importlib.import_module(COMMAND)
    except ModuleNotFoundError as error:
        if error.name not in (COMMAND, COMMAND.partition(".")[0]):
            raise
        for name in ("gateway", "studio"):
            absent = commands.add_parser(name, help="not installed here")
            absent.set_defaults(run=refuse)
        return
    command.add_command(commands)


def refuse(_arguments: argparse.Namespace, _settings: object) -> int:
    """Say how to get it."""
    raise ConfigError(MISSING)
