import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from lofty_async.sandbox import Sandbox, faults

if TYPE_CHECKING:
    from tests.sandbox.conftest import Api, Clock

CALL = {"type": "Call", "content": "Ring", "assignedRole": "Agent", "endAt": "2026-07-01T10:00:00Z"}
CREATE = "POST /v2.0/tasks"


async def test_an_internal_error_by_default(api: "Api") -> None:
    api.sandbox.faults.add()
    failed, good = await api.get("/v1.0/me"), await api.get("/v1.0/me")
    assert (failed.status, failed.body["code"], good.status) == (500, 20005, 200)
    assert failed.headers["X-RateLimit-Remaining"] == "9999"


async def test_any_status_and_body(api: "Api") -> None:
    reply = faults.Reply(503, "<h1>Down</h1>", headers={"Retry-After": "7"})
    api.sandbox.faults.add("* /v1.0/*", reply, times=None)
    for _ in range(3):
        answer = await api.get("/v1.0/me")
        assert (answer.status, answer.text, answer.headers["Retry-After"]) == (503, "<h1>Down</h1>", "7")
    api.sandbox.faults.clear()
    assert (await api.get("/v1.0/me")).status == 200


@pytest.mark.parametrize(
    ("status", "body"), [(404, {"code": 20007, "message": "RESOURCE_NOT_EXIST"}), (499, {"message": "Unknown"})]
)
async def test_a_status_alone_has_its_usual_body(api: "Api", status: int, body: object) -> None:
    api.sandbox.faults.add(kind=faults.Reply(status))
    answer = await api.get("/v1.0/me")
    assert (answer.status, answer.body) == (status, body)


async def test_a_fault_with_after_and_times(api: "Api") -> None:
    rule = api.sandbox.faults.add("GET /v1.0/me", times=2, after=1)
    assert [(await api.get("/v1.0/me")).status for _ in range(4)] == [200, 500, 500, 200]
    assert (rule.struck, rule.spent) == (2, True)


