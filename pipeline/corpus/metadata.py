"""What a page says of itself: author, date, licence. Only what is stated is taken, nothing is guessed.

Read are, in this order, JSON-LD (schema.org), Dublin Core and citation tags, other meta tags, links
with rel=license and microdata. Libraries that find dates find them by looking for anything like a
date in the text too, which is a guess, and slow; so their help is not asked.
"""

import datetime
import email.utils
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.corpus.markdown import one_line
from pipeline.corpus.opt_outs import AGENT

if TYPE_CHECKING:
    from lxml.html import HtmlElement

ISO = re.compile(r"(\d{4})(?:[-/.](\d{1,2})(?:[-/.](\d{1,2}))?)?(?![\d])")
COMPACT = re.compile(r"(?:D:)?(\d{4})(\d\d)(\d\d)")
STATED_CHARACTERS = 300
AUTHORS = 20
WORKS = frozenset(
    (
        *("Article", "NewsArticle", "BlogPosting", "ScholarlyArticle", "TechArticle", "Report", "Book"),
        *("WebPage", "CreativeWork", "QAPage", "FAQPage", "DiscussionForumPosting", "Question"),
        *("SocialMediaPosting", "HowTo", "LearningResource", "Dataset"),
    )
)
"""Types of schema.org whose author and date are those of the page."""
AUTHOR_TAGS = (
    "citation_author",
    "dc.creator",
    "dcterms.creator",
    "author",
    "parsely-author",
    "article:author",
)
DATE_TAGS = (
    *("citation_publication_date", "citation_date", "dcterms.issued", "dc.date.issued", "dcterms.created"),
    *("dcterms.date", "dc.date", "article:published_time", "date", "pubdate", "publish-date", "created"),
)
LICENCE_TAGS = ("dcterms.license", "dc.rights.license", "dcterms.rights", "dc.rights", "license", "licence")


@dataclass(frozen=True)
class Metadata:
    """What a page states; None where it says nothing."""

    author: str | None = None
    date: str | None = None
    licence: str | None = None
    language: str | None = None


def read_metadata(tree: "HtmlElement", linked: "list[dict[str, Any]]") -> Metadata:
    """Of an HTML page; `linked` are its JSON-LD objects (see `linked_data`)."""
    tags = _meta_tags(tree)
    marked = tree.xpath("//*[@rel or @itemprop or @pubdate]")
    works = [each for each in linked if types_of(each) & WORKS]
    tagged = [one_line(name) for tag in AUTHOR_TAGS for name in tags.get(tag, [])]
    authors = (
        [name for work in works for name in names_of(work.get("author") or work.get("creator"))]
        or [name for name in tagged if not name.startswith(("http:", "https:"))]
        or [
            one_line(each.text_content())
            for each in marked
            if each.tag == "a" and each.get("rel") == "author"
        ]
    )
    dates = [
        *(work.get("datePublished") or work.get("dateCreated") for work in works),
        *(value for tag in DATE_TAGS for value in tags.get(tag, [])),
        *(
            each.get("content") or each.get("datetime")
            for each in marked
            if each.get("itemprop") == "datePublished" or "pubdate" in each.attrib
        ),
    ]
    licences = [
        *(_address(work.get("license")) for work in works),
        *(value for tag in LICENCE_TAGS for value in tags.get(tag, [])),
        *(
            each.get("href")
            for each in marked
            if "license" in [each.get("itemprop"), *(each.get("rel") or "").lower().split()]
        ),
    ]
    languages = [tree.get("lang"), tree.get("{http://www.w3.org/XML/1998/namespace}lang")]
    languages += [*tags.get("dcterms.language", []), *tags.get("dc.language", [])]
    languages += tags.get("content-language", [])
    return Metadata(
        stated("; ".join(list(dict.fromkeys(filter(None, authors)))[:AUTHORS])),
        next(filter(None, map(iso_date, dates)), None),
        next(filter(None, map(stated, licences)), None),
        next(filter(None, map(stated, languages)), None),
    )


def metas_on_use(tree: "HtmlElement") -> list[tuple[str, str]]:
    """The meta elements that may say how the page may be used (see opt_outs.py), in their order."""
    named = [(tag.get("name", "").strip().lower(), tag.get("content")) for tag in tree.iter("meta")]
    wanted = {"robots", AGENT}
    return [
        (name, content)
        for name, content in named
        if content is not None and (name in wanted or name.startswith("tdm-"))
    ]


def linked_data(tree: "HtmlElement") -> list[dict[str, Any]]:
    """The objects of a page's JSON-LD, those of graphs included. What is not JSON is passed over."""
    found: list[dict[str, Any]] = []
    for script in tree.iter("script"):
        if "ld+json" in (script.get("type") or ""):
            try:
                found += _objects(json.loads(script.text or "", strict=False))
            except (ValueError, RecursionError):
                continue
    return found


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for each in value:
            yield from _objects(each)
    elif isinstance(value, dict):
        yield value
        yield from _objects(value.get("@graph", []))


def types_of(value: dict[str, Any]) -> set[str]:
    """The names of an object's types, without the vocabulary's address."""
    types = value.get("@type") or []
    return {str(each).rpartition("/")[2] for each in (types if isinstance(types, list) else [types])}


def names_of(value: Any) -> list[str]:
    """The names of people or organizations, given as text, as objects, or as a list of either."""
    if isinstance(value, list):
        return [name for each in value for name in names_of(each)]
    if isinstance(value, dict):
        value = value.get("name")
    name = one_line(value) if isinstance(value, str) else ""
    return [name] if name else []


def iso_date(value: Any) -> str | None:
    """`2021-03-04`, `2021-03` or `2021`, of what begins with such a date or is one of RFC 5322; else None."""
    text = str(value or "").strip()
    found = COMPACT.match(text) or ISO.match(text)
    if found is None:
        try:
            return email.utils.parsedate_to_datetime(text).date().isoformat()
        except ValueError:
            return None
    year, month, day = (int(part) if part else None for part in found.groups())
    try:
        datetime.date(year or 0, month or 1, day or 1)
    except ValueError:
        return None
    return "-".join([f"{year:04d}", *(f"{part:02d}" for part in (month, day) if part)])


def stated(value: Any) -> str | None:
    """One line of text, or None if there is none. What is too long is no statement but a text."""
    text = one_line(value) if isinstance(value, str) else ""
    return text if 0 < len(text) <= STATED_CHARACTERS else None


def _address(value: Any) -> Any:
    if isinstance(value, list):
        value = value[0] if value else None
    return (value.get("url") or value.get("@id") or value.get("name")) if isinstance(value, dict) else value


def _meta_tags(tree: "HtmlElement") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tag in tree.iter("meta"):
        name = tag.get("name") or tag.get("property") or tag.get("http-equiv") or tag.get("itemprop")
        if name and (content := tag.get("content")):
            found.setdefault(name.strip().lower().replace("dc:", "dc."), []).append(content)
    return found
