"""Real pages with their main text, labelled without any extractor: what extraction is measured on.

The pages are those of Debian packages of documentation (python3.11-doc, git-doc, apache2-doc,
focalinux-html, debian-edu-doc-*), read from where they are installed; nothing of them is kept here.
Each site was written by one generator, which puts the main text into a container that it names.
The label is all text in that container, less what the same generator marks as navigation. So a
label owes nothing to what an extractor believes to be text, and holds for all pages of its site.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import lxml.html
from lxml.html import HtmlElement

from pipeline.corpus.charset import decode

DOCUMENTATION = Path("/usr/share/doc")
SHINGLE_TOKENS = 4
"""The Scrapinghub benchmark compares multisets of four tokens in a row, so that order counts too."""
TOKEN = re.compile(r"\w+")
BLOCK = {"p", "div", "li", "dt", "dd", "td", "th", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "tr", "br"}


@dataclass(frozen=True)
class Site:
    """The pages of one generator."""

    package: str
    """Of Debian."""
    files: tuple[str, ...]
    """Patterns below /usr/share/doc."""
    label: Callable[[HtmlElement], list[HtmlElement]]
    """The elements that hold the main text, from a tree that may be changed."""
    every: int
    """One of so many of the files, sorted, is taken."""


@dataclass(frozen=True)
class LabelledPage:
    site: str
    path: Path
    html: bytes
    label: str


def _without(container: HtmlElement, *classes: str) -> HtmlElement:
    for name in classes:
        for element in container.find_class(name):
            element.drop_tree()
    return container


def _sphinx(tree: HtmlElement) -> list[HtmlElement]:
    return [_without(each, "headerlink") for each in tree.xpath('//div[@class="body"][@role="main"]')]


def _asciidoc(tree: HtmlElement) -> list[HtmlElement]:
    return [
        _without(each, "toc")
        for each in tree.xpath('//div[@id="header" or @id="content" or @id="footnotes"]')
    ]


def _httpd(tree: HtmlElement) -> list[HtmlElement]:
    for menu in tree.xpath('//div[@id="quickview" or @id="comments_section"]'):
        menu.drop_tree()
    return [
        _without(each, "toplang", "bottomlang", "top", "permalink", "comments", "outofdate")
        for each in tree.xpath('//div[@id="page-content"]')
    ]


def _debiandoc(tree: HtmlElement) -> list[HtmlElement]:
    """What stands between the first ruler and that before the links at the page's end."""
    body = tree.find("body")
    rulers = [child for child in body if child.tag == "hr"]
    children = list(body)
    return children[children.index(rulers[0]) + 1 : children.index(rulers[-3])]


def _docbook(tree: HtmlElement) -> list[HtmlElement]:
    return [_without(each, "toc") for each in tree.xpath('//div[@class="article" or @class="book"]')]


SITES = {
    "python": Site(
        "python3.11-doc",
        tuple(
            f"python3.11/html/{part}/*.html"
            for part in ("library", "tutorial", "howto", "faq", "whatsnew", "reference", "using", "c-api")
        ),
        _sphinx,
        19,
    ),
    "git": Site("git-doc", ("git-doc/git*.html", "git-doc/howto/*.html"), _asciidoc, 12),
    "apache": Site(
        "apache2-doc",
        tuple(f"apache2-doc/manual/{language}/**/*.html" for language in ("en", "pt-br", "es", "fr", "de")),
        _httpd,
        25,
    ),
    "focalinux": Site("focalinux-html", ("focalinux/html/*/ch-*.html",), _debiandoc, 7),
    "debian-edu": Site("debian-edu-doc-pt-br", ("debian-edu-doc-pt-br/*bookworm*.html",), _docbook, 1),
}


def labelled_pages(names: tuple[str, ...] = tuple(SITES)) -> Iterator[LabelledPage]:
    """The labelled pages of the sites that are installed."""
    for name in names:
        site = SITES[name]
        found = {path for pattern in site.files for path in DOCUMENTATION.glob(pattern)}
        for path in sorted(found)[:: site.every]:
            html = path.read_bytes()
            parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True)
            tree = lxml.html.document_fromstring(decode(html, None).encode(), parser=parser)
            text = "\n".join(_text(element) for element in site.label(tree))
            yield LabelledPage(name, path, html, text)


def _text(element: HtmlElement) -> str:
    for each in element.iter(*BLOCK):
        each.tail = "\n" + (each.tail or "")
    return str(element.text_content())


def shingles(text: str, tokens: int = SHINGLE_TOKENS) -> Counter[tuple[str, ...]]:
    words = TOKEN.findall(text)
    return Counter(zip(*(words[start:] for start in range(tokens)), strict=False))


@dataclass(frozen=True)
class Agreement:
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def agreement(pairs: list[tuple[str, str]], tokens: int = SHINGLE_TOKENS) -> Agreement:
    """Of (label, extracted) texts, each page counting the same, as the Scrapinghub benchmark does it."""
    right = wrong = missed = 0.0
    for label, found in pairs:
        expected, given = shingles(label, tokens), shingles(found, tokens)
        same = (expected & given).total()
        whole = max(1, expected.total() + given.total() - same)
        right += same / whole
        wrong += (given.total() - same) / whole
        missed += (expected.total() - same) / whole
    return Agreement(right / max(1e-9, right + wrong), right / max(1e-9, right + missed))
