"""EPUB: the chapters in the order of the spine, as Markdown; title, author, date, licence from the OPF."""

import io
import posixpath
import urllib.parse
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import lxml.etree

from pipeline.corpus.markdown import one_line, write_markdown
from pipeline.corpus.metadata import iso_date, stated
from pipeline.corpus.readers.read import Extracted, TooLargeError, UnreadableError

if TYPE_CHECKING:
    from lxml.etree import _Element

CONTAINER = "META-INF/container.xml"
UNPACKED_BYTES = 64_000_000
"""Of a book's chapters together. The longest novels have under 10 million; a zip bomb has thousands."""
CHAPTERS = {"application/xhtml+xml", "text/html"}


def read_epub(data: bytes) -> Extracted:
    """The whole book as one document. Raises UnreadableError, or TooLargeError if it unpacks to too much."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            book = _Book(archive)
            package_path = book.package_path()
            package = book.xml(package_path)
            folder = posixpath.dirname(package_path)
            chapters = [book.chapter(path) for path in _spine(package, folder)]
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        # RuntimeError: encrypted; KeyError: a file that the book names is not in it.
        raise UnreadableError(f"not an EPUB that can be read: {type(error).__name__}: {error}") from error
    except lxml.etree.XMLSyntaxError as error:
        raise UnreadableError(f"the book's description is not XML: {error}") from error
    authors = "; ".join(dict.fromkeys(_dublin_core(package, "creator")))
    return Extracted(
        next(_dublin_core(package, "title"), ""),
        "\n\n".join(filter(None, chapters)),
        stated(next(_dublin_core(package, "language"), None)),
        stated(authors),
        next(filter(None, map(iso_date, _dublin_core(package, "date"))), None),
        _licence(package),
        nuls=book.nuls,
    )


def _root(archive: zipfile.ZipFile) -> str:
    """The folder that all paths begin with: none, or the one that some packers put the whole book into."""
    names = archive.namelist()
    found = [name for name in names if name.endswith(f"/{CONTAINER}")]
    if CONTAINER in names:
        return ""
    if len(found) != 1:
        raise UnreadableError(f"there is no {CONTAINER} in it, so it is no EPUB")
    return found[0].removesuffix(CONTAINER)


class _Book:
    """An archive of which no more than UNPACKED_BYTES are ever unpacked, whatever it says of its sizes."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive, self.left, self.nuls = archive, UNPACKED_BYTES, 0
        self.root = _root(archive)

    def read(self, path: str) -> bytes:
        with self.archive.open(self.root + path) as file:
            data = file.read(self.left + 1)
        if len(data) > self.left:
            raise TooLargeError(f"the book unpacks to over {UNPACKED_BYTES} bytes")
        self.left -= len(data)
        return data

    def xml(self, path: str) -> "_Element":
        parser = lxml.etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
        root = lxml.etree.fromstring(self.read(path), parser)
        if root is None:
            raise UnreadableError(f"{path} holds no XML")
        return root

    def package_path(self) -> str:
        """Where the book's description lies (EPUB 3.3, Open Container Format)."""
        for file in self.xml(CONTAINER).iter("{*}rootfile"):
            if path := file.get("full-path"):
                return str(path)
        raise UnreadableError(f"{CONTAINER} names no package")

    def chapter(self, path: str) -> str:
        from pipeline.corpus.charset import decode
        from pipeline.corpus.extractors import parse

        decoded = decode(self.read(path), None)
        self.nuls += decoded.count("\0")
        tree = parse(decoded)
        body = None if tree is None else tree.find("body")
        return "" if body is None else write_markdown(body)


def _spine(package: "_Element", folder: str) -> Iterator[str]:
    """Paths of the chapters, in reading order; the table of contents is none."""
    items = {item.get("id"): item for item in package.iter("{*}item")}
    for reference in package.iter("{*}itemref"):
        item = items.get(reference.get("idref"))
        if item is None or item.get("media-type") not in CHAPTERS:
            continue
        if "nav" not in (item.get("properties") or "").split() and reference.get("linear") != "no":
            href = urllib.parse.unquote(item.get("href") or "")
            yield posixpath.normpath(posixpath.join(folder, href))


def _dublin_core(package: "_Element", name: str) -> Iterator[str]:
    for element in package.iter(f"{{http://purl.org/dc/elements/1.1/}}{name}"):
        if text := one_line("".join(element.itertext())):
            yield text


def _licence(package: "_Element") -> str | None:
    """A link to the licence, or the statement of rights."""
    links: list[Any] = [
        link.get("href")
        for link in package.iter("{*}link")
        if {"cc:license", "dcterms:license", "license"} & set((link.get("rel") or "").split())
    ]
    named = [
        "".join(meta.itertext())
        for meta in package.iter("{*}meta")
        if meta.get("property") in {"dcterms:license", "cc:license"}
    ]
    return next(filter(None, map(stated, [*links, *named, *_dublin_core(package, "rights")])), None)
