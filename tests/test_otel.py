"""`lofty_async.otel`: a span of each call, and metrics, as the SDK of OpenTelemetry exports them."""

import asyncio
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from lofty_async import ConnectionFailedError, Lane, LoftyClient
from lofty_async.otel import LoftyInstrumentor
from lofty_async.sandbox import Sandbox, faults
from tests.conftest import Hold, OpenClient, in_turn
from tests.virtual import exhausted, run

ME = "GET /v1.0/me"


class Told:
    """What is exported."""

    def __init__(self) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def metric(self, name: str) -> list[Any]:
        """The points of a metric."""
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        metrics = [metric for scope in scopes for metric in scope.metrics if metric.name == name]
        return [point for metric in metrics for point in metric.data.data_points]


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    LoftyInstrumentor().instrument(tracer_provider=told.tracers, meter_provider=told.meters)
    yield told
    LoftyInstrumentor().uninstrument()
    told.meters.shutdown()


@pytest.fixture
def lofty(open_client: OpenClient, told: Told) -> LoftyClient:  # noqa: ARG001 - instrumented before
    return open_client()


def events(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


class TestSpans:
    async def test_of_a_call(self, sandbox: Sandbox, lofty: LoftyClient, told: Told, lead_id: int) -> None:
        task = await lofty.tasks.list(lead_id).first()
        assert task
        await lofty.tasks.get(task.id)
        first, second = told.spans
        assert (first.name, second.name) == ("GET /v2.0/tasks", "GET /v2.0/tasks/{taskId}")
        assert second.kind is SpanKind.CLIENT
        assert dict(second.attributes or {}) == {
            "http.request.method": "GET",
            "url.template": "/v2.0/tasks/{taskId}",
            "server.address": "127.0.0.1",
            "server.port": int(sandbox.url.rpartition(":")[2]),
            "http.response.status_code": 200,
        }
        assert events(second) == ["lofty.request", "lofty.response"]
        assert second.status.status_code is StatusCode.UNSET

    async def test_of_a_call_that_is_retried(self, sandbox: Sandbox, lofty: LoftyClient, told: Told) -> None:
        sandbox.faults.add(ME, in_turn(faults.DropAfter(), faults.Reply(503, "")), times=2)
        await lofty.me()
        (span,) = told.spans
        failed, answered = ["lofty.request", "lofty.failure", "lofty.retry"], ["lofty.request", "lofty.response"]
        assert events(span) == [*failed, *answered, "lofty.retry", *answered]
        assert (span.attributes or {})["http.request.resend_count"] == 2

    async def test_of_a_call_that_fails(self, sandbox: Sandbox, lofty: LoftyClient, told: Told) -> None:
        sandbox.faults.add(ME, faults.DropAfter(), times=None)
        with pytest.raises(ConnectionFailedError):
            await lofty.with_options(retries=0).me()
        (span,) = told.spans
        assert (span.attributes or {})["error.type"] == "ConnectionFailedError"
        assert span.status.status_code is StatusCode.ERROR

    async def test_end_with_a_cancelled_call(
        self, sandbox: Sandbox, lofty: LoftyClient, told: Told, hold: Hold
    ) -> None:
        sandbox.faults.add(ME, hold)
        task = asyncio.create_task(lofty.me())
        await hold.reached()
        task.cancel()
        await asyncio.wait({task})
        (span,) = told.spans
        assert (span.attributes or {})["error.type"] == "CancelledError"

    async def test_stand_in_the_span_around_them(self, lofty: LoftyClient, told: Told) -> None:
        with told.tracers.get_tracer("mine").start_as_current_span("outer") as outer:
            await asyncio.gather(lofty.me(), lofty.me())
            assert trace.get_current_span() is outer
        parents = [span.parent.span_id for span in told.spans[:2] if span.parent]
        assert parents == [outer.get_span_context().span_id] * 2

    async def test_hold_those_of_aiohttp(self, open_client: OpenClient, told: Told) -> None:
        AioHttpClientInstrumentor().instrument(tracer_provider=told.tracers)
        try:
            await open_client().me()
        finally:
            AioHttpClientInstrumentor().uninstrument()
        inner, outer = told.spans
        assert outer.name == ME
        assert inner.parent == outer.context

    async def test_are_left_out_where_they_are_suppressed(self, lofty: LoftyClient, told: Told) -> None:
        with suppress_instrumentation():
            await lofty.me()
        assert told.spans == []
        assert told.metric("lofty.requests") == []

    async def test_and_after_the_end(self, lofty: LoftyClient, told: Told) -> None:
        LoftyInstrumentor().uninstrument()
        await lofty.me()
        assert told.spans == []

    async def test_hold_no_secret(self, sandbox: Sandbox, lofty: LoftyClient, told: Told, call_fields: Any) -> None:
        await lofty.tasks.create(**call_fields | {"content": "Anna"})
        key = str(sandbox.auth.ready()).split()[1]
        shown = "".join(span.to_json() for span in told.spans)
        assert not [secret for secret in (key, "Anna", str(call_fields["lead_id"])) if secret in shown]


class TestMetrics:
    async def test_requests_by_status(self, sandbox: Sandbox, lofty: LoftyClient, told: Told) -> None:
        sandbox.faults.add(ME, in_turn(faults.DropAfter(), faults.Reply(503, "")), times=2)
        await lofty.me()
        await lofty.me()
        points = told.metric("lofty.requests")
        counts = {
            (point.attributes.get("http.response.status_code"), point.attributes.get("error.type")): point.value
            for point in points
        }
        assert counts == {(200, None): 2, (503, None): 1, (None, "ConnectionFailedError"): 1}
        assert {point.attributes["url.template"] for point in points} == {"/v1.0/me"}
        retries = told.metric("lofty.retries")
        assert {point.attributes["lofty.retry.reason"]: point.value for point in retries} == {
            "ConnectionFailedError": 1,
            "HTTP 503, ServerError": 1,
        }

    async def test_remaining_budget(self, lofty: LoftyClient, told: Told) -> None:
        await lofty.me()
        (point,) = told.metric("lofty.rate_limit.remaining")
        assert point.value == 9_999

    def test_waits_by_lane(self, told: Told) -> None:
        async def main() -> None:
            async with Sandbox(1, 1, limit=1000) as sandbox:
                limiter = exhausted(1000)
                async with LoftyClient(sandbox.auth, base_url=sandbox.url, limiter=limiter, lane=Lane.BULK) as lofty:
                    await lofty.me()

        run(main())
        (point,) = told.metric("lofty.rate_limit.wait")
        assert (point.count, point.attributes["lofty.lane"]) == (1, "bulk")
        assert point.sum == pytest.approx(60, abs=5)
        (span,) = told.spans
        assert events(span) == ["lofty.wait", "lofty.request", "lofty.response"]


def test_the_command_of_opentelemetry_finds_it() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    (found,) = project["entry-points"]["opentelemetry_instrumentor"].values()
    assert EntryPoint("lofty_async", found, "opentelemetry_instrumentor").load() is LoftyInstrumentor


def test_without_its_packages_names_the_extra() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; import lofty_async.otel"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert 'lofty_async.otel needs its extra: pip install "lofty-async[otel]"' in ended.stderr
