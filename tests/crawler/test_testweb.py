"""The test web does what its hosts' names say: asked by a plain socket and by other libraries' readers."""

import http.client
import socket
import ssl
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import brotli
import pytest
from selectolax.lexbor import LexborHTMLParser

from tests.crawler.testweb import bombs, certificates
from tests.crawler.testweb.broken import SLOW_SECONDS
from tests.crawler.testweb.certificates import Certificates
from tests.crawler.testweb.changing import CHANGES
from tests.crawler.testweb.exchange import Asked, Request, digest
from tests.crawler.testweb.good import COMMON_SPELLINGS, Size, good_hosts
from tests.crawler.testweb.server import PRIVATE_ADDRESS, Web, serve
from tests.crawler.testweb.world import good_web, whole_web

SMALL = Size(domains=20, fewest_pages=2, most_pages=8)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with serve(whole_web(0, SMALL, tmp_path_factory.mktemp("certificates"))) as web:
        yield web


def ask(web: Web, host: str, path: str, **headers: str) -> http.client.HTTPResponse:
    address, _, port = web.places[host].rpartition(":")
    connection = http.client.HTTPConnection(address, int(port), timeout=5)
    connection.request("GET", path, headers={"Host": host, **headers})
    return connection.getresponse()


def heard(web: Web, host: str, path: str, seconds: float = 1.0, most: int = 1 << 20) -> bytes:
    """All that comes within some seconds, verbatim."""
    address, _, port = web.places[host].rpartition(":")
    found, end = b"", time.monotonic() + seconds
    with socket.create_connection((address, int(port)), 5) as plain:
        plain.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        plain.settimeout(0.1)
        while time.monotonic() < end and len(found) < most:
            try:
                piece = plain.recv(1 << 16)
            except TimeoutError:
                continue
            if not piece:
                break
            found += piece
    return found


def test_hundreds_of_hosts_have_addresses_of_their_own_port_and_none_is_private_by_name(web: Web) -> None:
    assert len(web.hosts) > 100
    assert len({place.partition(":")[0] for place in web.places.values()}) == 8
    assert not any(place.startswith(PRIVATE_ADDRESS) for place in web.places.values())
    names = {host.name for host in good_hosts(0, Size())}
    assert len(names) == 300


def test_a_web_follows_from_its_seed_alone() -> None:
    def pages(seed: int) -> dict[str, str]:
        web = good_web(seed, SMALL)
        return {
            host.url(path): digest(host.answer(Asked(path, {})).body)
            for host in web.hosts.values()
            for path in host.pages
        }

    assert pages(1) == pages(1)
    assert pages(1) != pages(2)


def test_every_page_of_a_good_host_is_reached_from_its_front_page() -> None:
    """Links in the spellings that a library's URL joining undoes; the tree alone must reach all."""
    for host in good_hosts(3, SMALL, COMMON_SPELLINGS):
        reached, waiting = {"/"}, ["/"]
        while waiting:
            here = waiting.pop()
            body = host.answer(Asked(here, {})).body
            for node in LexborHTMLParser(body).css("a[href]"):
                target = urlsplit(urljoin(host.url(here), (node.attributes["href"] or "").strip()))
                path = target.path + (f"?{target.query}" if target.query else "")
                if target.hostname == host.name and path in host.pages and path not in reached:
                    reached.add(path)
                    waiting.append(path)
        assert reached == host.pages


def end_of(line: Request) -> float:
    """When the server was done with a request, which is a moment after the answer has arrived."""
    for _ in range(100):
        if line.ended is not None:
            return line.ended
        time.sleep(0.02)
    raise AssertionError(f"the server never ended {line}")


def test_a_request_is_logged_with_its_host_address_agent_and_end(web: Web) -> None:
    before = len(web.log)
    response = ask(web, "site000.example", "/", **{"User-Agent": "someone/1"})
    body = response.read()
    [line] = web.log[before:]
    assert (line.host, line.path, line.agent, line.status) == ("site000.example", "/", "someone/1", 200)
    assert line.address == web.places["site000.example"].partition(":")[0]
    ended = end_of(line)
    assert line.whole
    assert line.sha256 == digest(body)
    assert 0 <= ended - line.arrived < 1


def test_one_that_hangs_up_on_a_silent_host_ends_the_request_in_the_log(web: Web) -> None:
    before = len(web.log)
    assert heard(web, "slow-drip.example", "/silence", 0.3) == b""
    [line] = web.log[before:]
    assert end_of(line) - line.arrived < 2
    assert not line.whole


