"""Error responses, in every shape that the API's error bodies come in."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from http.client import responses
from typing import Any, Final

from aiohttp import web

Code = int | str
Shape = Callable[[Code, str], Any]
"""Makes the JSON body of an error from its code and message."""

_write, _write_escaped = (
    json.JSONEncoder(ensure_ascii=escaped, check_circular=False, separators=(",", ":")).encode
    for escaped in (False, True)
)


def json_response(body: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=_encoded(body), content_type="application/json", charset="utf-8")


def _encoded(body: Any) -> bytes:
    try:
        return _write(body).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 has no bytes for
        return _write_escaped(body).encode()


def coded(code: Code, message: str) -> Any:
    return {"code": code, "message": message}


def wrapped(code: Code, message: str) -> Any:
    return {"status": {"code": code, "msg": message}, "data": None}


def v1(code: Code, message: str) -> Any:
    return {"errorCode": code, "errorMsg": message}


def hidden(code: Code, message: str) -> Any:
    """The code stands in the text, as an exception of the server's framework prints it."""
    return {"message": f"BaseApplicationException:errorCode={code},errorMsg={message}"}


def message_only(_code: Code, message: str) -> Any:
    return {"message": message}


def bare(code: Code, _message: str) -> Any:
    return str(code)


def rfc6749(code: Code, message: str) -> Any:
    return {"error": code, "error_description": message}


_SHAPES: tuple[tuple[str, Shape], ...] = (("/v2.0/calendar", wrapped), ("/v1.0/", v1))


def shape_of(path: str) -> Shape:
    """The shape of errors in this part of the API, unless the error has one of its own."""
    return next((shape for prefix, shape in _SHAPES if path.startswith(prefix)), coded)


class ResponseError(Exception):
    """Ends a request with an error response; with `plain`, `message` is the whole body instead of JSON."""

    def __init__(
        self, status: int, code: Code, message: str, shape: Shape | None = None, *, plain: bool = False
    ) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message
        self.shape = shape
        self.plain = plain

    def response(self, path: str) -> web.Response:
        if not self.plain:
            return json_response((self.shape or shape_of(path))(self.code, self.message), self.status)
        if not self.message:
            return web.Response(status=self.status)
        content_type = "text/html" if self.message.startswith("<") else "text/plain"
        return web.Response(status=self.status, text=self.message, content_type=content_type)


BLOCKED_PAGE = "<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>"
PROXY_PAGE = "<html><head><title>One moment</title></head><body>Checking your connection.</body></html>"


def invalid(message: str) -> ResponseError:
    return ResponseError(400, 20012, f"INVALID_PARAMETER: {message}")


def too_long(name: str) -> ResponseError:
    return ResponseError(400, 20043, f"PARAMETER_TOO_LONG: {name}")


def webhook(name: str) -> ResponseError:
    return ResponseError(400, name, name.replace("_", " ").capitalize(), coded)


def grant(code: str, status: int = 400) -> ResponseError:
    """An error of a token endpoint, with a name of RFC 6749: the vendor's own are not known."""
    return ResponseError(status, code, "The grant was refused", rfc6749)


blocked = partial(ResponseError, 403, 403, BLOCKED_PAGE, plain=True)
too_many_requests = partial(ResponseError, 429, 429, "Too Many Requests", message_only)
bad_credentials = partial(ResponseError, 401, "BAD_CREDENTIALS", "Bad credentials", coded)
wrong_scheme = partial(ResponseError, 400, 200058, "The authorization is invalid or has been revoked", coded)
missing_scope = partial(ResponseError, 403, 200100, "The application lacks the scope for this call", coded)
content_type_missing = partial(ResponseError, 400, 20001, "Content-Type is missing", coded)
unsupported_media_type = partial(ResponseError, 415, 415, "Unsupported Media Type", plain=True)
body_too_large = partial(ResponseError, 413, 413, "Request Entity Too Large", plain=True)
missing = partial(ResponseError, 400, "MISSING_PARAMETER")
limit_not_valid = partial(ResponseError, 400, 20042, "LIMIT_NOT_VALID")
page_size_too_large = partial(ResponseError, 400, "LIMIT_PARAM_OVERSIZE", "pageSize is too large")
offset_exceeds_limit = partial(ResponseError, 400, "OFFSET_EXCEED_LIMIT", "the offset exceeds the limit of this list")
not_found = partial(ResponseError, 404, 20007, "RESOURCE_NOT_EXIST")
task_not_exist = partial(ResponseError, 404, "TASK_NOT_EXIST", "Task does not exist")
v1_task_not_exist = partial(ResponseError, 404, "TASK_NOT_EXIST", "", plain=True)
"""A repeated DELETE in V1 gets an empty body."""
lead_not_exist = partial(ResponseError, 404, 20006, "Lead not exist")
permission_denied = partial(ResponseError, 400, 20017, "PERMISSION_DENIED")
smart_plan = partial(ResponseError, 400, "TASK_IS_SMARTPLAN", "Smart plan tasks cannot be finished")
lead_id_mismatch = partial(
    ResponseError, 400, "INVALID_UPDATE_OPERATION_LEADID", "leadId does not match the task's lead"
)

_USUAL: Final[Mapping[int, ResponseError]] = {
    error.status: error
    for error in (ResponseError(400, 20012, "INVALID_PARAMETER"), bad_credentials(), missing_scope(), not_found())
}


def usual_body(status: int) -> Any:
    """The body of an error response of which no more than the status is given."""
    if status >= 500:
        return coded(20005, "Internal server error")
    error = _USUAL.get(status)
    return message_only(0, responses.get(status, "Unknown")) if error is None else coded(error.code, error.message)
