"""Taking in webhooks, whatever server carries them: refusals, queue, workers, readers, the end."""

import asyncio
import gzip
import json
import logging
import random
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from http import HTTPStatus
from time import monotonic
from typing import Any

import pytest

from lofty_async.errors import InvalidRequestError
from lofty_async.webhooks import Answer, ReceiverStats, WebhookBatch, WebhookNotice, WebhookReceiver
from lofty_async.webhooks.answers import declares_more_than, ends_with_secret

SECRET = "a-token-nobody-guesses"
PATH = f"/lofty/{SECRET}"


def body(*task_ids: int) -> bytes:
    return json.dumps({"listId": 10, "updatedTask": [{"taskId": number} for number in task_ids]}).encode()


def ids(notices: Iterable[WebhookNotice]) -> list[int | None]:
    return [notice.task_id for notice in notices]


async def chunked(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def post(receiver: WebhookReceiver, *chunks: bytes, path: str = PATH) -> HTTPStatus:
    answer = await receiver.answer("POST", path, None, chunked(*chunks))
    return answer.status


class Gate:
    """An `on_batch` that holds every batch until it is opened."""

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.open = asyncio.Event()
        self.done: list[int | None] = []
        self.cancelled = 0

    async def __call__(self, batch: WebhookBatch) -> None:
        self.entered.release()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.done += ids(batch.notices)


class TestSettings:
    @pytest.mark.parametrize(("secret", "warns"), [("x" * 15, True), ("x" * 16, False)])
    def test_a_secret_that_can_be_guessed_is_warned_of(
        self, caplog: pytest.LogCaptureFixture, secret: str, *, warns: bool
    ) -> None:
        WebhookReceiver(secret=secret)
        assert ("can be guessed" in caplog.text) is warns
        assert secret not in caplog.text

    @pytest.mark.parametrize("secret", ["", "a-secret/with-a-slash-in-it", None, 7])
    def test_a_secret_is_one_segment(self, secret: Any) -> None:
        with pytest.raises(InvalidRequestError, match="without a slash") as caught:
            WebhookReceiver(secret=secret)
        assert caught.value.argument == "secret"
        assert str(secret or "?") not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("max_body", 0),
            ("queue_size", 0),
            ("workers", 0),
            ("drain_timeout", -1),
            ("drain_timeout", float("nan")),
            ("read_timeout", -1),
            ("read_timeout", "10"),
            ("max_body", "1 MB"),
            ("workers", 1.5),
        ],
    )
    def test_sizes_are_checked_by_name(self, name: str, value: Any) -> None:
        options: dict[str, Any] = {name: value}
        with pytest.raises(InvalidRequestError, match=name) as caught:
            WebhookReceiver(SECRET, **options)
        assert caught.value.argument == name

    def test_the_secret_is_not_shown(self) -> None:
        assert SECRET not in repr(WebhookReceiver(SECRET))

    @pytest.mark.parametrize(
        ("prefix", "route"), [("/hooks", "/hooks/{secret}"), ("/", "/{secret}"), ("", "/{secret}")]
    )
    def test_the_route_has_a_parameter_for_the_secret(self, prefix: str, route: str) -> None:
        assert WebhookReceiver.route(prefix) == route