def test_hostile_bodies_come_as_they_are_named(web: Web) -> None:
    assert 2 < heard(web, "slow-drip.example", "/drip", 1.5).count(b".") < 20
    assert len(heard(web, "never-ending.example", "/body", 5, most=300_000)) >= 300_000
    assert heard(web, "length-too-long.example", "/a").endswith(b"<html>this is all</html>")
    assert heard(web, "length-too-short.example", "/").count(b"HTTP/1.1 200 OK") == 2
    assert heard(web, "broken-chunks.example", "/unfinished").endswith(b"6\r\n<html>\r\n")
    assert heard(web, "broken-http.example", "/nothing") == b""
    links = LexborHTMLParser(ask(web, "many-links.example", "/").read()).css("a[href]")
    assert len(links) == 100_000
    links = LexborHTMLParser(ask(web, "long-urls.example", "/").read()).css("a[href]")
    assert max(len(node.attributes["href"] or "") for node in links) > 100_000


def test_bombs_unpack_to_what_they_say_by_their_own_libraries() -> None:
    unpacked = bombs.UNPACKED_BYTES
    assert len(zlib.decompress(bombs.bomb("gzip"), 31)) == unpacked
    assert len(zlib.decompress(bombs.bomb("deflate"))) == unpacked
    assert len(brotli.decompress(bombs.bomb("br"))) == unpacked
    assert len(zlib.decompress(zlib.decompress(bombs.bomb("gzip, gzip"), 31), 31)) == unpacked
    zstd = pytest.importorskip("backports.zstd")
    assert len(zstd.decompress(bombs.bomb("zstd"))) == unpacked
    assert all(len(bombs.bomb(coding)) < unpacked / 100 for coding in bombs.CODINGS)


@pytest.mark.parametrize("kind", certificates.KINDS)
def test_only_the_good_certificate_is_accepted_by_one_who_trusts_the_authority(web: Web, kind: str) -> None:
    assert isinstance(web.certificates, Certificates)
    name = f"tls-{kind}.example"
    address, _, port = web.places[name].rpartition(":")
    context = ssl.create_default_context(cafile=str(web.certificates.authority))
    with socket.create_connection((address, int(port)), 0.5) as plain:
        if kind == certificates.GOOD:
            with context.wrap_socket(plain, server_hostname=name) as secured:
                assert secured.getpeercert()
        else:
            with pytest.raises((ssl.SSLError, OSError)):
                context.wrap_socket(plain, server_hostname=name)


def test_a_busy_host_refuses_each_page_once_and_says_for_how_long(web: Web) -> None:
    first = ask(web, "busy-seconds.example", "/")
    assert (first.status, first.headers["Retry-After"]) == (429, "2")
    assert web.log[-1].not_before is not None
    assert ask(web, "busy-seconds.example", "/").status == 200
    dated = ask(web, "busy-date.example", "/")
    assert dated.status == 503
    assert dated.headers["Retry-After"].endswith("GMT")
    silent = ask(web, "busy-silent.example", "/")
    assert (silent.status, silent.headers["Retry-After"]) == (429, None)


def test_a_host_where_nobody_listens_refuses_connections_and_a_slow_one_takes_its_time(web: Web) -> None:
    with pytest.raises(ConnectionRefusedError):
        ask(web, "robots-nobody.example", "/")
    start = time.monotonic()
    assert ask(web, "slow-answers.example", "/").status == 200
    assert time.monotonic() - start >= SLOW_SECONDS
    assert ask(web, "fails-always.example", "/page/1").status == 500


def test_pages_answer_304_to_what_they_said_and_change_between_snapshots(web: Web) -> None:
    tag = ask(web, "changing.example", "/same-etag").headers["ETag"]
    date = ask(web, "changing.example", "/same-date").headers["Last-Modified"]
    known = {"If-None-Match": tag}
    changed = {"If-None-Match": ask(web, "changing.example", "/changed-etag").headers["ETag"]}
    assert ask(web, "changing.example", "/changed-etag", **changed).status == 304
    web.snapshot = 2
    try:
        assert ask(web, "changing.example", "/same-etag", **known).status == 304
        assert web.log[-1].conditional
        assert ask(web, "changing.example", "/same-date", **{"If-Modified-Since": date}).status == 304
        assert ask(web, "changing.example", "/changed-etag", **changed).status == 200
        statuses = {path: ask(web, "changing.example", path).status for path in CHANGES}
    finally:
        web.snapshot = 1
    assert {path for path, status in statuses.items() if status != 200} == {"/gone-404", "/gone-410"}
    assert ask(web, "changing.example", "/new").status == 404


def test_a_server_serves_a_thousand_requests_a_second_from_one_thread(tmp_path: Path) -> None:
    """Of CPU time: how long it takes on the wall is the machine's affair."""
    with serve(good_web(0, SMALL)) as web:
        address, _, port = web.places["site000.example"].rpartition(":")
        request = b"GET / HTTP/1.1\r\nHost: site000.example\r\n\r\n"
        with socket.create_connection((address, int(port)), 30) as plain:
            plain.sendall(request)
            size = len(plain.recv(1 << 20))
            start, count = time.process_time(), 2_000
            for _ in range(count):
                plain.sendall(request)
                left = size
                while left:
                    left -= len(plain.recv(left))
            used = time.process_time() - start
    assert len(web.log) == count + 1
    assert used < count / 1_000
