"""`lofty-async …`: the command line; needs the extra `cli`.

One module per group of commands; `app` puts them together. `options`, `times` and `writes` declare what groups share.
All of these import click and the package alone, so that `--help` is fast; a command imports its work when it runs:
`run` and `client` connect it, `output`, `tables` and `week` print records.
"""

import os
import sys
from pathlib import Path
from typing import Final

EXTRA: Final = {"click", "rich"}
HINT: Final = 'lofty-async: the command line needs its extra: pip install "lofty-async[cli]"\n'


def main(command: str | None = None, name: str = "lofty-async") -> None:
    """Runs the command line, or one command of it, under this name.

    Exit codes: 0 done, 1 failed, 2 usage or credentials, 3 a create whose response was lost, 130 interrupted.
    """
    try:
        open_closed_streams()
        from .app import program

        sys.exit(program(name, command))
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in EXTRA:
            raise
        sys.stderr.write(HINT)
        sys.exit(2)


def open_closed_streams() -> None:
    """Opens the null device in place of each standard stream that the process was started without.

    So no command has to handle a missing stream, and no other file gets its descriptor.
    """
    null = Path(os.devnull)
    sys.stdin = sys.stdin or null.open(encoding="utf-8")
    sys.stdout = sys.stdout or null.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or null.open("w", encoding="utf-8")
