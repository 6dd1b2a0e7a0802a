"""PDF: lines put together to headings and paragraphs; what repeats at the pages' edges is left out.

pypdfium2 gives a page's characters in reading order with their places and sizes. What a PDF has no
notion of is inferred: a paragraph ends where the gap below a line is wider than usual or the next
line is indented; a heading is short and set larger than most of the text; a word that is cut by a
hyphen at a line's end is joined, unless the document has it with its hyphen elsewhere.
"""

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pipeline.corpus.markdown import one_line, tidy
from pipeline.corpus.metadata import iso_date, stated
from pipeline.corpus.readers.read import Extracted, UnreadableError

LINE_END = re.compile(r"\r\n|\r|\n|(?<=\ufffe)")
CUT = ("\ufffe", "\x02", "\xad", "-", "\u2010")
"""What ends a line whose last word goes on in the next. pdfium writes U+FFFE where it is sure."""
HEADING_SIZE = 1.15
"""A heading's letters are that much larger than those of most of the text."""
HEADING_CHARACTERS, HEADING_LEVELS = 160, 3
GAP, INDENT = 1.4, 0.8
"""A paragraph ends where the next line is farther than 1.4 usual distances, or indented by .8 sizes."""
EDGE_LINES, EDGE_PAGES = 2, 3
EDGE_SHARE = 0.3
"""A running head is among a page's two first or last lines, on three pages and three in ten at least."""
NUMBER_ALONE = re.compile(
    r"[\W_]*(?:\w+\.?\s+)?(?:\d{1,5}|[ivxlc]{1,7})(?:\s*(?:/|of|de|von|sur)\s*\d+)?[\W_]*", re.IGNORECASE
)
XMP_LICENCE = re.compile(
    rb"<(?:cc:license\s+rdf:resource=\"([^\"<]+)\"|xmpRights:WebStatement>([^<]+)<|dcterms:license>([^<]+)<)"
)


@dataclass(frozen=True)
class Line:
    """A line of a page; lengths in points, from the page's lower left."""

    text: str
    size: float
    """Of its letters."""
    left: float
    top: float
    bottom: float


def read_pdf(data: bytes) -> Extracted:
    """The document's text, empty where its pages are pictures. Raises UnreadableError."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise UnreadableError(f"not a PDF that can be read: {error}") from error
    with document:
        pages = [_lines(page) for page in document]
        stated_in = document.get_metadata_dict()
        language = _language(document)
    licence = XMP_LICENCE.search(data)
    return Extracted(
        one_line(stated_in.get("Title", "")),
        "\n\n".join(_blocks(_without_edges(pages))),
        language,
        stated(stated_in.get("Author")),
        iso_date(stated_in.get("CreationDate")),
        stated(next(filter(None, licence.groups())).decode("utf-8", "replace")) if licence else None,
    )


def _lines(page: Any) -> list[Line]:
    import pypdfium2.raw as raw

    text_page = page.get_textpage()
    text = text_page.get_text_range()
    found: list[Line] = []
    at = 0
    for part in LINE_END.split(text):
        inside = [at + number for number, letter in enumerate(part) if not letter.isspace()]
        # The parts are cut at line ends of one or two characters, or at none.
        at += len(part)
        at += 2 if text.startswith("\r\n", at) else 1 if text.startswith(("\r", "\n"), at) else 0
        if not inside:
            continue
        left, bottom, _, top = text_page.get_charbox(inside[0], loose=True)
        size = raw.FPDFText_GetFontSize(text_page.raw, inside[len(inside) // 2])
        # Some writers set all letters at size 1 and scale the page instead.
        found.append(Line(part.strip(), size if size > 2 else round(top - bottom, 1), left, top, bottom))
    return found


def _without_edges(pages: Sequence[list[Line]]) -> list[list[Line]]:
    """The pages without running heads, running feet and page numbers."""
    body = _body_size(pages)

    def key(line: Line) -> str:
        # A running head may count pages; "Chapter 1" and "Chapter 2", set large, are no such thing.
        heading = line.size >= HEADING_SIZE * body
        return line.text if heading else re.sub(r"\d+", "#", line.text).lower()

    repeated = Counter(each for page in pages for each in {key(line) for _, line in _edges(page)})
    least = max(EDGE_PAGES, EDGE_SHARE * len(pages))

    def running(line: Line) -> bool:
        number = line.size < HEADING_SIZE * body and NUMBER_ALONE.fullmatch(line.text)
        return bool(number) or repeated[key(line)] >= least

    kept = []
    for page in pages:
        dropped = {number for number, line in _edges(page) if running(line)} if len(pages) > 1 else set()
        kept.append([line for number, line in enumerate(page) if number not in dropped])
    return kept


def _edges(page: Sequence[Line]) -> list[tuple[int, Line]]:
    numbered = list(enumerate(page))
    return numbered[:EDGE_LINES] + numbered[EDGE_LINES:][-EDGE_LINES:]


def _body_size(pages: Sequence[list[Line]]) -> float:
    """The size that most of the text is set in."""
    weights: Counter[float] = Counter()
    for page in pages:
        for line in page:
            weights[round(line.size, 1)] += len(line.text)
    return weights.most_common(1)[0][0] if weights else 0.0


def _blocks(pages: Sequence[list[Line]]) -> Iterator[str]:
    """Headings and paragraphs as Markdown, in reading order."""
    lines = [line for page in pages for line in page]
    levels = _heading_levels(lines, _body_size(pages))
    hyphened = {word for line in lines for word in re.findall(r"\w+-\w+", line.text)}
    for level, inside in _grouped(pages, levels):
        text = tidy(_joined([line.text for line in inside], hyphened)).strip()
        if text:
            yield f"{'#' * level} {text}" if level else text


def _heading_levels(lines: Iterable[Line], body: float) -> dict[float, int]:
    """Size of letters → level of the headings set in it; the largest is the first level."""
    sizes = {round(line.size, 1) for line in lines if len(line.text) <= HEADING_CHARACTERS}
    larger = sorted((size for size in sizes if size >= HEADING_SIZE * body), reverse=True)
    return {size: min(number, HEADING_LEVELS) for number, size in enumerate(larger, 1)}


def _grouped(pages: Sequence[list[Line]], levels: dict[float, int]) -> Iterator[tuple[int, list[Line]]]:
    """Lines that belong together, each group with its heading's level or 0. A paragraph may span pages."""
    group: list[Line] = []
    level = 0
    usual = _usual_distance(pages)
    for page in pages:
        for number, line in enumerate(page):
            own = levels.get(round(line.size, 1), 0) if len(line.text) <= HEADING_CHARACTERS else 0
            before = group[-1] if group else None
            goes_on = before is not None and own == level
            if goes_on and before is not None:
                goes_on = _goes_on(before, line, usual) if number else _goes_on_over_page(before, line, own)
            if group and not goes_on:
                yield level, group
                group = []
            group.append(line)
            level = own
    if group:
        yield level, group


