"""The stage `site`: a static site made on this machine, so that a crawl needs no internet.

Either documentation of installed Python modules, rendered with pdoc, or folders of HTML that are
there already, such as those of Debian packages. `serve` puts it on the loopback address.
"""

import contextlib
import fnmatch
import gzip
import hashlib
import html
import importlib.metadata
import json
import logging
import os
import platform
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from crawler.rendering import render_modules
from crawler.sources import source_files
from pipeline.compute import Compute
from pipeline.config import Config
from pipeline.errors import InputError, StageError
from pipeline.shards import any_lost, counts_of, files_of
from pipeline.store import Artifact, Attempt, File, Made, Store, Work

log = logging.getLogger(__name__)

START_TIMEOUT_SECONDS = 30
SOURCE_PER_CHARACTER = 6.75
"""Bytes of a module's source for a character of documentation that no page before has. With this, 496
pages are expected of the quickstart's sources, which give 504; of those of tests/road.toml 35, not 33."""
PAGE_BYTES_PER_SOURCE_BYTE = 1.12
"""Bytes of all pages for a byte of source: 1.13 in the quickstart, 1.09 in tests/road.toml."""
HTML_PACKED = 4.5
"""HTML is so much longer than packed by gzip."""
PAGE_SUFFIXES = (".html", ".htm", ".xhtml")
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
MODULE_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class SiteFolder(Config):
    """A folder of HTML pages. Where it lies is not part of the key; what is in it is."""

    path: str
    """The folder, such as /usr/share/doc/focalinux-html."""
    package: str | None = None
    """The Debian package that brings it, named in the message if the folder is not there."""
    at: str = ""
    """Folder of the site that its pages are put in. Default: the site's top."""
    pattern: str = "*"
    """Only files whose path below the folder matches (shell style; * also matches a slash)."""

    @field_validator("at")
    @classmethod
    def at_is_inside(cls, at: str) -> str:
        if at.startswith("/") or ".." in PurePosixPath(at).parts:
            raise ValueError(f"at is {at!r}; name a folder inside the site, such as 'guide'")
        return at.strip("/")


class SiteConfig(Config):
    """What the site is made of."""

    kind: Literal["pdoc", "folder"] = "pdoc"
    """pdoc: documentation of `modules`; folder: the pages of `folders`."""
    host: str = "docs.moinho.test"
    """The site's host name in its URLs. It needs no DNS."""
    start: tuple[str, ...] = ("",)
    """Pages that the crawl begins with, relative to the site's top. Default: the top itself."""
    modules: tuple[str, ...] = ()
    """Importable modules; each is rendered with all its submodules, by one task."""
    exclude: tuple[str, ...] = ()
    """Modules that are left out, with all their submodules."""
    least_characters: int = Field(default=2_000, ge=0)
    """A module with fewer characters of documentation gets no page."""
    folders: tuple[SiteFolder, ...] = ()

    @field_validator("host")
    @classmethod
    def host_is_a_name(cls, host: str) -> str:
        if not HOST_NAME.fullmatch(host):
            raise ValueError(f"host is {host!r}; write a name in lower case, such as docs.moinho.test")
        return host

    @field_validator("modules", "exclude")
    @classmethod
    def modules_are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not MODULE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a module's name; write it as in an import: package.module")
        return names

    @model_validator(mode="after")
    def has_sources(self) -> Self:
        needed, other = ("modules", "folders") if self.kind == "pdoc" else ("folders", "modules")
        if not getattr(self, needed) or getattr(self, other):
            raise ValueError(f"a site of kind {self.kind!r} needs {needed}, and no {other}")
        for name in self.modules:
            inside = [other for other in self.modules if other.startswith(f"{name}.")]
            if inside or self.modules.count(name) > 1:
                raise ValueError(f"modules has {name} and, again, {(inside or [name])[0]}: name it once")
        return self

    def identity(self) -> dict[str, Any]:
        """Without the folders' paths and packages: their content is identity enough."""
        values = super().identity()
        if "folders" in values:
            values["folders"] = [folder.at for folder in self.folders]
        return values


class FolderMissingError(InputError):
    """A folder of the configuration is not on this machine: most often its package is not installed."""

    remedy = "Install the package that the message names, or correct site.folders."


class NoPageError(StageError):
    """Nothing that the site was to be made of gave a page."""

    passes = False
    remedy = (
        "Name modules with documentation in site.modules, or folders with HTML in site.folders; the "
        "log says what was left out."
    )


