"""Every exception of the SDK: attrs classes that carry fields, pickle, and read well.

Text from a server is made safe to show here, by the converters of the fields, so that nothing that prints or logs an
error has to do it again.
"""

from collections.abc import Mapping
from reprlib import Repr
from typing import Any, Final, Self

from attrs import define, evolve, field, fields
from attrs.converters import optional

BODY_CHARACTERS: Final = 200
MESSAGE_CHARACTERS: Final = 2000  # longer than any message of our own, such as a list of all filters

# Each field says `kw_only` for itself: on a class, attrs before 25.4 takes it for inherited fields too.
# A kind without fields of its own needs no `@define`: it has those of its parent, and importing it costs nothing.

_abbreviate: Final = Repr()
_abbreviate.maxstring = _abbreviate.maxother = _abbreviate.maxlong = BODY_CHARACTERS


def cut(text: str) -> str:
    """At most 200 characters of a server's text on one line, without control or format characters."""
    return _one_line(text, BODY_CHARACTERS)


def shown(value: object) -> str:
    """The repr of a value for a message: at most about 200 characters, whatever the value's size or depth."""
    try:
        return _abbreviate.repr(value)
    except ValueError:  # an integer of more digits than Python converts
        return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"


def _message(text: str) -> str:
    return _one_line(text, MESSAGE_CHARACTERS)


def _one_line(text: str, length: int) -> str:
    """The text on one line, cut first so that a text of megabytes costs no more than a short one.

    Line breaks and other white space become spaces. Control and format characters (escapes, direction marks) and
    halves of surrogate pairs become U+FFFD.
    """
    if len(text) > length:
        text = f"{text[: length - 1]}…"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else " " if one.isspace() else "\N{REPLACEMENT CHARACTER}" for one in text)


def _record_id(value: object) -> int | str | None:
    return value if value is None or isinstance(value, int) else cut(str(value))


def _rebuild(kind: type["LoftyError"], values: dict[str, Any]) -> "LoftyError":
    return kind(**values)


@define(slots=False, eq=False, repr=False, str=False)
class LoftyError(Exception):
    """The root of everything that the SDK raises on purpose.

    `cursor` is where a list call can go on (`pager.resume(error.cursor)`); `None` outside list calls. `details` sets
    the other fields by their names, as `args` has them: `type(error)(*error.args)` is the same error again.
    """

    message: str = field(default="", converter=_message)
    _details: Mapping[str, Any] | None = field(default=None, repr=False)
    cursor: str | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        # A queue that cannot encode a value sends its repr, and another version may know other fields.
        details, self._details = self._details, None
        if isinstance(details, Mapping):
            for name in details.keys() & self._fields().keys():
                setattr(self, name, details[name])

    @property
    def args(self) -> tuple[object, ...]:
        """The message, and the fields that differ from their defaults as JSON-ready values, for queues such as celery.

        Secrets are left out: some queues log an error's `args`.
        """
        values = {name: value for name, value in self._set_fields().items() if name != "message"}
        return (self.message, values) if values else (self.message,)

    @args.setter
    def args(self, args: tuple[object, ...]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - a property is one
        self.message = str(args[0]) if args else ""

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._set_fields().items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        notes = [*getattr(self, "__notes__", ())]  # of its own: a copy may be given more
        return _rebuild, (type(self), self._fields()), {"__notes__": notes} if notes else None

    def _fields(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(type(self)) if one.name != "_details"}

    def _set_fields(self) -> dict[str, Any]:
        """The fields that are no secret and differ from their defaults."""
        values = self._fields()
        visible = [one for one in fields(type(self)) if one.repr]
        return {one.name: values[one.name] for one in visible if values[one.name] != one.default}

    def with_cursor(self, cursor: str | None) -> Self:
        """The same error with the place to go on from; its cause and traceback stay."""
        copy = evolve(self, cursor=cursor)
        copy.__cause__, copy.__context__ = self.__cause__, self.__context__
        # Naming a cause, even none, hides the context; so this comes last.
        copy.__suppress_context__ = self.__suppress_context__
        for note in getattr(self, "__notes__", ()):
            copy.add_note(note)
        return copy.with_traceback(self.__traceback__)


@define(slots=False, eq=False, repr=False, str=False)
class CallError(LoftyError):
    """A call that went wrong, with what is known of it.

    `request` is method and path; `attempts` how often it was sent; `waited` the seconds spent waiting for a turn;
    `request_id` the server's id of the request, if it sent one (`X-Request-Id`, `Request-Id` or `X-Trace-Id`).
    """

    request: str | None = field(default=None, kw_only=True, converter=optional(_message))
    attempts: int = field(default=0, kw_only=True)
    waited: float = field(default=0.0, kw_only=True)
    request_id: str | None = field(default=None, kw_only=True, converter=optional(cut))

    def __str__(self) -> str:
        tries = f" (after {self.attempts} attempts)" if self.attempts > 1 else ""
        return f"{self.request}: {self._text()}{tries}" if self.request else f"{self._text()}{tries}"

    def _text(self) -> str:
        return self.message


@define(slots=False, eq=False, repr=False, str=False)
class APIError(CallError):
    """The server answered with an error.

    `status` is the HTTP status, `None` where no answer had one. `code` is Lofty's own number (20006) and `name` its
    word (`LEAD_NOT_EXIST`), each `None` where the answer had neither and none is known for it. `body` holds at most 200
    characters of the answer.
    """

    status: int | None = field(default=None, kw_only=True)
    code: int | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True, converter=optional(cut))
    body: str = field(default="", kw_only=True, converter=cut)

    def _text(self) -> str:
        marks = [f"HTTP {self.status}" if self.status else "", self.name or "", str(self.code or "")]
        head = " ".join(mark for mark in marks if mark)
        return f"{head}: {self.message}" if head else self.message


