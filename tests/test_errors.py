import copy
import json
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from attrs import fields

from lofty_async import errors
from lofty_async.errors import (
    AmbiguousWriteError,
    APIError,
    AuthenticationError,
    CallError,
    ClientClosedError,
    ConnectionFailedError,
    DecodeError,
    InvalidRequestError,
    LoftyError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RateLimitWaitError,
    RequestTimeoutError,
    ResponseTooLargeError,
    ServerError,
    StoreUnavailableError,
    TransportError,
    WrongEventLoopError,
)

CALL: dict[str, Any] = {
    "request": "GET /v2.0/tasks/7",
    "attempts": 3,
    "waited": 1.5,
    "request_id": "r-1",
    "cursor": "7",
}
ANSWER = CALL | {"status": 404, "code": 20006, "name": "LEAD_NOT_EXIST", "body": "{}"}
UNSENT: dict[str, Any] = {"sent": False, "temporary": False}

EVERY_ERROR = [
    LoftyError("m", cursor="7"),
    CallError("m", **CALL),
    APIError("m", **ANSWER),
    AuthenticationError("m", **ANSWER),
    PermissionDeniedError("m", **ANSWER),
    NotFoundError("m", **ANSWER),
    InvalidRequestError("m", **ANSWER, argument="end_at"),
    RateLimitedError("m", **ANSWER, retry_after=4.0),
    ServerError("m", **ANSWER),
    TransportError("m", **CALL, **UNSENT),
    ConnectionFailedError("m", **CALL, **UNSENT),
    RequestTimeoutError("m", **CALL, **UNSENT, timeout=30.0),
    ResponseTooLargeError("m", **CALL, sent=False, temporary=True, limit=9),
    DecodeError("m", **CALL, path="tasks[3].endAt", record_id=9, body="[]"),
    RateLimitWaitError("m", **CALL, predicted=50.0, max_wait=5.0),
    AmbiguousWriteError("m", **CALL, lead_id=5, sent={"content": "call"}),
    ClientClosedError("m", **CALL),
    StoreUnavailableError("m", cursor="7"),
    WrongEventLoopError("m", cursor="7"),
]


def values(error: LoftyError) -> dict[str, Any]:
    return {name: getattr(error, name) for name in defaults(type(error))}


def defaults(kind: type[LoftyError]) -> dict[str, Any]:
    return {attribute.name: attribute.default for attribute in fields(kind) if not attribute.name.startswith("_")}


def caused(error: LoftyError) -> LoftyError:
    """The error as it is caught: raised, with a cause."""
    try:
        raise error from OSError("the reason")
    except LoftyError as raised:
        return raised


