"""What extraction takes with a library alone: read a WARC, hand each page to the library, write JSON lines.

Run as `python -m tests.benchmarks.reference_extraction LIBRARY WARC OUTPUT`.
"""

import json
import sys
from collections.abc import Callable

from fastwarc.warc import ArchiveIterator, WarcRecordType


def trafilatura() -> Callable[[bytes], str]:
    """The text alone, as Markdown, in the library's own fast mode."""
    from trafilatura import extract

    return lambda html: extract(html, output_format="markdown", fast=True, include_comments=False) or ""


def trafilatura_with_metadata() -> Callable[[bytes], str]:
    from trafilatura import extract

    return lambda html: (
        extract(html, output_format="markdown", fast=True, include_comments=False, with_metadata=True) or ""
    )


def resiliparse() -> Callable[[bytes], str]:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    return lambda html: extract_plain_text(bytes_to_str(html, detect_encoding(html)), main_content=True)


LIBRARIES = {
    "trafilatura": trafilatura,
    "trafilatura-with-metadata": trafilatura_with_metadata,
    "resiliparse": resiliparse,
}


def main(library: str, warc: str, output: str) -> None:
    read = LIBRARIES[library]()
    with open(output, "w", encoding="utf-8") as lines:
        for record in ArchiveIterator(warc, record_types=WarcRecordType.response):
            text = read(record.reader.read())
            url = record.headers["WARC-Target-URI"]
            lines.write(json.dumps({"url": url, "text": text}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