class TestRefusals:
    @pytest.mark.parametrize(
        ("method", "path", "length", "status"),
        [
            ("POST", "/lofty/wrong", None, 404),
            ("POST", PATH + "/", None, 404),
            ("POST", PATH[:-1], None, 404),
            ("POST", "/lofty/\udc80", None, 404),
            ("GET", "/lofty/wrong", None, 404),
            ("GET", PATH, None, 405),
            ("POST", PATH, "101", 413),
            ("POST", PATH, "9" * 5000, 413),
        ],
    )
    async def test_the_head_alone_can_be_reason_enough(
        self, method: str, path: str, length: str | None, status: int
    ) -> None:
        receiver = WebhookReceiver(SECRET, max_body=100)
        chunks = chunked(body(1))
        answer = await receiver.answer(method, path, length, chunks)
        assert answer.status == status
        assert await anext(chunks) == body(1), "the body was read"
        assert answer.headers.get("Allow") == ("POST" if status == 405 else None)

    @pytest.mark.parametrize(("size", "status"), [(100, 200), (101, 413)])
    async def test_a_body_is_left_as_soon_as_it_is_too_long(self, size: int, status: int) -> None:
        text = b'{"a": "' + b"x" * (size - 9) + b'"}'
        chunks = chunked(text[:50], text[50:], b"", b"  ")
        answer = await WebhookReceiver(SECRET, max_body=size).answer("POST", PATH, None, chunks)
        assert answer.status == 413
        answer = await WebhookReceiver(SECRET, max_body=100).answer("POST", PATH, None, chunked(text))
        assert answer.status == status

    async def test_what_is_not_json_is_refused_and_not_quoted(self, caplog: pytest.LogCaptureFixture) -> None:
        assert await post(WebhookReceiver(SECRET), b"private matters") == 400
        (record,) = caplog.records
        assert "not JSON" in record.getMessage()
        assert "private" not in caplog.text
        assert SECRET not in caplog.text

    @pytest.mark.parametrize(
        ("length", "more"),
        [
            (None, False),
            ("10", False),
            ("0010", False),
            ("11", True),
            ("", False),
            ("-5", False),
            ("²", False),
            ("0", False),
        ],
    )
    def test_only_digits_declare_a_length(self, length: str | None, more: bool) -> None:
        assert declares_more_than(10, length) is more

    def test_secrets_beyond_ascii_are_compared_too(self) -> None:
        assert ends_with_secret("/hooks/pässwörtchen-genug", "pässwörtchen-genug")

    async def test_a_body_that_came_while_the_loop_stood_still_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        body: asyncio.Future[bytes] = loop.create_future()

        async def awaited() -> AsyncGenerator[bytes, None]:
            yield await body

        receiver = WebhookReceiver(SECRET, read_timeout=30)
        answering = asyncio.create_task(receiver.answer("POST", PATH, None, awaited()))
        await asyncio.sleep(0)
        monkeypatch.setattr(loop, "time", lambda: monotonic() + 60)
        loop.call_soon(body.set_result, b"{}")  # as from a socket, which the loop looks at before its timers
        assert (await answering).status == 200

    async def test_a_body_that_does_not_end_in_time_is_left(self) -> None:
        left = asyncio.Event()

        async def endless() -> AsyncGenerator[bytes, None]:
            try:
                while True:
                    yield b" "
                    await asyncio.sleep(0)
            finally:
                left.set()

        receiver = WebhookReceiver(SECRET, read_timeout=0.01)
        async with aclosing(endless()) as chunks:
            assert (await receiver.answer("POST", PATH, None, chunks)).status == 408
        assert left.is_set()
        assert receiver.stats.accepted == 0


