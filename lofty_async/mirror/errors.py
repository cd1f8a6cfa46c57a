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


@define(slots=False, eq=False, repr=False, str=False)
class OtherAccountError(LoftyError):
    """The database mirrors another account, or one of another server; nothing was written.

    `held` says in words whose tasks the database holds, `found` whose the client reads. One database, or one account
    name in PostgreSQL, mirrors one account. If it is the same account and its server has another address now,
    `sync(allow_new_server=True)` goes on with it.
    """

    held: str | None = field(default=None, kw_only=True)
    found: str | None = field(default=None, kw_only=True)


@define(slots=False, eq=False, repr=False, str=False)
class ChangesPrunedError(LoftyError):
    """Changes after the one asked for were removed, so that those left would leave a gap.

    Copy the tasks anew and continue after the summary's `last_change`. `oldest` is the least `since` without a gap.
    """

    oldest: int = field(default=0, kw_only=True)
