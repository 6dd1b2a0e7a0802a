"""A child process that serves a generated website on 127.0.0.1, and ends when its standard input closes.

`python -m tests.benchmarks.served_site PAGES LINKS` writes its port as a line on standard output.
Every page is made before that, so that serving one costs little.
"""

import asyncio
import random
import sys
from collections.abc import Callable

SOME_WORDS = (
    "water wheel stone flour grain river village morning letter number window table garden bread "
    "question answer evening winter summer mountain valley bridge market paper silver copper iron "
    "because although whenever between without against during beside towards beneath around"
)
WORDS = SOME_WORDS.split()
FOLDERS = 20
PARAGRAPHS, PARAGRAPH_WORDS = 9, 55
ROBOTS = b"User-agent: *\nDisallow: /private/\nDisallow: /*.cgi$\n"


def path_of(number: int) -> str:
    return "/" if number == 0 else f"/part{number % FOLDERS:02d}/page{number:05d}.html"


def page(number: int, pages: int, links: int, url_of: Callable[[int], str] = path_of) -> bytes:
    """A page of prose with a menu before and references behind. Page n leads to 2n + 1 and 2n + 2, so that
    all are reached; its other links are anywhere. `url_of` is how a page is linked to."""
    chance = random.Random(number)

    def some(count: int) -> str:
        return " ".join(chance.choices(WORDS, k=count))

    targets = [each for each in (2 * number + 1, 2 * number + 2) if each < pages]
    targets += [chance.randrange(pages) for _ in range(links - len(targets))]
    anchors = [
        f'<li><a href="{url_of(target)}" title="page {target}">{some(3)}</a></li>' for target in targets
    ]
    prose = [f"<h2>{some(4)}</h2>\n<p>{some(PARAGRAPH_WORDS)}.</p>\n" for _ in range(PARAGRAPHS)]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Page {number}</title></head>\n'
        f"<body><nav><ul>{''.join(anchors[: links // 2])}</ul></nav>\n"
        f"<main><h1>Page {number}</h1>\n{''.join(prose)}</main>\n"
        f"<aside><ul>{''.join(anchors[links // 2 :])}</ul></aside></body></html>\n"
    ).encode()


def answer(status: str, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Site(asyncio.Protocol):
    """One connection. Requests have no body and come one after the other."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self.answers, self.pending = answers, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.pending += data
        while b"\r\n\r\n" in self.pending:
            request, _, self.pending = self.pending.partition(b"\r\n\r\n")
            path = request.split(b" ", 2)[1]
            self.transport.write(self.answers.get(path, self.answers[b"missing"]))


async def serve(pages: int, links: int) -> None:
    answers = {
        path_of(number).encode(): answer("200 OK", "text/html", page(number, pages, links))
        for number in range(pages)
    }
    answers[b"/robots.txt"] = answer("200 OK", "text/plain", ROBOTS)
    answers[b"missing"] = answer("404 Not Found", "text/plain", b"")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Site(answers), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
