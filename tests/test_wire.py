import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async import errors
from lofty_async._wire import (
    RateState,
    Reply,
    Request,
    Route,
    read_error,
    read_rate,
    read_reply,
)
from lofty_async.errors import (
    APIError,
    AuthenticationError,
    DecodeError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
)

NOON = "Sun, 01 Mar 2026 12:00:00 GMT"
NOON_SECONDS = 1772366400.0
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"
HIDDEN = "BaseApplicationException:errorCode=20006,errorMsg=Lead not exist"


def encoded(body: object) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def error_of(status: int, body: object, headers: Mapping[str, str] | None = None) -> APIError:
    return read_error(Reply(status, headers or {}, encoded(body)))


@pytest.mark.parametrize(
    ("body", "code", "name", "message"),
    [
        ({"code": 20006, "message": "Lead not exist"}, 20006, "LEAD_NOT_EXIST", "Lead not exist"),
        ({"code": "20006", "message": "Lead not exist"}, 20006, "LEAD_NOT_EXIST", "Lead not exist"),
        ({"code": "LEAD_NOT_EXIST", "message": "no"}, 20006, "LEAD_NOT_EXIST", "no"),
        ({"code": "TASK_NOT_EXIST", "message": "no"}, None, "TASK_NOT_EXIST", "no"),
        ({"code": 31337, "message": "new"}, 31337, None, "new"),
        ({"code": -1, "message": "minus"}, -1, None, "minus"),
        ({"code": 0, "message": "zero is none"}, None, None, "zero is none"),
        ({"code": None, "message": "null is none"}, None, None, "null is none"),
        ({"code": True, "message": "a flag is none"}, None, None, "a flag is none"),
        ({"code": "not a name", "message": "prose is none"}, None, None, "prose is none"),
        ({"code": [20006], "message": "a list is none"}, None, None, "a list is none"),
        ({"code": "9" * 5000, "message": "no number"}, None, None, "no number"),
        ({"message": "only this"}, None, None, "only this"),
        ({"message": HIDDEN}, 20006, "LEAD_NOT_EXIST", "Lead not exist"),
        ({"code": 404, "message": HIDDEN}, 20006, "LEAD_NOT_EXIST", "Lead not exist"),
        ({"message": "errorCode=TASK_IS_SMARTPLAN"}, None, "TASK_IS_SMARTPLAN", "errorCode=TASK_IS_SMARTPLAN"),
        ({"message": "it says TASK_NOT_EXIST, sorry"}, None, "TASK_NOT_EXIST", "it says TASK_NOT_EXIST, sorry"),
        ({"message": "SOME_OTHER_WORDS"}, None, None, "SOME_OTHER_WORDS"),
        ({"code": "BAD_CREDENTIALS", "message": "not PERMISSION_DENIED"}, None, "BAD_CREDENTIALS", None),
        ("a bare string", None, None, "a bare string"),
        (HIDDEN, 20006, "LEAD_NOT_EXIST", "Lead not exist"),
        ("LEAD_NOT_EXIST", 20006, "LEAD_NOT_EXIST", "LEAD_NOT_EXIST"),
        (b"plain text", None, None, "plain text"),
        (HIDDEN.encode(), 20006, "LEAD_NOT_EXIST", "Lead not exist"),
        (HTML.encode(), None, None, HTML),
        (b"", None, None, "the server answered with an empty body"),
        (b" \n", None, None, "the server answered with an empty body"),
        (b'""', None, None, "the server answered with an empty body"),
        (b"caf\xe9", None, None, "caf\N{REPLACEMENT CHARACTER}"),
        ({"errorCode": 20017, "errorMsg": "not yours"}, 20017, "PERMISSION_DENIED", "not yours"),
        ({"status": {"code": 20042, "msg": "limit"}, "data": None}, 20042, "LIMIT_NOT_VALID", "limit"),
        ({"status": {"code": 20042}, "message": "outside"}, 20042, "LIMIT_NOT_VALID", "outside"),
        ({"status": {}, "code": 20042, "message": "outside"}, 20042, "LIMIT_NOT_VALID", "outside"),
        ({"status": 404, "error": "Not Found", "path": "/x"}, None, None, "Not Found"),
        ({"message": {"nested": 1}}, None, None, '{"message": {"nested": 1}}'),
        ({"errors": ["odd"]}, None, None, '{"errors": ["odd"]}'),
        ([1, 2], None, None, "[1, 2]"),
        (b"20006", None, None, "20006"),
        (b"[" * 900 + b"]" * 900, None, None, "[" * 199 + "…"),
        (b'{"status":' * 900 + b"1" + b"}" * 900, None, None, ('{"status":' * 20)[:199] + "…"),
    ],
)
def test_every_shape_of_an_error_body_gives_code_name_and_message(
    body: object, code: int | None, name: str | None, message: str | None
) -> None:
    error = error_of(400, body)
    assert (error.code, error.name) == (code, name)
    assert message is None or error.message == message