def test_the_list_of_errors_is_complete() -> None:
    made = {type(error) for error in EVERY_ERROR}
    assert made == {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LoftyError)}


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (LoftyError, Exception),
        (CallError, LoftyError),
        (APIError, CallError),
        (AuthenticationError, APIError),
        (PermissionDeniedError, APIError),
        (NotFoundError, APIError),
        (InvalidRequestError, APIError),
        (RateLimitedError, APIError),
        (ServerError, APIError),
        (TransportError, CallError),
        (ConnectionFailedError, TransportError),
        (RequestTimeoutError, TransportError),
        (ResponseTooLargeError, TransportError),
        (DecodeError, CallError),
        (RateLimitWaitError, CallError),
        (AmbiguousWriteError, CallError),
        (ClientClosedError, CallError),
    ],
)
def test_errors_have_one_root_and_a_family(kind: type[LoftyError], parent: type[Exception]) -> None:
    assert kind.__base__ is parent


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
class TestEveryError:
    def test_has_every_field_set_in_this_table(self, error: LoftyError) -> None:
        usual = defaults(type(error))
        assert all(value != usual[name] for name, value in values(error).items())

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickles_with_its_fields_and_without_its_cause(self, error: LoftyError, protocol: int) -> None:
        restored = pickle.loads(pickle.dumps(caused(error), protocol))  # noqa: S301 - our own bytes
        assert type(restored) is type(error)
        assert values(restored) == values(error)
        assert str(restored) == str(error)
        assert (restored.__cause__, restored.__traceback__) == (None, None)

    @pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301 - our own
    def test_keeps_the_notes_of_its_callers(self, error: LoftyError, duplicate: Any) -> None:
        noted = duplicate(error)
        noted.add_note("in the nightly job")
        assert duplicate(noted).__notes__ == ["in the nightly job"]

    @pytest.mark.parametrize("encode", [lambda args: args, lambda args: json.loads(json.dumps(args))])
    def test_is_made_again_from_its_args(self, error: LoftyError, encode: Callable[[Any], Any]) -> None:
        restored = type(error)(*encode(error.args))
        secret: dict[str, Any] = {"sent": {}} if isinstance(error, AmbiguousWriteError) else {}
        assert values(restored) == values(error) | secret
        assert (str(restored), restored.args) == (str(error), error.args)

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
    def test_copies_with_its_fields(self, error: LoftyError, duplicate: Any) -> None:
        twin = duplicate(caused(error))
        assert twin is not error
        assert (type(twin), values(twin)) == (type(error), values(error))

    def test_moves_to_another_cursor_with_all_it_has(self, error: LoftyError) -> None:
        raised = caused(error)
        raised.add_note("seen on Monday")
        moved = raised.with_cursor("99")
        assert type(moved) is type(error)
        assert values(moved) == values(error) | {"cursor": "99"}
        assert moved.__cause__ is raised.__cause__ is not None
        assert moved.__traceback__ is raised.__traceback__ is not None
        assert moved.__notes__ == raised.__notes__ == ["seen on Monday"]
        assert raised.cursor == "7"

    def test_is_equal_to_itself_alone(self, error: LoftyError) -> None:
        assert error == error  # noqa: PLR0124 - that is the question
        assert error != copy.copy(error)
        assert len({error, copy.copy(error)}) == 2

    def test_has_a_repr_that_names_its_type_and_fields(self, error: LoftyError) -> None:
        text = repr(error)
        assert text.startswith(f"{type(error).__name__}(message='m', cursor='7'")


def test_every_error_can_be_made_of_nothing() -> None:
    for kind in map(type, EVERY_ERROR):
        assert (str(kind()), repr(kind())) == ("", f"{kind.__name__}()")


def test_a_context_that_was_shown_or_hidden_stays_so_at_another_cursor() -> None:
    shown, hidden = LoftyError("shown"), LoftyError("hidden")
    for error in (shown, hidden):
        error.__context__ = OSError("what came before")
    hidden.__suppress_context__ = True
    assert "what came before" in "".join(traceback.format_exception(shown.with_cursor("1")))
    assert "what came before" not in "".join(traceback.format_exception(hidden.with_cursor("1")))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LoftyError("it broke"), "it broke"),
        (CallError("it broke"), "it broke"),
        (CallError("it broke", request="GET /x"), "GET /x: it broke"),
        (CallError("it broke", request="GET /x", attempts=1), "GET /x: it broke"),
        (CallError("it broke", request="GET /x", attempts=2), "GET /x: it broke (after 2 attempts)"),
        (CallError("it broke", attempts=2), "it broke (after 2 attempts)"),
        (
            NotFoundError("gone", request="GET /x", status=404, code=20006, name="LEAD_NOT_EXIST"),
            "GET /x: HTTP 404 LEAD_NOT_EXIST 20006: gone",
        ),
        (NotFoundError("gone", status=404, name="TASK_NOT_EXIST"), "HTTP 404 TASK_NOT_EXIST: gone"),
        (ServerError("down", status=500, code=20005), "HTTP 500 20005: down"),
        (ServerError("down", status=502), "HTTP 502: down"),
        (InvalidRequestError("end_at must be aware", argument="end_at"), "end_at must be aware"),
        (DecodeError("expected a time"), "expected a time"),
        (DecodeError("expected a time", path="tasks[3].endAt"), "expected a time at tasks[3].endAt"),
        (
            DecodeError("expected a time", path="tasks[3].endAt", record_id=9, request="GET /x", attempts=2),
            "GET /x: expected a time at tasks[3].endAt (record 9) (after 2 attempts)",
        ),
        (DecodeError("expected a time", record_id=0), "expected a time (record 0)"),
    ],
)
def test_an_error_reads_well(error: LoftyError, text: str) -> None:
    assert str(error) == text


