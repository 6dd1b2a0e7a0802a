"""The site: pages from installed modules or from folders, and the server that shows them."""

import gzip
import http.client
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from crawler.rendering import RendererError, render_modules
from crawler.site import (
    FolderMissingError,
    NoPageError,
    SamePageError,
    Site,
    SiteConfig,
    SiteFolder,
    SiteServerError,
    StartMissingError,
    build_site,
    serve,
)
from pipeline.compute import Compute
from pipeline.shards import ShardOutput
from pipeline.store import Store, sha256_of

MODULES = ("json", "statistics", "email.utils")


def get(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def folder_site(store: Store, compute: Compute, folder: Path, **settings: object) -> Site:
    config = SiteConfig(kind="folder", folders=(SiteFolder(path=str(folder)),), **settings)  # type: ignore[arg-type]
    return build_site(store, config, compute)


def test_modules_become_the_same_bytes_twice_without_addresses(compute: Compute, tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        store = Store(str(tmp_path / name))
        site = build_site(store, SiteConfig(modules=MODULES, least_characters=500), compute)
        digests.append(site.record.digest)
    assert digests[0] == digests[1]
    pages = {name: site.path(name).read_text() for name in site.names("html/")}
    assert {"html/index.html", "html/json.html", "html/json/decoder.html"} < set(pages)
    assert "geometric mean" in pages["html/statistics.html"]
    assert not any(re.search(r"0x[0-9a-f]{8}", page) for page in pages.values())
    assert site.record.counts["pages"] == len(pages) - 1
    assert set(site.record.content) == {"pdoc", "python"}


def test_what_one_page_says_is_not_said_again_on_another(tmp_path: Path) -> None:
    package = tmp_path / "modules" / "mill"
    package.mkdir(parents=True)
    text = "Grinds the grain between two stones and lets the flour fall into a sack."
    (package / "__init__.py").write_text(
        "from mill._stone import grind\n__all__ = ['grind']\n'''The mill.'''\n"
    )
    (package / "_stone.py").write_text(f"def grind() -> None:\n    '''{text}'''\n")
    (package / "broken.py").write_text("raise RuntimeError('out of order')\n")
    (package / "crash.py").write_text("import os\nos._exit(3)\n")
    (package / "water.py").write_text("'''Lets water onto the wheel.'''\nhandler = object()\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "modules"), *sys.path[1:]]))
        task = {"entry": "mill", "exclude": [], "least_characters": 10, "output": "html"}
        counts = render_modules(task, ShardOutput(tmp_path))
    assert counts == {"pages": 2, "left-out.few-characters": 1, "left-out.error": 1, "left-out.crash": 1}
    pages = [path for path in (tmp_path / "html").rglob("*.html") if text in path.read_text()]
    assert pages == [tmp_path / "html/mill/_stone.html"]
    left_out = (tmp_path / "left-out/mill.json").read_text()
    assert "out of order" in left_out
    assert "mill.crash" in left_out


def test_modules_that_cannot_be_imported_leave_no_page(store: Store, compute: Compute) -> None:
    with pytest.raises(NoPageError, match="no_such_module"):
        build_site(store, SiteConfig(modules=("no_such_module",)), compute)


def test_a_folder_is_copied_with_its_links_and_packed_pages(
    store: Store, compute: Compute, tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "pages", tmp_path / "elsewhere.html"
    (folder / "guide").mkdir(parents=True)
    latin = "<meta charset=iso-8859-1><p>moinho de água, pão".encode("iso-8859-1")
    (folder / "index.html").write_bytes(latin)
    (folder / "guide/packed.html.gz").write_bytes(gzip.compress(b"<p>packed"))
    elsewhere.write_bytes(b"<p>linked")
    (folder / "linked.html").symlink_to(elsewhere)
    (folder / "loop").symlink_to(folder)
    (folder / "gone.html").symlink_to(folder / "nowhere.html")
    (folder / "picture.png").write_bytes(b"png")
    site = folder_site(store, compute, folder)
    assert site.names() == ["html/guide/packed.html", "html/index.html", "html/linked.html"]
    assert site.path("html/index.html").read_bytes() == latin
    assert site.path("html/guide/packed.html").read_bytes() == b"<p>packed"
    assert site.seeds() == ["http://docs.moinho.test/"]


def test_a_folder_has_the_identity_of_its_content(store: Store, compute: Compute, tmp_path: Path) -> None:
    sites = []
    for place, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "index.html").write_text(text)
        sites.append(folder_site(store, compute, tmp_path / place))
    assert sites[0].key == sites[1].key
    assert sites[0].key != sites[2].key


def test_a_missing_folder_names_the_package_to_install(store: Store, compute: Compute) -> None:
    folder = SiteFolder(path="/nowhere/html", package="focalinux-html")
    with pytest.raises(FolderMissingError, match=r"/nowhere/html.*apt install focalinux-html"):
        build_site(store, SiteConfig(kind="folder", folders=(folder,)), compute)


def test_a_start_that_is_no_page_is_named(store: Store, compute: Compute, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>")
    with pytest.raises(StartMissingError, match=r"no page index\.html; it has page\.html"):
        folder_site(store, compute, tmp_path)


def test_two_folders_with_one_page_are_told_apart(store: Store, compute: Compute, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text("<p>")
    folders = tuple(SiteFolder(path=str(tmp_path / name)) for name in ("one", "other"))
    with pytest.raises(SamePageError, match="give one an `at`"):
        build_site(store, SiteConfig(kind="folder", folders=folders), compute)


def test_a_renderer_that_ends_without_a_module_to_blame_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    task = {"entry": "json", "exclude": [], "least_characters": 0, "output": "html"}
    with pytest.raises(RendererError, match="the renderer of json ended with exit status 1"):
        render_modules(task, ShardOutput(tmp_path))


def test_a_folder_without_pages_is_an_error(store: Store, compute: Compute, tmp_path: Path) -> None:
    with pytest.raises(NoPageError, match=str(tmp_path)):
        folder_site(store, compute, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs modules"),
        ({"kind": "folder", "modules": ["json"]}, "needs folders"),
        ({"modules": ["json", "json.decoder"]}, "name it once"),
        ({"modules": ["../etc"]}, "not a module's name"),
        ({"modules": ["json"], "host": "a b"}, "write a name in lower case"),
        ({"kind": "folder", "folders": [{"path": "x", "at": "../y"}]}, "inside the site"),
    ],
)
def test_a_wrong_configuration_is_told(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SiteConfig.model_validate(settings)


@pytest.fixture
def small_site(store: Store, compute: Compute, tmp_path: Path) -> Site:
    folder = tmp_path / "small"
    (folder / "guide").mkdir(parents=True)
    (folder / "index.html").write_bytes(b"<p>top")
    (folder / "guide/index.html").write_bytes(b"<p>guide")
    return folder_site(store, compute, folder)


def test_the_server_serves_pages_without_charset_and_nothing_else(small_site: Site) -> None:
    with serve(small_site) as address:
        assert address.startswith("127.0.0.1:")
        status, headers, body = get(address, "/")
        assert (status, headers["Content-Type"], body) == (200, "text/html", b"<p>top")
        assert get(address, "/guide/?page=1")[2] == b"<p>guide"
        status, headers, _ = get(address, "/guide")
        assert (status, headers["Location"]) == (301, "/guide/")
        assert get(address, "/robots.txt")[2] == b"User-agent: *\nAllow: /\n"
        for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/none.html"):
            assert get(address, path)[0] == 404
    with pytest.raises(ConnectionRefusedError):
        get(address, "/")


def test_an_asker_that_goes_away_is_no_fault(small_site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    with serve(small_site) as address:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port))) as asker:
            asker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            asker.sendall(b"GET / HTTP/1.1\r\n")
        assert get(address, "/robots.txt")[0] == 200
        time.sleep(0.3)
    assert capfd.readouterr().err == ""


def test_a_port_in_use_is_one_clear_error(small_site: Site) -> None:
    with serve(small_site) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(SiteServerError, match=f"127.0.0.1:{port}.*in use"), serve(small_site, port):
            pass


def test_the_server_ends_when_its_parent_is_killed(small_site: Site) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, small_site.storage.root, small_site.key], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    address = parent.stdout.readline().decode().strip()
    assert get(address, "/")[0] == 200
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            get(address, "/")
        except OSError:
            return
        time.sleep(0.05)
    pytest.fail("the server outlived its parent")


PARENT = """
import sys, time
from crawler.site import Site, serve
from pipeline.store import Storage
with serve(Site(Storage(sys.argv[1]), sys.argv[2])) as address:
    print(address, flush=True)
    time.sleep(60)
"""


def test_a_page_in_the_store_has_the_hash_of_its_record(small_site: Site) -> None:
    for name, file in small_site.record.files.items():
        assert sha256_of(small_site.path(name)) == file.sha256
