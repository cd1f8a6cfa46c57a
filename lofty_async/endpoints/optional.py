"""Checks of arguments that may be left out."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from lofty_async import checks
from lofty_async.checks import UNSET, Unset

T = TypeVar("T")


def moment(argument: str, value: object) -> datetime | Unset:
    return _checked(checks.moment, argument, value)


def text(argument: str, value: object) -> str | Unset:
    return _checked(checks.text, argument, value)


def number_id(argument: str, value: object) -> int | Unset:
    return _checked(checks.number_id, argument, value)


def _checked(check: Callable[[str, object], T], argument: str, value: object) -> T | Unset:
    return UNSET if value is UNSET else check(argument, value)