CODES: list[tuple[int | str, int, type[APIError]]] = [
    (20001, 400, InvalidRequestError),
    (20003, 400, NotFoundError),
    ("USER_NOT_EXIST", 400, NotFoundError),
    (20005, 500, ServerError),
    (20006, 404, NotFoundError),
    ("LEAD_NOT_EXIST", 404, NotFoundError),
    (20007, 404, NotFoundError),
    ("RESOURCE_NOT_EXIST", 404, NotFoundError),
    (20012, 400, InvalidRequestError),
    ("INVALID_PARAMETER", 400, InvalidRequestError),
    (20017, 400, PermissionDeniedError),
    (20017, 403, PermissionDeniedError),
    ("PERMISSION_DENIED", 400, PermissionDeniedError),
    (20042, 400, InvalidRequestError),
    ("LIMIT_NOT_VALID", 400, InvalidRequestError),
    (20043, 400, InvalidRequestError),
    ("PARAMETER_TOO_LONG", 400, InvalidRequestError),
    (200058, 400, AuthenticationError),
    (200100, 403, PermissionDeniedError),
    ("BAD_CREDENTIALS", 401, AuthenticationError),
    ("VENDOR_HAS_NO_PERMISSION", 403, PermissionDeniedError),
    ("MISSING_PARAMETER", 400, InvalidRequestError),
    ("LIMIT_PARAM_OVERSIZE", 400, InvalidRequestError),
    ("TASK_NOT_EXIST", 404, NotFoundError),
    ("TASK_IS_SMARTPLAN", 400, InvalidRequestError),
    ("INVALID_UPDATE_OPERATION_LEADID", 400, InvalidRequestError),
    ("WEBHOOK_TYPE_ERROR", 400, InvalidRequestError),
    ("WEBHOOK_CALLBACK_URL_INVALID", 400, InvalidRequestError),
    ("WEBHOOK_EXCEED_LIMIT", 400, InvalidRequestError),
    ("WEBHOOK_DELETE_NOT_EXIST", 400, NotFoundError),
    ("WEBHOOK_DELETE_NO_AUTHORITY", 400, PermissionDeniedError),
]


@pytest.mark.parametrize(("code", "status", "kind"), CODES)
def test_a_known_code_decides_whatever_the_status(code: int | str, status: int, kind: type[APIError]) -> None:
    for seen in (status, 400, 401, 404, 500):
        assert type(error_of(seen, {"code": code, "message": "m"})) is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, APIError),
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (408, ServerError),
        (409, InvalidRequestError),
        (410, NotFoundError),
        (415, InvalidRequestError),
        (425, ServerError),
        (429, RateLimitedError),
        (500, ServerError),
        (503, ServerError),
        (599, ServerError),
    ],
)
@pytest.mark.parametrize("body", [b"", {"code": 31337}, {"code": "BRAND_NEW", "message": "m"}, HTML])
def test_without_a_known_code_the_status_decides(status: int, kind: type[APIError], body: object) -> None:
    assert type(error_of(status, body)) is kind


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (429, b"", True),
        (429, {"message": "Too Many Requests"}, True),
        (400, b"Too Many Requests", True),
        (400, {"message": "Too Many Requests"}, True),
        (400, {"code": 429, "message": "too many requests"}, True),
        (400, "API rate limit exceeded", True),
        (400, b"<html>Rate-Limit reached</html>", True),
        (400, {"status": {"msg": "Request limit reached"}}, True),
        (400, {"message": "429 Too Many Requests"}, True),
        (400, {"message": "Too many requests, please try again later."}, True),
        (400, {"message": "You have exceeded your rate limit. Retry in 20 seconds."}, True),
        (400, {"message": "Your application's rate limit: see the manual"}, False),
        (400, {"message": "The API rate limit has been exceeded"}, True),
        (400, b"<!DOCTYPE html>\n<title>Too Many\n Requests</title><p>Slow down.</p>", True),
        (400, {"message": "content 'talk about the rate limit' is not allowed"}, False),
        (400, {"message": "rate limit talk: the content is too long"}, False),
        (400, {"message": "Too many requests for a viewing: content is not unique"}, False),
        (400, {"message": "content: rate limit exceeded"}, False),
        (400, {"message": "bad content: <b>Rate limit exceeded</b>"}, False),
        (400, "Invalid content: Too Many Requests", False),
        (400, b"Invalid content: Too Many Requests", False),
        (400, {"errors": ["Too Many Requests"]}, False),
        (400, {"message": "rate limit"}, False),
        (400, {"message": "limit must be from 1 to 100"}, False),
        (400, {"code": "LIMIT_PARAM_OVERSIZE", "message": "limit over size"}, False),
        (400, {"code": "WEBHOOK_EXCEED_LIMIT", "message": "too many webhooks"}, False),
        (400, {"message": "the corporate limit applies"}, False),
        (400, {"code": 20012, "message": "bad content: 'ask for the rate limit'"}, False),
        (400, {"message": "errorCode=20012,errorMsg=bad content: 'too many requests'"}, False),
        (400, b"Too Many Requests" + b"." * 1000, False),
        (400, b"", False),
        (500, b"Too Many Requests", False),
        (200, b"Too Many Requests", False),
    ],
)
def test_only_a_429_or_the_filter_in_front_refuses_for_want_of_budget(
    status: int, body: object, *, refused: bool
) -> None:
    assert isinstance(error_of(status, body), RateLimitedError) is refused


