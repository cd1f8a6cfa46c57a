"""The base of the endpoint modules: calls with the options of a client, and lists."""

from collections.abc import Hashable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from attrs import evolve, field, frozen

from lofty_async import _checks, _json
from lofty_async._call import CallManager, CallOptions
from lofty_async._checks import OnBadRecord
from lofty_async._codec import structure
from lofty_async._pages import Strategy
from lofty_async._wire import NO_PARAMS, Params, Request, Route, part
from lofty_async.errors import DecodeError
from lofty_async.pagination import Fetched, Pager
from lofty_async.ratelimit import Lane

T = TypeVar("T")


@frozen(eq=False, repr=False)
class Caller:
    """Makes the calls of endpoint modules with one set of options."""

    manager: CallManager
    options: CallOptions
    on_bad_record: OnBadRecord = "raise"
    allow_http: bool = False
    raw_templates: set[str] = field(factory=set[str])  # of paths without a method that were called

    @property
    def server(self) -> str:
        """The base URL of the API."""
        return self.manager.session.base_url

    @property
    def account(self) -> Hashable:
        """Tells accounts apart: the credential."""
        auth = self.manager.auth
        # A user's own kind of credential may not be hashable.
        return auth if isinstance(auth, Hashable) else id(auth)

    def in_bulk(self, max_wait: float | None) -> "Caller":
        """The same in the bulk lane; a call waits for the rate limit at most `max_wait` seconds, if that is given."""
        return evolve(self, options=evolve(self.options, lane=Lane.BULK, max_wait=max_wait))

    def with_headers(self, headers: Mapping[str, str]) -> "Caller":
        """The same with more headers; one of the same name, in any case, is replaced."""
        if not headers:
            return self
        names = {name.lower() for name in headers}
        kept = {name: value for name, value in self.options.headers.items() if name.lower() not in names}
        return evolve(self, options=evolve(self.options, headers={**kept, **headers}))

    async def send(self, route: Route, *names: int | str, body: Mapping[str, Any] | None = None) -> Any:
        """The decoded body of the answer; `names` replace the placeholders of the route's path."""
        return await self.manager.call(_request(route, names, body), self.options)

    async def send_create(self, route: Route, body: Mapping[str, Any]) -> tuple[Any, str | None]:
        """The decoded body of the answer to a create, and the server's id of the request."""
        request = _request(route, (), body)
        return await self.manager.call(request, self.options), request.answer_id

    async def read(self, kind: type[T], at: tuple[str, ...], route: Route, *names: int | str) -> T:
        """The record at this path of the answer."""
        request = _request(route, names)
        body = await self.manager.call(request, self.options)
        try:
            return structure(kind, part(body, at, route.label), path=".".join(at), request=route.label)
        except DecodeError as error:
            error.request, error.request_id = request.label, request.answer_id
            raise

    def pager(
        self,
        route: Route,
        strategy: Strategy[T],
        query: Params = NO_PARAMS,
        on_bad_record: OnBadRecord | None = None,
        *,
        prefetch: int = 1,
    ) -> Pager[T]:
        """A list; `query` is the same for every page."""
        policy = self.on_bad_record if on_bad_record is None else _checks.bad_record_policy(on_bad_record)
        return Pager(strategy, partial(_fetch, self, route, query), policy, _checks.within("prefetch", prefetch, 0))


async def _fetch(caller: Caller, route: Route, query: Params, page: Params) -> Fetched:
    request = Request(route, route.template, {**query, **page} if page else query)
    return await caller.manager.call(request, caller.options), request.answered


def _request(route: Route, names: tuple[int | str, ...], body: Mapping[str, Any] | None = None) -> Request:
    # The ids were checked: they hold nothing that a URL has to escape.
    target = route.pattern % names if names else route.template
    return Request(route, target, body=None if body is None else _json.dumps(body))


def utc_now() -> datetime:
    return datetime.now(UTC)
