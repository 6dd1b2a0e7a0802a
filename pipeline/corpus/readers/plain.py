"""Text and Markdown: nothing is taken out, but what cannot be seen."""

import re

from pipeline.corpus.charset import decode
from pipeline.corpus.markdown import BLANK_LINES, one_line, tidy
from pipeline.corpus.metadata import iso_date, stated
from pipeline.corpus.readers.read import Extracted, UnreadableError

CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
CONTROL_SHARE, CONTROL_CHARACTERS = 0.005, 5
"""Text has hardly any control characters (NUL bytes among them); what has more is something else."""
FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
FIELD = re.compile(r"^(\w+)[ \t]*:[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
HEADING = re.compile(r"^#[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)


def read_plain(data: bytes, charset: str | None, markdown: bool) -> Extracted:
    """The text as it is, in composed characters; of Markdown the front matter is read and taken off.

    Raises UnreadableError if the file is not text.
    """
    text = decode(data, charset)
    control = len(CONTROL.findall(text))
    if control > max(CONTROL_CHARACTERS, CONTROL_SHARE * len(text)):
        raise UnreadableError(f"{control} of {len(text)} characters are control characters: no text")
    nuls = text.count("\0")
    text = BLANK_LINES.sub("\n\n", TRAILING.sub("", tidy(text))).strip("\n")
    if not markdown:
        return Extracted("", text, nuls=nuls)
    fields: dict[str, str] = {}
    if front := FRONT_MATTER.match(text):
        fields = {name.lower(): value.strip("\"'") for name, value in FIELD.findall(front[1])}
        text = text[front.end() :].strip("\n")
    heading = HEADING.search(text)
    return Extracted(
        one_line(fields.get("title") or (heading[1] if heading else "")),
        text,
        stated(fields.get("lang") or fields.get("language")),
        stated(fields.get("author") or fields.get("authors")),
        iso_date(fields.get("date")),
        stated(fields.get("license") or fields.get("licence")),
        nuls=nuls,
    )
