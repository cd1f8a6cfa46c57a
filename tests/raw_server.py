"""Servers of a few lines on real sockets: what arrives at them, and over how many connections."""

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from attrs import define, field

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make certificates")


def answer(body: bytes, *headers: str, status: int = 200) -> bytes:
    head = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


ME = answer(b'{"id": 7}')
CREATED = answer(b'{"taskId": 9}')


@define(eq=False)
class RawServer:
    """Answers each request as it is told to, over connections that it counts."""

    reply: Callable[[str], bytes] = lambda head: CREATED if head.startswith("POST") else ME
    hangs_up: bool = False
    """Whether each connection is closed after an answer that promises to keep it."""
    gate: asyncio.Event | None = None
    """What answers wait for."""
    closed: threading.Event | None = None
    """Set when a connection has been closed."""
    heads: list[str] = field(factory=list[str])
    bodies: list[bytes] = field(factory=list[bytes])
    made_by: list[int] = field(factory=list[int])
    """The number of the connection that each request came over."""
    connections: int = 0
    open: int = 0
    most: int = 0
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number, self.most = self.connections, max(self.most, self.open)
        try:
            while True:
                await self._answer(reader, writer, number)
                if self.hangs_up:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()
            if self.closed:
                await writer.wait_closed()
                self.closed.set()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lengths = [int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")]
        body = await reader.readexactly(lengths[0]) if lengths else b""
        self.heads.append(head)
        self.bodies.append(body)
        self.made_by.append(number)
        if self.gate:
            await self.gate.wait()
        writer.write(self.reply(head))
        await writer.drain()

    def header(self, name: str, at: int = -1) -> str | None:
        """A header of a request, the latest unless told otherwise."""
        lines = (line.partition(": ") for line in self.heads[at].splitlines())
        return next((value for found, _, value in lines if found.lower() == name.lower()), None)


@asynccontextmanager
async def raw_server(**options: Any) -> AsyncGenerator[RawServer, None]:
    tls: ssl.SSLContext | None = options.pop("tls", None)
    server = RawServer(**options, scheme="https" if tls else "http")
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


@contextmanager
def raw_server_in_thread(**options: Any) -> Generator[RawServer, None, None]:
    """In an event loop of its own, for tests whose own loop stands still."""
    ready: Queue[RawServer] = Queue()
    loop, over = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with raw_server(**options) as server:
            ready.put(server)
            await over.wait()

    def run() -> None:
        with closing(loop):
            loop.run_until_complete(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ready.get(timeout=5)
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()


@contextmanager
def deaf_tls_server(path: Path, *headers: str) -> Generator[str, None, None]:
    """One that reads a request of each connection and nothing more, so that no client's TLS shutdown is answered."""
    context, kept = server_tls(path), list[ssl.SSLSocket]()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                kept.append(context.wrap_socket(listening.accept()[0], server_side=True))
                head = kept[-1].recv(65536)
                kept[-1].sendall(answer(b'{"taskId": 9}' if head.startswith(b"POST") else b'{"id": 7}', *headers))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in [*kept, listening]:
            connection.close()


def certificate(folder: Path) -> Path:
    """A certificate of this machine's own, and its key beside it."""
    path = folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(path)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    return path


def server_tls(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, path.with_name("key.pem"))
    return context


def client_tls(path: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(path))


def as_json(value: object, *headers: str) -> bytes:
    return answer(json.dumps(value).encode(), *headers)
