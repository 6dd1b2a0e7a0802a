"""From the bytes of a page to its text: which character encoding, and what is wrong with it set right."""

import codecs
import re

from pipeline.corpus.damage import REPLACEMENT

BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
META_BYTES = 4096
"""Browsers look at the first 1,024 bytes for a declaration; real pages have it later too."""
META = re.compile(
    rb"""<(?:meta\b[^>]*?charset|\?xml\b[^>]*?encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
BEYOND_ASCII = re.compile(rf"[^\x00-\x7f{REPLACEMENT}]")
DAMAGED_UTF8 = 3
"""So many characters beyond ASCII for each one that is broken make damaged UTF-8. In other encodings they are
UTF-8 by accident: in Chinese GBK one for each five that are not, in the others fewer."""
# What browsers read where a page names the left: a page that says ISO-8859-1 holds windows-1252.
READ_AS = {
    "iso-8859-1": "windows-1252",
    "latin-1": "windows-1252",
    "latin1": "windows-1252",
    "us-ascii": "windows-1252",
    "ascii": "windows-1252",
    "iso-8859-9": "windows-1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
}


def decode(page: bytes, declared: str | None) -> str:
    """The text of an HTML page whose HTTP header named the encoding `declared` (or None).

    In this order: the byte order mark, UTF-8 where the bytes beyond ASCII are valid UTF-8, but for a
    few (no text in another encoding is, by accident), HTTP header, `<meta>`, detection by the bytes.
    Bytes that the encoding does not know become U+FFFD; nothing is raised.
    """
    for mark, encoding in BOMS:
        if page.startswith(mark):
            return page[len(mark) :].decode(encoding, "replace")
    candidates = [name for name in (declared, _meta_charset(page)) if name]
    if b"\0" not in page and not page.isascii():
        text = page.decode("utf-8", "replace")
        if len(BEYOND_ASCII.findall(text)) >= DAMAGED_UTF8 * text.count(REPLACEMENT):
            return text
    for name in candidates:
        try:
            return page.decode(READ_AS.get(name.lower(), name))
        except (LookupError, UnicodeError):
            continue
    return page.decode(_detected(page), "replace")


def _meta_charset(page: bytes) -> str | None:
    found = META.search(page[:META_BYTES])
    if found is None:
        return None
    name = found[1].decode("ascii", "replace")
    # A declaration that could be read as ASCII cannot be in UTF-16 (HTML standard, 13.2.3.2).
    return "utf-8" if name.lower().startswith("utf-16") else name


def _detected(page: bytes) -> str:
    """The likeliest encoding by the bytes alone; windows-1252 where a Python codec is missing."""
    from resiliparse.parse.encoding import detect_encoding

    name = detect_encoding(page) or "utf-8"
    try:
        return codecs.lookup(READ_AS.get(name.lower(), name)).name
    except LookupError:
        return "windows-1252"
