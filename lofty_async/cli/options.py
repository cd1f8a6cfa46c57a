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
CERTIFICATES = click.Path(exists=True, dir_okay=False, path_type=Path)
TARGET = ("base_url", "allow_http", "network")


class Network(NamedTuple):
    """How servers are reached; without either, as the environment says."""

    proxy: str | None
    ca_file: Path | None


class Target(NamedTuple):
    """The server to talk to; without an address or a sandbox, the one that the environment names."""

    base_url: str | None
    allow_http: bool
    sandbox: bool
    network: Network


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


def networked(command: Command) -> Command:
    """Adds `--proxy` and `--ca-file`, given to the command as `network`."""
    command = _gathered(command, "network", Network, "proxy", "ca_file")
    command = click.option(
        "--ca-file", type=CERTIFICATES, metavar="FILE", help="Trust the certificates in this PEM file as well."
    )(command)
    return click.option(
        "--proxy", metavar="URL", help="Use this HTTP proxy, '' for none. Or HTTPS_PROXY, HTTP_PROXY and NO_PROXY."
    )(command)


def addressed(command: Command) -> Command:
    """Adds `--base-url`, `--allow-http`, `--proxy` and `--ca-file`, given to the command as `target`."""
    return _addressed(_gathered(command, "target", _target, *TARGET))


def targeted(command: Command) -> Command:
    """Adds `--sandbox` to what `addressed` adds."""
    command = _gathered(command, "target", _target, *TARGET, "sandbox")
    return _addressed(click.option("--sandbox", is_flag=True, help="Start a sandbox of 200 leads and use it.")(command))


def _addressed(command: Command) -> Command:
    command = networked(command)
    command = click.option(
        "--allow-http", is_flag=True, help="Accept an http:// address off this machine: others can read the credential."
    )(command)
    return click.option("--base-url", metavar="URL", help="Use the server at this address.")(command)


def _target(base_url: str | None, allow_http: bool, network: Network, sandbox: bool = False) -> Target:
    if sandbox and base_url is not None:
        raise click.UsageError("--base-url and --sandbox exclude each other")
    return Target(base_url, allow_http, sandbox, network)


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


limited = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N of them.")
zoned = click.option("--time-zone", metavar="ZONE", help="IANA name, such as America/Los_Angeles.")
