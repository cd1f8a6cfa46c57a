import asyncio
import gzip
import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from lofty_async.sandbox import ResetStyle, Sandbox

if TYPE_CHECKING:
    from tests.sandbox.conftest import Api, Clock

BAD_CREDENTIALS = {"code": "BAD_CREDENTIALS", "message": "Bad credentials"}


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        ("token {key}", 200, None),
        ("Bearer {token}", 200, None),
        ("Bearer {key}", 400, 200058),
        ("Token {key}", 400, 200058),
        ("token {token}", 400, 200058),
        ("Basic {key}", 400, 200058),
        ("{key}", 401, "BAD_CREDENTIALS"),
        ("token somebody-else", 401, "BAD_CREDENTIALS"),
        ("", 401, "BAD_CREDENTIALS"),
    ],
)
async def test_credentials(api: "Api", authorization: str, status: int, code: object) -> None:
    sent = authorization.format(key=api.sandbox.api_key, token=api.sandbox.access_token)
    answer = await api.call("GET", "/v1.0/me", headers={"Authorization": sent})
    assert answer.status == status
    assert answer.body.get("code") == code


async def test_revoked_credentials_look_like_the_wrong_word(api: "Api") -> None:
    api.sandbox.credentials.revoke(api.sandbox.api_key)
    answer = await api.get("/v1.0/me")
    assert (answer.status, answer.body["code"]) == (400, 200058)


async def test_a_call_out_of_scope(api: "Api") -> None:
    api.sandbox.credentials.out_of_scope.add("GET /v1.0/me")
    answer = await api.get("/v1.0/me")
    assert (answer.status, answer.body["code"]) == (403, 200100)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", "/v2.0/tasks/1", 400),
        ("POST", "/v2.0/tasks", 400),
        ("PUT", "/v1.0/tasks/1", 400),
        ("GET", "/v2.0/calendar", 415),
        ("GET", "/v2.0/calendar/meetings/available", 415),
    ],
)
async def test_every_call_needs_a_content_type(sandbox: Sandbox, method: str, path: str, status: int) -> None:
    headers = {"Authorization": f"token {sandbox.api_key}", "User-Agent": "sandbox-tests/1"}
    async with sandbox, aiohttp.ClientSession(headers=headers) as session:
        answer = await session.request(method, sandbox.url + path, skip_auto_headers=["Content-Type"])
        text = await answer.text()
    assert answer.status == status
    assert ("20001" in text) == (status == 400)


@pytest.mark.parametrize("path", ["/v1.0/me", "/v1.0/leads", "/v2.0/tasks/my-tasks"])
async def test_other_gets_were_never_seen_to_need_one(sandbox: Sandbox, path: str) -> None:
    headers = {"Authorization": f"token {sandbox.api_key}", "User-Agent": "sandbox-tests/1"}
    async with sandbox, aiohttp.ClientSession(headers=headers) as session:
        answer = await session.get(sandbox.url + path, skip_auto_headers=["Content-Type"])
        assert answer.status == 200


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/json; charset=utf-16", "application/json; charset=x-unknown"],
)
async def test_another_content_type_is_unsupported(api: "Api", content_type: str) -> None:
    answer = await api.call("POST", "/v2.0/tasks", data="{}", headers={"Content-Type": content_type})
    assert (answer.status, answer.text) == (415, "Unsupported Media Type")


async def test_json_in_utf_8_may_say_so(api: "Api") -> None:
    answer = await api.call(
        "PUT", "/v2.0/tasks/1", data="{}", headers={"Content-Type": "application/json; charset=UTF-8"}
    )
    assert (answer.status, answer.body["code"]) == (404, "TASK_NOT_EXIST")


