"""What the crawler reads in a page: its links, its meta elements, its language.

Tags are found as the HTML Standard's tokenizer finds them (section 13.2.5), and no tree is built of
them. A tree is what a hostile page attacks: 75 kB of `<font size=1><p><font size=2><p>…` cost
lexbor 18 seconds and 2.9 GB, as the standard has each open `font` opened again in every paragraph.
Here time and memory grow with the length of the page alone, at most 0.2 s a MB for the worst
that was tried, 20 ms a MB for usual pages (lexbor: 12 ms).

What a tree would tell besides: that a link stands in a `select`, a `template` or a `frame` outside
of its frameset, where browsers show none. It is followed all the same.
"""

import html
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.entities import html5
from typing import TYPE_CHECKING

from crawler.urls import joined

if TYPE_CHECKING or sys.version_info >= (3, 11, 5):
    import re
else:  # Debian 12: its `re` fails at nested possessive parts (python/cpython#106052), so no tag is found
    import regex as re

BLANK = r"\t\n\f\r\x20"
VALUE = rf"\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|[^{BLANK}>\"'][^{BLANK}>]*+"
ATTRIBUTE = rf"[{BLANK}/]*+[^{BLANK}/>][^{BLANK}/>=]*+(?:[{BLANK}]*+=[{BLANK}]*+(?:{VALUE})?+)?+"
ATTRIBUTES = rf"(?:{ATTRIBUTE})*+[{BLANK}/]*+"
LINKING = frozenset({"a", "area", "frame", "iframe"})
RAW = ("iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp")
"""Elements in which there are no tags, only their end."""
READ = "|".join(sorted({*LINKING, *RAW, "base", "html", "meta", "plaintext"}))
SKIPPED = re.compile(
    "(?:"
    "[^<]++"  # text
    r"|<!--(?:-?>|.*?(?:--!?>|\Z))"  # a comment, to the end of the page if need be
    rf"|<(?:/|(?!(?:{READ})[{BLANK}/>]))[A-Za-z][^{BLANK}/>]*+{ATTRIBUTES}(?:>|\Z)"  # another tag
    r"|<[!?][^>]*+(?:>|\Z)|</(?![A-Za-z])[^>]*+(?:>|\Z)"  # what the standard calls a bogus comment
    "|(?:<(?=<))++|<(?![A-Za-z!?/<])"  # no tag
    ")*+",
    re.IGNORECASE | re.DOTALL,
)
"""All that lies before the next tag of interest. Its parts give nothing back, so that time is linear."""
OPENING = re.compile(rf"<([A-Za-z][^{BLANK}/>]*+)({ATTRIBUTES})>")
NAME_AND_VALUE = re.compile(
    rf"[{BLANK}/]*+([^{BLANK}/>][^{BLANK}/>=]*+)(?:[{BLANK}]*+=[{BLANK}]*+({VALUE})?+)?+"
)
ENDS = {name: re.compile(rf"</{name}(?=[{BLANK}/>])", re.IGNORECASE) for name in RAW}
IN_SCRIPT = re.compile(rf"<!--|-->|</?script(?=[{BLANK}/>])", re.IGNORECASE)
NO_TEXT = re.compile(
    r"<!--(?:-?>|.*?(?:--!?>|\Z))"
    rf"|<(script|style|noembed|noframes|iframe)(?=[{BLANK}/>]).*?(?:</\1(?=[{BLANK}/>])[^>]*+(?:>|\Z)|\Z)"
    r"|</?[A-Za-z!?][^>]*+(?:>|\Z)",
    re.IGNORECASE | re.DOTALL,
)
"""Comments, tags, and elements whose content is not shown. Time is linear, as above."""
REFERENCE = re.compile(r"&(?:#[xX][0-9A-Fa-f]{1,8};?|#[0-9]{1,8};?|[A-Za-z][A-Za-z0-9]*+(?:;|(?!=)))")


@dataclass(frozen=True)
class Markup:
    """What was read in a page."""

    links: list[str]
    """As written there but joined with its `<base>`, without fragments; each once, in order."""
    metas: list[tuple[str, str]]
    """Name, in lower case, and content of each meta element that has both."""
    language: str | None
    """The `lang` of its `html` element."""


def read_markup(text: str) -> Markup:
    """Never raises, whatever the text is."""
    found: dict[str, None] = {}
    metas: list[tuple[str, str]] = []
    base = language = None
    for name, attributes in tags(text):
        if name in LINKING:
            link = attributes.get("href") or attributes.get("src") or ""
            found[link.partition("#")[0].strip()] = None
        elif name == "meta":
            if "name" in attributes and "content" in attributes:
                metas.append((attributes["name"].strip().lower(), attributes["content"]))
        elif name == "base" and base is None:
            base = attributes.get("href")
        elif name == "html":
            language = attributes.get("lang") if language is None else language
    prefix = (base or "").strip()
    return Markup([joined(prefix, link) if prefix else link for link in found if link], metas, language)


def visible_text(text: str) -> str:
    """Roughly what a page shows, its title included, with single blanks and unresolved references: what
    tells pages apart or in which language they are. 9 ms a MB. Never raises."""
    return " ".join(NO_TEXT.sub(" ", text).split())


def tags(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Name (in lower case) and attributes of each opening tag whose name is in READ."""
    position = 0
    while True:
        skipped = SKIPPED.match(text, position)
        assert skipped is not None  # it matches nothing at all as well
        opening = OPENING.match(text, skipped.end())
        if opening is None:
            return
        name, position = opening[1].lower(), opening.end()
        yield name, _attributes(opening[2])
        if name == "plaintext":
            return
        if name in ENDS:
            end = _script_end(text, position) if name == "script" else ENDS[name].search(text, position)
            if end is None:
                return
            position = end.start()


def _script_end(text: str, position: int) -> re.Match[str] | None:
    """Its end tag. In a comment a script may hold another one (section 13.2.5.17 and what follows it)."""
    in_comment = in_inner = False
    while (found := IN_SCRIPT.search(text, position)) is not None:
        position = found.end()
        match found[0].lower():
            case "<!--":
                in_comment = True
                position -= 2  # its dashes may end it
            case "-->":
                in_comment = in_inner = False
            case "<script":
                in_inner = in_comment
            case _ if not in_inner:
                return found
            case _:
                in_inner = False
    return None


def _attributes(text: str) -> dict[str, str]:
    """Of two with one name the first counts."""
    attributes: dict[str, str] = {}
    for name, value in NAME_AND_VALUE.findall(text):
        if value[:1] in ('"', "'"):
            value = value[1:-1]
        attributes.setdefault(name.lower(), REFERENCE.sub(_character, value) if "&" in value else value)
    return attributes


def _character(reference: re.Match[str]) -> str:
    """In an attribute `&copy` without a semicolon, before a letter, digit or `=`, is no reference: it
    is how `?a=1&copy=2` is often written."""
    text = reference[0]
    return html.unescape(text) if text[1] == "#" or text[1:] in html5 else text