async def test_a_fault_with_a_probability(clock: "Clock", api_of: Any) -> None:
    seen = list[list[int]]()
    for _ in range(2):  # the same seed, the same luck
        async with api_of(Sandbox(1, clock=clock, seed=4)) as api:
            api.sandbox.faults.add(times=None, chance=0.5)
            seen.append([(await api.get("/v1.0/me")).status for _ in range(20)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {200, 500}


@pytest.mark.parametrize("options", [{"times": 0}, {"after": -1}, {"chance": 50}, {"chance": -0.1}], ids=str)
async def test_a_number_that_would_have_no_effect_is_named(sandbox: Sandbox, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"'{next(iter(options))}' must be "):
        sandbox.faults.add(**options)
    assert not sandbox.faults.rules


@pytest.mark.parametrize(
    "make",
    [
        lambda: faults.Latency(-1),
        lambda: faults.SlowBody(0.0, pieces=0),
        lambda: faults.Reply(100),  # an interim one, after which a client waits for another
        lambda: faults.Reply("404"),  # type: ignore[arg-type] # the slip
        lambda: faults.NotJson(status=1000),
    ],
)
def test_a_fault_names_an_argument_out_of_its_range(make: Callable[[], object]) -> None:
    with pytest.raises((ValueError, TypeError), match=r"'(seconds|pieces|status)' must be "):
        make()


async def test_a_fault_applies_to_matching_calls_only(api: "Api", lead_id: int) -> None:
    api.sandbox.faults.add("GET /v2.0/tasks/{taskId}")
    assert (await api.get("/v2.0/tasks", leadId=lead_id)).status == 200
    assert (await api.get(f"/v2.0/tasks/{next(iter(api.sandbox.state.entries))}")).status == 500


async def test_a_429_that_no_window_explains(api: "Api") -> None:
    api.sandbox.faults.add(kind=faults.TooManyRequests())
    answer = await api.get("/v1.0/me")
    assert (answer.status, answer.body) == (429, {"message": "Too Many Requests"})
    assert "X-RateLimit-Limit" not in answer.headers
    assert api.sandbox.rejected == 1


async def test_the_rate_limit_of_a_filter(api: "Api") -> None:
    api.sandbox.faults.add(kind=faults.FilterTooManyRequests())
    answer = await api.get("/v1.0/me")
    assert (answer.status, answer.text) == (400, "Too Many Requests")
    assert "X-RateLimit-Limit" not in answer.headers


@pytest.mark.parametrize(("kind", "took_effect"), [(faults.DropBefore(), False), (faults.DropAfter(), True)])
async def test_a_dropped_connection(api: "Api", lead_id: int, kind: faults.Fault, took_effect: bool) -> None:
    before = len(api.sandbox.state.entries)
    api.sandbox.faults.add(CREATE, kind)
    with pytest.raises(aiohttp.ClientConnectionError):
        await api.post("/v2.0/tasks", leadId=lead_id, **CALL)
    assert len(api.sandbox.state.entries) - before == took_effect
    assert api.sandbox.requests[-1].status is None


async def test_a_body_cut_short(api: "Api", lead_id: int) -> None:
    before = len(api.sandbox.state.entries)
    api.sandbox.faults.add(CREATE, faults.TruncatedBody())
    with pytest.raises(aiohttp.ClientPayloadError):
        await api.post("/v2.0/tasks", leadId=lead_id, **CALL)
    assert len(api.sandbox.state.entries) - before == 1


@pytest.mark.parametrize(("lost", "took_effect"), [(False, True), (True, False)])
async def test_a_proxys_page_with_a_good_status(api: "Api", lead_id: int, lost: bool, took_effect: bool) -> None:
    before = len(api.sandbox.state.entries)
    api.sandbox.faults.add(CREATE, faults.NotJson(lost=lost))
    answer = api.session.post(api.sandbox.url + "/v2.0/tasks", json=CALL | {"leadId": lead_id})
    async with answer as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert (await response.text()).startswith("<html>")
    assert len(api.sandbox.state.entries) - before == took_effect


async def test_a_slow_body_arrives_whole_and_with_headers(api: "Api", lead_id: int) -> None:
    api.sandbox.faults.add(kind=faults.SlowBody(0.01, pieces=3))
    started = time.monotonic()
    answer = await api.get("/v2.0/tasks", leadId=lead_id)
    assert len(answer.body["tasks"]) == 15
    assert answer.headers["X-RateLimit-Limit"] == "10000"
    assert time.monotonic() - started >= 0.02


async def test_a_slow_body_keeps_the_headers_of_its_answer(api: "Api") -> None:
    api.sandbox.faults.add(kind=faults.SlowBody(0.0))
    api.sandbox.faults.add(kind=faults.Reply(503, "<p>later</p>", {"Retry-After": "7"}))
    answer = await api.get("/v1.0/me")
    assert (answer.status, answer.text, answer.headers["Retry-After"]) == (503, "<p>later</p>", "7")


@pytest.mark.parametrize("headers", [{}, {"X-RateLimit-Remaining": "-5", "X-RateLimit-Reset": "soon"}])
async def test_missing_and_absurd_rate_headers(api: "Api", headers: dict[str, str]) -> None:
    api.sandbox.faults.add(kind=faults.RateHeaders(headers))
    answer = await api.get("/v1.0/me")
    assert answer.status == 200
    assert {name: value for name, value in answer.headers.items() if name.startswith("X-Rate")} == headers


async def test_a_function_will_do(api: "Api") -> None:
    async def teapot(_request: web.Request, _answer: faults.Answer) -> web.StreamResponse:
        return web.Response(status=418)

    api.sandbox.faults.add(kind=teapot)
    assert (await api.get("/v1.0/me")).status == 418


async def test_faults_combine(api: "Api") -> None:
    api.sandbox.faults.add(kind=faults.RateHeaders())
    api.sandbox.faults.add(kind=faults.Reply(502))
    answer = await api.get("/v1.0/me")
    assert (answer.status, answer.headers.get("X-RateLimit-Limit")) == (502, None)


async def test_faults_apply_to_errors_too(api: "Api") -> None:
    api.sandbox.faults.add(kind=faults.SlowBody(0.0))
    answer = await api.get("/v2.0/tasks", leadId=-1)
    assert (answer.status, answer.body["code"]) == (400, 20012)


async def together(calls: int, call: Callable[[], Coroutine[Any, Any, Any]]) -> float:
    started = time.monotonic()
    await asyncio.gather(*(call() for _ in range(calls)))
    return time.monotonic() - started


async def test_delayed_requests_run_concurrently(api: "Api") -> None:
    api.sandbox.faults.add(kind=faults.Latency(0.2), times=None)
    assert 0.2 <= await together(20, lambda: api.get("/v1.0/me")) < 2.0


async def test_latency_of_the_whole_server(clock: "Clock", api_of: Any) -> None:
    async with api_of(Sandbox(1, latency=0.05, clock=clock)) as api:
        assert await together(5, lambda: api.get("/v1.0/me")) >= 0.05
