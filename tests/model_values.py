"""Any model with any values of its fields' types, as a Hypothesis strategy."""

from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin

import attrs
from hypothesis import strategies as st

from lofty_async import models
from lofty_async._enums import OpenIntEnum, OpenStrEnum

MODELS: list[type[Any]] = [kind for kind in vars(models).values() if attrs.has(kind)]

_DAY = timedelta(days=1) - timedelta(microseconds=1)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
OFFSETS = (
    st.just(UTC)
    | st.timedeltas(-_DAY, _DAY).map(timezone)
    | st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))
)
# A fold means nothing at a fixed offset, and no text has it.
TIMES = st.datetimes(timezones=OFFSETS).map(lambda time: time.replace(fold=0))

_STRATEGIES: dict[Any, st.SearchStrategy[Any]] = {
    int: INTEGERS,
    str: st.text(),
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    datetime: TIMES,
    NoneType: st.none(),
}


@cache
def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    if annotation in _STRATEGIES:
        return _STRATEGIES[annotation]
    if get_origin(annotation) is tuple:
        return st.lists(values_of(get_args(annotation)[0]), max_size=2).map(tuple)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        assert issubclass(annotation, OpenStrEnum | OpenIntEnum)
        plain: Any = st.text() if issubclass(annotation, str) else INTEGERS
        return st.sampled_from(list(annotation)) | plain.map(annotation)  # type: ignore[no-any-return]
    if attrs.has(annotation):
        return models_of(annotation)
    return st.one_of(*map(values_of, get_args(annotation)))


@cache
def models_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    fields = {one.name: values_of(one.type) for one in attrs.fields(kind)}
    required = {one.name for one in attrs.fields(kind) if one.default is attrs.NOTHING}
    given = st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: values for name, values in fields.items() if name not in required},
    )
    return given.map(lambda values: kind(**values))