def raw_deflate(text: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush()


def sized(size: int) -> bytes:
    """A body of so many bytes."""
    return b'{"updatedTask": [{"taskId": 1}], "a": "' + b"x" * (size - 41) + b'"}'


class TestPackedBodies:
    async def answer(self, receiver: WebhookReceiver, packed: bytes, encoding: str | None) -> Answer:
        return await receiver.answer("POST", PATH, None, chunked(packed), content_encoding=encoding)

    @pytest.mark.parametrize(
        ("pack", "encoding"),
        [
            (gzip.compress, "gzip"),
            (gzip.compress, " X-GZip "),
            (zlib.compress, "deflate"),
            (raw_deflate, "deflate"),
            (bytes, "identity"),
            (bytes, ""),
            (bytes, None),
            # Unpacked by the server, which leaves the header.
            (bytes, "gzip"),
            (bytes, "deflate"),
            (bytes, "br"),
        ],
    )
    @pytest.mark.parametrize("start", [b"", b" ", b"\t", b"\n"])
    async def test_are_unpacked_where_they_are_packed(
        self, pack: Callable[[bytes], bytes], encoding: str | None, start: bytes
    ) -> None:
        receiver = WebhookReceiver(SECRET)
        assert (await self.answer(receiver, pack(start + body(1)), encoding)).status == 200
        assert (await anext(receiver.notices())).task_id == 1

    @pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, bytes])
    async def test_may_begin_with_a_byte_order_mark(self, pack: Callable[[bytes], bytes]) -> None:
        encoding = "deflate" if pack is zlib.compress else "gzip"
        packed = pack(b"\xef\xbb\xbf" + body(1))
        assert (await self.answer(WebhookReceiver(SECRET), packed, encoding)).status == 200

    @pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw_deflate])
    @pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413), (10_000_000, 413)])
    async def test_count_by_what_they_unpack_to(self, pack: Callable[[bytes], bytes], size: int, status: int) -> None:
        receiver = WebhookReceiver(SECRET, max_body=1000)
        encoding = "gzip" if pack is gzip.compress else "deflate"
        packed = pack(sized(size))
        if len(packed) > 1000:
            receiver.max_body = 20_000
        assert len(sized(size)) == size
        assert (await self.answer(receiver, packed, encoding)).status == status

    async def test_count_by_what_is_posted_too(self) -> None:
        noise = random.Random(1).randbytes(2000)
        packed = gzip.compress(noise)
        assert (await self.answer(WebhookReceiver(SECRET, max_body=2000), packed, "gzip")).status == 413

    @pytest.mark.parametrize(
        ("packed", "encoding", "status"),
        [
            (gzip.compress(body(1))[:-1], "gzip", 400),
            (gzip.compress(body(1)) + b"more", "gzip", 400),
            (gzip.compress(body(1)) * 2, "gzip", 400),
            (zlib.compress(body(1)), "gzip", 400),
            (b"\xabnothing", "deflate", 400),
            (b"", "gzip", 400),
            (gzip.compress(gzip.compress(body(1))), "gzip", 400),
            (gzip.compress(body(1)), None, 400),
            (gzip.compress(body(1)), "br", 415),
            (gzip.compress(body(1)), "gzip, gzip", 415),
        ],
        ids=[
            "cut short",
            "more behind it",
            "two members",
            "zlib as gzip",
            "no deflate",
            "empty",
            "packed twice",
            "undeclared",
            "another encoding",
            "two encodings",
        ],
    )
    async def test_that_cannot_be_read_are_refused(self, packed: bytes, encoding: str | None, status: int) -> None:
        answer = await self.answer(WebhookReceiver(SECRET), packed, encoding)
        assert answer.status == status
        assert answer.headers.get("Accept-Encoding") == ("gzip, deflate" if status == 415 else None)


class TestAFullQueue:
    async def test_is_told_once_with_a_count_and_again_when_it_is_full_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        receiver = WebhookReceiver(SECRET, queue_size=4)
        notices = receiver.notices()
        for refused in (3, 5):
            answers = [await post(receiver, body(number + 1)) for number in range(4 + refused)]
            assert answers.count(HTTPStatus.SERVICE_UNAVAILABLE) == refused
            for _ in range(4):
                await anext(notices)
            assert await post(receiver, body(9)) == 200
            await anext(notices)
        assert caplog.messages == [
            "The webhook queue is full (4 batches): answering 503 until there is room",
            "3 webhooks were answered 503 while the queue was full",
            "The webhook queue is full (4 batches): answering 503 until there is room",
            "5 webhooks were answered 503 while the queue was full",
        ]

    async def test_is_one_episode_until_half_of_it_is_free(self, caplog: pytest.LogCaptureFixture) -> None:
        receiver = WebhookReceiver(SECRET, queue_size=4)
        notices = receiver.notices()
        for _ in range(10):
            while await post(receiver, body(1)) == 200:
                pass
            await anext(notices)
        assert caplog.messages == ["The webhook queue is full (4 batches): answering 503 until there is room"]
        await receiver.close(timeout=0)
        assert caplog.messages[1:] == [
            "10 webhooks were answered 503 while the queue was full",
            "Closed with 3 notices unhandled",
        ]

    async def test_counters_are_public(self) -> None:
        async def fail(_: WebhookBatch) -> None:
            raise ValueError

        gate = Gate()
        async with WebhookReceiver(SECRET, gate, queue_size=2) as receiver:
            await post(receiver, body(1))
            await gate.entered.acquire()
            for number in (2, 3, 4):
                await post(receiver, body(number))
            assert receiver.stats == ReceiverStats(accepted=3, refused=1, failed=0, waiting=2, unhandled=0)
            gate.open.set()
        assert receiver.stats == ReceiverStats(accepted=3, refused=1, failed=0, waiting=0, unhandled=0)
        async with WebhookReceiver(SECRET, fail) as receiver:
            await post(receiver, body(1))
            await post(receiver, b"nonsense")
        await post(receiver, body(2))
        assert receiver.stats == ReceiverStats(accepted=1, refused=1, failed=1, waiting=0, unhandled=0)


