"""The requests that a sandbox has received."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web
from attrs import define, evolve, field, frozen
from multidict import CIMultiDictProxy, MultiMapping


@frozen
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
        return json.loads(self.body)


@define
class RequestLog:
    """The last `keep` requests, and counts of all."""

    keep: int
    arrived: int = 0
    served: int = 0
    """Requests answered with another status than 429."""
    rejected: int = 0
    """Requests answered with 429."""
    _records: dict[int, RequestRecord] = field(factory=dict[int, RequestRecord], init=False)
    _numbers: Iterator[int] = field(factory=itertools.count, init=False)

    @property
    def records(self) -> list[RequestRecord]:
        return list(self._records.values())

    def arrive(self, record: RequestRecord) -> int:
        """Records a request and returns its number for `answer`."""
        number = next(self._numbers)
        self.arrived += 1
        self._records[number] = record
        if len(self._records) > self.keep:
            del self._records[next(iter(self._records))]
        return number

    def answer(self, number: int, status: int) -> None:
        rejected = status == web.HTTPTooManyRequests.status_code
        self.rejected += rejected
        self.served += not rejected
        if number in self._records:
            self._records[number] = evolve(self._records[number], status=status)
