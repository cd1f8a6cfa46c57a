"""The command line as a process: how it ends, and what it says then."""

import io
import sys
from contextlib import suppress
from typing import Final, TextIO

import click

from .app import app

INTERRUPTED: Final = 130


def program() -> int:
    """Runs the command that was typed, and says in one line what went wrong; the exit code.

    Raises: SystemExit where nobody reads any more, as click does, without a word.
    """
    _spell_anything(sys.stdout)
    try:
        return app.main(prog_name="lofty-async", standalone_mode=False) or 0
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        return _told(error)
    except OSError as error:  # a full disk behind standard output, or another that no command has expected
        _close(sys.stdout)
        return _told(click.ClickException(str(error)))


def _told(error: click.ClickException) -> int:
    try:
        if sys.stderr is not None:  # click would take standard output instead
            error.show()
    except OSError:
        _close(sys.stderr)
    return error.exit_code


def _spell_anything(stream: TextIO | None) -> None:
    """Has the stream write `?` for what its encoding lacks: ASCII and cp1252 have no emoji, and people's texts do."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors in {"strict", "surrogateescape"}:
        stream.reconfigure(errors="replace")


def _close(stream: TextIO | None) -> None:
    """Gives up what the stream still holds: Python would fail on it once more at its end."""
    if stream is not None:
        with suppress(OSError):
            stream.close()