class TestWorkers:
    async def test_the_answer_comes_before_the_work_is_done(self) -> None:
        gate = Gate()
        async with WebhookReceiver(SECRET, gate) as receiver:
            assert await post(receiver, body(1)) == 200
            assert gate.done == []
            gate.open.set()
        assert gate.done == [1]

    async def test_a_full_queue_refuses_with_a_time_to_come_back(self) -> None:
        gate = Gate()
        async with WebhookReceiver(SECRET, gate, queue_size=2) as receiver:
            assert await post(receiver, body(1)) == 200
            await gate.entered.acquire()
            assert [await post(receiver, body(number)) for number in (2, 3, 4)] == [200, 200, 503]
            answer = await receiver.answer("POST", PATH, None, chunked(body(5)))
            assert int(answer.headers["Retry-After"]) > 0
            gate.open.set()
        assert gate.done == [1, 2, 3]

    async def test_a_queue_that_fills_while_a_body_arrives_refuses_it(self) -> None:
        receiver = WebhookReceiver(SECRET, queue_size=1)

        async def slow() -> AsyncIterator[bytes]:
            assert await post(receiver, body(1)) == 200
            yield body(2)

        answer = await receiver.answer("POST", PATH, None, slow())
        assert answer.status == 503

    async def test_several_workers_work_side_by_side(self) -> None:
        gate = Gate()
        async with WebhookReceiver(SECRET, gate, workers=3) as receiver:
            for number in range(3):
                await post(receiver, body(number + 1))
            for _ in range(3):
                await gate.entered.acquire()
            gate.open.set()
        assert sorted(gate.done, key=str) == [1, 2, 3]

    @pytest.mark.parametrize("failure", [ValueError("private matters"), asyncio.CancelledError("private matters")])
    async def test_a_failure_is_logged_and_ends_nothing(
        self, failure: BaseException, caplog: pytest.LogCaptureFixture
    ) -> None:
        done: list[int | None] = []

        async def fail_first(batch: WebhookBatch) -> None:
            if ids(batch.notices) == [1]:
                raise failure
            done.extend(ids(batch.notices))

        async with WebhookReceiver(SECRET, fail_first) as receiver:
            await post(receiver, body(1))
            await post(receiver, body(2))
        assert done == [2]
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert f"{type(failure).__name__} in fail_first" in record.getMessage()
        assert record.exc_info is None
        assert "private" not in caplog.text
        assert SECRET not in caplog.text


