"""Writes an extractor's tree as text that reads like Markdown: headings, lists, tables, fenced code.

trafilatura's own Markdown escapes underscores and glues fences to the paragraph that follows;
this small writer takes the tree that it found instead. Nothing is escaped: the text is for a
language model and its readers, not for a renderer.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import _Element

HEADING_LEVELS = {f"h{level}": level for level in range(1, 7)}
LISTS = {"list", "ul", "ol", "dl"}
ITEMS = {"item", "li", "dt", "dd"}
TABLES = {"table"}
QUOTES = {"quote", "blockquote"}
CONTAINERS = {"p", "div", "body", "main", "section", "article", "html", "figure", "details", "summary"}
BLOCKS = {"head", "pre", *HEADING_LEVELS, *LISTS, *ITEMS, *TABLES, *QUOTES, *CONTAINERS}
LINE_BREAKS = {"lb", "br"}
SILENT = {"graphic", "img", "script", "style"}
LANGUAGE_CLASS = re.compile(r"\b(?:language|lang|highlight)-(\w+)")

LINE_END = "\ue000"
"""Stands for a line end to be kept, through extractors that take newlines for spaces (private use)."""
SPACES = re.compile(r"[^\S\n]+")
BREAKS = re.compile(r" *\n *")
RULED_LINES = re.compile(r"^[+=~^-]{4,}(?: [+=~^-]+)*(?:\n|$)", re.MULTILINE)
"""The borders of tables drawn in text, as reStructuredText has them."""
BLANK_LINES = re.compile(r"\n{3,}")
OTHER_LINE_ENDS = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
# Control characters, soft hyphens, zero-width characters and marks of direction, noncharacters.
UNSEEN = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u2060\ufeff\ufffe\uffff\ud800-\udfff\ue000]"
)


def write_markdown(body: "_Element") -> str:
    """The text below `body`: blocks between blank lines, without any that only repeats the one before."""
    kept: list[str] = []
    for block in _blocks(body):
        if not kept or kept[-1] != block:
            kept.append(block)
    return BLANK_LINES.sub("\n\n", tidy("\n\n".join(kept))).strip("\n")


def tidy(text: str) -> str:
    """Composed characters (NFC), newlines as the only line ends, nothing that cannot be seen."""
    text = OTHER_LINE_ENDS.sub("\n", text)
    return unicodedata.normalize("NFC", UNSEEN.sub("", text))


def one_line(text: str) -> str:
    return " ".join(tidy(text).split())


def _blocks(element: "_Element") -> Iterator[str]:
    """The blocks inside an element; text between its block children makes paragraphs of its own."""
    inline = [element.text or ""]
    for child in element:
        if _is_block(child):
            yield from _paragraph(inline)
            inline = []
            yield from _block(child)
        else:
            inline.append(_inline(child))
        inline.append(child.tail or "")
    yield from _paragraph(inline)


def _is_block(element: "_Element") -> bool:
    if element.tag == "code":
        return "\n" in "".join(element.itertext()) or element.find("code") is not None
    return element.tag in BLOCKS or any(child.tag in BLOCKS for child in element.iterdescendants())


def _paragraph(pieces: Iterable[str]) -> Iterator[str]:
    text = _flow("".join(pieces))
    if text:
        yield text


def _flow(text: str) -> str:
    """Source line ends are spaces; what was a line break in the page is LINE_END."""
    text = SPACES.sub(" ", text.replace("\n", " ").replace(LINE_END, "\n"))
    return RULED_LINES.sub("", BREAKS.sub("\n", text)).strip()


def _inline(element: "_Element") -> str:
    if element.tag in LINE_BREAKS:
        return LINE_END
    if element.tag in SILENT:
        return ""
    if element.tag == "code":
        code = " ".join("".join(element.itertext()).split())
        return f"`{code}`" if code and "`" not in code else code
    return (element.text or "") + "".join(_inline(child) + (child.tail or "") for child in element)


def _block(element: "_Element") -> Iterator[str]:
    tag = element.tag
    if tag == "head" or tag in HEADING_LEVELS:
        yield from _heading(element)
    elif tag in {"code", "pre"}:
        yield from _fence(element)
    elif tag in LISTS:
        yield from _list(element)
    elif tag in TABLES:
        yield from _table(element)
    elif tag in QUOTES:
        quoted = "\n\n".join(_blocks(element))
        if quoted:
            yield "\n".join(f"> {line}".rstrip() for line in quoted.split("\n"))
    else:
        yield from _blocks(element)


def _heading(element: "_Element") -> Iterator[str]:
    text = _flow(_inline(element)).replace("\n", " ")
    if text:
        level = HEADING_LEVELS.get(str(element.get("rend") or element.tag), 2)
        yield f"{'#' * level} {text}"


def _fence(element: "_Element") -> Iterator[str]:
    code = OTHER_LINE_ENDS.sub("\n", "".join(element.itertext())).strip("\n").rstrip()
    if not code.strip():
        return
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    named = LANGUAGE_CLASS.search(element.get("class") or "")
    yield f"{fence}{named[1] if named else ''}\n{code.expandtabs(4)}\n{fence}"


def _list(element: "_Element") -> Iterator[str]:
    ordered = element.tag == "ol" or element.get("rend") == "ol"
    lines: list[str] = []
    number = 0
    for item in element:
        content = "\n\n".join(_blocks(item))
        if not content:
            continue
        number += 1
        described = item.tag == "dd" or str(item.get("rend") or "").startswith("dd")
        marker = "  " if described else f"{number}. " if ordered else "- "
        lines.append(marker + content.replace("\n", "\n" + " " * len(marker)).replace("\n\n\n", "\n\n"))
    if lines:
        yield re.sub(r"\n +(?=\n)", "\n", "\n".join(lines))


def _table(element: "_Element") -> Iterator[str]:
    rows = [
        [one_line(_inline(cell)) for cell in row if cell.tag in {"cell", "td", "th"}]
        for row in element.iter("row", "tr")
    ]
    rows = [row for row in rows if any(row)]
    width = max((len(row) for row in rows), default=0)
    if width == 1:
        # A table of one column is there for the page's layout, not for its meaning.
        yield from (row[0] for row in rows)
    elif width > 1:
        lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
        lines.insert(1, f"|{'---|' * width}")
        yield "\n".join(lines)
