"""Manuals of Debian packages, read page by page: sites whose paths name their language."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.corpus.boilerplate import line_hash, prose_lines, strip_lines
from pipeline.corpus.clean import CleanConfig, rules_at_hand
from pipeline.corpus.extractors import extract_page
from pipeline.corpus.judgement import Judgement

DOCUMENTATION = Path("/usr/share/doc")
SITES = {
    "python3.11-doc": "python3.11/html",
    "git-doc": "git-doc",
    "apache2-doc": "apache2-doc/manual",
    "focalinux-html": "focalinux/html",
    "debian-edu-doc-pt-br": "debian-edu-doc-pt-br",
}
"""Package → folder of its pages."""
OF_A_FOLDER = re.compile(r"manual/([a-z]{2}(?:-[a-z]{2})?)/")
NAMED = {"focalinux-html": "pt", "debian-edu-doc-pt-br": "pt"}
LEAST_CHARACTERS = 300


@dataclass(frozen=True)
class Page:
    """A page of a site as the extractor reads it."""

    site: str
    path: Path
    language: str
    """ISO 639-1 code that the path names; English where it names none."""
    text: str


def missing() -> list[str]:
    """Packages that are not installed."""
    return [package for package, folder in SITES.items() if not (DOCUMENTATION / folder).is_dir()]


def pages(every: int = 1) -> Iterator[Page]:
    """Every n-th page of each site, without links to other pages."""
    for package, folder in SITES.items():
        found = sorted(path for path in (DOCUMENTATION / folder).rglob("*.html*") if is_page(path))
        for path in found[::every]:
            text = extract_page(path.read_bytes(), None, "trafilatura").text
            yield Page(package, path, language_of(package, path), text)


def is_page(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.suffix != ".gz"


def language_of(package: str, path: Path) -> str:
    """The language that a page's path names."""
    found = OF_A_FOLDER.search(str(path))
    return found[1].split("-")[0] if found else NAMED.get(package, "en")


def judged(found: Sequence[Page], config: CleanConfig) -> Iterator[tuple[Page, dict[str, Any]]]:
    """Each page with what cleaning says of it, its sites' boilerplate taken out before.

    The row has text, language and language_score, and reason, value, threshold, detail where it is dropped.
    """
    sizes = Counter(page.site for page in found)
    lines = Counter(
        (page.site, line) for page in found for line in {line_hash(line) for line in prose_lines(page.text)}
    )
    common = {
        site: frozenset(
            line
            for (where, line), count in lines.items()
            if where == site
            and count >= config.boilerplate_pages
            and count >= config.boilerplate_share * size
        )
        for site, size in sizes.items()
    }
    judgement = Judgement(config, rules_at_hand(config))
    for page in found:
        row: dict[str, Any] = {
            "text": strip_lines(page.text, common[page.site]).text,
            "kind": "documentation",
        }
        (fault,) = judgement.faults([row])
        yield page, row | (fault or {"reason": None})