def test_a_refusal_carries_what_the_server_asked_for() -> None:
    error = error_of(429, {"message": "Too Many Requests"}, {"Retry-After": "7"})
    assert isinstance(error, RateLimitedError)
    assert (error.retry_after, error.message) == (7.0, "Too Many Requests")


def test_an_error_carries_request_status_and_the_start_of_the_body() -> None:
    error = error_of(500, b"x" * 5000)
    assert error.status == 500
    assert error.body == error.message == "x" * 199 + "…"
    assert error_of(500, b"x" * 200).body == "x" * 200


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("X-RateLimit-Limit", "100", RateState(limit=100)),
        ("X-RateLimit-Limit", " 100 ", RateState(limit=100)),
        ("X-RateLimit-Limit", "100.0", RateState(limit=100)),
        ("X-RateLimit-Remaining", "0", RateState(remaining=0)),
        ("X-RateLimit-Remaining", "99", RateState(remaining=99)),
        ("X-RateLimit-Reset", "0", RateState(reset=0.0)),
        ("X-RateLimit-Reset", "21000", RateState(reset=21000.0)),
        ("X-RateLimit-Reset", "12.5", RateState(reset=12.5)),
        ("X-RateLimit-Reset", "1772366400", RateState(reset=NOON_SECONDS)),
        ("X-RateLimit-Reset", "1772366400000", RateState(reset=NOON_SECONDS * 1000)),
        ("Date", NOON, RateState(server_time=NOON_SECONDS)),
        ("Date", "Sun, 01 Mar 2026 12:00:00 -0000", RateState(server_time=NOON_SECONDS)),
        ("Date", "Sun, 01 Mar 2026 04:00:00 -0800", RateState(server_time=NOON_SECONDS)),
        ("Retry-After", "0", RateState(retry_after=0.0)),
        ("Retry-After", "2.5", RateState(retry_after=2.5)),
        ("Retry-After", "86400", RateState(retry_after=86400.0)),
        ("Retry-After", "86401", RateState(retry_after=86400.0)),
        ("Retry-After", "999999999999999", RateState(retry_after=86400.0)),
    ],
)
def test_a_rate_header_is_read(name: str, text: str, told: RateState) -> None:
    assert read_rate({name: text}) == told


@pytest.mark.parametrize(
    "name", ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Date", "Retry-After"]
)
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e300",
        "9" * 16,
        "9" * 5000,
        "1_0",
        "\N{ARABIC-INDIC DIGIT ONE}\N{ARABIC-INDIC DIGIT ZERO}",
        "soon",
        "100, 100;w=60",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999",
        "Mon, 99 Jan 2024 00:00:00 GMT",
    ],
)
def test_an_absurd_rate_header_says_nothing(name: str, text: str) -> None:
    assert read_rate({name: text}) == RateState()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("X-RateLimit-Limit", "0"),
        ("X-RateLimit-Limit", "99.5"),
        ("X-RateLimit-Limit", "1000000001"),
        ("X-RateLimit-Remaining", "1000000001"),
        ("X-RateLimit-Reset", "100000000000001"),
    ],
)
def test_a_number_out_of_a_header_s_range_says_nothing(name: str, text: str) -> None:
    assert read_rate({name: text}) == RateState()


def test_missing_rate_headers_say_nothing() -> None:
    assert read_rate({}) == RateState()


