"""The errors of a sync."""

from datetime import datetime

from attrs import define, field

from lofty_async.errors import LoftyError


@define(slots=False, eq=False, repr=False, str=False)
class SyncRunningError(LoftyError):
    """Another run is under way on the same database: on `host`, in process `process`, since `since`.

    A run whose process was killed lets go at once on the same machine, and within 60 seconds elsewhere.
    """

    host: str | None = field(default=None, kw_only=True)
    process: int | None = field(default=None, kw_only=True)
    since: datetime | None = field(default=None, kw_only=True)


@define(slots=False, eq=False, repr=False, str=False)
class SuspiciousDeletionError(LoftyError):
    """So many tasks are gone that a fault of the server is likelier; none has been removed.

    `gone` of `tasks` are missing. `sync(allow_mass_delete=True)` takes them for deleted.
    """

    gone: int = field(default=0, kw_only=True)
    tasks: int = field(default=0, kw_only=True)
