"""Serves a test web on addresses of 127.0.0.0/8 and writes down every request.

One asyncio loop in a thread of its own, on raw streams: a library's server would not send what is
broken on purpose. Each host is a name; which address and port stands for it is what
`compute.hosts` is told. The names themselves are never looked up.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field

from tests.crawler.testweb.certificates import GARBAGE, STALL, Certificates
from tests.crawler.testweb.exchange import Asked, Reply, Request, Stream, digest, missing
from tests.crawler.testweb.hosts import Host

ADDRESSES = tuple(f"127.0.1.{number}" for number in range(1, 9))
PRIVATE_ADDRESS = "127.0.9.9"
"""Nobody names it to the crawler; where it is asked all the same, that is a fault."""
REQUEST_BYTES = 1 << 20
TICK_SECONDS = 0.01
STALL_SECONDS = 0.1
"""So long after a stall its requests are read."""
WATCHED_BYTES = 64 << 10
"""A larger answer than this counts as sent when the other side has taken it."""


@dataclass
class Web:
    """Hosts, what is asked of them, and where they are."""

    hosts: dict[str, Host]
    certificates: Certificates | None = None
    snapshot: int = 1
    log: list[Request] = field(default_factory=list)
    """Every request, in the order of arrival."""
    places: dict[str, str] = field(default_factory=dict)
    """Host name → address:port, once it is served: for `compute.hosts`."""
    private_origin: str = ""
    listen: tuple[tuple[str, int], ...] = ()
    """More addresses and ports that all hosts are served at."""
    times: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def seeds(self) -> list[str]:
        return [host.url(path) for host in self.hosts.values() for path in host.seeds]

    def answer(self, request: Request, headers: dict[str, str]) -> Reply:
        host = self.hosts.get(request.host)
        if host is None:
            return missing()
        request.before = self.times[request.host, request.path]
        self.times[request.host, request.path] += 1
        return host.answer(Asked(request.path, headers, request.before, self.snapshot, self.private_origin))


class _Loop:
    """What runs in the thread."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.ready = threading.Event()
        self.fault: BaseException | None = None
        self._ticked = time.monotonic()
        self._stalled = (0.0, 0.0)
        """When the loop went on that had not had the processor, and for how long it had not."""
        self._taken: list[socket.socket] = []

    def run(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self.fault = error
            self.ready.set()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(lambda loop, context: None)  # broken TLS, on purpose
        ticking = asyncio.ensure_future(self._tick())
        servers = await self._listen()
        self.ready.set()
        await self._stopping.wait()
        ticking.cancel()
        for each in (*servers, *self._taken):
            each.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.monotonic()
            if now - self._ticked > 2 * TICK_SECONDS:
                self._stalled = (now, now - self._ticked - TICK_SECONDS)
            self._ticked = now

    def _late(self, now: float) -> float:
        """How long ago a request that is read now may have come. All that came during a stall is read within
        some moments after it."""
        went_on, seconds = self._stalled
        since = now - self._ticked - TICK_SECONDS
        return max(0.0, since, seconds if now - went_on < STALL_SECONDS else 0.0)

    async def _listen(self) -> list[asyncio.Server]:
        web = self.web
        servers = [await self._bind(address) for address in (*ADDRESSES, PRIVATE_ADDRESS)]
        web.private_origin = f"http://{_place(servers[-1])}"
        servers += [await self._bind(address, port=port) for address, port in web.listen]
        for number, host in enumerate(web.hosts.values()):
            address = ADDRESSES[number % len(ADDRESSES)]
            if not host.listens:
                web.places[host.name] = self._deaf(address)
            elif host.certificate is None:
                web.places[host.name] = _place(servers[number % len(ADDRESSES)])
            else:
                servers.append(await self._bind_secured(host, address))
                web.places[host.name] = _place(servers[-1])
        return servers

    def _deaf(self, address: str) -> str:
        """A port at which every connection is refused, and that nobody else gets meanwhile."""
        taken = socket.socket()
        taken.bind((address, 0))
        self._taken.append(taken)
        return f"{address}:{taken.getsockname()[1]}"

    async def _bind(
        self, address: str, context: ssl.SSLContext | None = None, port: int = 0
    ) -> asyncio.Server:
        return await asyncio.start_server(
            self._converse, address, port, limit=REQUEST_BYTES, backlog=1024, ssl=context
        )

    async def _bind_secured(self, host: Host, address: str) -> asyncio.Server:
        if host.certificate == GARBAGE:
            return await asyncio.start_server(_say_garbage, address, 0)
        if host.certificate == STALL:
            return await asyncio.start_server(_stall, address, 0)
        assert self.web.certificates is not None
        assert host.certificate is not None
        return await self._bind(address, self.web.certificates.context(host.certificate, host.name))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                now = time.monotonic()
                request, headers = _read(head, now, self._late(now), address)
                self.web.log.append(request)
                if not await _send(reader, writer, request, self.web.answer(request, headers)):
                    break
        writer.close()


def _read(head: bytes, now: float, late: float, address: str) -> tuple[Request, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    if not host.replace(".", "").isdigit():
        host = headers.get("host", "").partition(":")[0]
    conditional = "if-none-match" in headers or "if-modified-since" in headers
    path = first.split(" ")[1]
    agent = headers.get("user-agent", "")
    return Request(host.lower(), path, now, late, address, agent, conditional), headers


async def _send(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request, reply: Reply
) -> bool:
    """True if the connection may be used again. The log has the end, also where it is not a good one."""
    if reply.wait_seconds is not None:
        request.not_before = time.monotonic() + reply.wait_seconds
    try:
        if reply.stream is not None:
            await _first_of(_pour(writer, reply.stream), _gone(reader))
            return False
        if reply.after_seconds:
            await _first_of(asyncio.sleep(reply.after_seconds), _gone(reader))
            if reader.at_eof():
                return False
        request.status, request.sha256 = reply.status, digest(reply.body)
        writer.write(reply.wire)
        closing = ("Connection", "close") in reply.headers
        if len(reply.wire) > WATCHED_BYTES:
            await writer.drain()
        request.whole = reply.sound
        return not closing
    finally:
        request.ended = time.monotonic()


async def _pour(writer: asyncio.StreamWriter, stream: Stream) -> None:
    with contextlib.suppress(OSError):
        async for piece in stream():
            writer.write(piece)
            await writer.drain()


async def _gone(reader: asyncio.StreamReader) -> None:
    """Returns when the other side has hung up, which a server that is silent does not notice by itself."""
    with contextlib.suppress(OSError):
        while await reader.read(1 << 16):
            pass


async def _first_of(*both: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.ensure_future(each) for each in both]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _say_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await reader.read(1)
        writer.write(b"\x16\x03\x01\xff\xffthis is no handshake" * 20)
        await writer.drain()
        writer.close()


async def _stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take what comes and say nothing."""
    await _gone(reader)
    writer.close()


def _place(server: asyncio.Server) -> str:
    address, port = server.sockets[0].getsockname()[:2]
    return f"{address}:{port}"


@contextlib.contextmanager
def serve(web: Web) -> Iterator[Web]:
    """Serve until the block ends. The log can be read meanwhile."""
    loop = _Loop(web)
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    loop.ready.wait()
    if loop.fault is not None:
        raise loop.fault
    try:
        yield web
    finally:
        loop.stop()
        thread.join()
