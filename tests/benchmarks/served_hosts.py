"""A child process that serves many generated hosts at one port, and ends when its standard input closes.

`python -m tests.benchmarks.served_hosts HOSTS PAGES LINKS` writes its port as a line on standard output.
To each line that it reads it answers with a line of JSON about what it was asked for since the last one:
`pages`, and the seconds between the first and the last (`seconds`).
"""

import asyncio
import json
import sys
import time

from tests.benchmarks.served_site import ROBOTS, Site, answer, page, path_of

STEP = 7
FAR, TENTH = 3, 10


def name_of(host: int) -> str:
    return f"site{host:04d}.example"


def front_of(host: int) -> str:
    return f"http://{name_of(host)}/{host:04d}/"


def url_of(host: int, number: int, hosts: int) -> str:
    """Every tenth number means the page of another host: it is reached from there, and only there."""
    if number % TENTH == FAR:
        other = (host + STEP) % hosts
        return f"http://{name_of(other)}/{other:04d}{path_of(number)}"
    return f"/{host:04d}{path_of(number)}"


class Watched(Site):
    """A connection whose requests for pages are counted."""

    pages, first, last = 0, 0.0, 0.0

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"GET /robots.txt") and not data.startswith(b"GET /.well-known"):
            now = time.monotonic()
            Watched.first = now if not Watched.pages else Watched.first
            Watched.pages, Watched.last = Watched.pages + 1, now
        super().data_received(data)


async def serve(hosts: int, pages: int, links: int) -> None:
    answers = {
        f"/{host:04d}{path_of(number)}".encode(): answer(
            "200 OK",
            "text/html",
            page(number, pages, links, lambda target, host=host: url_of(host, target, hosts)),  # type: ignore[misc]
        )
        for host in range(hosts)
        for number in range(pages)
    }
    answers[b"/robots.txt"] = answer("200 OK", "text/plain", ROBOTS)
    answers[b"missing"] = answer("404 Not Found", "text/plain", b"")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Watched(answers), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, _tell)
    server.close()


def _tell() -> None:
    """Between two crawls, when nobody asks for a page."""
    for _ in sys.stdin:
        told = {"pages": Watched.pages, "seconds": Watched.last - Watched.first}
        Watched.pages = 0
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:])))
