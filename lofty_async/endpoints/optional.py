"""Checks of arguments that may be left out."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from lofty_async import _checks
from lofty_async._checks import UNSET, Unset

T = TypeVar("T")


def moment(argument: str, value: object) -> datetime | Unset:
    return _checked(_checks.moment, argument, value)


def text(argument: str, value: object) -> str | Unset:
    return _checked(_checks.text, argument, value)


def number_id(argument: str, value: object) -> int | Unset:
    return _checked(_checks.number_id, argument, value)


def flag(argument: str, value: object) -> bool | Unset:
    return _checked(_checks.flag, argument, value)


def code(argument: str, value: object) -> str | Unset:
    return _checked(_checks.code, argument, value)


def member(argument: str, value: object, kind: type[StrEnum]) -> str | Unset:
    return UNSET if value is UNSET else _checks.member(argument, value, kind)


def _checked(check: Callable[[str, object], T], argument: str, value: object) -> T | Unset:
    return UNSET if value is UNSET else check(argument, value)
