"""The server's refusals, in every shape that its error bodies come in."""

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

Code = int | str
Shape = Callable[[Code, str], Any]


def coded(code: Code, message: str) -> Any:
    return {"code": code, "message": message}


def wrapped(code: Code, message: str) -> Any:
    return {"status": {"code": code, "msg": message}, "data": None}


def legacy(code: Code, message: str) -> Any:
    return {"errorCode": code, "errorMsg": message}


def hidden(code: Code, message: str) -> Any:
    """The code stands in the text, as an exception of the server's framework prints it."""
    return {"message": f"BaseApplicationException:errorCode={code},errorMsg={message}"}


def message_only(_code: Code, message: str) -> Any:
    return {"message": message}


def bare(code: Code, _message: str) -> Any:
    return str(code)


_SHAPES: tuple[tuple[str, Shape], ...] = (("/v2.0/calendar", wrapped), ("/v1.0/", legacy))


def shape_of(path: str) -> Shape:
    """The shape in which this part of the API refuses, unless the refusal has one of its own."""
    return next((shape for prefix, shape in _SHAPES if path.startswith(prefix)), coded)


class Refusal(Exception):  # noqa: N818 - what the server does, not what went wrong in it
    """Ends a request with an error answer."""

    def __init__(self, status: int, code: Code, message: str, shape: Shape | None = None) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message
        self.shape = shape

    def response(self, path: str) -> web.Response:
        body = (self.shape or shape_of(path))(self.code, self.message)
        return json_answer(body, status=self.status)


class BlankRefusal(Refusal):
    """An error answer without a body."""

    def response(self, path: str) -> web.Response:  # noqa: ARG002 - no shape to choose
        return web.Response(status=self.status)


class PageRefusal(Refusal):
    """An error answer that is no JSON; `message` is the whole page."""

    def response(self, path: str) -> web.Response:  # noqa: ARG002 - no shape to choose
        content_type = "text/html" if self.message.startswith("<") else "text/plain"
        return web.Response(status=self.status, text=self.message, content_type=content_type)


def json_answer(body: Any, status: int = 200) -> web.Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(status=status, text=text, content_type="application/json")


BLOCKED_PAGE = "<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>"
PROXY_PAGE = "<html><head><title>One moment</title></head><body>Checking your connection.</body></html>"


def blocked() -> Refusal:
    return PageRefusal(403, 403, BLOCKED_PAGE)


def too_many_requests() -> Refusal:
    return Refusal(429, 429, "Too Many Requests", message_only)


def bad_credentials() -> Refusal:
    return Refusal(401, "BAD_CREDENTIALS", "Bad credentials", coded)


def wrong_scheme() -> Refusal:
    return Refusal(400, 200058, "The authorization is invalid or has been revoked", coded)


def content_type_missing() -> Refusal:
    return Refusal(400, 20001, "Content-Type is missing", coded)


def unsupported_media_type() -> Refusal:
    return PageRefusal(415, 415, "Unsupported Media Type")


def body_too_large() -> Refusal:
    return PageRefusal(413, 413, "Request Entity Too Large")


def missing_scope() -> Refusal:
    return Refusal(403, 200100, "The application lacks the scope for this call", coded)


def invalid(message: str) -> Refusal:
    return Refusal(400, 20012, f"INVALID_PARAMETER: {message}")


def missing(message: str) -> Refusal:
    return Refusal(400, "MISSING_PARAMETER", message)


def too_long(name: str) -> Refusal:
    return Refusal(400, 20043, f"PARAMETER_TOO_LONG: {name}")


def limit_not_valid() -> Refusal:
    return Refusal(400, 20042, "LIMIT_NOT_VALID")


def limit_oversize() -> Refusal:
    return Refusal(400, "LIMIT_PARAM_OVERSIZE", "pageSize is too large")


def offset_exceeds_limit() -> Refusal:
    return Refusal(400, "OFFSET_EXCEED_LIMIT", "the offset exceeds the limit of this list")


def not_found() -> Refusal:
    return Refusal(404, 20007, "RESOURCE_NOT_EXIST")


def task_not_exist() -> Refusal:
    return Refusal(404, "TASK_NOT_EXIST", "Task does not exist")


def lead_not_exist() -> Refusal:
    return Refusal(404, 20006, "Lead not exist")


def lead_not_reachable() -> Refusal:
    """What a change gets where the caller has no access to the entry's lead."""
    return Refusal(404, 20006, "Lead not exist", hidden)


def permission_denied() -> Refusal:
    return Refusal(400, 20017, "PERMISSION_DENIED")


def smart_plan() -> Refusal:
    return Refusal(400, "TASK_IS_SMARTPLAN", "Smart plan tasks cannot be finished")


def unmatched_lead() -> Refusal:
    return Refusal(400, "INVALID_UPDATE_OPERATION_LEADID", "leadId does not match the task's lead")


def task_gone() -> Refusal:
    """The legacy API says no more than the status."""
    return BlankRefusal(404, "TASK_NOT_EXIST", "")


def webhook(name: str) -> Refusal:
    return Refusal(400, name, name.replace("_", " ").capitalize(), coded)
