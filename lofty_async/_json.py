"""JSON by orjson where it is installed, by the standard library elsewhere: the same values either way."""

import json
import math
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NoReturn

orjson: Any = import_module("orjson") if find_spec("orjson") else None

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


# Without these orjson would write what the standard encoder refuses.
_ORJSON_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS if orjson else 0


def _integer(text: str) -> int | float:
    value = int(text)
    # What does not fit 64 bits is no id; orjson makes a float of it, which conversion refuses.
    return value if _SMALLEST <= value <= _LARGEST else _float(text)


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("number out of range")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_refuse)
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _may_hold_half_a_pair(body: bytes) -> bool:
    return b"\\ud" in body.lower()


def _standard_loads(body: bytes) -> Any:
    try:
        value = _decoder.decode(body.decode())
        if _may_hold_half_a_pair(body):
            # Half a surrogate pair is no text; encoding is what finds it.
            _encoder.encode(value).encode()
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def _mended(body: bytes) -> bytes:
    """The same text with a replacement character for each half of a surrogate pair."""
    try:
        text = _encoder.encode(_decoder.decode(body.decode()))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _standard_dumps(value: Any) -> bytes:
    try:
        return _encoder.encode(value).encode()
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error


def _orjson_dumps(value: Any) -> bytes:
    try:
        body: bytes = orjson.dumps(value, None, _ORJSON_OPTIONS)
    except TypeError as error:
        raise ValueError(f"not JSON: {error}") from error
    if b"null" in body:
        # orjson writes NaN as null; the standard encoder refuses it.
        _encoder.encode(value)
    return body


_loads = orjson.loads if orjson else _standard_loads
_dumps = _orjson_dumps if orjson else _standard_dumps


def loads(body: bytes) -> Any:
    """The value of a JSON text; integers are exact up to 64 bits, and floats beyond.

    Half a surrogate pair, which a server leaves that cuts a text within an emoji, becomes a replacement character. A
    byte order mark before the text is passed over.

    Raises:
        ValueError: The text is not JSON (NaN is not), not UTF-8, or nested too deeply.
    """
    try:
        return _loads(body)
    except ValueError:
        if not (body.startswith(_BYTE_ORDER_MARK) or _may_hold_half_a_pair(body)):
            raise
    text = body.removeprefix(_BYTE_ORDER_MARK)
    return _loads(_mended(text) if _may_hold_half_a_pair(text) else text)


def is_blank(body: bytes) -> bool:
    """Whether a body says nothing: it is empty, or holds whitespace alone."""
    return not body.removeprefix(_BYTE_ORDER_MARK).strip()


def dumps(value: Any) -> bytes:
    """The value as compact JSON in UTF-8.

    Raises:
        ValueError: The value holds what JSON cannot say, NaN included.
    """
    return _dumps(value)