def test_a_repr_has_what_differs_from_the_usual() -> None:
    error = ConnectionFailedError("refused", request="GET /x", attempts=2, sent=False)
    assert repr(error) == "ConnectionFailedError(message='refused', request='GET /x', attempts=2, sent=False)"
    assert repr(ConnectionFailedError("refused", sent=True)) == "ConnectionFailedError(message='refused')"


def test_words_may_be_added_in_the_way_of_old() -> None:
    error = NotFoundError("no such lead", code=20006)
    error.args = (f"{error.args[0]}, I think", *error.args[1:])
    assert (str(error), error.args) == (
        "20006: no such lead, I think",
        ("no such lead, I think", {"code": 20006}),
    )
    error.args = ()
    assert error.message == ""


def test_args_that_a_queue_could_not_encode_or_another_version_wrote_do_no_harm() -> None:
    args: Any = NotFoundError("no such lead", code=20006).args
    assert str(NotFoundError(*map(repr, args))) == "'no such lead'"  # type: ignore[arg-type] # as a queue makes it
    details = {"code": 20006, "later": 1, "_fields": 2, "__class__": 3}
    assert repr(NotFoundError("no such lead", details)) == "NotFoundError(message='no such lead', code=20006)"


def test_what_was_to_be_created_stays_out_of_text_repr_and_args() -> None:
    error = AmbiguousWriteError("lost", lead_id=5, sent={"callbackUrl": "https://example.com/secret"})
    assert "secret" not in f"{error!r} {error} {error.args}"
    assert error.sent == {"callbackUrl": "https://example.com/secret"}


EVIL = "a\x1b]52;c;aGk=\x07\x1b[2J\r\n2026-01-01 CRITICAL forged\u202e\x9b31m\u2028\u200f\ud83c\u00a0\tz"
CLEAN = "a�]52;c;aGk=��[2J  2026-01-01 CRITICAL forged��31m ��  z"


@pytest.mark.parametrize(
    "make",
    [
        LoftyError,
        lambda text: LoftyError("", {"message": text}),
        lambda text: CallError("m", request=text),
        lambda text: APIError("m", name=text),
        lambda text: DecodeError("m", path=text),
        lambda text: DecodeError("m", record_id=text),
        lambda text: pickle.loads(pickle.dumps(DecodeError("m", record_id=text))),  # noqa: S301 - our own bytes
    ],
)
def test_a_server_s_text_cannot_steer_a_terminal_or_a_log(make: Callable[[str], LoftyError]) -> None:
    error = make(EVIL)
    assert CLEAN in str(error)
    assert str(error).isprintable()
    assert repr(error).isprintable()
    assert "\x1b" not in repr(error.args)


def test_ordinary_text_of_any_language_stays_as_it_is() -> None:
    for text in ("Zoë 🏡", "שלום", "東京", "हिन्दी", "it's 50 % — fine"):
        assert str(LoftyError(text)) == text


def test_an_answer_s_body_is_kept_on_one_line() -> None:
    assert APIError("m", body="<html>\n<body>\x1b").body == "<html> <body>�"
    error = APIError("m")
    error.body = EVIL
    assert error.body == CLEAN


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("short", "short"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("\n" * 201, " " * 199 + "…"),
    ],
)
def test_a_server_s_text_is_cut_to_200_characters(text: str, shown: str) -> None:
    assert errors.cut(text) == shown
    assert DecodeError("m", record_id=text).record_id == shown
    assert APIError("m", name=text, body=text).name == shown


def test_a_message_of_megabytes_is_cut_before_it_is_cleaned() -> None:
    error = LoftyError("\x1b" * 50_000_000)
    assert len(str(error)) == 2000


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "5"),
        ("five", "'five'"),
        (10**5000, "an integer of 16610 bits"),
        (["x" * 1000] * 3, "['xxxxx"),
        ({"a": [[[[[[[[[]]]]]]]]]}, "{'a': [["),
    ],
    ids=type,
)
def test_a_value_is_shown_in_short(value: object, shown: str) -> None:
    assert errors.shown(value).startswith(shown)
    assert len(errors.shown(value)) < 1000
