"""What is an error whatever its status; `test_wire.py` tells the shapes of errors, with the errors they become."""

from typing import Any

import pytest

from lofty_async.complaints import is_complaint

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
    assert is_complaint(result)


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
    assert not is_complaint(result)
