"""Options that commands share: each group becomes one value, parsed before anything is sent."""

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from click.core import ParameterSource

from lofty_async import _checks
from lofty_async._auth import hidden
from lofty_async.errors import InvalidRequestError

from .times import MAX_SHOWN, Zone, parse_end, parse_start, zone_named

Command = Callable[..., None]

CERTIFICATES: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
MAX_ID: Final = 2**63 - 1
STDOUT: Final = Path("-")
STDOUT_NAMES: Final = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


class NetworkOptions(NamedTuple):
    """How servers are reached; `None` leaves it to the environment."""

    proxy: str | None
    ca_file: Path | None


class StoreOptions(NamedTuple):
    """Where the rate limit is shared with other processes; `None` for nowhere."""

    address: str | None = None
    app_id: str | None = None


class ServerOptions(NamedTuple):
    """The server to talk to; without a base URL or a sandbox, the one that the environment names."""

    base_url: str | None
    allow_http: bool
    sandbox: bool
    network: NetworkOptions
    store: StoreOptions = StoreOptions()


class OutputOptions(NamedTuple):
    """How and where records are printed; without a path, or with `STDOUT`, on standard output."""

    as_json: bool = False
    string_ids: bool = False
    as_csv: bool = False
    path: Path | None = None


class TimeRange(NamedTuple):
    """A range of time as it was typed."""

    start: str | None
    end: str | None
    time_zone: str | None

    @property
    def zone(self) -> Zone:
        """The zone of times without an offset and of tables.

        Raises: click.BadParameter if there is none of that name.
        """
        return zone_named(self.time_zone)

    def parsed(self) -> dict[str, Any]:
        """Returns the arguments `start`, `end` and `time_zone` of a list, without those that were not given.

        Raises: click.BadParameter as `parse_start` and `parse_end` do.
        """
        zone = self.zone
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
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = None
        if number is None or number > MAX_ID:
            name = param.opts[0] if isinstance(param, click.Option) else getattr(param, "metavar", None)
            hint = _number_of(str(value))
            message = f"{str(name).removesuffix('...')} must be a {self.noun} id, not {str(value)[:MAX_SHOWN]!r}{hint}"
            raise click.UsageError(message, ctx)
        return number


def _number_of(text: str) -> str:
    """Returns a hint for who passes a calendar entry's id, such as 12345-task."""
    number, _, kind = text.partition("-")
    return f": use {number}" if kind in {"task", "appointment"} and parse_id(number) else ""


def entry_id(text: str) -> str:
    """Returns the composite id of a calendar entry.

    Raises: click.UsageError if the text is none.
    """
    try:
        return _checks.composite_id("ID", text)
    except InvalidRequestError as error:
        raise click.UsageError(str(error)) from error


class FilePath(click.Path):
    """The path of a file; an empty one, such as an unset variable of a shell gives, is refused."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("must be a file name, not ''", param, ctx)
        return super().convert(value, param, ctx)


class FormFlag(click.Option):
    """A flag for the form of the output, which a - may follow: the standard output, where it goes anyway."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Adds the flag to click's parser, so that it takes a - along."""
        super().add_to_parser(parser, ctx)
        for name in self.opts:
            parser._long_opt[name].process = _taking_dash(parser._long_opt[name].process)  # noqa: SLF001 - click has no public way


LEAD_ID: Final = RecordId("lead")


