"""Paragraphs that another document has already: kept once on a site or in the corpus, if that is set.

The document that keeps it is the first by the rule that chooses among duplicates (`clean.keeper`), of those
that are left when duplicates are gone. Headings, tables and code stay, and so do paragraphs of a few words.
Lines on a large share of a site's pages are no matter of this: `boilerplate.py` has taken them out of all
pages before.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pipeline.corpus.boilerplate import Stripped, is_prose, site_of
from pipeline.corpus.clean import Scope
from pipeline.corpus.prose import BLANK_LINES, lines_with_code
from pipeline.corpus.tables import Row, read_rows
from pipeline.corpus.word_runs import Hashes, word_hashes

LEAST_WORDS = 10
"""Of a paragraph that is looked at. Shorter ones are labels ("Returns a new list:") that repeat themselves
for good reasons."""
MOST_REPEATED = 0.8
"""Share of a document's characters that may be taken out; of what is left of others nothing can be made."""


def paragraph_hashes(document: Row, scope: Scope) -> list[int]:
    """A hash of each different paragraph of a document, sorted; of its site too, if it is within the site
    that paragraphs are compared."""
    if scope == "off":
        return []
    home = _home(document, scope)
    pieces = [piece for piece, prose in _pieces(document["text"]) if prose]
    words = word_hashes(pieces) if pieces else []
    return sorted({_hash(each, home) for each in words if len(each) >= LEAST_WORDS})


@dataclass(frozen=True)
class RepeatedParagraphs:
    """Which paragraphs are to be taken out of which documents."""

    of: Mapping[str, frozenset[int]]
    scope: Scope

    def taken_out(self, document: Row) -> Stripped:
        """The text of a document without those that an earlier one has."""
        repeated = self.of.get(document["id"])
        if repeated is None:
            return Stripped(document["text"], ())
        home = _home(document, self.scope)
        kept: list[str] = []
        removed: list[str] = []
        for piece, prose in _pieces(document["text"]):
            out = prose and _hash(word_hashes([piece])[0], home) in repeated
            (removed if out else kept).append(piece)
        return Stripped(BLANK_LINES.sub("\n\n", "\n".join(kept)).strip(), tuple(removed))


def read_repeated(paths: Sequence[Path], scope: Scope) -> RepeatedParagraphs:
    """What comparing found, from tables with id and hash."""
    found: dict[str, set[int]] = {}
    for row in read_rows(paths):
        found.setdefault(row["id"], set()).add(row["hash"])
    return RepeatedParagraphs({identity: frozenset(hashes) for identity, hashes in found.items()}, scope)


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Paragraphs of prose, and what is between them; joined by line ends they are the text."""
    lines = lines_with_code(text)
    for prose, piece in groupby(lines, key=lambda each: not each[1] and is_prose(each[0])):
        yield "\n".join(line for line, _ in piece), prose


def _home(document: Row, scope: Scope) -> bytes:
    """Where equal paragraphs are looked for: a work of its own is a site of its own."""
    return (site_of(document) or document["id"]).encode() if scope == "site" else b""


def _hash(words: Hashes, home: bytes) -> int:
    """64 bits of a paragraph's words and of where it is looked for; case and punctuation do not count."""
    digest = hashlib.blake2b(home + b"\n" + words.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
