"""Errors by code, whatever the status; `test_wire.py` has the shapes of error bodies and their exceptions."""

import json
from typing import Any

import pytest

from lofty_async._wire import RecordKind, Reply, is_gone, read_error, read_reply
from lofty_async.errors import APIError, ConnectionFailedError

HIDDEN = "BaseApplicationException:errorCode=20006,errorMsg=Lead not exist"


@pytest.mark.parametrize(
    "result",
    [
        {"code": 20005, "message": "internal"},
        {"code": "LEAD_NOT_EXIST"},
        {"errorCode": "200058", "errorMsg": "revoked"},
        {"status": {"code": 20017, "msg": "no"}, "data": None},
        {"message": HIDDEN},
    ],
)
def test_an_error_may_come_with_200(result: Any) -> None:
    assert isinstance(read_reply(Reply(200, {}, json.dumps(result).encode())), APIError)


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "code",
        {"tasks": [{"code": 20005}]},
        {"message": "updated"},
        {"message": "TASK_NOT_EXIST is what it said"},
        {"code": 0, "message": "success"},
        {"code": 200, "data": {}},
        {"code": "US", "status": "active"},
        {"status": {"code": 0, "msg": "SUCCESS"}},
        {"status": 20005},
    ],
)
def test_what_only_looks_like_an_error_is_none(result: Any) -> None:
    assert read_reply(Reply(200, {}, json.dumps(result).encode())) == result


TASKS = {RecordKind.TASK, RecordKind.TASK_V1, RecordKind.CALENDAR_ENTRY}
PAGE = b"<html><body>404 page not found</body></html>"


@pytest.mark.parametrize(
    ("status", "body", "kinds"),
    [
        (404, b'{"code":"TASK_NOT_EXIST","message":"no"}', TASKS),
        (200, b'{"code":"TASK_NOT_EXIST","message":"no"}', TASKS),
        (404, b'"TASK_NOT_EXIST"', TASKS),
        (404, b'{"errorCode":20007,"errorMsg":"no"}', TASKS | {RecordKind.WEBHOOK}),
        (404, b'{"code":"RESOURCE_NOT_EXIST"}', TASKS | {RecordKind.WEBHOOK}),
        (400, b'{"status":{"code":20012,"msg":"no entry"}}', {RecordKind.CALENDAR_ENTRY}),
        (400, b'{"code":"INVALID_PARAMETER"}', {RecordKind.CALENDAR_ENTRY}),
        (400, b'{"errorCode":"WEBHOOK_DELETE_NOT_EXIST"}', {RecordKind.WEBHOOK}),
        (404, b'{"message":"BaseApplicationException:errorCode=20006,errorMsg=no"}', {RecordKind.LEAD}),
        (404, b'{"code":20003,"message":"no user"}', set[RecordKind]()),
        (400, b'{"errorCode":"WEBHOOK_DELETE_NO_AUTHORITY"}', set[RecordKind]()),
        (404, b"", {RecordKind.TASK_V1}),
        (404, b" \r\n", {RecordKind.TASK_V1}),
        (410, b"", set[RecordKind]()),
        (400, b"", set[RecordKind]()),
        (404, PAGE, set[RecordKind]()),
        (410, PAGE, set[RecordKind]()),
        (404, b'{"message":"no Route matched with those values"}', set[RecordKind]()),
        (404, b'{"code":404,"message":"Not Found"}', set[RecordKind]()),
        (404, b'{"status":404,"error":"Not Found","path":"/v2.0/tasks/5"}', set[RecordKind]()),
    ],
)
def test_only_lofty_s_code_says_that_a_record_is_gone(status: int, body: bytes, kinds: set[RecordKind]) -> None:
    error = read_error(Reply(status, {}, body))
    assert {kind for kind in RecordKind if is_gone(error, kind)} == kinds


@pytest.mark.parametrize("error", [None, OSError("gone"), ConnectionFailedError("gone")])
def test_what_is_no_answer_says_nothing_of_a_record(error: BaseException | None) -> None:
    assert not any(is_gone(error, kind) for kind in RecordKind)
