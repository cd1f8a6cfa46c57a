"""The source of a mirror's rows: the server and the account that they come from, which may not be mixed with others."""

import logging
from typing import Final
from urllib.parse import urlsplit

from attrs import asdict, evolve, frozen

from lofty_async import _checks
from lofty_async.client import LoftyClient
from lofty_async.errors import APIError, AuthenticationError, DecodeError, RateLimitedError, ServerError

from .columns import stored_id
from .errors import OtherAccountError
from .statements import Work, query

log = logging.getLogger("lofty_async.mirror")

DEFAULT_PORTS: Final = {"http": 80, "https": 443}

SELECT: Final = "SELECT server, member_id, team_id FROM sources WHERE account = :account"
UPDATE: Final = (
    "UPDATE sources SET server = :server, member_id = :member_id, team_id = :team_id WHERE account = :account"
)
REMEDY: Final = "name another database, or another account in PostgreSQL"


@frozen
class Source:
    """A server's origin, and the team member whose credential reads it; `None` for what is not known."""

    server: str
    member_id: int | None = None
    team_id: int | None = None

    def __str__(self) -> str:
        member = "" if self.member_id is None else f"member {self.member_id} of team {self.team_id or '?'} on "
        return f"{member}{self.server}"

    def completed_by(self, other: "Source") -> "Source":
        """The same source, with what only the other one tells of the account."""
        return Source(
            self.server,
            other.member_id if self.member_id is None else self.member_id,
            other.team_id if self.team_id is None else self.team_id,
        )

    def is_same_account(self, other: "Source") -> bool:
        """Whether both are of one account, as far as known."""
        pairs = ((self.member_id, other.member_id), (self.team_id, other.team_id))
        return all(one == another for one, another in pairs if one is not None and another is not None)

    def refusal(self, found: "Source", *, allow_new_server: bool = False) -> OtherAccountError | None:
        """Why a database of this source is none for another, `None` if it is one."""
        if not self.is_same_account(found):
            text = f"the database mirrors {self}, and the client reads {found}: {REMEDY}"
            return OtherAccountError(text, held=str(self), found=str(found))
        if self.server == found.server or allow_new_server:
            return None
        text = (
            f"the database mirrors {self}, and the client reads {found.server}: {REMEDY};"
            " pass allow_new_server=True if the same account has another address now"
        )
        return OtherAccountError(text, held=str(self), found=str(found))


def origin_of(url: str) -> str:
    """The scheme, host and port of an address; of this machine without the port, as a sandbox's port is chance."""
    parts = urlsplit(url)
    is_plain = _checks.is_loopback(parts.hostname) or parts.port in {None, DEFAULT_PORTS.get(parts.scheme)}
    return f"{parts.scheme}://{parts.hostname}{'' if is_plain else f':{parts.port}'}"


async def source_of(client: LoftyClient) -> Source:
    """The source that a client reads; it takes a request. A server that does not tell who asks leaves that unknown."""
    source = Source(origin_of(client.base_url))
    try:
        user = await client.me()
    except (AuthenticationError, RateLimitedError, ServerError):
        raise  # it may be answered later
    except (APIError, DecodeError) as error:
        log.warning("whose account this is cannot be asked for, so only the server is compared: %s", error)
        return source
    return evolve(source, member_id=stored_id(user.id), team_id=stored_id(user.team_id))


def check(source: Source, *, allow_new_server: bool) -> Work[Source | None]:
    """Returns the source of the rows held, if any is noted.

    Raises: OtherAccountError if it is another one.
    """
    ((server, member_id, team_id),) = yield query(SELECT)
    if server is None:
        return None
    held = Source(server, member_id, team_id)
    if refusal := held.refusal(source, allow_new_server=allow_new_server):
        raise refusal
    return held


def adopt(source: Source, *, allow_new_server: bool) -> Work[None]:
    """Notes the source of the rows to come.

    Raises: OtherAccountError if rows of another one are held.
    """
    held = yield from check(source, allow_new_server=allow_new_server)
    known = source if held is None else source.completed_by(held)
    if known != held:
        yield query(UPDATE, **asdict(known))
