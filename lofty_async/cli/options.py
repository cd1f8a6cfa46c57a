"""Options that commands share: each group becomes one value, parsed before anything is sent."""

from collections.abc import Callable
from enum import StrEnum
from functools import partial, reduce, wraps
from math import inf, isfinite
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from click.core import ParameterSource

from lofty_async import _checks
from lofty_async._auth import hidden, pasted
from lofty_async.errors import InvalidRequestError
from lofty_async.models import AssignedRole

from .times import MAX_SHOWN, Zone, parse_end, parse_start, zone_named

Command = Callable[..., Any]
Option = Callable[[Command], Command]

CERTIFICATES: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
MAX_ID: Final = 2**63 - 1
POSTGRES: Final = ("postgresql://", "postgres://")
STDOUT: Final = Path("-")
STDOUT_NAMES: Final = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


class ServerOptions(NamedTuple):
    """The server to talk to, how to reach it, and where its rate limit is shared with other processes.

    Without a base URL or a sandbox it is Lofty; without a proxy or a file of certificates, the environment's apply;
    without a store, the rate limit is the process's own.
    """

    base_url: str | None = None
    allow_http: bool = False
    sandbox: bool = False
    proxy: str | None = None
    ca_file: Path | None = None
    store: str | None = None
    app_id: str | None = None


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

        Raises: click.UsageError if there is none of that name.
        """
        return zone_named(self.time_zone)

    def parsed(self) -> dict[str, Any]:
        """Returns the arguments `start`, `end` and `time_zone` of a list, without those that were not given.

        Raises: click.UsageError as `parse_start` and `parse_end` do.
        """
        zone = self.zone
        start, end = parse_start(self.start, zone), parse_end(self.end, zone)
        return given(start=start, end=end, time_zone=self.time_zone)


def typed_name(param: click.Parameter | None) -> str:
    """Returns an option as it is typed, or an argument as the usage names it."""
    if isinstance(param, click.Option):
        return param.opts[0]
    return str(getattr(param, "metavar", None) or "the argument").removesuffix("...")


class Whole(click.IntRange):
    """A whole number within a range."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises: click.UsageError if the value is no such number."""
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            raise _not_within(self, "an integer", value, param, ctx) from None
        if number > MAX_ID:  # SQLite and JSON in other languages hold no more
            raise _not_within(Whole(self.min, MAX_ID), "an integer", value, param, ctx)
        return number


class Number(click.FloatRange):
    """A finite number within a range."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises: click.UsageError if the value is no such number."""
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = inf
        if not isfinite(number):
            raise _not_within(self, "a number", value, param, ctx)
        return number


def _not_within(
    kind: click.IntRange | click.FloatRange,
    noun: str,
    value: Any,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> click.UsageError:
    """Returns an error that names the option and the range."""
    low, high = kind.min, kind.max
    span = f" above {low}" if kind.min_open else f" of {low} or more"
    if high is not None:
        span = f" from {low} to {high}"
    return click.UsageError(f"{typed_name(param)} must be {noun}{span}, not {str(value)[:MAX_SHOWN]!r}", ctx)


class RecordId(click.IntRange):
    """A positive id."""

    def __init__(self, noun: str) -> None:
        super().__init__(min=1)
        self.noun = noun

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises: click.UsageError if the value is not an id."""
        text = str(value).strip()
        if (id := parse_id(text)) is None:
            message = f"{typed_name(param)} must be a {self.noun} id, not {text[:MAX_SHOWN]!r}{_number_of(text)}"
            raise click.UsageError(message, ctx)
        return id


def parse_id(text: str) -> int | None:
    """Returns the id, or `None` if the text is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_ID))):
        return None
    return int(text) if 0 < int(text) <= MAX_ID else None


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
            raise click.UsageError(f"{typed_name(param)} must be a file name, not ''", ctx)
        return super().convert(value, param, ctx)


class OutputPath(FilePath):
    """The path of a file to write; `STDOUT` for each name of the standard output."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return STDOUT if str(value) in STDOUT_NAMES else super().convert(value, param, ctx)


class FormFlag(click.Option):
    """A flag for the form of the output, which a - may follow: the standard output, where it goes anyway."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Adds the flag to click's parser, so that it takes a - along."""
        super().add_to_parser(parser, ctx)
        for name in self.opts:
            parser._long_opt[name].process = _taking_dash(parser._long_opt[name].process)  # noqa: SLF001 - click has no public way


def _taking_dash(process: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def taking(value: Any, state: Any) -> None:
        if state.rargs[:1] == ["-"]:
            del state.rargs[0]
        process(value, state)

    return taking


def given(**arguments: Any) -> dict[str, Any]:
    """Returns the arguments that are not `None`, so that the client's defaults apply to the others."""
    return {name: value for name, value in arguments.items() if value is not None}


def grouping(name: str, kind: Callable[..., Any], **options: Option) -> Option:
    """Returns the decorator that adds options, and passes their values to the command as one."""

    def grouped(command: Command) -> Command:
        @wraps(command)
        def parse(**values: Any) -> None:
            group = kind(**{part: values.pop(part) for part in options})
            command(**values, **{name: group})

        return adding(*options.values())(parse)

    return grouped


def adding(*options: Option) -> Option:
    """Returns the decorator that adds options, in this order."""

    def add(command: Command) -> Command:
        return reduce(lambda inner, option: option(inner), reversed(options), command)

    return add


def _server(**values: Any) -> ServerOptions:
    server, source = ServerOptions(**values), click.get_current_context().get_parameter_source
    if not server.base_url and source("base_url") is ParameterSource.ENVIRONMENT:
        server = server._replace(base_url=None)  # a variable of blanks is not set
    if not server.sandbox:
        return server
    for name, reason in (("base_url", ""), ("store", ": a sandbox has a rate limit of its own")):
        if source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} and --sandbox exclude each other{reason}")
    return server._replace(base_url=None, store=None)


