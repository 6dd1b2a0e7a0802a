"""The formats that a source may have, and how a file's is told. Imports nothing heavy."""

from pathlib import Path
from typing import Literal, get_args

Format = Literal["text", "markdown", "html", "pdf", "epub", "jsonl", "parquet", "warc"]
FORMATS: tuple[str, ...] = get_args(Format)
CONTAINERS = frozenset({"jsonl", "parquet", "warc"})
"""Formats of which a file holds many documents; of all others a file is one."""

ENDINGS: dict[str, Format] = {
    ".txt": "text",
    ".text": "text",
    ".rst": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".epub": "epub",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson.gz": "jsonl",
    ".jsonl.zst": "jsonl",
    ".parquet": "parquet",
    ".warc": "warc",
    ".warc.gz": "warc",
    ".wet": "warc",
    ".wet.gz": "warc",
}
CONTENT_TYPES: dict[str, Format] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/plain": "text",
    "text/markdown": "markdown",
    "application/pdf": "pdf",
    "application/epub+zip": "epub",
}
FIRST_BYTES = 1024


def format_by_name(name: str) -> Format | None:
    """By the end of the file's name."""
    for ending in sorted(ENDINGS, key=len, reverse=True):
        if name.lower().endswith(ending):
            return ENDINGS[ending]
    return None


def format_of(path: Path, name: str) -> Format | None:
    """By the file's name; where that says nothing by its first bytes. None if neither does."""
    if named := format_by_name(name):
        return named
    with path.open("rb") as file:
        return sniffed(file.read(FIRST_BYTES))


def sniffed(start: bytes) -> Format | None:
    """The format of a file that begins so."""
    head = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"%PDF-"):
        return "pdf"
    if start.startswith(b"PK\x03\x04") and b"application/epub+zip" in start[:100]:
        return "epub"
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"WARC/"):
        return "warc"
    if head.startswith((b"<!doctype html", b"<html")):
        return "html"
    return None
