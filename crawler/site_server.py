"""A child process that serves a finished site on 127.0.0.1, and ends when its standard input closes.

Read on standard input, one line: `{"port": number or 0, "files": {URL path: file}}`. Written on
standard output, one line: the port, or `error: ` and why it could not listen. What is not in
`files` does not exist, so no path in a request can lead elsewhere.
"""

import json
import os
import shutil
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

ROBOTS = b"User-agent: *\nAllow: /\n"


class SiteServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, files: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", port), SiteHandler)
        self.files = files

    def handle_error(self, request: object, client_address: object) -> None:
        """An asker that goes away within an answer, as a crawl does that is stopped, is no fault."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class SiteHandler(BaseHTTPRequestHandler):
    """GET and HEAD. HTML goes without a charset, so that the page's own declaration decides."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    server: SiteServer

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        files = self.server.files
        if path == "" or path.endswith("/"):
            path += "index.html"
        if path in files:
            self._send_file(Path(files[path]), with_body)
        elif path == "robots.txt":
            self._send(
                HTTPStatus.OK, {"Content-Type": "text/plain"}, ROBOTS if with_body else b"", len(ROBOTS)
            )
        elif f"{path}/index.html" in files:
            self._send(HTTPStatus.MOVED_PERMANENTLY, {"Location": f"/{quote(path)}/"}, b"", 0)
        else:
            self._send(HTTPStatus.NOT_FOUND, {"Content-Type": "text/plain"}, b"", 0)

    def _send(self, status: HTTPStatus, headers: dict[str, str], body: bytes, length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, file: Path, with_body: bool) -> None:
        self._send(HTTPStatus.OK, {"Content-Type": "text/html"}, b"", file.stat().st_size)
        if with_body:
            with file.open("rb") as page:
                shutil.copyfileobj(page, self.wfile)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the crawl keeps its own log of every request."""


def main() -> None:
    task = json.loads(sys.stdin.buffer.readline())
    try:
        server = SiteServer(task["port"], task["files"])
    except OSError as error:
        sys.stdout.write(f"error: {error.strerror}\n")
        sys.exit(1)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.buffer.read(1)
    os._exit(0)


if __name__ == "__main__":
    main()
