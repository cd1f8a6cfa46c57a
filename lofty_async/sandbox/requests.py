"""The requests that a sandbox has received: their records, patterns to find them by, and assertions."""

import json
import re
from collections import deque
from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any, cast

from attrs import define, field, frozen
from multidict import CIMultiDictProxy, MultiMapping

from .parameters import CALLS

MAX_LISTED = 20  # requests in the message of a failed assertion


@define
class RequestRecord:
    """One request; `status` is `None` until it is answered, for ever if its connection is dropped."""

    at: float
    """The sandbox's clock, in epoch seconds."""
    method: str
    path: str
    route: str
    """Such as `GET /v2.0/tasks/{taskId}`."""
    query: MultiMapping[str]
    headers: CIMultiDictProxy[str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int | None = None

    def json(self) -> Any:
        """The body, decoded.

        Raises: ValueError if it is not JSON, as an empty one is not.
        """
        return json.loads(self.body)

    def __str__(self) -> str:
        query = "&".join(f"{name}={value}" for name, value in self.query.items())
        target = f"{self.path}?{query}" if query else self.path
        body = f" {self.body.decode(errors='replace')}" if self.body else ""
        return f"{self.method} {target}{body} -> {'no answer' if self.status is None else self.status}"


@define
class RequestLog:
    """The last requests, and counts of all."""

    records: deque[RequestRecord]
    served: int = 0
    rejected: int = 0

    def answer(self, record: RequestRecord, status: int) -> None:
        record.status = status
        rejected = status == HTTPStatus.TOO_MANY_REQUESTS
        self.rejected += rejected
        self.served += not rejected


@frozen
class RequestPattern:
    """Matches requests by call, by some members of their query and JSON body, and by the status of their response."""

    call: str = "*"
    """A label or a path, with `*` for any text."""
    query: Mapping[str, object] = field(factory=dict[str, object])
    json: Mapping[str, object] | None = None
    status: int | None = None

    def matches(self, record: RequestRecord) -> bool:
        called = record.route, f"{record.method} {record.path}"
        return (
            any(fnmatchcase(name, self.call) for name in called)
            and all(_text(value) in record.query.getall(name, []) for name, value in self.query.items())
            and self.status in (None, record.status)
            and (self.json is None or _holds(record.body, self.json))
        )

    def check_times(self, expected: int | None, found: int, records: list[RequestRecord]) -> None:
        """Raises: AssertionError unless as many were found as expected; `None` for one or more."""
        if found == expected or (expected is None and found):
            return
        wanted = "at least once" if expected is None else f"{expected} times"
        listed = [f"  {record}" for record in records[-MAX_LISTED:]] or ["  none"]
        left_out = [f"  … and {len(records) - MAX_LISTED} before"] if len(records) > MAX_LISTED else []
        lines = [f"expected {self} {wanted}, not {found} times; all requests:", *left_out, *listed]
        raise AssertionError("\n".join(lines))

    def __str__(self) -> str:
        query = "&".join(f"{name}={_text(value)}" for name, value in self.query.items())
        body = "" if self.json is None else f" {json.dumps(self.json, ensure_ascii=False, default=repr)}"
        return f"{self.call}{query and '?'}{query}{body}" + ("" if self.status is None else f" -> {self.status}")


class RequestChecks:
    """Finds requests and asserts what was requested; a sandbox is one."""

    log: RequestLog

    @property
    def requests(self) -> list[RequestRecord]:
        """The last `keep_requests` requests, in order of arrival."""
        return list(self.log.records)

    @property
    def rejected(self) -> int:
        """The number of requests answered with 429."""
        return self.log.rejected

    @property
    def served(self) -> int:
        """The number of requests answered with another status."""
        return self.log.served

    def clear_requests(self) -> None:
        """Forgets the requests made so far; the counts stay."""
        self.log.records.clear()

    def find_requests(
        self,
        call: str = "*",
        *,
        query: Mapping[str, object] | None = None,
        json: Mapping[str, object] | None = None,
        status: int | None = None,
    ) -> list[RequestRecord]:
        """Those of `requests` that match, in order of arrival.

        Args:
            call: A call such as `GET /v2.0/tasks/{taskId}`, a path such as `GET /v2.0/tasks/7`, or a pattern of
                either with `*`.
            query: Parameters that the query has, among others; numbers and booleans are compared as text.
            json: Members that the body, a JSON object, has among others.
            status: The status of the response.

        Raises: ValueError if nothing is found and no call matches `call`.
        """
        return self._found(RequestPattern(call, query or {}, json, status))

    def assert_requested(
        self,
        call: str = "*",
        *,
        times: int | None = None,
        query: Mapping[str, object] | None = None,
        json: Mapping[str, object] | None = None,
        status: int | None = None,
    ) -> RequestRecord:
        """Asserts that a request was made, `times` times if it is given, and returns the last one.

        The other arguments are those of `find_requests`; `times` is at least 1.

        Raises: AssertionError that lists the requests made; ValueError as `find_requests`.
        """
        if times is not None and times < 1:
            raise ValueError("'times' must be >= 1: use assert_not_requested()")
        pattern = RequestPattern(call, query or {}, json, status)
        found = self._found(pattern)
        pattern.check_times(times, len(found), self.requests)
        return found[-1]

    def assert_not_requested(
        self,
        call: str = "*",
        *,
        query: Mapping[str, object] | None = None,
        json: Mapping[str, object] | None = None,
        status: int | None = None,
    ) -> None:
        """Asserts that no such request was made; the arguments are those of `find_requests`.

        Raises: AssertionError that lists the requests made; ValueError as `find_requests`.
        """
        pattern = RequestPattern(call, query or {}, json, status)
        pattern.check_times(0, len(self._found(pattern)), self.requests)

    def _found(self, pattern: RequestPattern) -> list[RequestRecord]:
        found = [record for record in self.requests if pattern.matches(record)]
        if not found:
            check_call(pattern.call)
        return found


def check_call(call: str) -> None:
    """Raises: ValueError if the pattern matches no call, so that a slip is no silent miss."""
    known = sorted(CALLS)
    if any(fnmatchcase(label, call) or _path_pattern(label).fullmatch(call) for label in known):
        return
    near = get_close_matches(call, known, 1)
    remedy = f"did you mean {near[0]!r}?" if near else "write a call such as 'GET /v2.0/tasks/{taskId}', or use '*'"
    raise ValueError(f"no call matches {call!r}: {remedy}")


def _path_pattern(label: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(map(re.escape, re.split(r"\{\w+\}", label))))


def _text(value: object) -> str:
    """A query's form of a value."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _holds(body: bytes, members: Mapping[str, object]) -> bool:
    try:
        found = json.loads(body)
    except ValueError:
        return False
    if not isinstance(found, dict):
        return False
    sent = cast("dict[str, object]", found)
    return all(name in sent and sent[name] == value for name, value in members.items())