class TestClosing:
    async def test_everything_taken_in_is_worked_off_and_nothing_more_taken(self) -> None:
        gate = Gate()
        receiver = WebhookReceiver(SECRET, gate)
        for number in (1, 2, 3):
            await post(receiver, body(number))
        closing = asyncio.create_task(receiver.close())
        await gate.entered.acquire()
        assert await post(receiver, body(4)) == 503
        gate.open.set()
        await closing
        assert gate.done == [1, 2, 3]

    async def test_after_the_deadline_workers_are_cancelled(self, caplog: pytest.LogCaptureFixture) -> None:
        gate = Gate()
        receiver = WebhookReceiver(SECRET, gate)
        for number in (1, 2, 3):
            await post(receiver, body(number))
        await gate.entered.acquire()
        await receiver.close(timeout=0)
        assert (gate.cancelled, gate.done) == (1, [])
        assert caplog.messages == ["Closed with 3 batches unhandled"]
        assert receiver.stats.unhandled == 3
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_idle_workers_leave_nothing_unhandled(self, caplog: pytest.LogCaptureFixture) -> None:
        async with WebhookReceiver(SECRET, Gate(), workers=3, drain_timeout=0):
            await asyncio.sleep(0)
        assert caplog.messages == []

    async def test_cancelling_the_closing_leaves_no_worker_behind(self, caplog: pytest.LogCaptureFixture) -> None:
        gate = Gate()
        receiver = WebhookReceiver(SECRET, gate)
        await post(receiver, body(1))
        closing = asyncio.create_task(receiver.close())
        await gate.entered.acquire()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert gate.cancelled == 1
        assert caplog.messages == ["Closed with 1 batches unhandled"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_it_can_be_done_again_and_before_anything_came(self) -> None:
        receiver = WebhookReceiver(SECRET, Gate())
        await receiver.close()
        await receiver.close(timeout=0)
        assert await post(receiver, body(1)) == 503

    async def test_a_second_close_does_not_forget_what_the_first_has_cancelled(self) -> None:
        gate = Gate()
        receiver = WebhookReceiver(SECRET, gate)
        for number in (1, 2, 3):
            await post(receiver, body(number))
        await gate.entered.acquire()
        for _ in range(3):
            await receiver.close(timeout=0)
            assert receiver.stats.unhandled == 3

    async def test_a_worker_that_was_cancelled_is_replaced_and_its_batch_is_counted(self) -> None:
        done: list[int | None] = []
        ended = asyncio.Event()

        async def cancel_itself_once(batch: WebhookBatch) -> None:
            if not done:
                done.append(None)
                worker = asyncio.current_task()
                assert worker is not None
                worker.add_done_callback(lambda _: ended.set())
                worker.cancel()
                await asyncio.sleep(0)
            done.extend(ids(batch.notices))

        receiver = WebhookReceiver(SECRET, cancel_itself_once)
        await post(receiver, body(1, 2))
        await ended.wait()
        await post(receiver, body(3))
        await post(receiver, body(4))
        await receiver.close(timeout=5)
        assert done == [None, 3, 4]
        assert receiver.stats.unhandled == 2

    async def test_an_on_batch_that_closes_its_own_receiver_does_not_wait_for_itself(self) -> None:
        done: list[int | None] = []

        async def close_at_once(batch: WebhookBatch) -> None:
            await receiver.close(timeout=1000)
            done.extend(ids(batch.notices))

        receiver = WebhookReceiver(SECRET, close_at_once)
        await post(receiver, body(1))
        await post(receiver, body(2))
        async with asyncio.timeout(5):
            await receiver.close()
        assert done == [1, 2]


class TestNotices:
    async def test_they_come_in_order_and_end_when_the_receiver_is_closed(self) -> None:
        receiver = WebhookReceiver(SECRET)
        await post(receiver, body(1, 2))
        await post(receiver, b"{}")
        await post(receiver, body(3))
        await receiver.close()
        assert ids([notice async for notice in receiver.notices()]) == [1, 2, 3]
        assert ids([notice async for notice in receiver.notices()]) == []

    async def test_a_reader_that_leaves_in_the_middle_of_a_batch_loses_only_what_it_took(self) -> None:
        receiver = WebhookReceiver(SECRET)
        await post(receiver, body(1, 2, 3))
        first = receiver.notices()
        assert (await anext(first)).task_id == 1
        await first.aclose()
        await receiver.close()
        assert ids([notice async for notice in receiver.notices()]) == [2, 3]

    async def test_a_cancelled_reader_loses_nothing(self) -> None:
        receiver = WebhookReceiver(SECRET)
        waiting = asyncio.ensure_future(anext(receiver.notices()))
        await asyncio.sleep(0)
        waiting.cancel()
        assert await post(receiver, body(1)) == 200
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await anext(receiver.notices())).task_id == 1

    async def test_readers_side_by_side_share_them_and_all_end(self) -> None:
        receiver = WebhookReceiver(SECRET)
        taken: list[int | None] = []

        async def read() -> None:
            taken.extend([notice.task_id async for notice in receiver.notices()])

        async with asyncio.TaskGroup() as readers:
            for _ in range(3):
                readers.create_task(read())
            await asyncio.sleep(0)
            for number in range(1, 6):
                await post(receiver, body(number))
            await receiver.close()
            assert sorted(taken, key=str) == [1, 2, 3, 4, 5], "closing did not wait for the readers"

    @pytest.mark.parametrize("leaves", [False, True])
    async def test_what_a_reader_leaves_of_a_batch_goes_to_those_that_wait(self, leaves: bool) -> None:
        receiver = WebhookReceiver(SECRET)
        first, rest = receiver.notices(), receiver.notices()
        taking = asyncio.ensure_future(anext(first))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(anext(rest))
        await asyncio.sleep(0)
        await post(receiver, body(1, 2, 3))
        assert (await taking).task_id == 1
        if leaves:
            await first.aclose()
        async with asyncio.timeout(5):
            assert ids([await waiting, await anext(rest)]) == [2, 3]

    @pytest.mark.parametrize("arrived", [False, True])
    async def test_readers_cancelled_while_another_waits_give_their_turn_to_it(self, arrived: bool) -> None:
        receiver = WebhookReceiver(SECRET)
        readers = [asyncio.ensure_future(anext(receiver.notices())) for _ in range(3)]
        await asyncio.sleep(0)
        if arrived:
            await post(receiver, body(1))
        for reader in readers[:2]:
            reader.cancel()
        await asyncio.wait(readers[:2])
        if not arrived:
            await post(receiver, body(1))
        async with asyncio.timeout(5):
            assert (await readers[2]).task_id == 1

    async def test_what_nobody_reads_is_counted(self, caplog: pytest.LogCaptureFixture) -> None:
        receiver = WebhookReceiver(SECRET)
        await post(receiver, body(1, 2))
        await post(receiver, b"{}")
        await post(receiver, body(3, 4))
        notices = receiver.notices()
        assert (await anext(notices)).task_id == 1
        await notices.aclose()
        await receiver.close()
        assert caplog.messages == ["Closed with 3 notices unhandled"]
        assert receiver.stats == ReceiverStats(accepted=3, refused=0, failed=0, waiting=3, unhandled=3)
        assert ids([notice async for notice in receiver.notices()]) == [2, 3, 4]
        await receiver.close()
        assert receiver.stats == ReceiverStats(accepted=3, refused=0, failed=0, waiting=0, unhandled=0)

    async def test_closing_does_not_wait_for_an_iteration_that_nobody_will_start(self) -> None:
        receiver = WebhookReceiver(SECRET)
        mine = receiver.notices()

        async def make() -> None:
            receiver.notices()
            await receiver.notices().aclose()

        await asyncio.create_task(make())
        await post(receiver, body(1))
        async with asyncio.timeout(5):
            await receiver.close(timeout=1000)
        assert receiver.stats.unhandled == 1
        assert ids([notice async for notice in mine]) == [1]

    async def test_an_iteration_may_be_made_before_the_event_loop(self) -> None:
        receiver = WebhookReceiver(SECRET)
        notices = await asyncio.to_thread(receiver.notices)
        await post(receiver, body(1))
        assert (await anext(notices)).task_id == 1
        await notices.aclose()

    async def test_closing_waits_for_a_reader_at_work_only_so_long(self, caplog: pytest.LogCaptureFixture) -> None:
        receiver = WebhookReceiver(SECRET)
        at_work, stuck = asyncio.Event(), asyncio.Event()

        async def read() -> list[int | None]:
            taken: list[int | None] = []
            async for notice in receiver.notices():
                taken.append(notice.task_id)
                at_work.set()
                await stuck.wait()
            return taken

        reader = asyncio.create_task(read())
        await post(receiver, body(1, 2))
        await at_work.wait()
        await receiver.close(timeout=0)
        assert not reader.done()
        assert caplog.messages == ["Closed with 2 notices unhandled"]
        stuck.set()
        assert await reader == [1, 2]

    async def test_a_reader_that_closes_reads_on_to_the_end(self) -> None:
        receiver = WebhookReceiver(SECRET)
        await post(receiver, body(1))
        await post(receiver, body(2))
        taken: list[int | None] = []
        async with asyncio.timeout(5):
            async for notice in receiver.notices():
                taken.append(notice.task_id)
                await receiver.close(timeout=1000)
        assert taken == [1, 2]

    async def test_there_are_none_beside_on_batch(self) -> None:
        with pytest.raises(InvalidRequestError, match="on_batch"):
            WebhookReceiver(SECRET, Gate()).notices()
