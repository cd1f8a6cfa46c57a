"""One call from request to result: admit, authorise, send, observe, decide, and again if it is retried.

A `Call` is the state of one call and the steps of its loop. A `CallManager` runs the calls of one client and owns what
they share.
"""

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from logging import DEBUG
from math import inf
from typing import Any, Final, TypeVar

from attrs import evolve, field, frozen

from . import errors
from ._connectors import PooledLimiter, PooledPermit
from ._deadlines import DeadlineTimer, EndReason, lenient_timeout
from ._logging import http_log
from ._loops import LoopOwner
from ._observe import LISTENERS, CallRecord, Counters, Observer
from ._session import SendState, SessionManager
from ._wire import Request, ambiguous_write, check_reply, is_gone, read_rate, read_reply
from .auth import Auth
from .events import OnEvent
from .ratelimit import Lane, Permit, RateLimiter
from .retry import MAX_SERVER_WAIT, RETRY_BUDGET, Failure, RetryBudget, RetryPolicy, decide

T = TypeVar("T")
CallErrorT = TypeVar("CallErrorT", bound=errors.CallError)

RETRY: Final = object()
CLOCK_TOLERANCE: Final = 0.001  # seconds by which a timer may be early
SETTLE_TIMEOUT: Final = 35.0  # seconds that closing waits for a renewal: its answer may hold the only new token
TEMPORARY: Final = (errors.ServerError, errors.RateLimitedError, errors.TransportError, errors.DecodeError)


@frozen(kw_only=True, repr=False)
class CallOptions:
    """Bounds of a call: seconds of an attempt, seconds of waiting for the rate limit, retries; its lane and headers."""

    timeout: float | None = 30.0
    max_wait: float | None = None
    retry: RetryPolicy = field(factory=RetryPolicy)
    lane: Lane = Lane.INTERACTIVE
    headers: Mapping[str, str] = field(factory=dict[str, str])


class CallManager:
    """Runs the calls of one client, with one credential through one session and one limiter."""

    def __init__(
        self,
        auth: Auth,
        session: SessionManager,
        limiter: RateLimiter,
        *,
        on_event: OnEvent | None = None,
        settle_timeout: float = SETTLE_TIMEOUT,
    ) -> None:
        self.auth, self.session, self.limiter = auth, session, limiter
        self.observer = Observer(on_event, limiter, session.base_url)
        self.permits: RateLimiter | PooledLimiter = session.pooled(limiter)
        self.under_way: dict[Call, asyncio.Task[Any]] = {}
        self.timer = DeadlineTimer(self.under_way)
        self.retry_budget = RetryBudget()
        self._settle_timeout = settle_timeout
        self._closing: asyncio.Task[None] | None = None  # kept here, as the event loop keeps a weak reference alone
        self._owner = LoopOwner("client")
        self.counters = Counters()

    def call(self, request: Request, options: CallOptions) -> Coroutine[Any, Any, Any]:
        """The decoded body of the answer, `None` for an empty one; of a raw call the answer as it arrived.

        Raises: every `CallError`, with request, attempts and waiting time filled in; WrongEventLoopError.
        """
        # The one look that a call costs which nobody watches.
        if self.observer.has_listener or LISTENERS or http_log.isEnabledFor(DEBUG):
            return self.observer.watch(request, options.lane, partial(self._run, request, options))
        return self._run(request, options)

    async def _run(self, request: Request, options: CallOptions, record: CallRecord | None = None) -> Any:
        if asyncio.get_running_loop() is not self._owner.loop:
            self._owner.claim()
        task = asyncio.current_task()
        assert task is not None, "a coroutine that awaits a socket runs in a task"  # noqa: S101 - asyncio's own rule
        call = Call(self, request, options, task.cancelling(), record)
        self.under_way[call] = task
        try:
            while (result := await call.attempt()) is RETRY:
                pass
        except asyncio.CancelledError:
            if not call.was_ended_by(EndReason.CLOSED, task):
                raise
        else:
            if self.retry_budget.left < RETRY_BUDGET:
                self.retry_budget.earn()
            return result
        finally:
            del self.under_way[call]
            # An error of the call may hold this frame in its traceback, and so its task: a reference cycle.
            del task
        raise call.closed_error()

    async def close(self) -> None:
        """End the calls under way, wait for a renewal of the credential, then close the session.

        If this is cancelled during a renewal, a task waits for it and closes the session.

        Raises: WrongEventLoopError while another loop uses the client.
        """
        self._owner.claim()
        self.session.begin_close()
        self.timer.stop()
        for call, task in list(self.under_way.items()):
            call.end(EndReason.CLOSED, task)
        try:
            await self._settle()
        except asyncio.CancelledError:
            # The renewal goes on without the caller: its answer may be the only copy of a new token.
            self._closing = asyncio.create_task(self._close_settled())
            raise
        except BaseException:
            await self.session.close()
            raise
        await self.session.close()

    async def _settle(self) -> None:
        with suppress(TimeoutError):
            async with lenient_timeout(self._settle_timeout):
                await self.auth.settle()

    async def _close_settled(self) -> None:
        try:
            await self._settle()
        finally:
            await self.session.close()


