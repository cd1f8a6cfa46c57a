import asyncio
import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lofty_async import _checks
from lofty_async._checks import LARGEST_ID, UNSET, Unset
from lofty_async.errors import InvalidRequestError
from lofty_async.models import TaskType
from lofty_async.ratelimit import Lane

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAIVE = datetime(2026, 3, 1, 12)  # noqa: DTZ001 - what is to be refused
SECOND = timedelta(seconds=1)

Check = Callable[..., Any]


def assert_refused(argument: str, check: Callable[[], object], match: str = ".") -> None:
    with pytest.raises(InvalidRequestError, match=match) as caught:
        check()
    assert caught.value.argument == argument
    assert caught.value.status is None
    assert str(caught.value).startswith(f"{argument} ")


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (_checks.number_id, 1),
        (_checks.number_id, LARGEST_ID),
        (_checks.composite_id, "12345-task"),
        (_checks.composite_id, "1-appointment"),
        (_checks.composite_id, "1-Task"),
        (_checks.composite_id, f"{LARGEST_ID}-task"),
        (_checks.text, "content"),
        (_checks.text, " padded "),
        (_checks.text, "Zoë 🏡"),
        (_checks.moment, NOON),
        (_checks.moment, NOON.astimezone(timezone(timedelta(hours=-8)))),
        (_checks.https_url, "https://example.com"),
        (_checks.https_url, "HTTPS://example.com:8443/hook?token=1"),
        (_checks.https_url, "https://[::1]/hook"),
        (_checks.header, "agent/1.0 (it is here)"),
    ],
)
def test_a_good_value_comes_back_as_it_is(check: Check, value: object) -> None:
    assert check("it", value) == value


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (_checks.number_id, True),
        (_checks.number_id, 0),
        (_checks.number_id, -1),
        (_checks.number_id, LARGEST_ID + 1),
        (_checks.number_id, 7.0),
        (_checks.number_id, "7"),
        (_checks.number_id, None),
        (_checks.number_id, UNSET),
        (_checks.composite_id, 12345),
        (_checks.composite_id, "12345"),
        (_checks.composite_id, "12345-lead"),
        (_checks.composite_id, "0-task"),
        (_checks.composite_id, "012-task"),
        (_checks.composite_id, "-1-task"),
        (_checks.composite_id, "12345-task/finish"),
        (_checks.composite_id, "12345-task\n"),
        (_checks.composite_id, "١٢-task"),
        (_checks.composite_id, "1-ta\N{LATIN SMALL LETTER LONG S}k"),
        (_checks.composite_id, f"{LARGEST_ID + 1}-task"),
        (_checks.composite_id, f"{'9' * 5000}-task"),
        (_checks.composite_id, None),
        (_checks.text, ""),
        (_checks.text, " \t\n"),
        (_checks.text, b"content"),
        (_checks.text, 7),
        (_checks.text, None),
        (_checks.text, UNSET),
        (_checks.text, "half a \ud83c character"),
        (_checks.moment, NAIVE),
        (_checks.moment, NOON.date()),
        (_checks.moment, NOON.isoformat()),
        (_checks.moment, 1772366400),
        (_checks.moment, None),
        (_checks.moment, UNSET),
        (_checks.https_url, ""),
        (_checks.https_url, None),
        (_checks.https_url, "http://example.com"),
        (_checks.https_url, "ftp://example.com"),
        (_checks.https_url, "example.com/hook"),
        (_checks.https_url, "https://"),
        (_checks.https_url, "https:///hook"),
        (_checks.https_url, "https://[::1"),
        (_checks.https_url, "https://example.com:port"),
        (_checks.https_url, "https://example.com:99999"),
        (_checks.https_url, "https://example.com:0"),
        (_checks.https_url, "https://exa mple.com"),
        (_checks.https_url, "https://example.com/ho\nok"),
        (_checks.header, ""),
        (_checks.header, "line\r\nX-Other: 1"),
        (_checks.header, "Zoë"),
        (_checks.header, None),
        (_checks.lane, "express"),
        (_checks.lane, None),
        (_checks.lane, 1),
        (_checks.flag, 0),
        (_checks.flag, "true"),
        (_checks.flag, None),
        (_checks.moment, datetime.min.replace(tzinfo=timezone(SECOND))),
        (_checks.codes, 5),
        (_checks.codes, "5"),
        (_checks.codes, [True]),
    ],
)
def test_a_bad_value_is_refused_by_its_argument_s_name(check: Check, value: object) -> None:
    assert_refused("it", lambda: check("it", value))


@pytest.mark.parametrize(("least", "most", "value"), [(1, 100, 1), (1, 100, 100), (0, 0, 0), (1, None, 10**20)])
def test_a_number_within_its_range_comes_back(least: int, most: int | None, value: int) -> None:
    assert _checks.within("limit", value, least, most) == value


@pytest.mark.parametrize("value", [0, 101, -1, True, 1.0, "1", None, UNSET])
def test_a_number_out_of_its_range_is_refused(value: object) -> None:
    assert_refused("limit", lambda: _checks.within("limit", value, 1, 100), "must be (from 1 to 100|an int), not ")


def test_a_range_may_be_open_above() -> None:
    assert_refused("retries", lambda: _checks.within("retries", -1, 0), "must be at least 0, not -1")


