"""The command line as a whole: its commands, and the exit code and the error line of a process that runs one."""

import io
import sys
from contextlib import suppress
from typing import Final, TextIO

import click

from lofty_async.__about__ import __version__

from .budget import budget
from .calendar import calendar, slots
from .doctor import doctor
from .leads import leads
from .login import login, whoami
from .mirror import changes, status
from .options import HELP_NAMES, examples
from .sandbox import sandbox
from .sync import sync
from .tasks import tasks
from .webhooks import webhooks
from .worker import worker

INTERRUPTED: Final = 130


@click.group(
    context_settings={"help_option_names": HELP_NAMES},
    epilog=examples(
        "lofty-async doctor",
        "lofty-async tasks mine --sandbox",
        "lofty-async calendar --week",
        "lofty-async sync --db tasks.sqlite",
        'eval "$(lofty-async completion bash)"',
    ),
)
@click.version_option(__version__, prog_name="lofty-async")
def app() -> None:
    """Work with the Lofty CRM's tasks and calendar, and keep a local copy of them.

    The credential comes from the environment, such as LOFTY_API_KEY or LOFTY_ACCESS_TOKEN, or else from the
    command `login`; LOFTY_BASE_URL names another server, LOFTY_STORE where the rate limit is shared with other
    processes. --sandbox tries a command out without an account.

    In a pipe, a table is one line per record, its cells separated by tabs. Exit codes: 0 done, 1 failed, 2 usage or
    credentials, 3 a create whose response was lost, 130 interrupted.
    """


@app.command(
    epilog=examples(
        'eval "$(lofty-async completion bash)"  # in ~/.bashrc',
        'eval "$(lofty-async completion zsh)"   # in ~/.zshrc',
        "lofty-async completion fish > ~/.config/fish/completions/lofty-async.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """Print the completion script of SHELL."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(app, {}, "lofty-async", "_LOFTY_ASYNC_COMPLETE").source())


for command in (
    *(tasks, calendar, slots, leads, sync, changes, status, worker),
    *(budget, doctor, webhooks, whoami, login, sandbox),
):
    app.add_command(command)


def program(name: str, command: str | None = None) -> int:
    """Runs the command line, or one command of it, with the process's arguments; returns the exit code.

    An error is one line on standard error.

    Raises: SystemExit if the reader of standard output has closed it, as click does; nothing is printed then.
    """
    _replace_unencodable(sys.stdout)
    entry = app if command is None else app.commands[command]
    try:
        return entry.main(prog_name=name, standalone_mode=False) or 0
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        return _show(error)
    except OSError as error:  # a full disk behind standard output, or another that no command expects
        _close(sys.stdout)
        return _show(click.ClickException(str(error)))


def _show(error: click.ClickException) -> int:
    try:
        error.show()
    except OSError:
        _close(sys.stderr)
    return error.exit_code


def _replace_unencodable(stream: TextIO) -> None:
    """Makes the stream write `?` for characters that its encoding lacks: ASCII and cp1252 have no emoji."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors in {"strict", "surrogateescape"}:
        stream.reconfigure(errors="replace")


def _close(stream: TextIO) -> None:
    """Drops the stream's buffer: Python would fail to write it once more at exit."""
    with suppress(OSError):
        stream.close()