class SamePageError(InputError):
    """Two folders of the site hold the same path."""

    remedy = "Give one of the folders an `at`."


class StartMissingError(InputError):
    """`start` names a page that the site does not have."""

    remedy = "Set site.start to a page that the site has; the message names some."


class SiteServerError(StageError):
    """The site's server could not be started."""

    remedy = "Stop what uses the port, then run again."


class Site(Artifact):
    """HTML files `html/**`, to be served under the host name `host`."""

    stage, role, revision = "site", "site", 1

    @property
    def host(self) -> str:
        return str(self.record.config["host"])

    def page_bytes(self) -> float:
        """Size of all pages; in a plan what it is expected to be."""
        if not self.exists():
            return self.counts()["bytes"]
        return float(sum(file.bytes for file in self.record.files.values()))

    def seeds(self) -> list[str]:
        """The URLs that a crawl of this site begins with."""
        return [f"http://{self.host}/{start}" for start in self.record.config["start"]]


def build_site(store: Store, config: SiteConfig, compute: Compute) -> Site:
    """The site of the configuration. Raises InputError if one of its folders is not there."""
    if config.kind == "pdoc":
        content = versions_of(config.modules)
        build = partial(_build_from_modules, config=config, compute=compute)
        return store.make(Site, config, {}, build, content=content, work=partial(_work_of_modules, config))
    pages = pages_of(config.folders)
    content = {"folders": _digest(pages)}
    build = partial(_build_from_folders, config=config, pages=pages)
    return store.make(Site, config, {}, build, content=content, work=partial(_work_of_folders, pages))


def _work_of_modules(config: SiteConfig) -> Work:
    """Guessed from the size of the modules' source; nothing is imported."""
    sizes = [
        path.stat().st_size for name in config.modules for path in source_files(name, config.exclude).values()
    ]
    least = config.least_characters * SOURCE_PER_CHARACTER
    return {
        "modules": len(sizes),
        "source_bytes": sum(sizes),
        "pages": max(1, sum(size >= least for size in sizes)),
        "bytes": sum(sizes) * PAGE_BYTES_PER_SOURCE_BYTE,
    }


def _work_of_folders(pages: Mapping[str, Path]) -> Work:
    packed = {path for path in pages.values() if path.suffix == ".gz"}
    size = sum(path.stat().st_size * (HTML_PACKED if path in packed else 1) for path in pages.values())
    return {"pages": len(pages), "bytes": size}


def versions_of(modules: tuple[str, ...]) -> dict[str, str]:
    """The versions of pdoc and of all distributions that `modules` come from, by name.

    The standard library's is Python's; a module that is not installed has the version "missing".
    """
    found = {"pdoc": importlib.metadata.version("pdoc")}
    providers: Mapping[str, list[str]] | None = None
    for package in dict.fromkeys(name.partition(".")[0] for name in modules):
        if package in sys.stdlib_module_names:
            found["python"] = platform.python_version()
            continue
        providers = providers or importlib.metadata.packages_distributions()
        for distribution in sorted(set(providers.get(package, []))):
            found[distribution] = importlib.metadata.version(distribution)
        if package not in providers:
            found[package] = "missing"
    return found


def _build_from_modules(attempt: Attempt, config: SiteConfig, compute: Compute) -> Made:
    shards = {
        name: {
            "entry": name,
            "exclude": list(config.exclude),
            "least_characters": config.least_characters,
            "output": "html",
        }
        for name in config.modules
    }
    records = compute.map_shards(attempt, "render", shards, render_modules)
    files = files_of(records)
    for record in records:
        _tell_left_out(attempt, record.identity, files)
    pages = sorted(name.removeprefix("html/") for name in files if name.endswith(".html"))
    if not pages:
        raise NoPageError(
            f"no page was rendered from {', '.join(config.modules)}: no module could be imported, or none "
            f"has {config.least_characters} characters of documentation; the log {attempt.log} says why"
        )
    files = {name: file for name, file in files.items() if name.startswith("html/")}
    if "index.html" not in pages:
        index = attempt.path("html/index.html")
        index.write_bytes(index_page(pages))
        files["html/index.html"] = attempt.publish(index)
    _check_start(config, files)
    return Made(files=files, counts=counts_of(records), incomplete=any_lost(records))


