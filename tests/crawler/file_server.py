"""A server of files with ranges, that can be told to break off, to refuse, and to have other content."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Files:
    """What a path has, and how requests went."""

    content: dict[str, bytes]
    faults: list[int | str] = field(default_factory=list)
    """For the next answers, in order: a status, or how many bytes are sent before the connection breaks
    (`"100"`), or where to redirect to."""
    tag: str = '"one"'
    ranges: list[str | None] = field(default_factory=list)
    """The Range header of every request."""
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def serve_files(content: dict[str, bytes]) -> Iterator[Files]:
    files = Files(content)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers["Range"]
            files.ranges.append(asked)
            fault = files.faults.pop(0) if files.faults else None
            if isinstance(fault, int):
                self.answer(fault, b"", {"Retry-After": "0"})
            elif fault is not None and not fault.isdigit():
                self.answer(302, b"", {"Location": fault})
            elif self.path not in files.content:
                self.answer(404, b"")
            else:
                self.send_file(files.content[self.path], asked, int(fault) if fault else None)

        def send_file(self, data: bytes, asked: str | None, sent: int | None) -> None:
            match = re.fullmatch(r"bytes=(\d+)-", asked or "")
            headers = {"ETag": files.tag, "Content-Encoding": "gzip"}
            if match and self.headers["If-Range"] == files.tag:
                start = int(match[1])
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                self.answer(206, data[start:], headers, sent)
            else:
                self.answer(200, data, headers, sent)

        def answer(
            self, status: int, data: bytes, headers: dict[str, str] | None = None, sent: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:sent])
            if sent is not None:
                self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    files.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
