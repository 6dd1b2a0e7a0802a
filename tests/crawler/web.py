"""A real web server on the loopback address, which remembers what it was asked for."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONDITIONS = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: HTML)
    chunks: Callable[[], Iterator[bytes]] | None = None
    """Sent in place of the body, without a Content-Length."""


@dataclass
class Web:
    """Paths with their answers. Any path that is not there answers 404."""

    pages: dict[str, Answer]
    pause_seconds: float = 0.0
    port: int = 0
    asked: list[tuple[float, str]] = field(default_factory=list)
    """Time (monotonic, seconds) and path of every request, in order."""
    hosts: list[str] = field(default_factory=list)
    """The Host header of every request."""
    conditions: list[tuple[str, str, str]] = field(default_factory=list)
    """Path of every request that was made under a condition, its header and what that said, in order."""

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, path: str = "/") -> str:
        return self.origin + path

    def times_asked(self) -> Counter[str]:
        return Counter(path for _, path in self.asked)


def page(*links: str, text: str = "") -> Answer:
    anchors = "".join(f'<a href="{link}">{link}</a> ' for link in links)
    return Answer(f"<!doctype html><html><body><p>{text}</p>{anchors}</body></html>".encode())


def redirect(location: str, status: int = 302) -> Answer:
    return Answer(b"", status, {"Location": location})


@contextmanager
def serve(pages: dict[str, Answer], pause_seconds: float = 0.0) -> Iterator[Web]:
    web = Web(pages, pause_seconds)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            web.asked.append((time.monotonic(), self.path))
            web.hosts.append(self.headers["Host"])
            if web.pause_seconds and self.path != "/robots.txt":
                time.sleep(web.pause_seconds)
            answer = web.pages.get(self.path, Answer(b"<p>nothing here</p>", 404))
            same = False
            for condition, validator in CONDITIONS.items():
                if condition in self.headers:
                    web.conditions.append((self.path, condition, self.headers[condition]))
                    same = same or self.headers[condition] == answer.headers.get(validator)
            self.answer(replace(answer, body=b"", status=304) if same and answer.status == 200 else answer)

        def answer(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.chunks is None:
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)
                return
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                for chunk in answer.chunks():
                    self.wfile.write(chunk)
                    self.wfile.flush()
            except OSError:
                pass
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def small_site(pages: int = 12) -> dict[str, Answer]:
    """A front page, and pages that each link to the next two and back."""
    site = {"/": page("/p0.html", "/p1.html#part", "missing.html")}
    for number in range(pages):
        following = [f"p{(number + step) % pages}.html" for step in (1, 2)]
        site[f"/p{number}.html"] = page("/", *following, text=f"page {number} " * 50)
    return site