@pytest.mark.parametrize("path", ["/v2.0/tasks", "/v1.0/nothing", "/oauth/token"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_that_cannot_be_unpacked(api: "Api", path: str, encoding: str) -> None:
    answer = await api.call("POST", path, data=b"not packed", headers={"Content-Encoding": encoding})
    assert (answer.status, "INVALID_PARAMETER" in answer.text) == (400, True)
    assert (await api.get("/v1.0/me")).status == 200
    assert [record.status for record in api.sandbox.requests] == [400, 200]


async def test_a_body_that_is_packed_well(api: "Api", lead_id: int) -> None:
    entry = api.sandbox.state.add_task(lead_id)
    for size, status in ((9, 200), (9_000_000, 413)):
        body = gzip.compress(json.dumps({"content": "x" * size}).encode())
        answer = await api.call("PUT", f"/v2.0/tasks/{entry.id}", data=body, headers={"Content-Encoding": "gzip"})
        assert answer.status == status
    assert api.sandbox.state.entries[entry.id].content == "x" * 9


async def test_no_requests_are_kept_on_demand(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(1, clock=clock, keep_requests=0)) as api:
        assert (await api.get("/v2.0/nothing")).status == 404
        assert (api.sandbox.requests, api.sandbox.served) == ([], 1)


@pytest.mark.parametrize("agent", ["", "Python/3.11 aiohttp/3.13.0", "python-requests/2.31", "Java/17"])
async def test_the_firewall_blocks_library_defaults(api: "Api", agent: str) -> None:
    answer = await api.call("GET", "/v1.0/me", headers={"User-Agent": agent})
    assert answer.status == 403
    assert answer.text.startswith("<html>")
    assert "X-RateLimit-Limit" not in answer.headers


async def test_unknown_paths_and_methods(api: "Api") -> None:
    answer = await api.get("/v2.0/nothing")
    assert (answer.status, answer.body["code"]) == (404, 20007)
    assert (await api.delete("/v1.0/me")).status == 405


async def test_all_calls_count_in_one_window(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(1, limit=3, clock=clock)) as api:
        answers = [await api.get(path) for path in ("/v1.0/me", "/v1.0/leads", "/v2.0/tasks", "/v1.0/me")]
        assert [answer.status for answer in answers] == [200, 200, 400, 429]
        assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
        assert answers[-1].body == {"message": "Too Many Requests"}
        assert (api.sandbox.served, api.sandbox.rejected) == (3, 1)
        clock.now += 60.0
        assert (await api.get("/v1.0/me")).status == 200


async def test_a_rate_limited_request_changes_nothing(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(1, limit=1, clock=clock)) as api:
        assert (await api.get("/v1.0/me")).status == 200
        entry = next(iter(api.sandbox.state.entries))
        assert (await api.delete(f"/v2.0/tasks/{entry}")).status == 429
        assert entry in api.sandbox.state.entries


@pytest.mark.parametrize("style", [style.value for style in ResetStyle])
async def test_the_headers_come_in_the_chosen_style(clock: "Clock", api_of: Any, style: str) -> None:
    async with api_of(Sandbox(1, clock=clock, reset_style=style)) as api:
        clock.now += 20.0
        answer = await api.get("/v1.0/me")
        resets = {
            "epoch_s": str(int(clock.now) + 40),
            "epoch_ms": str((int(clock.now) + 40) * 1000),
            "ms_left": "40000",
            "s_left": "40",
            "absent": None,
        }
        assert answer.headers.get("X-RateLimit-Reset") == resets[style]


def test_an_unknown_reset_style_is_refused() -> None:
    with pytest.raises(ValueError, match="fortnights_left"):
        Sandbox(reset_style="fortnights_left")


async def test_windows_that_open_with_a_request(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(1, clock=clock, aligned=False, reset_style="s_left")) as api:
        clock.now += 45.0
        assert (await api.get("/v1.0/me")).headers["X-RateLimit-Reset"] == "60"


async def test_limits_of_single_endpoints_and_of_bursts(clock: "Clock", api_of: Any) -> None:
    limits = {"GET /v2.0/tasks/{taskId}": 1}
    async with api_of(Sandbox(1, clock=clock, endpoint_limits=limits, per_second_limit=3)) as api:
        entry = next(iter(api.sandbox.state.entries))
        first, second = [await api.get(f"/v2.0/tasks/{entry}") for _ in range(2)]
        assert (first.headers["X-RateLimit-Limit"], second.status) == ("1", 429)
        assert [(await api.get("/v1.0/me")).status for _ in range(3)] == [200, 200, 429]


async def test_responses_carry_the_sandboxs_date(api: "Api", clock: "Clock") -> None:
    clock.now -= 86_400 * 365
    answer = await api.get("/v1.0/me")
    assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == clock.now


async def test_requests_are_kept_in_order_of_arrival(api: "Api", lead_id: int) -> None:
    await api.get("/v2.0/tasks", leadId=lead_id)
    await api.post("/v2.0/tasks", type="Call")
    listed, created = api.sandbox.requests
    assert (listed.method, listed.path, listed.status) == ("GET", "/v2.0/tasks", 200)
    assert listed.query["leadId"] == str(lead_id)
    assert (created.route, created.json(), created.status) == ("POST /v2.0/tasks", {"type": "Call"}, 400)
    assert api.sandbox.api_key not in repr(listed)


async def test_only_the_last_requests_are_kept(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(1, clock=clock, keep_requests=2)) as api:
        for path in ("/v1.0/me", "/v1.0/leads", "/v1.0/me"):
            await api.get(path)
        assert [record.path for record in api.sandbox.requests] == ["/v1.0/leads", "/v1.0/me"]
        assert api.sandbox.served == 3


async def test_latency_and_the_form_of_resets_change_at_run_time(api: "Api") -> None:
    assert int((await api.get("/v1.0/me")).headers["X-RateLimit-Reset"]) > 10**9
    api.sandbox.reset_style, api.sandbox.latency = ResetStyle.ABSENT, 0.01
    started = asyncio.get_running_loop().time()
    assert "X-RateLimit-Reset" not in (await api.get("/v1.0/me")).headers
    assert asyncio.get_running_loop().time() - started >= 0.01