@given(st.integers())
def test_ids_are_the_positive_integers_of_64_bits(value: int) -> None:
    if 0 < value < 2**63:
        assert _checks.number_id("id", value) == value
    else:
        assert_refused("id", lambda: _checks.number_id("id", value))


def test_a_text_is_a_plain_string_also_where_an_enum_was_given() -> None:
    assert type(_checks.text("type", TaskType.CALL)) is str


@pytest.mark.parametrize(
    ("given_as", "sent"),
    [
        *[(word, "Call") for word in ("Call", "CALL", "call", "cAlL", TaskType.CALL)],
        *[(word, word) for word in ("Visit", "VISIT", TaskType("CALL"), TaskType("call"), "Call ")],
    ],
)
def test_a_member_is_known_by_value_or_name_in_any_case_and_others_are_kept(given_as: str, sent: str) -> None:
    assert _checks.member("type", given_as, TaskType) == sent


@pytest.mark.parametrize("value", ["bulk", "BULK", Lane.BULK])
def test_a_lane_is_known_by_value_or_name(value: str) -> None:
    assert _checks.lane("lane", value) is Lane.BULK


@pytest.mark.parametrize("value", ["https://example.com/hook", "http://127.0.0.1:8080/hook"])
def test_plain_addresses_pass_where_a_sandbox_is_meant(value: str) -> None:
    assert _checks.https_url("callback_url", value, plain=True) == value


def test_an_address_that_is_refused_is_told_what_is_allowed() -> None:
    assert_refused("url", lambda: _checks.https_url("url", "ftp://x"), "must be an https:// address")
    assert_refused("url", lambda: _checks.https_url("url", "ftp://x", plain=True), "an https:// or http:// address")


def test_an_end_after_its_start_passes() -> None:
    _checks.ordered(NOON, NOON + SECOND)


@pytest.mark.parametrize("moment", [NOON, NOON - SECOND])
def test_an_end_that_is_not_after_its_start_is_refused(moment: datetime) -> None:
    assert_refused("end", lambda: _checks.ordered(NOON, moment), "must be later than start")


@pytest.mark.parametrize(("start", "end"), [(NOON, NOON), (NOON, NOON + SECOND), (UNSET, NOON), (NOON, UNSET)])
def test_start_and_end_may_coincide_and_be_left_alone(start: datetime | Unset, end: datetime | Unset) -> None:
    _checks.not_reversed(start, end)


def test_an_end_before_its_start_is_refused() -> None:
    assert_refused("end_at", lambda: _checks.not_reversed(NOON, NOON - SECOND))


def test_unset_is_one_object_false_and_not_none() -> None:
    for same in (pickle.loads(pickle.dumps(UNSET)), copy.deepcopy(UNSET), Unset.UNSET):  # noqa: S301 - our own bytes
        assert same is UNSET
    assert not UNSET
    assert UNSET is not None
    assert repr(UNSET) == "UNSET"


def test_given_fields_go_into_the_body_and_unset_ones_do_not() -> None:
    body = _checks.given(content="call", type=TaskType.CALL, end_at=NOON, lead_id=5, finish=False, address=UNSET)
    assert body == {"content": "call", "type": "Call", "end_at": "2026-03-01T12:00:00+00:00", "lead_id": 5, "finish": 0}
    assert type(body["type"]) is str


@pytest.mark.parametrize("value", [None, "", "  ", NAIVE])
def test_a_field_that_the_api_would_ignore_or_misread_is_refused(value: object) -> None:
    assert_refused("address", lambda: _checks.given(content="call", address=value))


def test_none_is_refused_with_the_reason() -> None:
    assert_refused("address", lambda: _checks.given(address=None), "the API ignores null and empty values")


def test_one_of_several_fields_is_enough() -> None:
    _checks.some({"end_at": 1, "time_zone": 2}, ("content", "end_at"))


@pytest.mark.parametrize("body", [{}, {"time_zone": "UTC"}])
def test_something_has_to_be_given(body: dict[str, str]) -> None:
    with pytest.raises(InvalidRequestError, match=r"^nothing to update: pass content, start_at or end_at$") as caught:
        _checks.some(body, iter(("content", "start_at", "end_at")))
    assert caught.value.argument == "content"


def test_bodies_go_out_under_the_wire_s_names() -> None:
    body = {"content": 1, "lead_id": 2, "end_at": 3, "time_zone": 4, "assigned_role": 5, "assigned_user_id": 6}
    assert _checks.wire_names(body) == {
        "content": 1,
        "leadId": 2,
        "endAt": 3,
        "timeZoneCode": 4,
        "assignedRole": 5,
        "assignedUserId": 6,
    }


@pytest.mark.parametrize("value", [Lane.BULK, "bulk"])
def test_a_lane_is_taken_by_its_name_too(value: str) -> None:
    assert _checks.lane("lane", value) is Lane.BULK


@pytest.mark.parametrize("policy", ["raise", "skip", print])
def test_bad_records_are_raised_skipped_or_handed_over(policy: object) -> None:
    assert _checks.bad_record_policy(policy) is policy


@pytest.mark.parametrize("policy", ["ignore", None, 1, UNSET, asyncio.sleep])
def test_another_policy_for_bad_records_is_refused(policy: object) -> None:
    assert_refused("on_bad_record", lambda: _checks.bad_record_policy(policy))