def _taking_dash(process: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def taking(value: Any, state: Any) -> None:
        if state.rargs[:1] == ["-"]:
            del state.rargs[0]
        process(value, state)

    return taking


def parse_id(text: str) -> int | None:
    """Returns the id, or `None` if the text is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_ID))):
        return None
    return int(text) if 0 < int(text) <= MAX_ID else None


def given(**arguments: Any) -> dict[str, Any]:
    """Returns the arguments that are not `None`, so that the client's defaults apply to the others."""
    return {name: value for name, value in arguments.items() if value is not None}


def _grouped(command: Command, name: str, kind: Callable[..., Any], *parts: str) -> Command:
    @wraps(command)
    def grouping(**values: Any) -> None:
        group = kind(**{part: values.pop(part) for part in parts})
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
    """Adds the options of how to reach the server and whom to share its rate limit with, passed as `server`."""
    parts = ("base_url", "allow_http", "network", "store", "app_id")
    return _address_options(_grouped(command, "server", _server, *parts))


def server_or_sandbox_options(command: Command) -> Command:
    """Adds `--sandbox` to the options of `server_options`."""
    parts = ("base_url", "allow_http", "network", "store", "app_id", "sandbox")
    command = _grouped(command, "server", _server, *parts)
    return _address_options(
        click.option("--sandbox", is_flag=True, help="Start a sandbox of 200 leads and use it.")(command)
    )


def _address_options(command: Command) -> Command:
    command = click.option(
        "--app-id",
        envvar="LOFTY_APP_ID",
        metavar="ID",
        help="The application's app_id in a Redis, PostgreSQL or folder that is shared. Default: LOFTY_APP_ID.",
    )(command)
    command = click.option(
        "--store",
        type=hidden,
        envvar="LOFTY_STORE",
        metavar="STORE",
        help="Share the rate limit with other processes: redis://HOST/0, postgresql://HOST/DATABASE, a "
        "folder or a file. Prefer LOFTY_STORE if the address holds a password, since other users can see arguments.",
    )(command)
    command = network_options(command)
    command = click.option(
        "--allow-http", is_flag=True, help="Allow an http:// address off this machine: others can read the credential."
    )(command)
    return click.option("--base-url", metavar="URL", help="Use the server at this address. Default: LOFTY_BASE_URL.")(
        command
    )


def _server(
    *,
    base_url: str | None,
    allow_http: bool,
    network: NetworkOptions,
    store: str | None,
    app_id: str | None,
    sandbox: bool = False,
) -> ServerOptions:
    if sandbox and base_url is not None:
        raise click.UsageError("--base-url and --sandbox exclude each other")
    if sandbox and store is not None:
        if click.get_current_context().get_parameter_source("store") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--store and --sandbox exclude each other: a sandbox has a rate limit of its own")
        store = None
    return ServerOptions(base_url, allow_http, sandbox, network, StoreOptions(store, app_id))


def record_options(command: Command) -> Command:
    """Adds `--json` and `--string-ids`, passed to the command as `output`."""
    return _json_options(_grouped(command, "output", OutputOptions, "as_json", "string_ids"))


def list_options(command: Command) -> Command:
    """Adds `--limit`, passed as such, and `--json`, `--csv`, `--string-ids` and `--output`, passed as `output`."""
    command = _grouped(command, "output", _list_output, "as_json", "string_ids", "as_csv", "path")
    command = click.option(
        "--output",
        "-o",
        "path",
        type=FilePath(),
        metavar="FILE",
        help="Write to FILE, - for standard output. A new file is readable by its owner alone.",
    )(command)
    command = click.option(
        "--csv",
        "as_csv",
        cls=FormFlag,
        is_flag=True,
        help="CSV with all fields, for spreadsheets: a text that they would run as a formula gets a ' in front.",
    )(command)
    return limit_option(_json_options(command))


def _json_options(command: Command) -> Command:
    command = click.option("--string-ids", is_flag=True, help="Ids as strings in JSON, for JavaScript.")(command)
    return click.option("--json", "as_json", cls=FormFlag, is_flag=True, help="JSON with all fields, for programs.")(
        command
    )


def _list_output(*, as_json: bool, string_ids: bool, as_csv: bool, path: Path | None) -> OutputOptions:
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    return OutputOptions(as_json, string_ids, as_csv, STDOUT if str(path) in STDOUT_NAMES else path)


def time_range_options(command: Command) -> Command:
    """Adds `--start`, `--end` and `--time-zone`, passed to the command as `times`."""
    command = time_zone_option(_grouped(command, "times", TimeRange, "start", "end", "time_zone"))
    command = click.option("--end", metavar="TIME", help="Until then; a date includes its whole day.")(command)
    return click.option("--start", metavar="TIME", help="From then on: a date, ISO 8601, or such as 'tomorrow 15:00'.")(
        command
    )


def choice_of(kind: type[StrEnum]) -> click.Choice[str]:
    """Returns the type of an option that takes a member of an enum by its value, in any case."""
    return click.Choice([member.value for member in kind], case_sensitive=False)


def examples(*lines: str) -> str:
    """Returns the end of a help text: commands to copy, each on a line that is not wrapped."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


limit_option = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N of them.")
time_zone_option = click.option(
    "--time-zone",
    metavar="ZONE",
    help="Zone of times without offset and of tables, such as America/Los_Angeles. Default: this machine's.",
)
