"""What every endpoint module is made of: a way to call, and the client's options for lists."""

from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from attrs import evolve, frozen

from lofty_async import _checks, _json
from lofty_async._checks import OnBadRecord
from lofty_async._convert import structure
from lofty_async._strategies import Strategy, part
from lofty_async._wire import NO_PARAMS, Params, Request, Route
from lofty_async.dispatch import Dispatcher, Options
from lofty_async.pagination import Pager
from lofty_async.ratelimit import Lane

T = TypeVar("T")


@frozen(eq=False)
class Caller:
    """Calls through a dispatcher with one set of options."""

    dispatcher: Dispatcher
    options: Options
    on_bad_record: OnBadRecord = "raise"
    allow_http: bool = False

    def in_bulk(self, max_wait: float | None) -> "Caller":
        """Calls in the bulk lane that wait as long as they have to, or at most `max_wait` seconds."""
        return evolve(self, options=evolve(self.options, lane=Lane.BULK, max_wait=max_wait))

    async def send(
        self,
        route: Route,
        *names: int | str,
        params: Params = NO_PARAMS,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """One call; `names` fill the places in the route's path. Its answer's decoded body."""
        return await self.dispatcher.call(request(route, *names, params=params, body=body), self.options)

    async def read(self, kind: type[T], at: tuple[str, ...], route: Route, *names: int | str) -> T:
        """One call whose answer holds one record."""
        body = await self.send(route, *names)
        label = request(route, *names).label
        return structure(kind, part(body, at, label), path=".".join(at), request=label)

    def pager(
        self,
        route: Route,
        strategy: Strategy[T],
        asked: Params,
        on_bad_record: OnBadRecord | None,
        *,
        prefetch: int = 1,
    ) -> Pager[T]:
        """A list of what is `asked` for, the same on every page."""
        policy = self.on_bad_record if on_bad_record is None else _checks.bad_record_policy(on_bad_record)
        return Pager(strategy, partial(_fetch, self, route, asked), policy, prefetch)


def _fetch(caller: Caller, route: Route, asked: Params, page: Params) -> Awaitable[Any]:
    params = {**asked, **page} if page else asked
    return caller.dispatcher.call(Request(route, route.template, params), caller.options)


def request(
    route: Route, *names: int | str, params: Params = NO_PARAMS, body: Mapping[str, Any] | None = None
) -> Request:
    target = _filled(route.template, names) if names else route.template
    return Request(route, target, params, None if body is None else _json.dumps(body))


def _filled(template: str, names: tuple[int | str, ...]) -> str:
    parts = iter(names)
    pieces = (quote(str(next(parts)), safe="") if piece.startswith("{") else piece for piece in template.split("/"))
    return "/".join(pieces)


def utc_now() -> datetime:
    return datetime.now(UTC)
