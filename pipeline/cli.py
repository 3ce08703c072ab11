"""Make a command line from a step's typed `main`, and turn errors into one clear line."""

import signal
import sys
from collections.abc import Callable

import tyro

from models.errors import WeightsError
from pipeline.errors import InputError


def run(main: Callable) -> None:
    """Call `main` with the command line's values; bad input or weights end the program with one line and status 1.

    So does what the system refuses. A step that is told to stop tidies up as one that is interrupted.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        tyro.cli(main, config=(tyro.conf.FlagConversionOff, tyro.conf.OmitSubcommandPrefixes))
    except (InputError, WeightsError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).splitlines())}")
    except KeyboardInterrupt:
        sys.exit("stopped")
