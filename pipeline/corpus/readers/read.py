"""What every reader gives back, and which reader reads which format. Runs in the extractor's process."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.corpus.formats import Format


@dataclass(frozen=True)
class Extracted:
    """What was read from a document. `text` is empty where it has no main text."""

    title: str
    text: str
    language: str | None = None
    """The language that the document names itself, as it names it."""
    author: str | None = None
    """Several are joined by `; `."""
    date: str | None = None
    """ISO 8601, as much as is stated: `2021`, `2021-03` or `2021-03-04`."""
    licence: str | None = None
    """As the document states it, most often a URL. Never guessed."""
    metas: Sequence[tuple[str, str]] = ()
    """Of an HTML page the meta elements that may say how it may be used: name in lower case and content."""
    nuls: int = 0
    """NUL characters that were taken out."""
    thread: bool = False
    """Whether `text` is laid out as a thread (see threads.py)."""


class UnreadableError(Exception):
    """The document is not what its format says, or hides its text: damaged, encrypted, binary."""

    reason = "unreadable"


class TooDeepError(UnreadableError):
    """The page nests more elements than the parser keeps."""

    reason = "too-deep"


class TooLargeError(UnreadableError):
    """What the document holds packed is over the limit."""

    reason = "too-large"


@dataclass(frozen=True)
class Reading:
    """How a document is to be read."""

    format: Format
    charset: str | None = None
    """The encoding that the one who delivered it named."""
    threads: bool = False
    """Whether an HTML page may be a thread: who asks and who answers is then kept."""
    expected: bool = False
    """Whether it most likely is one, as it is from a source of threads: its structure is enough to tell."""


def read(data: bytes, reading: Reading, extractor: str) -> Extracted:
    """The document's text, and what it says of itself. Raises UnreadableError; other faults travel."""
    match reading.format:
        case "html":
            from pipeline.corpus.extractors import extract_page

            return extract_page(data, reading.charset, extractor, reading.threads, reading.expected)
        case "pdf":
            from pipeline.corpus.readers.pdf import read_pdf

            return read_pdf(data)
        case "epub":
            from pipeline.corpus.readers.epub import read_epub

            return read_epub(data)
        case "text" | "markdown":
            from pipeline.corpus.readers.plain import read_plain

            return read_plain(data, reading.charset, markdown=reading.format == "markdown")
        case container:
            raise UnreadableError(f"a {container} file holds documents and is none itself")
