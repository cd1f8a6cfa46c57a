"""Traces and metrics of calls by OpenTelemetry; needs the extra `otel`.

`LoftyInstrumentor().instrument()` turns them on, as the command `opentelemetry-instrument` does by itself.
"""

from collections.abc import Collection
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field, frozen

from .__about__ import __version__
from ._observe import LISTENERS
from .events import (
    CallFinished,
    CallStarted,
    Event,
    RequestFailed,
    RequestSent,
    ResponseReceived,
    RetryScheduled,
    WaitEvent,
)

try:
    from opentelemetry import context, metrics, trace
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined] # ignores itself
    from opentelemetry.instrumentation.utils import is_instrumentation_enabled
    from opentelemetry.trace import Span, SpanKind, StatusCode
except ModuleNotFoundError as error:
    raise ImportError('lofty_async.otel needs its extra: pip install "lofty-async[otel]"') from error

__all__ = ["LoftyInstrumentor"]

Attributes = dict[str, str | int | float]

NAME: Final = "lofty_async"
_OWN_SPAN: Final = context.create_key("lofty-call-span")


class LoftyInstrumentor(BaseInstrumentor):  # type: ignore[misc] # its module tells type checkers to ignore it
    """Makes a span of each call of all clients, and counts requests, retries and waits.

    A span has the name `METHOD /path/{template}` and the stable HTTP attributes; its attempts, retries and waits are
    span events. Spans of the aiohttp instrumentation, if that is on, are its children. `instrument` takes a
    `tracer_provider` and a `meter_provider`, and uses the global ones without.

    Metrics: `lofty.requests` by status, `lofty.retries` by reason, `lofty.rate_limit.wait` in seconds by lane, and
    `lofty.rate_limit.remaining`, the requests left in the rate limit's window.
    """

    _listener: "Telemetry | None" = None

    def instrumentation_dependencies(self) -> Collection[str]:
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        tracer = trace.get_tracer(NAME, __version__, kwargs.get("tracer_provider"))
        meter = metrics.get_meter(NAME, __version__, kwargs.get("meter_provider"))
        self._listener = Telemetry(tracer, Instruments.of(meter))
        LISTENERS.append(self._listener)

    def _uninstrument(self, **_: Any) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            LISTENERS.remove(listener)


@frozen(eq=False)
class Instruments:
    """The instruments of the metrics."""

    requests: metrics.Counter
    retries: metrics.Counter
    wait: metrics.Histogram
    remaining: Any  # a gauge, whose class has moved between versions of the API

    @classmethod
    def of(cls, meter: metrics.Meter) -> "Instruments":
        return cls(
            meter.create_counter("lofty.requests", "{request}", "Requests sent to the API"),
            meter.create_counter("lofty.retries", "{retry}", "Requests that are sent again"),
            meter.create_histogram("lofty.rate_limit.wait", "s", "Waits for the rate limit"),
            meter.create_gauge("lofty.rate_limit.remaining", "{request}", "Requests left in the rate limit's window"),
        )


@frozen(eq=False)
class OpenCall:
    """A call under way: its span, the token that takes the span out of the context, and its attributes."""

    span: Span
    token: Any
    lane: str
    server: Attributes
    route: Attributes


@define(eq=False)
class Telemetry:
    """Turns events into spans and measurements."""

    _tracer: trace.Tracer
    _instruments: Instruments
    _open: dict[int, OpenCall] = field(factory=dict[int, OpenCall], init=False)

    def __call__(self, event: Event) -> None:
        if isinstance(event, WaitEvent):
            self._on_wait(event)
        elif isinstance(event, CallStarted):
            if is_instrumentation_enabled():
                self._begin(event)
        elif event.call in self._open:
            self._go_on(event, self._open[event.call])

    def _begin(self, event: CallStarted) -> None:
        method, _, template = event.route.partition(" ")
        route: Attributes = {"http.request.method": method, "url.template": template}
        server = _server(event.server)
        span = self._tracer.start_span(event.route, kind=SpanKind.CLIENT, attributes={**route, **server})
        # A wait does not say which call it is of: it happens within the call's own context.
        within = context.set_value(_OWN_SPAN, span, trace.set_span_in_context(span))
        self._open[event.call] = OpenCall(span, context.attach(within), str(event.lane), server, route)

    def _go_on(self, event: Event, call: OpenCall) -> None:
        match event:
            case RequestSent():
                call.span.add_event("lofty.request", {"lofty.attempt": event.attempt, "lofty.waited": event.waited})
                if event.waited:
                    self._instruments.wait.record(event.waited, {**call.server, "lofty.lane": call.lane})
            case ResponseReceived():
                self._answered(event, call)
            case RequestFailed():
                outcome: Attributes = {"error.type": event.error}
                call.span.add_event("lofty.failure", {"lofty.attempt": event.attempt, **outcome})
                self._instruments.requests.add(1, {**call.route, **call.server, **outcome})
            case RetryScheduled():
                details: Attributes = {"lofty.attempt": event.attempt, "lofty.retry.reason": event.reason}
                call.span.add_event("lofty.retry", {**details, "lofty.retry.delay": event.delay})
                reason: Attributes = {"lofty.retry.reason": event.reason}
                self._instruments.retries.add(1, {**call.route, **call.server, **reason})
            case CallFinished():
                self._end(event, call)
            case _:
                pass

    def _answered(self, event: ResponseReceived, call: OpenCall) -> None:
        outcome: Attributes = {"http.response.status_code": event.status}
        call.span.add_event("lofty.response", {"lofty.attempt": event.attempt, **outcome})
        self._instruments.requests.add(1, {**call.route, **call.server, **outcome})
        if event.remaining is not None:
            self._instruments.remaining.set(event.remaining, call.server)

    def _on_wait(self, event: WaitEvent) -> None:
        span = context.get_value(_OWN_SPAN)
        if isinstance(span, Span):
            span.add_event("lofty.wait", {"lofty.waited": event.seconds, "lofty.lane": str(event.lane)})

    def _end(self, event: CallFinished, call: OpenCall) -> None:
        del self._open[event.call]
        if event.status is not None:
            call.span.set_attribute("http.response.status_code", event.status)
        if event.attempts > 1:
            call.span.set_attribute("http.request.resend_count", event.attempts - 1)
        if event.error is not None:
            call.span.set_attribute("error.type", event.error)
            call.span.set_status(StatusCode.ERROR)
        call.span.end()
        context.detach(call.token)


def _server(url: str) -> Attributes:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname or "", "server.port": port}
