"""Validators for credentials: each refuses with the argument's name and never shows its value."""

from collections.abc import Callable
from typing import Any, TypeGuard
from urllib.parse import SplitResult, urlsplit

from attrs import Attribute

from lofty_async._checks import is_loopback
from lofty_async.auth import PASTED, header_safe
from lofty_async.errors import InvalidRequestError

END_OF_TIME = 1e15
"""Seconds that no clock reaches: more is a mistake, as are infinity and NaN."""


def sendable(_: object, attribute: "Attribute[Any]", value: object) -> None:
    header_safe(attribute.name, value)


def basic_name(_: object, attribute: "Attribute[Any]", value: object) -> None:
    """HTTP Basic separates name and password by a colon, so that the name can have none."""
    if ":" in header_safe(attribute.name, value):
        raise InvalidRequestError(f"{attribute.name} must not contain a colon", argument=attribute.name)


def stripped(value: str) -> str:
    """White space that was pasted along is none of a name's."""
    return value.strip(PASTED) if isinstance(value, str) else value  # pyright: ignore[reportUnnecessaryIsInstance] - the validator's to refuse


def secure_url(credential: object, attribute: "Attribute[Any]", value: object) -> None:
    """Secrets travel by HTTPS; by plain HTTP only inside this machine, or where `allow_http` says so."""
    check_url(attribute.name, value, allow_http=getattr(credential, "allow_http", False) is True)


def check_url(argument: str, value: object, *, allow_http: bool) -> None:
    parts = split(argument, value)
    plain = parts.scheme == "http" and (allow_http or is_loopback(parts.hostname))
    if not parts.hostname or not (parts.scheme == "https" or plain):
        raise InvalidRequestError(f"{argument} must be an https:// address", argument=argument)


def absolute_uri(_: object, attribute: "Attribute[Any]", value: object) -> None:
    parts = split(attribute.name, value)
    if not parts.scheme or parts.fragment:
        message = f"{attribute.name} must be an absolute address without a fragment"
        raise InvalidRequestError(message, argument=attribute.name)


def split(argument: str, value: object) -> SplitResult:
    try:
        return urlsplit(header_safe(argument, value))
    except ValueError:
        problem = InvalidRequestError(f"{argument} is not an address", argument=argument)
    raise problem  # out here: it may bring a code, which the frames above show


def time_span(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if not is_number(value) or value < 0:
        message = f"{attribute.name} must be a number of seconds, 0 or more"
        raise InvalidRequestError(message, argument=attribute.name)


def moment(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if value is not None and not is_number(value):
        raise InvalidRequestError(f"{attribute.name} must be epoch seconds", argument=attribute.name)


def text(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise InvalidRequestError(f"{attribute.name} must be a string", argument=attribute.name)


def function(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if value is not None and not callable(value):
        raise InvalidRequestError(f"{attribute.name} must be callable", argument=attribute.name)


def of_type(kind: type) -> Callable[[object, "Attribute[Any]", object], None]:
    def check(_: object, attribute: "Attribute[Any]", value: object) -> None:
        if value is not None and not isinstance(value, kind):
            argument = attribute.name.lstrip("_")
            raise InvalidRequestError(f"{argument} must be a {kind.__name__}", argument=argument)

    return check


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < END_OF_TIME


def is_store(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if value is not None and not all(callable(getattr(value, name, None)) for name in ("load", "save")):
        message = f"{attribute.name} must be a token store, such as FileTokenStore(path)"
        raise InvalidRequestError(message, argument=attribute.name)
