"""From notices to tasks: what is read, when, and how often."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from lofty_async import Lane, LoftyClient
from lofty_async.errors import DecodeError, InvalidRequestError, LoftyError, NotFoundError, ServerError
from lofty_async.models import Task
from lofty_async.sandbox import ResetStyle, Sandbox
from lofty_async.webhooks import (
    NoticeKind,
    ReceiverStats,
    TaskChange,
    WebhookNotice,
    WebhookReceiver,
    follow,
    follow_tasks,
)
from lofty_async.webhooks.follow import NoticeMerger


def about_task(number: int, bucket: str = "updatedTask") -> WebhookNotice:
    return WebhookNotice(bucket=bucket, kind=NoticeKind.TASK, task_id=number)


def about_lead(number: int, bucket: str = "updatedLead", kind: NoticeKind = NoticeKind.LEAD) -> WebhookNotice:
    return WebhookNotice(bucket=bucket, kind=kind, lead_id=number)


@define
class TaskList:
    client: "FakeClient"
    lead_id: int
    on_bad_record: Callable[[DecodeError], object]

    async def collect(self) -> list[Task]:
        self.client.look(f"lead {self.lead_id}")
        for error in self.client.unreadable:
            self.on_bad_record(error)
        found = [task for task in self.client.records.values() if task.lead_id == self.lead_id]
        if not found:
            raise NotFoundError(status=404, code=20006)
        return found


@define
class FakeClient:
    """A client whose tasks are a dictionary, on a clock that moves when somebody sleeps."""

    records: dict[int, Task] = field(factory=dict[int, Task])
    failure: LoftyError | None = None
    unreadable: list[DecodeError] = field(factory=list[DecodeError])
    now: float = 0.0
    reads: list[tuple[float, str]] = field(factory=list[tuple[float, str]])

    @property
    def tasks(self) -> "FakeClient":
        return self

    async def get(self, task_id: int, /) -> Task:
        self.look(f"task {task_id}")
        if task_id not in self.records:
            raise NotFoundError(status=404, name="TASK_NOT_EXIST")
        return self.records[task_id]

    def look(self, what: str) -> None:
        self.reads.append((self.now, what))
        if self.failure is not None:
            raise self.failure

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def holding(self, *task_ids: int, lead_id: int = 7) -> "FakeClient":
        self.records |= {number: Task(id=number, lead_id=lead_id) for number in task_ids}
        return self

    async def timed(self, script: Iterable[tuple[float, WebhookNotice]]) -> AsyncIterator[WebhookNotice]:
        """Notices at their times; until a read moves the clock so far, the source waits."""
        for at, notice in script:
            while self.now < at:
                await asyncio.sleep(0)
            yield notice

    async def follow(self, *script: tuple[float, WebhookNotice]) -> list[TaskChange]:
        changes = follow_tasks(self.timed(script), self, clock=self.clock, sleep=self.sleep)
        async with asyncio.timeout(5):
            return [change async for change in changes]

    def list(self, lead_id: int, /, *, on_bad_record: Callable[[DecodeError], object]) -> TaskList:
        return TaskList(self, lead_id, on_bad_record)


class TestWhatIsRead:
    async def test_a_task_for_its_notice(self) -> None:
        client = FakeClient().holding(1)
        (change,) = await client.follow((0, about_task(1)))
        assert change == TaskChange(task_id=1, task=client.records[1], notice=about_task(1))
        assert client.reads == [(2.0, "task 1")]

    async def test_all_tasks_of_a_lead_for_a_lead_s_notice(self) -> None:
        client = FakeClient().holding(1, 2)
        changes = await client.follow((0, about_lead(7)))
        assert [change.task_id for change in changes] == [1, 2]
        assert client.reads == [(2.0, "lead 7")]

    @pytest.mark.parametrize(
        ("notice", "read"),
        [
            (about_lead(7, kind=NoticeKind.APPOINTMENT), ["lead 7"]),
            (WebhookNotice(bucket="b", kind=NoticeKind.LEAD, lead_id=7, task_id=1), ["lead 7"]),
            (WebhookNotice(bucket="b", kind=NoticeKind.LEAD, task_id=1), ["task 1"]),
            (WebhookNotice(bucket="b", kind=NoticeKind.OTHER, lead_id=7, task_id=1), ["task 1"]),
            (about_lead(7, kind=NoticeKind.OTHER), []),
            (WebhookNotice(bucket="b", kind=NoticeKind.TASK), []),
        ],
    )
    async def test_the_task_where_it_is_named_else_its_lead(self, notice: WebhookNotice, read: list[str]) -> None:
        client = FakeClient().holding(1)
        await client.follow((0, notice))
        assert [what for _, what in client.reads] == read


class TestMerging:
    async def test_repeats_are_read_once_and_the_latest_notice_is_given(self) -> None:
        client = FakeClient().holding(1, 2)
        changes = await client.follow(
            (0, about_task(1, "createdTask")),
            (0, about_task(2)),
            (0, about_task(1)),
            (0, about_task(1, "finishedTask")),
        )
        assert [(change.task_id, change.notice.bucket) for change in changes] == [
            (1, "finishedTask"),
            (2, "updatedTask"),
        ]
        assert client.reads == [(2.0, "task 1"), (2.0, "task 2")]

    def test_a_repeat_puts_the_read_off_but_not_for_ever(self) -> None:
        merger = NoticeMerger(within=2)
        merger.add(about_task(1), 0)
        for now in range(1, 10):
            merger.add(about_task(1), now)
            assert merger.pop_due(now) is None
        assert merger.next_due() == 10
        assert merger.pop_due(9.9) is None
        reading = merger.pop_due(10)
        assert reading is not None
        assert (reading.first, reading.last) == (0, 9)
        assert len(merger) == 0

    def test_a_notice_after_the_read_asks_for_another(self) -> None:
        merger = NoticeMerger(within=0)
        for now in (0, 1):
            merger.add(about_task(1), now)
            assert merger.pop_due(now) is not None

    @given(st.lists(st.tuples(st.integers(1, 3), st.floats(0, 3)), max_size=30), st.floats(0.1, 3))
    def test_every_notice_has_a_read_after_it_and_none_comes_early(
        self, steps: list[tuple[int, float]], within: float
    ) -> None:
        merger, now = NoticeMerger(within), 0.0
        unread: dict[int, float] = {}
        for number, pause in [*steps, (0, 1000)]:
            now += pause
            while (reading := merger.pop_due(now)) is not None:
                first = unread.pop(reading.id)
                assert reading.first == first
                assert reading.due(within) >= first + within
            if number:
                merger.add(about_task(number), now)
                unread.setdefault(number, now)
        assert unread == {}
        assert len(merger) == 0


class TestContradictions:
    async def test_a_task_that_is_not_there_yet_is_asked_for_once_more(self) -> None:
        client = FakeClient()

        async def write_at_last(seconds: float) -> None:
            await client.sleep(seconds)
            if client.now == 4:
                client.holding(1)

        changes = follow_tasks(
            client.timed([(0, about_task(1, "createdTask"))]), client, clock=client.clock, sleep=write_at_last
        )
        assert [(change.task_id, change.gone) async for change in changes] == [(1, False)]
        assert client.reads == [(2, "task 1"), (4, "task 1")]

    async def test_a_task_that_stays_away_is_gone(self) -> None:
        client = FakeClient()
        changes = await client.follow((0, about_task(1)))
        assert changes == [TaskChange(task_id=1, gone=True, notice=about_task(1))]
        assert len(client.reads) == 2

    async def test_a_deleted_task_is_gone_at_once(self) -> None:
        client = FakeClient()
        (change,) = await client.follow((0, about_task(1, "deletedTask")))
        assert (change.task_id, change.task, change.gone) == (1, None, True)
        assert len(client.reads) == 1

    async def test_a_deleted_task_that_still_shows_is_asked_for_once_more(self) -> None:
        client = FakeClient().holding(1)
        (change,) = await client.follow((0, about_task(1, "deletedTask")))
        assert change.task == client.records[1]
        assert len(client.reads) == 2

    @pytest.mark.parametrize(("bucket", "reads"), [("deletedLead", 1), ("createdLead", 2)])
    async def test_a_lead_that_is_not_found_may_be_one_without_access(self, bucket: str, reads: int) -> None:
        client = FakeClient()
        (change,) = await client.follow((0, about_lead(9, bucket)))
        assert (change.task_id, change.gone, change.notice.lead_id) == (None, False, 9)
        assert isinstance(change.error, NotFoundError)
        assert len(client.reads) == reads

    @pytest.mark.parametrize(
        ("status", "code", "reads"), [(404, None, 1), (410, None, 1), (404, 20006, 2), (404, 20003, 1)]
    )
    async def test_only_lofty_s_code_says_that_a_task_is_gone(self, status: int, code: int | None, reads: int) -> None:
        client = FakeClient(failure=NotFoundError("<html>404 page not found</html>", status=status, code=code))
        (change,) = await client.follow((0, about_task(1)))
        assert (change.task_id, change.gone, change.error) == (1, False, client.failure)
        assert len(client.reads) == reads

    def test_a_newer_notice_stands_for_the_second_read(self) -> None:
        merger = NoticeMerger(within=2)
        merger.add(about_task(1), 0)
        reading = merger.pop_due(2)
        assert reading is not None
        merger.add(about_task(1, "deletedTask"), 3)
        merger.add_again(reading, 4)
        newer = merger.pop_due(5)
        assert newer is not None
        assert newer.notice.bucket == "deletedTask"
        assert len(merger) == 0


class TestFailures:
    async def test_a_read_that_fails_is_told_and_the_next_goes_on(self) -> None:
        client = FakeClient(failure=ServerError(status=500)).holding(1, 2)
        script = [(0.0, about_task(1)), (0.0, about_task(2))]
        changes = follow_tasks(client.timed(script), client, clock=client.clock, sleep=client.sleep)
        first = await anext(changes)
        assert (first.task_id, first.task, first.gone, first.error) == (1, None, False, client.failure)
        client.failure = None
        assert [(change.task_id, change.error) async for change in changes] == [(2, None)]

    async def test_a_record_that_cannot_be_read_withholds_no_other_of_its_lead(self) -> None:
        named, nameless = DecodeError("bad", record_id=9), DecodeError("bad", record_id="?")
        client = FakeClient(unreadable=[named, nameless]).holding(1, 2)
        changes = await client.follow((0, about_lead(7)))
        assert [(change.task_id, change.task, change.error) for change in changes] == [
            (1, client.records[1], None),
            (2, client.records[2], None),
            (9, None, named),
            (None, None, nameless),
        ]
        assert {change.notice for change in changes} == {about_lead(7)}

    async def test_a_client_lists_what_it_can_read(self) -> None:
        async with (
            Sandbox(1, 3, appointments_per_lead=0) as sandbox,
            LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
        ):
            bad, *good = sandbox.state.entries.of(sandbox.state.leads.ids()[0])
            sandbox.state.change(bad.id, quirks={"createTime": "rubbish"})
            client = FakeClient()
            notices = client.timed([(0, about_lead(bad.lead_id))])
            changes = [change async for change in follow_tasks(notices, lofty, within=0)]
        assert {change.task_id for change in changes if change.error is None} == {entry.id for entry in good}
        assert [(change.task_id, type(change.error)) for change in changes if change.error] == [(bad.id, DecodeError)]

    async def test_a_source_that_fails_is_raised_after_what_it_gave_is_read(self) -> None:
        client = FakeClient().holding(1)

        async def failing() -> AsyncIterator[WebhookNotice]:
            yield about_task(1)
            raise OSError("the source broke")

        changes = follow_tasks(failing(), client, clock=client.clock, sleep=client.sleep)
        assert (await anext(changes)).task_id == 1
        with pytest.raises(OSError, match="the source broke"):
            await anext(changes)

    @pytest.mark.parametrize("within", [-1, float("nan"), "2", None])
    def test_the_time_to_merge_is_not_negative(self, within: Any) -> None:
        client = FakeClient()
        with pytest.raises(InvalidRequestError) as caught:
            follow_tasks(client.timed([]), client, within=within)
        assert caught.value.argument == "within"


class TestLeaving:
    async def test_closing_the_receiver_ends_it_when_all_is_read(self) -> None:
        client, receiver = FakeClient().holding(1, 2), WebhookReceiver("a-token-nobody-guesses")
        changes = follow_tasks(receiver.notices(), client, clock=client.clock, sleep=client.sleep)

        async def posted(*numbers: int) -> AsyncIterator[bytes]:
            yield json.dumps({"listId": 10, "updatedTask": [{"taskId": number} for number in numbers]}).encode()

        for numbers in [(1, 2), (1,)]:
            await receiver.answer("POST", "/a-token-nobody-guesses", None, posted(*numbers))
        assert (await anext(changes)).task_id == 1
        await receiver.close(timeout=1000)
        assert [change.task_id async for change in changes] == [2]
        assert len(client.reads) == 2

    async def test_it_waits_for_notices_without_end_and_can_be_cancelled(self) -> None:
        client = FakeClient()
        closed = asyncio.Event()

        async def silent() -> AsyncIterator[WebhookNotice]:
            try:
                await asyncio.Event().wait()
                yield about_task(1)
            finally:
                closed.set()

        waiting: asyncio.Future[Any] = asyncio.ensure_future(anext(follow_tasks(silent(), client)))
        for _ in range(3):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert closed.is_set()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_leaving_the_loop_leaves_no_task_behind(self) -> None:
        client = FakeClient().holding(1, 2)
        script = [(0.0, about_task(1)), (100.0, about_task(2))]
        changes = follow_tasks(client.timed(script), client, clock=client.clock, sleep=client.sleep)
        assert (await anext(changes)).task_id == 1
        await changes.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_no_more_notices_are_taken_than_there_is_room_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(follow, "MAX_PENDING_READS", 2)
        client, taken = FakeClient().holding(*range(5)), 0

        async def counted() -> AsyncIterator[WebhookNotice]:
            nonlocal taken
            for number in range(5):
                taken += 1
                yield about_task(number)

        changes = follow_tasks(counted(), client, clock=client.clock, sleep=client.sleep)
        assert (await anext(changes)).task_id == 0
        assert taken <= 4
        assert [change.task_id async for change in changes] == [1, 2, 3, 4]


SECRET = "a-token-nobody-guesses"
Wrap = Callable[[AsyncIterable[WebhookNotice]], AsyncIterable[WebhookNotice]]


async def filtered(notices: AsyncIterable[WebhookNotice]) -> AsyncIterator[WebhookNotice]:
    """Lets every other notice be, and hides where they come from."""
    async for notice in notices:
        if notice.bucket != "ignored":
            yield notice


def as_it_is(notices: AsyncIterable[WebhookNotice]) -> AsyncIterable[WebhookNotice]:
    return notices


async def post(receiver: WebhookReceiver, *numbers: int, bucket: str = "updatedTask", key: str = "taskId") -> int:
    async def chunks() -> AsyncIterator[bytes]:
        event = 10 if key == "taskId" else 2
        yield json.dumps({"listId": event, bucket: [{key: number} for number in numbers]}).encode()

    return (await receiver.answer("POST", f"/{SECRET}", None, chunks())).status


@define
class Follower:
    """A task that follows a receiver and handles each change as slowly as it is told to."""

    receiver: WebhookReceiver
    client: FakeClient
    wrap: Wrap = as_it_is
    handled: list[int | None] = field(factory=list[int | None])
    entered: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(0))
    may_go_on: asyncio.Event = field(factory=asyncio.Event)

    async def follow(self) -> None:
        client = self.client
        notices = self.wrap(self.receiver.notices())
        changes = follow_tasks(notices, client, clock=client.clock, sleep=client.sleep)
        async with aclosing(changes):
            async for change in changes:
                self.entered.release()
                await self.may_go_on.wait()
                self.handled.append(change.task_id)


@pytest.mark.parametrize("wrap", [as_it_is, filtered])
class TestAReceiverThatIsClosed:
    async def test_waits_until_all_that_was_accepted_is_handled(
        self, wrap: Wrap, caplog: pytest.LogCaptureFixture
    ) -> None:
        receiver = WebhookReceiver(SECRET)
        follower = Follower(receiver, FakeClient().holding(*range(1, 51)), wrap)
        following = asyncio.create_task(follower.follow())
        for number in range(1, 51):
            assert await post(receiver, number) == 200
            await post(receiver, number, bucket="ignored" if wrap is filtered else "updatedTask")
        await follower.entered.acquire()
        closing = asyncio.create_task(receiver.close(timeout=1000))
        await asyncio.sleep(0)
        follower.may_go_on.set()
        await closing
        assert follower.handled == list(range(1, 51))
        assert caplog.messages == []
        assert receiver.stats.waiting == 0
        await following

    async def test_waits_for_a_follower_that_has_hardly_begun(
        self, wrap: Wrap, caplog: pytest.LogCaptureFixture
    ) -> None:
        for turns in range(5):
            receiver = WebhookReceiver(SECRET)
            follower = Follower(receiver, FakeClient().holding(1, 2), wrap)
            follower.may_go_on.set()
            following = asyncio.create_task(follower.follow())
            for _ in range(turns):
                await asyncio.sleep(0)
            await post(receiver, 1)
            await post(receiver, 2)
            await receiver.close(timeout=1000)
            assert follower.handled == [1, 2]
            assert receiver.stats.unhandled == 0
            await following
        assert caplog.messages == []

    async def test_counts_what_was_not_handled_in_time(self, wrap: Wrap, caplog: pytest.LogCaptureFixture) -> None:
        receiver = WebhookReceiver(SECRET)
        follower = Follower(receiver, FakeClient().holding(*range(1, 11)), wrap)
        following = asyncio.create_task(follower.follow())
        await post(receiver, *range(1, 6))
        for number in range(6, 11):
            await post(receiver, number)
            await post(receiver, number)
        await follower.entered.acquire()
        await receiver.close(timeout=0)
        assert caplog.messages == ["Closed with 10 notices unhandled"]
        assert receiver.stats.unhandled == 10
        follower.may_go_on.set()
        await following
        assert follower.handled == list(range(1, 11))

    async def test_gets_back_what_a_follower_leaves(self, wrap: Wrap, caplog: pytest.LogCaptureFixture) -> None:
        receiver = WebhookReceiver(SECRET)
        follower = Follower(receiver, FakeClient().holding(*range(1, 7)), wrap)
        following = asyncio.create_task(follower.follow())
        await post(receiver, 1, 2, 3)
        await post(receiver, 4, 5)
        await follower.entered.acquire()
        assert receiver.stats.waiting == 2
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        await post(receiver, 6)
        await receiver.close()
        assert caplog.messages == ["Closed with 5 notices unhandled"]
        assert receiver.stats.waiting == 3
        assert [notice.task_id async for notice in receiver.notices()] == [2, 3, 4, 5, 6]
        assert receiver.stats.waiting == 0


class TestWhatIsInHand:
    async def test_counts_for_the_size_of_the_queue(self) -> None:
        receiver = WebhookReceiver(SECRET, queue_size=3)
        follower = Follower(receiver, FakeClient().holding(*range(1, 6)))
        following = asyncio.create_task(follower.follow())
        assert [await post(receiver, number) for number in range(1, 6)] == [200, 200, 200, 503, 503]
        await follower.entered.acquire()
        assert await post(receiver, 4) == 503
        follower.may_go_on.set()
        await follower.entered.acquire()
        assert await post(receiver, 5) == 200
        await receiver.close(timeout=1000)
        await following
        assert follower.handled == [1, 2, 3, 5]

    async def test_is_nothing_where_a_notice_names_no_record(self) -> None:
        receiver = WebhookReceiver(SECRET)
        follower = Follower(receiver, FakeClient())
        following = asyncio.create_task(follower.follow())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await post(receiver, 1, key="noteId", bucket="createdNote")
        await receiver.close()
        await following
        assert receiver.stats == ReceiverStats(accepted=1, refused=0, failed=0, waiting=0, unhandled=0)

    async def test_is_given_back_by_a_read_that_is_cancelled(self) -> None:
        reading = asyncio.Event()

        class Slow(FakeClient):
            async def get(self, task_id: int, /) -> Task:
                reading.set()
                await asyncio.Event().wait()
                return await super().get(task_id)

        receiver = WebhookReceiver(SECRET)
        following = asyncio.create_task(Follower(receiver, Slow()).follow())
        await post(receiver, 1, 2)
        await reading.wait()
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        await receiver.close()
        assert [notice.task_id async for notice in receiver.notices()] == [1, 2]

    async def test_goes_to_a_reader_that_waits_already(self) -> None:
        receiver = WebhookReceiver(SECRET)
        follower = Follower(receiver, FakeClient().holding(1, 2))
        following = asyncio.create_task(follower.follow())
        await post(receiver, 1, 2)
        await follower.entered.acquire()
        waiting = asyncio.ensure_future(anext(receiver.notices()))
        await asyncio.sleep(0)
        following.cancel()
        async with asyncio.timeout(5):
            assert (await waiting).task_id == 2

    async def test_is_a_lead_until_the_last_of_its_tasks_was_taken(self) -> None:
        receiver, client = WebhookReceiver(SECRET), FakeClient().holding(1, 2)
        await post(receiver, 7, key="leadId", bucket="updatedLead")
        for taken, left in [(1, [7]), (2, [])]:
            changes = follow_tasks(receiver.notices(), client, clock=client.clock, sleep=client.sleep)
            assert [(await anext(changes)).task_id for _ in range(taken)] == [1, 2][:taken]
            await changes.aclose()
            await receiver.close(timeout=0)
            assert receiver.stats.unhandled == len(left)

    async def test_ends_with_the_second_read_of_a_task_that_stays_away(self) -> None:
        receiver = WebhookReceiver(SECRET)
        follower = Follower(receiver, FakeClient())
        follower.may_go_on.set()
        following = asyncio.create_task(follower.follow())
        await post(receiver, 1)
        await receiver.close(timeout=1000)
        await following
        assert (follower.handled, receiver.stats.waiting) == ([1], 0)

    async def test_is_no_reason_for_a_follower_that_closes_to_wait_for_itself(self) -> None:
        receiver, client = WebhookReceiver(SECRET), FakeClient().holding(1, 2, 3)
        await post(receiver, 1, 2, 3)
        taken: list[int | None] = []
        async with asyncio.timeout(5):
            async for change in follow_tasks(receiver.notices(), client, clock=client.clock, sleep=client.sleep):
                taken.append(change.task_id)
                await receiver.close(timeout=1000)
        assert taken == [1, 2, 3]

    async def test_of_an_outer_loop_is_not_taken_for_one_s_own(self) -> None:
        receiver, client = WebhookReceiver(SECRET), FakeClient().holding(1, 5)
        await post(receiver, 1, 2)
        async with aclosing(receiver.notices()) as notices:
            async for _ in notices:
                assert [change.task_id for change in await client.follow((0, about_task(5)))] == [5]
                break
        await receiver.close(timeout=0)
        assert [notice.task_id async for notice in receiver.notices()] == [2]


async def test_reads_wait_for_the_rate_limit_whatever_the_client_s_max_wait() -> None:
    client = FakeClient()
    async with (
        Sandbox(
            1, 3, appointments_per_lead=0, limit=2, window=0.2, reset_style=ResetStyle.MILLISECONDS_LEFT
        ) as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url, max_wait=0) as lofty,
    ):
        numbers = list(sandbox.state.entries)
        notices = client.timed([(0, about_task(number)) for number in numbers])
        changes = [change async for change in follow_tasks(notices, lofty, within=0)]
    assert [(change.task_id, change.error) for change in changes] == [(number, None) for number in numbers]


async def test_reads_let_interactive_calls_go_first() -> None:
    client = FakeClient()
    async with (
        Sandbox(
            1, 2, appointments_per_lead=0, limit=1, window=0.3, reset_style=ResetStyle.MILLISECONDS_LEFT
        ) as sandbox,
        LoftyClient(sandbox.auth, base_url=sandbox.url) as lofty,
    ):
        await lofty.me()
        task_id = next(iter(sandbox.state.entries))
        changes = follow_tasks(client.timed([(0, about_task(task_id))]), lofty, within=0)
        reading = asyncio.ensure_future(anext(changes))
        while not lofty.rate_limit.queued[Lane.BULK]:
            await asyncio.sleep(0)
        await lofty.me()
        assert not reading.done()
        assert (await reading).error is None
        await changes.aclose()
