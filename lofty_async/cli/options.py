"""Options that commands share: each group becomes one value, parsed before anything is sent."""

from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, time
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

Command = Callable[..., None]

CERTIFICATES: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
LAST_SECOND: Final = time(23, 59, 59)
MAX_ID: Final = 2**63 - 1
MAX_SHOWN: Final = 40
"""Characters of a wrong value that its error message shows."""


class NetworkOptions(NamedTuple):
    """How servers are reached; `None` leaves it to the environment."""

    proxy: str | None
    ca_file: Path | None


class ServerOptions(NamedTuple):
    """The server to talk to; without a base URL or a sandbox, the one that the environment names."""

    base_url: str | None
    allow_http: bool
    sandbox: bool
    network: NetworkOptions


class OutputOptions(NamedTuple):
    """How records are printed."""

    as_json: bool
    string_ids: bool


class TimeRange(NamedTuple):
    """A range of time as it was typed."""

    start: str | None
    end: str | None
    time_zone: str | None

    def parsed(self) -> dict[str, Any]:
        """Returns the arguments `start`, `end` and `time_zone` of a list, without those that were not given.

        Raises: click.BadParameter as the functions below do.
        """
        zone = parse_time_zone(self.time_zone)
        start, end = parse_start(self.start, zone), parse_end(self.end, zone)
        return given(start=start, end=end, time_zone=self.time_zone)


class RecordId(click.IntRange):
    """A positive id."""

    def __init__(self, noun: str) -> None:
        super().__init__(min=1)
        self.noun = noun

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises: click.UsageError if the value is not an id."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            name = param.opts[0] if isinstance(param, click.Option) else getattr(param, "metavar", None)
            message = f"{name} must be a {self.noun} id, not {str(value)[:MAX_SHOWN]!r}"
            raise click.UsageError(message, ctx) from error


class FilePath(click.Path):
    """The path of a file; an empty one, such as an unset variable of a shell gives, is refused."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("must be a file name, not ''", param, ctx)
        return super().convert(value, param, ctx)


LEAD_ID: Final = RecordId("lead")


def parse_id(text: str) -> int | None:
    """Returns the id, or `None` if the text is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_ID))):
        return None
    return int(text) if 0 < int(text) <= MAX_ID else None


def parse_time_zone(name: str | None) -> "ZoneInfo | None":
    """Returns the time zone with that IANA name.

    Raises: click.BadParameter if there is none.
    """
    from zoneinfo import ZoneInfo

    try:
        return None if name is None else ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # zoneinfo raises them for unknown, odd and folder names
        raise click.BadParameter(
            f"must be an IANA time zone, not {(name or '')[:MAX_SHOWN]!r}", param_hint="--time-zone"
        ) from error


def parse_start(text: str | None, zone: "ZoneInfo | None") -> datetime | None:
    """Returns the time, or the beginning of the day.

    Raises: click.BadParameter if the text is neither, or has no offset and there is no time zone.
    """
    return None if text is None else _parse_time(text, zone, time.min, "--start")


def parse_end(text: str | None, zone: "ZoneInfo | None") -> datetime | None:
    """Returns the time, or the last second of the day.

    Raises: click.BadParameter if the text is neither, or has no offset and there is no time zone.
    """
    return None if text is None else _parse_time(text, zone, LAST_SECOND, "--end")


def _parse_time(text: str, zone: "ZoneInfo | None", time_of_day: time, option: str) -> datetime:
    parsed = _parse_iso(text, time_of_day)
    if parsed is None:
        raise click.BadParameter(f"must be an ISO 8601 time or date, not {text[:MAX_SHOWN]!r}", param_hint=option)
    if parsed.tzinfo is None and zone is None:
        raise click.BadParameter(f"{text!r} has no UTC offset: add one, or pass --time-zone", param_hint=option)
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=zone)


def _parse_iso(text: str, time_of_day: time) -> datetime | None:
    with suppress(ValueError):
        return datetime.combine(date.fromisoformat(text), time_of_day)
    with suppress(ValueError):
        return datetime.fromisoformat(text)
    return None


def given(**arguments: Any) -> dict[str, Any]:
    """Returns the arguments that are not `None`, so that the client's defaults apply to the others."""
    return {name: value for name, value in arguments.items() if value is not None}


def _grouped(command: Command, name: str, kind: Callable[..., Any], *parts: str) -> Command:
    @wraps(command)
    def grouping(**values: Any) -> None:
        group = kind(*(values.pop(part) for part in parts))
        command(**values, **{name: group})

    return grouping


def network_options(command: Command) -> Command:
    """Adds `--proxy` and `--ca-file`, passed to the command as `network`."""
    command = _grouped(command, "network", NetworkOptions, "proxy", "ca_file")
    command = click.option(
        "--ca-file", type=CERTIFICATES, metavar="FILE", help="Trust the certificates in this PEM file as well."
    )(command)
    return click.option(
        "--proxy", metavar="URL", help="Use this HTTP proxy, '' for none. Default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY."
    )(command)


def server_options(command: Command) -> Command:
    """Adds `--base-url`, `--allow-http`, `--proxy` and `--ca-file`, passed to the command as `server`."""
    return _address_options(_grouped(command, "server", _server, "base_url", "allow_http", "network"))


def server_or_sandbox_options(command: Command) -> Command:
    """Adds `--sandbox` to the options of `server_options`."""
    command = _grouped(command, "server", _server, "base_url", "allow_http", "network", "sandbox")
    return _address_options(
        click.option("--sandbox", is_flag=True, help="Start a sandbox of 200 leads and use it.")(command)
    )


def _address_options(command: Command) -> Command:
    command = network_options(command)
    command = click.option(
        "--allow-http", is_flag=True, help="Allow an http:// address off this machine: others can read the credential."
    )(command)
    return click.option("--base-url", metavar="URL", help="Use the server at this address.")(command)


def _server(base_url: str | None, allow_http: bool, network: NetworkOptions, sandbox: bool = False) -> ServerOptions:
    if sandbox and base_url is not None:
        raise click.UsageError("--base-url and --sandbox exclude each other")
    return ServerOptions(base_url, allow_http, sandbox, network)


def output_options(command: Command) -> Command:
    """Adds `--json` and `--string-ids`, passed to the command as `output`."""
    command = _grouped(command, "output", OutputOptions, "as_json", "string_ids")
    command = click.option("--string-ids", is_flag=True, help="Ids as strings, for JavaScript.")(command)
    return click.option("--json", "as_json", is_flag=True, help="JSON for programs.")(command)


def time_range_options(command: Command) -> Command:
    """Adds `--start`, `--end` and `--time-zone`, passed to the command as `times`."""
    command = time_zone_option(_grouped(command, "times", TimeRange, "start", "end", "time_zone"))
    command = click.option("--end", metavar="TIME", help="Until then; a date includes its whole day.")(command)
    return click.option("--start", metavar="TIME", help="From then on: ISO 8601 with offset, or a date.")(command)


limit_option = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N of them.")
time_zone_option = click.option("--time-zone", metavar="ZONE", help="IANA name, such as America/Los_Angeles.")
