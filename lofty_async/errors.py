"""Every exception of the SDK: attrs classes that carry fields, pickle, and read well."""

from typing import Any, Self

from attrs import define, evolve, field, fields

BODY_CHARACTERS = 200

# Each field says `kw_only` for itself: on a class, attrs before 25.4 takes it for inherited fields too.
# A kind without fields of its own needs no `@define`: it has those of its parent, and importing it costs nothing.


def cut(text: str) -> str:
    """At most 200 characters of a server's text: enough to recognise it, not enough to flood a log."""
    return text if len(text) <= BODY_CHARACTERS else text[: BODY_CHARACTERS - 1] + "…"


def _rebuild(kind: type["LoftyError"], values: dict[str, Any]) -> "LoftyError":
    return kind(**values)


@define(slots=False, eq=False, repr=False, str=False)
class LoftyError(Exception):
    """The root of everything that the SDK raises on purpose.

    `cursor` is where a list call can go on (`pager.resume(error.cursor)`); `None` outside list calls.
    """

    message: str = ""
    cursor: str | None = field(default=None, kw_only=True)

    @property
    def args(self) -> tuple[object, ...]:
        """The message alone; the fields hold the rest, and some of that is not for every log."""
        return (self.message,)

    @args.setter
    def args(self, args: tuple[object, ...]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] - a property is one
        self.message = str(args[0]) if args else ""

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        values = self._fields()
        told = [attribute for attribute in fields(type(self)) if attribute.repr]
        shown = [f"{one.name}={values[one.name]!r}" for one in told if values[one.name] != one.default]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._fields())

    def _fields(self) -> dict[str, Any]:
        return {attribute.name: getattr(self, attribute.name) for attribute in fields(type(self))}

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

    `request` is method and path; `attempts` how often it was sent; `waited` the seconds spent waiting for a turn.
    """

    request: str | None = field(default=None, kw_only=True)
    attempts: int = field(default=0, kw_only=True)
    waited: float = field(default=0.0, kw_only=True)

    def __str__(self) -> str:
        tries = f" (after {self.attempts} attempts)" if self.attempts > 1 else ""
        return f"{self.request}: {self._text()}{tries}" if self.request else f"{self._text()}{tries}"

    def _text(self) -> str:
        return self.message


@define(slots=False, eq=False, repr=False, str=False)
class APIError(CallError):
    """The server answered with an error.

    `code` is Lofty's own number (20006) and `name` its word (`LEAD_NOT_EXIST`), each `None` where the answer had
    neither and none is known for it. `body` holds at most 200 characters of the answer.
    """

    status: int | None = field(default=None, kw_only=True)
    code: int | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    body: str = field(default="", kw_only=True)

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
    """The server refused the same call again and again for want of budget.

    `retry_after` is the server's own wish in seconds, where it had one.
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


class ConnectionFailed(TransportError):  # noqa: N818 - the public name
    """The connection could not be made or broke."""


@define(slots=False, eq=False, repr=False, str=False)
class RequestTimeout(TransportError):  # noqa: N818 - the public name
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

    path: str | None = field(default=None, kw_only=True)
    record_id: int | str | None = field(default=None, kw_only=True)
    body: str = field(default="", kw_only=True)

    def _text(self) -> str:
        place = f" at {self.path}" if self.path else ""
        record = f" (record {self.record_id})" if self.record_id is not None else ""
        return f"{self.message}{place}{record}"


@define(slots=False, eq=False, repr=False, str=False)
class RateLimitWaitTooLong(CallError):  # noqa: N818 - the public name
    """The call's turn would come later than `max_wait` allows; `predicted` is the seconds it would have taken."""

    predicted: float = field(default=0.0, kw_only=True)
    max_wait: float = field(default=0.0, kw_only=True)


@define(slots=False, eq=False, repr=False, str=False)
class AmbiguousWriteError(CallError):
    """A create was sent and its answer lost: it may have landed, so it was not sent again.

    `sent` is what was to be created, to look for under `lead_id`; the repr leaves it out, for a webhook's address
    holds a secret. The failure itself is the `__cause__`.
    """

    lead_id: int | None = field(default=None, kw_only=True)
    sent: dict[str, Any] = field(factory=dict[str, Any], repr=False, kw_only=True)


class ClientClosedError(CallError):
    """The client was closed."""