def _usual_distance(pages: Sequence[list[Line]]) -> float:
    """From a line to the next, in sizes of its letters."""
    found = [
        (above.bottom - below.bottom) / above.size
        for page in pages
        for above, below in pairwise(page)
        if above.size and above.bottom > below.bottom
    ]
    return statistics.median_low(found) if found else 1.2


def _goes_on(above: Line, below: Line, usual: float) -> bool:
    distance = above.bottom - below.bottom
    if distance < 0:  # the next column
        return not _ends_sentence(above.text)
    indented = 0 < below.left - above.left - INDENT * above.size < 10 * above.size
    return distance <= GAP * usual * above.size and not (indented and _ends_sentence(above.text))


def _goes_on_over_page(above: Line, below: Line, level: int) -> bool:
    return (
        not level
        and not _ends_sentence(above.text)
        and (below.text[:1].islower() or above.text.endswith(CUT))
    )


def _ends_sentence(text: str) -> bool:
    return text.rstrip("\"'”’»)]").endswith((".", "!", "?", ":", ";"))


def _joined(lines: Sequence[str], hyphened: set[str]) -> str:
    """The lines as one, words put together that a line's end had cut."""
    text = lines[0]
    for line in lines[1:]:
        if text.endswith(CUT) and text[-2:-1].isalpha() and line[:1].islower():
            first, second = re.findall(r"\w+$", text[:-1]), re.findall(r"^\w+", line)
            keep = bool(first and second) and f"{first[0]}-{second[0]}" in hyphened
            text = f"{text[:-1]}{'-' if keep else ''}{line}"
        else:
            text = f"{text} {line}"
    return " ".join(text.replace("\ufffe", "-").replace("\x02", "-").split())


def _language(document: Any) -> str | None:
    import ctypes

    import pypdfium2.raw as raw

    length = raw.FPDFCatalog_GetLanguage(document.raw, None, 0)
    if length <= 2:
        return None
    buffer = ctypes.create_string_buffer(length)
    raw.FPDFCatalog_GetLanguage(document.raw, ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), length)
    return stated(buffer.raw.decode("utf-16-le", "replace").rstrip("\0"))