class AuthenticationError(APIError):
    """The credential is missing, wrong, revoked, expired, or sent with the wrong scheme."""


class PermissionDeniedError(APIError):
    """The credential is good but may not do this."""


class NotFoundError(APIError):
    """There is no such record, or no access to it."""


@define(slots=False, eq=False, repr=False, str=False)
class InvalidRequestError(APIError):
    """The request is wrong; `argument` names what was wrong when it was refused before being sent."""

    argument: str | None = field(default=None, kw_only=True)


@define(slots=False, eq=False, repr=False, str=False)
class RateLimitedError(APIError):
    """The server answered 429 more often than `RetryPolicy.refusals` allows, or asked for a wait of over an hour.

    `retry_after` is the seconds that the server asked to wait, `None` if it named none.
    """

    retry_after: float | None = field(default=None, kw_only=True)


class ServerError(APIError):
    """The server failed, by status (5xx, 408, 425) or code, or a token endpoint refused without giving a reason."""


@define(slots=False, eq=False, repr=False, str=False)
class TransportError(CallError):
    """No answer arrived.

    `sent` says whether the request may have reached the server; `temporary` whether another attempt may succeed.
    """

    sent: bool = field(default=True, kw_only=True)
    temporary: bool = field(default=True, kw_only=True)


class ConnectionFailedError(TransportError):
    """The connection could not be made or broke."""


@define(slots=False, eq=False, repr=False, str=False)
class RequestTimeoutError(TransportError):
    """No answer within `timeout` seconds of sending."""

    timeout: float | None = field(default=None, kw_only=True)


@define(slots=False, eq=False, repr=False, str=False)
class ResponseTooLargeError(TransportError):
    """The body of the response has more than `limit` bytes once unpacked; the request is not sent again."""

    temporary: bool = field(default=False, kw_only=True)
    limit: int = field(default=0, kw_only=True)


@define(slots=False, eq=False, repr=False, str=False)
class DecodeError(CallError):
    """The answer is not what the API promises.

    `path` leads to the offending value (`tasks[3].endAt`); `record_id` is the id of the record it is in; `body`
    holds at most 200 characters of the value or answer.
    """

    path: str | None = field(default=None, kw_only=True, converter=optional(cut))
    record_id: int | str | None = field(default=None, kw_only=True, converter=_record_id)
    body: str = field(default="", kw_only=True, converter=cut)

    def _text(self) -> str:
        place = f" at {self.path}" if self.path else ""
        record = f" (record {self.record_id})" if self.record_id is not None else ""
        return f"{self.message}{place}{record}"


@define(slots=False, eq=False, repr=False, str=False)
class RateLimitWaitError(CallError):
    """The call would wait longer than `max_wait` seconds for the rate limit.

    `predicted` is the seconds still to wait when the error is raised, as far as known: a value for Retry-After.
    """

    predicted: float = field(default=0.0, kw_only=True)
    max_wait: float = field(default=0.0, kw_only=True)


@define(slots=False, eq=False, repr=False, str=False)
class AmbiguousWriteError(CallError):
    """The response to a create was lost: the record may exist, so the request was not sent again.

    `sent` holds the fields of the record, to look for under `lead_id`; the repr leaves it out, as a webhook's address
    holds a secret. The failure itself is the `__cause__`.
    """

    lead_id: int | None = field(default=None, kw_only=True)
    sent: dict[str, Any] = field(factory=dict[str, Any], repr=False, kw_only=True)


class ClientClosedError(CallError):
    """The client was closed."""


class StoreUnavailableError(LoftyError):
    """The rate-limit store cannot be reached now; limiters that use it fall back to a limit per process."""


class WrongEventLoopError(LoftyError, RuntimeError):  # pyright: ignore[reportIncompatibleVariableOverride] - args
    """The client or limiter is used by another event loop that is running, e.g. in another thread.

    Make one client and one limiter per event loop; a store shares the rate limit between them.
    """
