import importlib
import importlib.util
import sys
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async import _json

DECODERS: list[Any] = [_json._standard_loads]
ENCODERS: list[Any] = [_json._standard_dumps]
if importlib.util.find_spec("orjson"):
    DECODERS.append(importlib.import_module("orjson").loads)
    ENCODERS.append(_json._orjson_dumps)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


def import_afresh() -> ModuleType:
    spec = importlib.util.find_spec("lofty_async._json")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("loads", DECODERS)
@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"9007199254740993", 2**53 + 1),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"18446744073709551616", float(2**64)),
        (b"-9223372036854775809", -float(2**63)),
        (b"-0", 0),
        (b'{"a":1,"a":2}', {"a": 2}),
        (rb'"\ud83d\ude00"', "😀"),
        (b" [null, 1E5] ", [None, 100_000.0]),
    ],
)
def test_both_decoders_give(loads: Any, body: bytes, value: object) -> None:
    read = loads(body)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("loads", DECODERS)
@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'"\ud800"', "\ufffd"),
        (rb'"cut here \uD83C"', "cut here \ufffd"),
        (rb'["\ud83d","\ude00"]', ["\ufffd", "\ufffd"]),
        (rb'{"\ude00":"\ud83d\ude00","n":9007199254740993}', {"\ufffd": "😀", "n": 2**53 + 1}),
        (rb'"\\ud800"', r"\ud800"),
        (b'\xef\xbb\xbf{"n":9007199254740993}', {"n": 2**53 + 1}),
        (b"\xef\xbb\xbf" + rb'"cut here \uD83C"', "cut here \ufffd"),
    ],
)
def test_half_a_character_or_a_byte_order_mark_does_not_cost_the_rest(
    monkeypatch: pytest.MonkeyPatch, loads: Any, body: bytes, value: object
) -> None:
    monkeypatch.setattr(_json, "_loads", loads)
    assert _json.loads(body) == value


@pytest.mark.parametrize("loads", DECODERS)
@pytest.mark.parametrize(
    "body", [rb'"\ud800', rb'["\ud800",NaN]', rb'"\ud800"' + b"\xff", b"[" * 200_000 + rb'"\ud800"']
)
def test_what_is_no_json_besides_is_refused(monkeypatch: pytest.MonkeyPatch, loads: Any, body: bytes) -> None:
    monkeypatch.setattr(_json, "_loads", loads)
    with pytest.raises(ValueError):  # noqa: PT011 - the decoders' own words
        _json.loads(body)


@pytest.mark.parametrize("loads", DECODERS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[1,]",
        b"01",
        b"NaN",
        b"-Infinity",
        b"1e400",
        b"1" * 400,
        b'"\xff"',
        b'"\x01"',
        rb'"\ud800"',
        b"\xef\xbb\xbf1",
        b"[" * 200_000 + b"]" * 200_000,
    ],
)
def test_both_decoders_refuse(loads: Any, body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each decoder has words of its own
        loads(body)


@pytest.mark.parametrize("dumps", ENCODERS)
@pytest.mark.parametrize(
    "value",
    [float("nan"), {"a": [float("inf")]}, object(), datetime(2026, 3, 1, tzinfo=UTC), "\ud800"],
)
def test_both_encoders_refuse(dumps: Any, value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each encoder has words of its own
        dumps(value)


@pytest.mark.parametrize("dumps", ENCODERS)
def test_both_encoders_are_compact_utf8(dumps: Any) -> None:
    assert dumps({"a": [None, True, "é"]}) == '{"a":[null,true,"é"]}'.encode()


@given(VALUES)
def test_every_encoder_is_read_by_every_decoder(value: object) -> None:
    for dumps in ENCODERS:
        for loads in DECODERS:
            assert loads(dumps(value)) == value


def test_the_standard_library_serves_where_orjson_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "orjson" else find_spec(name, *rest)
    )
    monkeypatch.delitem(sys.modules, "orjson", raising=False)
    module = import_afresh()
    assert module.loads(b"[1]") == [1]
    assert module.dumps([1]) == b"[1]"
    assert "orjson" not in sys.modules


def test_the_chosen_decoder_and_encoder_agree() -> None:
    assert _json.loads(_json.dumps({"id": 2**63})) == {"id": 2**63}
