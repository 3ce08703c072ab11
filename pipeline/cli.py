"""Make a command line from a step's typed `main`, and turn errors into one clear line."""

import sys
from collections.abc import Callable

import tyro

from pipeline.errors import InputError


def run(main: Callable) -> None:
    """Call `main` with the command line's values; an `InputError` ends the program with its text and status 1."""
    try:
        tyro.cli(main, config=(tyro.conf.FlagConversionOff, tyro.conf.OmitSubcommandPrefixes))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped")