def _list_output(**values: Any) -> OutputOptions:
    output = OutputOptions(**values)
    if output.as_json and output.as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    return output


def choice_of(kind: type[StrEnum]) -> click.Choice[str]:
    """Returns the type of an option that takes a member of an enum by its value, in any case."""
    return click.Choice([member.value for member in kind], case_sensitive=False)


def examples(*lines: str) -> str:
    """Returns the end of a help text: commands to copy, each on a line that is not wrapped."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


HELP_NAMES: Final = ["-h", "--help"]
LEAD_ID: Final = RecordId("lead")
NETWORK: Final = {
    "proxy": click.option(
        "--proxy", metavar="URL", help="Use this HTTP proxy, '' for none. Default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY."
    ),
    "ca_file": click.option(
        "--ca-file", type=CERTIFICATES, metavar="FILE", help="Trust the certificates in this PEM file as well."
    ),
}
SERVER: Final = {
    "base_url": click.option(
        "--base-url",
        type=pasted,
        envvar="LOFTY_BASE_URL",
        metavar="URL",
        help="Use the server at this address. Default: LOFTY_BASE_URL.",
    ),
    "allow_http": click.option(
        "--allow-http",
        is_flag=True,
        help="Allow an http:// address off this machine: others can read the credential.",
    ),
    **NETWORK,
    "store": click.option(
        "--store",
        type=hidden,
        envvar="LOFTY_STORE",
        metavar="STORE",
        help="Share the rate limit with other processes: redis://HOST/0, postgresql://HOST/DATABASE, a "
        "folder or a file. Prefer LOFTY_STORE if the address holds a password, since other users can see arguments.",
    ),
    "app_id": click.option(
        "--app-id",
        envvar="LOFTY_APP_ID",
        metavar="ID",
        help="The application's app_id in a Redis, PostgreSQL or folder that is shared. Default: LOFTY_APP_ID.",
    ),
}
SANDBOX: Final = click.option("--sandbox", is_flag=True, help="Start a sandbox of 200 leads and use it.")
string_ids_option = click.option("--string-ids", is_flag=True, help="Ids as strings in JSON, for JavaScript.")
RECORD: Final = {
    "as_json": click.option(
        "--json", "as_json", cls=FormFlag, is_flag=True, help="JSON with all fields, for programs."
    ),
    "string_ids": string_ids_option,
}
CSV: Final = click.option(
    "--csv",
    "as_csv",
    cls=FormFlag,
    is_flag=True,
    help="CSV with all fields, for spreadsheets: a text that they would run as a formula gets a ' in front.",
)
OUTPUT: Final = click.option(
    "--output",
    "-o",
    "path",
    type=OutputPath(),
    metavar="FILE",
    help="Write to FILE, - for standard output. A new file is readable by its owner alone.",
)

network_options = adding(*NETWORK.values())
"""Adds `--proxy` and `--ca-file`."""
server_options = grouping("server", _server, **SERVER)
"""Adds the options of how to reach the server and whom to share its rate limit with, passed as `server`."""
server_or_sandbox_options = grouping("server", _server, **SERVER, sandbox=SANDBOX)
"""Adds `--sandbox` to the options of `server_options`."""
record_options = grouping("output", OutputOptions, **RECORD)
"""Adds `--json` and `--string-ids`, passed to the command as `output`."""
list_options = adding(
    click.option("--limit", type=Whole(1), metavar="N", help="At most N of them."),
    grouping("output", _list_output, **RECORD, as_csv=CSV, path=OUTPUT),
)
"""Adds `--limit`, passed as such, and `--json`, `--csv`, `--string-ids` and `--output`, passed as `output`."""
time_zone_option = click.option(
    "--time-zone",
    metavar="ZONE",
    help="Zone of times without offset and of tables, such as America/Los_Angeles. Default: this machine's.",
)
time_range_options = grouping(
    "times",
    TimeRange,
    start=click.option("--start", metavar="TIME", help="From then on: a date, ISO 8601, or such as 'tomorrow 15:00'."),
    end=click.option("--end", metavar="TIME", help="Until then; a date includes its whole day."),
    time_zone=time_zone_option,
)
"""Adds `--start`, `--end` and `--time-zone`, passed to the command as `times`."""
lead_option = partial(click.option, "--lead", "lead_id", type=LEAD_ID, metavar="ID", help="The lead that it is about.")
content_option = partial(click.option, "--content", metavar="TEXT", help="What it is about.")
start_option = partial(click.option, "--start", "start_at", metavar="TIME", help="When it begins.")
end_option = partial(click.option, "--end", "end_at", metavar="TIME", help="When it ends.")
role_option = partial(
    click.option,
    "--role",
    "assigned_role",
    type=choice_of(AssignedRole),
    show_default=True,
    help="Role that it is assigned to.",
)
address_option = partial(click.option, "--address", metavar="TEXT", help="Where it takes place.")