@pytest.mark.parametrize(
    ("until", "seconds"),
    [
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 11:59:00 GMT", 0.0),
        ("Wed, 01 Apr 2026 12:00:00 GMT", 86400.0),
        ("someday", None),
    ],
)
def test_retry_after_as_a_date_counts_from_the_server_s_own_clock(until: str, seconds: float | None) -> None:
    assert read_rate({"Retry-After": until, "Date": NOON}).retry_after == seconds
    assert read_rate({"Retry-After": until}).retry_after is None


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n", b"null", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
def test_an_empty_result_is_none_where_none_is_due(body: bytes) -> None:
    assert read_reply(Reply(200, {}, body)) is None
    error = read_reply(Reply(200, {}, body), needs_body=True)
    assert isinstance(error, DecodeError)
    assert error.message == "the answer is empty"


@pytest.mark.parametrize("body", [b'{"taskId":7}', b'{"code":20006,"message":"a"}', b'"a"'])
def test_a_byte_order_mark_changes_nothing(body: bytes) -> None:
    marked = b"\xef\xbb\xbf" + body
    results = [read_reply(Reply(200, {}, one)) for one in (marked, body)]
    assert len({str(result) for result in results}) == 1
    assert read_error(Reply(400, {}, marked)).code == read_error(Reply(400, {}, body)).code
    assert read_error(Reply(400, {}, marked)).message == read_error(Reply(400, {}, body)).message


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf{", b"\xef\xbb\xbf\xef\xbb\xbf{}", b'\xef\xbb\xbf"\\ud800'])
def test_what_is_no_json_besides_the_mark_is_an_error(body: bytes) -> None:
    error = read_reply(Reply(200, {}, body))
    assert isinstance(error, DecodeError)
    assert error.message == "the answer is not JSON"


def test_the_wrong_scheme_names_the_likely_mix_up() -> None:
    for message in ("The authorization is invalid", "x" * 500):
        error = error_of(400, {"code": 200058, "message": message})
        assert type(error) is AuthenticationError
        assert error.message.startswith(message[:80])
        assert "ApiKey(…)" in error.message
        assert "AccessToken(…)" in error.message
        assert len(error.message) <= errors.BODY_CHARACTERS
    assert "ApiKey" not in error_of(401, {"code": "BAD_CREDENTIALS", "message": "no"}).message


def test_a_result_is_the_decoded_body() -> None:
    assert read_reply(Reply(200, {}, b'{"taskId":9007199254740993}')) == {"taskId": 2**53 + 1}


@pytest.mark.parametrize("body", [HTML.encode() * 10, b'{"tasks":[', b"\xff\xfe", b"NaN", b"[" * 100_000])
def test_a_result_that_is_no_json_is_an_error_and_not_data(body: bytes) -> None:
    error = read_reply(Reply(200, {}, body))
    assert isinstance(error, DecodeError)
    assert error.message == "the answer is not JSON"
    assert error.body == errors.cut(body.decode("utf-8", "replace"))


def test_a_request_is_labelled_by_its_target_and_a_route_by_its_template() -> None:
    route = Route("GET", "/v2.0/tasks/{taskId}")
    assert route.label == "GET /v2.0/tasks/{taskId}"
    assert Request(route, "/v2.0/tasks/7").label == "GET /v2.0/tasks/7"


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([HIDDEN, "20006"]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["code", "message", "msg", "status", "errorCode", "errorMsg"]), inner)
    ),
    max_leaves=10,
)
HEADERS = st.dictionaries(
    st.sampled_from(["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Date", "Retry-After"]),
    st.text()
    | st.integers().map(str)
    | st.floats().map(str)
    | st.from_regex(r"\w{3}, \d{1,3} (Jan|Feb|May) -?\d{1,25} \d\d:\d\d:\d\d [+-]?(\d{1,25}|GMT)", fullmatch=True),
)


@given(st.integers(300, 599), st.binary() | JSON.map(encoded), HEADERS)
def test_an_error_answer_is_read_whatever_it_holds(status: int, body: bytes, headers: dict[str, str]) -> None:
    error = read_error(Reply(status, headers, body))
    assert len(error.message) <= errors.BODY_CHARACTERS
    assert len(error.body) <= errors.BODY_CHARACTERS
    assert len(error.name or "") <= errors.BODY_CHARACTERS
    assert isinstance(error, RateLimitedError) or status != 429


@given(HEADERS)
def test_rate_headers_are_read_whatever_they_hold(headers: dict[str, str]) -> None:
    state = read_rate(headers)
    assert state.limit is None or 1 <= state.limit <= 1e9
    assert state.remaining is None or 0 <= state.remaining <= 1e9
    assert state.reset is None or 0 <= state.reset <= 1e14
    assert state.retry_after is None or 0 <= state.retry_after <= 86400