class Call:
    """The state of one call, and the steps of its loop.

    `cancelling` is the number of cancellations of its task that were requested before it began, `record` tells of it to
    those who watch.
    """

    # Defaults of the class: most calls change few of these, and to set them all takes 4,400 instructions more.
    deadline: float = inf  # of the attempt under way, by the event loop's clock
    ended_by: EndReason | None = None
    _sent_at: float = 0.0
    _retry_after: float = 0.0  # seconds that the last answer asked for
    _attempts: int = 0
    _failures: int = 0
    _refusals: int = 0  # answers of HTTP 429
    _waited: float = 0.0  # seconds of waiting for the rate limit
    _spent: float = 0.0  # seconds of attempts and delays, which the retry deadline bounds
    _server_waits: float = 0.0  # seconds of delays that the server asked for
    _not_before: float = 0.0  # of the next attempt, by the event loop's clock
    _may_have_arrived: bool = False
    _has_renewed: bool = False
    _refused: Any = None  # the permit of the last answer of HTTP 429
    _last_error: errors.CallError | None = None

    def __init__(
        self,
        manager: CallManager,
        request: Request,
        options: CallOptions,
        cancelling: int = 0,
        record: CallRecord | None = None,
    ) -> None:
        self._manager, self.request, self.options = manager, request, options
        self._cancelling, self._record = cancelling, record

    def end(self, reason: EndReason, task: asyncio.Task[Any]) -> None:
        """Cancel the task of the call, once."""
        if self.ended_by is None and not task.get_loop().is_closed():
            self.ended_by = reason
            task.cancel()

    def was_ended_by(self, reason: EndReason, task: asyncio.Task[Any] | None) -> bool:
        """Whether the cancellation just caught came from here, for this reason, and from nowhere else.

        If so it is taken back, so that the call may go on.
        """
        if self.ended_by is not reason or task is None:
            return False
        self.ended_by = None
        return task.uncancel() <= self._cancelling

    def closed_error(self) -> errors.ClientClosedError:
        route = self.request.route
        doubt = f"; {route.doubt}" if self._attempts and not route.repeatable else ""
        return self._with_context(errors.ClientClosedError(f"the client was closed during the call{doubt}"))

    async def attempt(self) -> Any:
        """Admit, authorise, send, observe and decide once: the result, or `RETRY`."""
        manager = self._manager
        if manager.session.closed:
            raise errors.ClientClosedError("the client was closed", request=self.request.label)
        permit = None
        if self._refused is None:
            permit = manager.permits.acquire_now(self.request.route.label, lane=self.options.lane)
        permit = permit or await self._admit()
        try:
            authorization = manager.auth.ready() or await self._fetch()
        except BaseException:
            permit.release()
            raise
        if isinstance(authorization, errors.CallError):
            permit.release()
            return await self._decide_without_token(authorization)
        result = await self._send(permit, authorization)
        if not isinstance(result, errors.CallError):
            return result
        self._spent += asyncio.get_running_loop().time() - self._sent_at
        return await self._judge(result, permit, authorization)

    async def _admit(self) -> Permit | PooledPermit:
        """Wait for a permit, and at least as long as the last answer of HTTP 429 asked for."""
        with self._manager.counters.waiting():
            permit = await self._acquire()
            while (left := self._not_before - asyncio.get_running_loop().time()) > CLOCK_TOLERANCE:
                permit.release()
                self._waited += left
                await asyncio.sleep(left)
                permit = await self._acquire()
        return permit

    async def _acquire(self) -> Permit | PooledPermit:
        began = time.monotonic()
        try:
            permit = await self._manager.permits.acquire(
                self.request.route.label,
                lane=self.options.lane,
                max_wait=None if self.options.max_wait is None else self._wait_left(),
                returning=self._refused,
            )
        except errors.CallError as error:
            self._waited += time.monotonic() - began
            raise self._with_context(error) from self._last_error
        self._waited += permit.waited
        return permit

    async def _fetch(self) -> str | errors.CallError:
        return await self._obtain(self._manager.auth.fetch(self._manager.session.post_form))

    async def _obtain(self, header: Awaitable[T]) -> T | errors.CallError:
        """The value of the credential, or the error that kept it from being obtained."""
        began = time.monotonic()
        try:
            return await header
        except errors.CallError as error:
            self._spent += time.monotonic() - began
            return self._with_context(error)

    async def _send(self, permit: Permit | PooledPermit, authorization: str) -> Any:
        """Send the request: the result, or, returned, the error that its answer or the lack of one means.

        The permit ends with either.
        """
        request, options, result = self.request, self.options, None
        route = request.route
        state = None if route.repeatable else SendState()
        try:
            self._begin_attempt(options.timeout)
            reply = await self._manager.session.send(request, authorization, options.timeout, state, options.headers)
        except BaseException as failure:
            error = self._unanswered(permit, failure, state)
            if error is None:
                raise
            return error
        finally:
            self.deadline = inf
        request.answered, rate = reply.headers, read_rate(reply.headers)
        self._retry_after = rate.retry_after or 0.0
        try:
            result = check_reply(reply) if route.raw else read_reply(reply, needs_body=route.reads)
        finally:
            permit.settle(rate, refused=isinstance(result, errors.RateLimitedError))
        if self._record:
            self._record.ended(reply)
        return result

    def _begin_attempt(self, timeout: float | None) -> None:
        loop, timer = asyncio.get_running_loop(), self._manager.timer
        self._manager.counters.requests += 1
        self._attempts += 1
        self._retry_after, self._sent_at = 0.0, loop.time()
        if timeout is not None:
            self.deadline = self._sent_at + timeout
            if self.deadline < timer.covers_from or loop is not timer.loop:
                timer.set(loop, self.deadline)
        if self._record:
            self._record.sent(self._attempts, self._waited)

    def _unanswered(
        self, permit: Permit | PooledPermit, failure: BaseException, state: SendState | None
    ) -> errors.TransportError | None:
        """End the permit of a request without an answer; the call's error, `None` if the call was cancelled."""
        if isinstance(failure, errors.TransportError):
            may_have_arrived = failure.sent
        else:
            is_unsent = isinstance(failure, errors.InvalidRequestError)
            may_have_arrived = not is_unsent and (state is None or state.body_started)
        if may_have_arrived:
            permit.settle()  # the server may have counted it
        else:
            permit.release()
        is_cancelled = isinstance(failure, asyncio.CancelledError)
        if is_cancelled and self.was_ended_by(EndReason.DEADLINE, asyncio.current_task()):
            seconds = self.options.timeout or 0.0
            failure = errors.RequestTimeoutError(
                f"no answer within {seconds:g} s", timeout=seconds, sent=may_have_arrived
            )
        if not isinstance(failure, errors.TransportError):
            return None
        if self._record:
            self._record.ended(failure)
        return failure.with_traceback(None)  # which holds the frame that it is returned to

    async def _judge(self, error: errors.CallError, permit: Permit | PooledPermit, authorization: str) -> Any:
        """Decide on an error: queue again, renew the credential, accept, retry or raise."""
        if isinstance(error, errors.RateLimitedError):
            return self._queue_again(permit, error)
        failure = Failure.of(error, self._retry_after)
        route = self.request.route
        if isinstance(error, errors.AuthenticationError) and (route.repeatable or not failure.arrived):
            renewed = await self._renew(authorization)
            if isinstance(renewed, errors.CallError):
                return await self._decide_without_token(renewed)
            if renewed is not None:
                return self._again(error, 0.0)
        if self._may_have_arrived and route.deletes and is_gone(error, route.deletes):
            return None
        return await self._decide(error, failure)

    async def _renew(self, refused: str) -> str | errors.CallError | None:
        """A new value of the credential, once; `None` if there is none, or the new one is refused too."""
        auth = self._manager.auth
        if self._has_renewed:
            auth.rejected(refused)
            return None
        self._has_renewed = True
        return await self._obtain(auth.renew(refused, self._manager.session.post_form))

    def _queue_again(self, permit: Permit | PooledPermit, error: errors.RateLimitedError) -> Any:
        """Back to the front of the lane after HTTP 429, which uses no retry."""
        self._manager.counters.rate_limited += 1
        self._refusals += 1
        seconds = error.retry_after or 0.0
        if self._refusals > self.options.retry.refusals or seconds > MAX_SERVER_WAIT:
            raise self._with_context(error)
        self._refused, self._last_error = permit, self._with_context(error)
        if seconds > self._wait_left():
            most = self.options.max_wait or 0.0
            text = f"rate limit: the server asks for a wait of {seconds:g} s, longer than max_wait={most:g} s allows"
            too_long = errors.RateLimitWaitError(text, predicted=seconds, max_wait=most)
            raise self._with_context(too_long) from self._last_error
        self._not_before = asyncio.get_running_loop().time() + seconds
        return self._again(error, seconds)

    async def _decide_without_token(self, error: errors.CallError) -> Any:
        """Nothing was sent: if the token endpoint may do better after its pause, the call is retried."""
        # A renewal is shared, also with clients of the same credential that close meanwhile.
        is_other = isinstance(error, errors.ClientClosedError) and not self._manager.session.closed
        temporary = is_other or (isinstance(error, TEMPORARY) and getattr(error, "temporary", True))
        failure = Failure(arrived=False, temporary=temporary, retry_after=self._manager.auth.pause())
        return await self._decide(error, failure, shared=True)

    async def _decide(self, error: errors.CallError, failure: Failure, *, shared: bool = False) -> Any:
        """Wait for the next attempt, or raise the final error.

        A `shared` failure is one request on behalf of many calls: retrying it uses nothing of the retry budget.
        """
        self._failures += 1
        self._may_have_arrived = self._may_have_arrived or failure.arrived
        repeatable = self.request.route.repeatable
        wait = decide(
            self.options.retry,
            failure,
            repeatable=repeatable,
            attempt=self._failures,
            elapsed=self._spent,
            max_wait=self._wait_left(),
        )
        if wait is None or not (shared or self._manager.retry_budget.spend()):
            raise self._final_error(error, ambiguous=failure.arrived and not repeatable)
        self._last_error = self._with_context(error)
        self._spent += wait
        self._server_waits += failure.retry_after
        retry = self._again(error, wait)
        await asyncio.sleep(wait)
        return retry

    def _again(self, error: errors.CallError, delay: float) -> Any:
        # Retries are rare: their logger need not be asked at the start of every call.
        record = self._record or CallRecord(self._manager.observer, self.request.route.label, self.options.lane)
        record.retrying(error, self._attempts, delay)
        return RETRY

    def _final_error(self, error: errors.CallError, *, ambiguous: bool) -> errors.CallError:
        final = self._with_context(error)
        return self._with_context(ambiguous_write(self.request, final)) if ambiguous else final

    def _wait_left(self) -> float:
        """Seconds that the call may still wait for the rate limit and because the server asks for it."""
        max_wait = self.options.max_wait
        return inf if max_wait is None else max(0.0, max_wait - self._waited - self._server_waits)

    def _with_context(self, error: CallErrorT) -> CallErrorT:
        """The error with the request, attempts and waiting time of the call."""
        known = evolve(error, request=self.request.label, attempts=self._attempts, waited=round(self._waited, 3))
        known.__cause__ = error.__cause__
        return known