def _tell_left_out(attempt: Attempt, entry: str, files: Mapping[str, File]) -> None:
    file = files.get(f"left-out/{entry}.json")
    if file is None:
        return
    faults = json.loads(attempt.storage.read(f"{attempt.base}/{file.path}"))
    log.warning("%s: %d modules left out", entry, len(faults))
    for name, reason in faults.items():
        log.warning("left out %s (%s)", name, reason)


def index_page(pages: list[str]) -> bytes:
    """A page with a link to each of `pages` (paths relative to it)."""
    names = [page.removesuffix(".html").replace("/", ".") for page in pages]
    items = "\n".join(
        f'<li><a href="{html.escape(page)}">{html.escape(name)}</a></li>'
        for page, name in zip(pages, names, strict=True)
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Documentation</title></head>\n'
        f"<body>\n<h1>Documentation</h1>\n<ul>\n{items}\n</ul>\n</body>\n</html>\n"
    ).encode()


def pages_of(folders: tuple[SiteFolder, ...]) -> dict[str, Path]:
    """HTML files of the folders by their path in the site, sorted. Links are followed, loops are not.

    A page that is packed (page.html.gz) is there under the name that links use (page.html).
    Raises FolderMissingError and SamePageError.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        root = Path(folder.path).expanduser()
        if not root.is_dir():
            advice = f"install it: apt install {folder.package}" if folder.package else "correct site.folders"
            raise FolderMissingError(f"the folder {root} of the site is not on this machine; {advice}")
        for path in _files_below(root):
            relative = path.relative_to(root)
            name = relative.as_posix().removesuffix(".gz")
            if not name.endswith(PAGE_SUFFIXES) or not fnmatch.fnmatchcase(name, folder.pattern):
                continue
            target = f"{folder.at}/{name}".lstrip("/")
            if target in found and found[target].parent != path.parent:
                raise SamePageError(
                    f"{found[target]} and {path} would be the same page {target}: give one an `at`"
                )
            if path.suffix != ".gz" or target not in found:
                found[target] = path
    return dict(sorted(found.items()))


def _files_below(root: Path) -> Iterator[Path]:
    """Files below `root` in the order of their names, through links to folders too."""
    seen: set[str] = set()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (path for name in sorted(names) if (path := Path(place, name)).is_file())


def _digest(pages: Mapping[str, Path]) -> str:
    """SHA-256 over the pages' paths in the site and their content."""
    digest = hashlib.sha256()
    for name, path in pages.items():
        digest.update(f"{name}\0{hashlib.sha256(_content(path)).hexdigest()}\n".encode())
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _build_from_folders(attempt: Attempt, config: SiteConfig, pages: Mapping[str, Path]) -> Made:
    if not pages:
        places = ", ".join(f"{folder.path} ({folder.pattern})" for folder in config.folders)
        raise NoPageError(f"no file that ends in {', '.join(PAGE_SUFFIXES)} is in {places}")
    for name, path in pages.items():
        attempt.path(f"html/{name}").write_bytes(_content(path))
    files = attempt.publish_folder("html")
    _check_start(config, files)
    return Made(files=files, counts={"pages": len(files)})


def _check_start(config: SiteConfig, files: Mapping[str, File]) -> None:
    for start in config.start:
        page = f"{start}index.html" if start == "" or start.endswith("/") else start
        if f"html/{page}" not in files:
            some = ", ".join(name.removeprefix("html/") for name in sorted(files)[:5])
            raise StartMissingError(
                f"site.start names {start!r}, but the site has no page {page}; it has {some}, …"
            )


@contextlib.contextmanager
def serve(site: Site, port: int | None = None) -> Iterator[str]:
    """Serve the site on the loopback address; yields `127.0.0.1:<port>`, a free port unless one is given.

    The server is a child process that ends with the `with` block, or when this process dies.
    Raises SiteServerError if it cannot listen.
    """
    files = {name.removeprefix("html/"): str(site.path(name)) for name in site.names("html/")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "crawler.site_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps({"port": port or 0, "files": files}).encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_SECONDS)
        answer = process.stdout.readline().decode().strip() if ready else "error: no answer"
        if not answer.isdigit():
            reason = answer.removeprefix("error: ") or "it ended at once"
            raise SiteServerError(
                f"the site's server cannot listen on 127.0.0.1:{port or 'any port'}: {reason}; "
                "stop what uses the port, or choose another"
            )
        yield f"127.0.0.1:{answer}"
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
