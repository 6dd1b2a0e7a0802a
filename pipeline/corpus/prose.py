"""A document's text as the quality rules look at it: its words, lines and paragraphs.

The rules were measured on plain text. `of_web` therefore takes only Markdown's own marks away;
`of_documentation` leaves out code, tables and headings too, so that what is judged is whether
the prose between them is good.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

FENCE = re.compile(r"^ *(`{3,})")
HEADING = re.compile(r"^#{1,6} +")
WORD = re.compile(r"\w+(?:[-'’]\w+)*|\.{3}|[^\w\s]")
LETTER = re.compile(r"[^\W\d_]")
INLINE_CODE = re.compile(r"`[^`\n]+`")
PARAGRAPH_BREAK = re.compile(r"\n{2,}")


@dataclass(frozen=True)
class Prose:
    """Plain text with the views that rules share."""

    text: str

    @cached_property
    def tokens(self) -> list[str]:
        """Words and single punctuation marks, as the rules' authors' tokenizers give them."""
        return WORD.findall(self.text)

    @cached_property
    def words(self) -> list[str]:
        """Tokens that are more than punctuation."""
        return [token for token in self.tokens if token[0].isalnum() or token[0] == "_"]

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not blank."""
        return [line for line in self.text.split("\n") if line.strip()]

    @cached_property
    def paragraphs(self) -> list[str]:
        return PARAGRAPH_BREAK.split(self.text.strip())


def of_web(text: str) -> Prose:
    """Everything, without the signs of headings and fences."""
    kept = (
        line if code else HEADING.sub("", line)
        for line, code in lines_with_code(text)
        if code or not FENCE.match(line)
    )
    return Prose("\n".join(kept).strip())


def of_documentation(text: str) -> Prose:
    """Paragraphs and lists alone: no headings, tables or fenced code; of code in a line its first name."""
    kept = (
        line
        for line, code in lines_with_code(text)
        if not code and not HEADING.match(line) and not line.startswith("|") and not FENCE.match(line)
    )
    plain = INLINE_CODE.sub(_name_in_code, "\n".join(kept))
    return Prose(re.sub(r"\n{3,}", "\n\n", plain).strip())


def _name_in_code(code: re.Match[str]) -> str:
    name = re.search(r"\w+", code[0])
    return name[0] if name else ""


def lines_with_code(text: str) -> Iterator[tuple[str, bool]]:
    """Every line, and whether it lies inside a fence (the fences themselves do not)."""
    fence: str | None = None
    for line in text.split("\n"):
        found = FENCE.match(line)
        if fence is None and found:
            fence = found[1]
            yield line, False
        elif fence is not None and line.strip() == fence:
            fence = None
            yield line, False
        else:
            yield line, fence is not None
