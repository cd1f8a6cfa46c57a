"""Reading what a request carries, strictly."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from aiohttp import web
from attrs import frozen

from . import parameters, refusals, times

LONGEST_TEXT = 10_000
LARGEST_ID = 2**63 - 1
INTEGER = re.compile(r"-?[0-9]{1,19}")
WRITABLE_YEARS = range(2, 9999)
"""Years whose every moment can be written in every time zone, and has a day before and after it."""


@frozen
class Fields:
    """A query or a JSON body. Null and missing are the same; every refusal names its field."""

    values: Mapping[str, Any]
    textual: bool = False
    """Whether numbers and flags are written as text, as in a query; in JSON they are not."""

    @classmethod
    def of_query(cls, request: web.Request) -> "Fields":
        return cls(request.query, textual=True)

    @classmethod
    async def of_body(cls, request: web.Request) -> "Fields":
        body = _json(await request.read())
        if not isinstance(body, dict):
            raise refusals.invalid("the body is not an object")
        fields = cast("dict[str, Any]", body)
        parameters.check_body(label_of(request), fields)
        return cls(fields)

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def given(self, name: str) -> bool:
        """Whether there is more than null and the empty string."""
        return self.values.get(name) not in (None, "")

    def require(self, *names: str) -> None:
        for name in names:
            if not self.given(name):
                raise refusals.invalid(f"{name} is required")

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise refusals.invalid(f"{name} is not a string")
        if len(value) > LONGEST_TEXT:
            raise refusals.too_long(name)
        return value

    def integer(self, name: str) -> int | None:
        if not self.given(name):
            return None
        value = self.values[name]
        if self.textual and isinstance(value, str) and INTEGER.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST_ID:
            raise refusals.invalid(f"{name} is not an integer of 64 bits")
        return value

    def identity(self, name: str) -> int | None:
        """An id: positive and within 64 bits."""
        value = self.integer(name)
        if value is not None and not 1 <= value <= LARGEST_ID:
            raise refusals.invalid(f"{name} is not an id")
        return value

    def required_identity(self, name: str) -> int:
        value = self.identity(name)
        if value is None:
            raise refusals.invalid(f"{name} is required")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        if not self.given(name):
            return default
        value = self.values[name]
        if self.textual and value in ("true", "false"):
            value = value == "true"
        if not isinstance(value, bool):
            raise refusals.invalid(f"{name} is neither true nor false")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        value = self.text(name)
        if value and value not in choices:
            raise refusals.invalid(f"{name} is none of {', '.join(choices)}")
        return value or None

    def zone(self, name: str = "timeZoneCode") -> str | None:
        code = self.text(name)
        if code and times.zone(code) is None:
            raise refusals.invalid(f"{name} is no IANA time zone")
        return code or None

    def bound(self, name: str) -> datetime | None:
        """An ISO time with its offset, else the same in `…Ms`; the string wins."""
        text = self.text(name)
        return self._milliseconds(f"{name}Ms") if not text else self._iso(name, text)

    def moment(self, name: str) -> datetime | None:
        """As `bound`, but in a year that can be written and reckoned with."""
        return _writable(name, self.bound(name))

    def required_moment(self, name: str) -> datetime:
        moment = self.moment(name)
        if moment is None:
            raise refusals.invalid(f"{name} is required")
        return moment

    def iso(self, name: str) -> datetime | None:
        """An ISO time with its offset, and no other form."""
        text = self.text(name)
        return _writable(name, self._iso(name, text)) if text else None

    def milliseconds(self, name: str) -> datetime | None:
        return _writable(name, self._milliseconds(name))

    def _iso(self, name: str, text: str) -> datetime:
        try:
            return times.read(text)
        except ValueError:
            raise refusals.invalid(f"{name} is not an ISO 8601 time with offset") from None

    def _milliseconds(self, name: str) -> datetime | None:
        value = self.integer(name)
        if value is None:
            return None
        try:
            return times.from_milliseconds(value)
        except OverflowError:
            raise refusals.invalid(f"{name} is out of range") from None


def _json(sent: bytes) -> Any:
    try:
        body = json.loads(sent)
        # Half of a surrogate pair can be escaped in JSON, but no answer could be encoded that holds it.
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise refusals.invalid("the body is not JSON") from None
    return body


def _writable(name: str, moment: datetime | None) -> datetime | None:
    if moment is not None and moment.year not in WRITABLE_YEARS:
        raise refusals.invalid(f"{name} is out of range")
    return moment


def path_id(request: web.Request, name: str) -> int:
    return Fields({name: request.match_info[name]}, textual=True).required_identity(name)


def label_of(request: web.Request) -> str:
    """The call, such as `GET /v2.0/tasks/{taskId}`; the bare path where there is no such call."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource is not None else request.path}"
