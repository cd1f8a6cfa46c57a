"""`lofty-async …`: the command line; needs the extra `cli`.

`program`, `app`, `sync`, `read`, `webhooks`, `login`, `serve` and `options` declare the commands and import click
alone, so that `--help` is fast; all else does the work and is imported when a command runs.
"""

import os
import sys
from pathlib import Path
from typing import Final

EXTRA: Final = {"click", "rich"}
HINT: Final = 'lofty-async: the command line needs its extra: pip install "lofty-async[cli]"\n'


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 failed, 2 usage or credentials, 130 interrupted."""
    open_closed_streams()
    try:
        from .program import program  # noqa: PLC0415 - its absence is what this function is about

        sys.exit(program())
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in EXTRA:
            raise
        sys.stderr.write(HINT)
        sys.exit(2)


def open_closed_streams() -> None:
    """Opens the null device in place of each standard stream that the process was started without.

    So no command has to expect that there is none, and no other file takes its number.
    """
    null = Path(os.devnull)
    sys.stdin = sys.stdin or null.open(encoding="utf-8")
    sys.stdout = sys.stdout or null.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or null.open("w", encoding="utf-8")
