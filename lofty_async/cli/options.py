"""Options that commands share, gathered into one value each."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

Command = Callable[..., None]

LEAD_ID = click.IntRange(min=1)
OUTPUT: Final = Path("-")
OUTPUT_NAMES: Final = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Standard output where a file is asked for."""


class Target(NamedTuple):
    """The server to talk to; without either, the one that the environment names."""

    base_url: str | None
    sandbox: bool


class Places(NamedTuple):
    """Where tasks are kept; `jsonl` may be `OUTPUT`."""

    db: Path | None
    jsonl: Path | None


class Period(NamedTuple):
    """A range of time as it was typed."""

    start: str | None
    end: str | None
    time_zone: str | None


class Form(NamedTuple):
    """How records are shown."""

    as_json: bool
    string_ids: bool


def _gathered(command: Command, name: str, kind: Callable[..., Any], *parts: str) -> Command:
    @wraps(command)
    def gathering(**values: Any) -> None:
        gathered = kind(*(values.pop(part) for part in parts))
        command(**values, **{name: gathered})

    return gathering


def targeted(command: Command) -> Command:
    """Adds `--base-url` and `--sandbox`, given to the command as `target`."""
    command = _gathered(command, "target", _target, "base_url", "sandbox")
    command = click.option("--sandbox", is_flag=True, help="Start a sandbox of 200 leads and use it.")(command)
    return addressed(command)


def _target(base_url: str | None, sandbox: bool) -> Target:
    if sandbox and base_url is not None:
        raise click.UsageError("--base-url and --sandbox exclude each other")
    return Target(base_url, sandbox)


def formed(command: Command) -> Command:
    """Adds `--json` and `--string-ids`, given to the command as `form`."""
    command = _gathered(command, "form", Form, "as_json", "string_ids")
    command = click.option("--string-ids", is_flag=True, help="Ids as strings, for JavaScript.")(command)
    return click.option("--json", "as_json", is_flag=True, help="JSON for programs.")(command)


def ranged(command: Command) -> Command:
    """Adds `--start`, `--end` and `--time-zone`, given to the command as `period`."""
    command = zoned(_gathered(command, "period", Period, "start", "end", "time_zone"))
    command = click.option("--end", metavar="TIME", help="Until then; a date's whole day is included.")(command)
    return click.option("--start", metavar="TIME", help="From then on: ISO 8601 with offset, or a date.")(command)


addressed = click.option("--base-url", metavar="URL", help="Use the server at this address.")
limited = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N of them.")
zoned = click.option("--time-zone", metavar="ZONE", help="IANA name, such as America/Los_Angeles.")
