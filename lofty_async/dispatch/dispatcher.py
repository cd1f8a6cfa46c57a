"""One call from asking to answer: admit, authorise, send, observe, decide, in a loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Any, Final, TypeVar

from attrs import frozen

from lofty_async import _json, errors
from lofty_async._auth import Auth
from lofty_async._loops import LoopOwner
from lofty_async._wire import Reply, Request, is_refusal, may_have_succeeded, read_error, read_rate, read_result
from lofty_async.complaints import is_complaint, is_gone
from lofty_async.ratelimit import Permit, RateLimiter

from .journey import Journey, Options
from .retry import MAX_SERVER_WAIT, Failure, RetryBudget, decide
from .session import Departure, Session
from .watch import Closed, DeadlinePassed, Watch

T = TypeVar("T")

AGAIN: Final = object()
PATIENCE: Final = 35.0  # seconds that closing waits for a renewal, whose answer may be the only copy of a new token
PASSING: Final = (errors.ServerError, errors.RateLimitedError, errors.TransportError, errors.DecodeError)


@frozen
class Stats:
    """What a client has done: requests sent, those refused, and seconds in which calls waited for turns."""

    requests: int = 0
    rate_limited: int = 0
    waited: float = 0.0


class Dispatcher:
    """Sends calls for one credential through one session and one limiter."""

    def __init__(
        self,
        auth: Auth,
        session: Session,
        limiter: RateLimiter,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self.auth, self.session, self.limiter = auth, session, limiter
        self._admission = session.admission(limiter)
        self._clock, self._patience = clock, patience
        self._owner = LoopOwner("client")
        self._watch = Watch()
        self._budget = RetryBudget()
        self._requests = self._rejected = 0
        self._waiting = 0
        self._waited = self._waiting_since = 0.0

    @property
    def stats(self) -> Stats:
        now = self._clock() - self._waiting_since if self._waiting else 0.0
        return Stats(self._requests, self._rejected, self._waited + now)

    async def call(self, request: Request, options: Options) -> Any:
        """The decoded body of the answer, `None` for an empty one.

        Raises: every `CallError`, with request, attempts and waiting time filled in; WrongEventLoopError.
        """
        if asyncio.get_running_loop() is not self._owner.loop:
            self._owner.claim()
        journey = Journey()
        journey.request, journey.options = request, options
        self._watch.begin(journey)
        try:
            while (answer := await self._once(journey)) is AGAIN:
                pass
        except asyncio.CancelledError:
            if not journey.was_ended_by(Closed):
                raise
        else:
            self._budget.earn()
            return answer
        finally:
            self._watch.finish(journey)
        raise journey.told(_closed_during(journey))

    async def close(self) -> None:
        """End the calls under way, let a renewal of the credential land, then close the session.

        Raises: WrongEventLoopError while another loop uses the client.
        """
        self._owner.claim()
        self.session.closed = True
        self._watch.end_all()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self.auth.settle()
        finally:
            await self.session.close()

    async def _once(self, journey: Journey) -> Any:
        """One attempt: what it brought, or `AGAIN`."""
        if self.session.closed:
            raise errors.ClientClosedError("the client was closed", request=journey.request.label)
        route, lane = journey.request.route.label, journey.options.lane
        permit = None if journey.refused else self._admission.acquire_now(route, lane=lane)
        permit = permit or await self._admit(journey)
        try:
            authorization = self.auth.ready() or await self._fetch(journey)
        except BaseException:
            permit.release()
            raise
        if isinstance(authorization, errors.CallError):
            permit.release()
            return await self._without_token(journey, authorization)
        departure = None if journey.request.route.repeatable else Departure()
        seconds = journey.options.timeout
        reply: Reply | errors.TransportError | None
        self._requests += 1
        journey.attempts += 1
        self._watch.send(journey, seconds)
        try:
            reply = await self.session.send(journey.request, authorization, seconds, departure)
        except BaseException as failure:
            reply = _unanswered(journey, permit, failure, departure)
            if reply is None:
                raise
        finally:
            journey.deadline = inf
        if isinstance(reply, errors.CallError):
            journey.spent += journey.under_way
            return await self._decide(journey, reply, Failure(arrived=reply.sent, passing=reply.temporary))
        refused = reply.status >= 400 and is_refusal(reply.status, reply.body)
        permit.settle(read_rate(reply.headers), refused=refused)
        if 200 <= reply.status < 300:
            try:
                result = read_result(reply, needs_body=journey.request.route.reads)
            except errors.DecodeError as error:
                journey.spent += journey.under_way
                # A proxy's page, half an answer or none: the next one may be whole.
                return await self._decide(journey, error, Failure(arrived=True, passing=True))
            if not is_complaint(result):
                return result
        journey.spent += journey.under_way
        return await self._judge(journey, permit, reply, authorization)

    async def _fetch(self, journey: Journey) -> str | errors.CallError:
        return await self._ask(journey, self.auth.fetch(self.session.post_form))

    async def _ask(self, journey: Journey, header: Awaitable[T]) -> T | errors.CallError:
        """What the credential has to offer, or why it could not be had: that says nothing of the call."""
        asked_at = self._clock()
        try:
            return await header
        except errors.CallError as error:
            journey.spent += self._clock() - asked_at
            return journey.told(error)

    async def _without_token(self, journey: Journey, error: errors.CallError) -> Any:
        """Nothing was sent: where the token endpoint may do better after its pause, so may the call."""
        # A renewal is shared, also with clients of the same credential that close meanwhile.
        elsewhere = isinstance(error, errors.ClientClosedError) and not self.session.closed
        passing = elsewhere or (isinstance(error, PASSING) and getattr(error, "temporary", True))
        failure = Failure(arrived=False, passing=passing, retry_after=self.auth.pause())
        return await self._decide(journey, error, failure, shared=True)

    async def _admit(self, journey: Journey) -> Permit:
        """The call's turn, not earlier than its refusal asked for: the limiter judges for all calls together."""
        self._begin_waiting()
        try:
            permit = await self._take_turn(journey)
            while left := journey.must_wait():
                permit.release()
                journey.waited += left
                await asyncio.sleep(left)
                permit = await self._take_turn(journey)
        finally:
            self._end_waiting()
        return permit

    async def _take_turn(self, journey: Journey) -> Permit:
        asked_at = self._clock()
        try:
            permit = await self._admission.acquire(
                journey.request.route.label,
                lane=journey.options.lane,
                max_wait=None if journey.options.max_wait is None else journey.wait_left(),
                returning=journey.refused,
            )
        except errors.CallError as error:
            journey.waited += self._clock() - asked_at
            raise journey.told(error) from journey.last
        journey.waited += permit.waited
        return permit

    def _begin_waiting(self) -> None:
        if not self._waiting:
            self._waiting_since = self._clock()
        self._waiting += 1

    def _end_waiting(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._waited += self._clock() - self._waiting_since

    def _turned_away(self, journey: Journey, permit: Permit, error: errors.RateLimitedError) -> Any:
        """No budget: back to the front of the lane, at no cost in retries."""
        self._rejected += 1
        journey.refusals += 1
        wanted = error.retry_after or 0.0
        if journey.refusals > journey.options.retry.refusals or wanted > MAX_SERVER_WAIT:
            raise journey.told(error)
        journey.refused, journey.last = permit, journey.told(error)
        if wanted > journey.wait_left():
            raise journey.told(_too_long(wanted, journey)) from journey.last
        journey.wait_at_least(wanted)
        return AGAIN

    async def _judge(self, journey: Journey, permit: Permit, reply: Reply, authorization: str) -> Any:
        """An answer that is an error: queue, renew, accept, try again, or raise."""
        error = read_error(reply)
        if isinstance(error, errors.RateLimitedError):
            return self._turned_away(journey, permit, error)
        arrived = may_have_succeeded(reply.status, error)
        if isinstance(error, errors.AuthenticationError) and (journey.request.route.repeatable or not arrived):
            if journey.renewed:
                self.auth.rejected(authorization)
            else:
                journey.renewed = True
                asked = await self._ask(journey, self.auth.renew(authorization, self.session.post_form))
                if isinstance(asked, errors.CallError):
                    return await self._without_token(journey, asked)
                if asked is not None:
                    return AGAIN
        deletes = journey.request.route.deletes
        if journey.may_have_arrived and deletes and is_gone(error, deletes):
            return None
        passing = isinstance(error, errors.ServerError)
        wanted = read_rate(reply.headers).retry_after or 0.0
        return await self._decide(journey, error, Failure(arrived=arrived, passing=passing, retry_after=wanted))

    async def _decide(
        self, journey: Journey, error: errors.CallError, failure: Failure, *, shared: bool = False
    ) -> Any:
        """Wait for the next attempt, or raise what is left to say.

        A `shared` failure is that of one attempt for many calls: trying again costs each of them nothing.
        """
        journey.failures += 1
        journey.may_have_arrived = journey.may_have_arrived or failure.arrived
        repeatable = journey.request.route.repeatable
        wait = decide(
            journey.options.retry,
            failure,
            repeatable=repeatable,
            attempt=journey.failures,
            elapsed=journey.spent,
            max_wait=journey.wait_left(),
        )
        if wait is None or not (shared or self._budget.spend()):
            raise self._last_word(journey, error, ambiguous=failure.arrived and not repeatable)
        journey.last = journey.told(error)
        journey.spent += wait
        journey.held += failure.retry_after
        await asyncio.sleep(wait)
        return AGAIN

    def _last_word(self, journey: Journey, error: errors.CallError, *, ambiguous: bool) -> errors.CallError:
        told = journey.told(error)
        if not ambiguous:
            return told
        body = journey.request.body
        sent: dict[str, Any] = _json.loads(body) if body else {}
        unsure = errors.AmbiguousWriteError(
            "the answer was lost, so what was to be created may or may not exist; it was not sent again",
            lead_id=sent.get("leadId"),
            sent=sent,
        )
        unsure = journey.told(unsure)
        unsure.__cause__ = told
        return unsure


def _closed_during(journey: Journey) -> errors.ClientClosedError:
    doubt = "; what was to be created may or may not exist" if journey.attempts else ""
    return errors.ClientClosedError(
        f"the client was closed during the call{'' if journey.request.route.repeatable else doubt}"
    )


def _too_long(wanted: float, journey: Journey) -> errors.RateLimitWaitError:
    max_wait = journey.options.max_wait or 0.0
    return errors.RateLimitWaitError(
        f"rate limit: the server asks for a wait of {wanted:g} s, longer than max_wait={max_wait:g} s allows",
        predicted=wanted,
        max_wait=max_wait,
    )


def _unanswered(
    journey: Journey, permit: Permit, failure: BaseException, departure: Departure | None
) -> errors.TransportError | None:
    """End the permit of a request whose answer will not come: the call's error, `None` where it was ended for good."""
    if isinstance(failure, errors.TransportError):
        may_have_left = failure.sent
    else:
        is_unsent = isinstance(failure, errors.InvalidRequestError)
        may_have_left = not is_unsent and (departure is None or departure.is_past)
    if may_have_left:
        permit.settle()  # the server may have counted it
    else:
        permit.release()
    if isinstance(failure, asyncio.CancelledError) and journey.was_ended_by(DeadlinePassed):
        seconds = journey.options.timeout
        return errors.RequestTimeoutError(f"no answer within {seconds:g} s", timeout=seconds, sent=may_have_left)
    # Without its traceback, which holds the frame that it is returned to.
    return failure.with_traceback(None) if isinstance(failure, errors.TransportError) else None
