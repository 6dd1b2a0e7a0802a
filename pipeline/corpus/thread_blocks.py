"""Posts told by the structure of a page alone: blocks of one make, each with a name and a text.

Most forum software writes a post as an element with a class that all posts share (`message`, `post`,
`comment`), inside it an element whose class says that it names a user, and one whose class says that it is
the text. What is repeated in this way, and holds most of the page's text, are its posts.
"""

import copy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.corpus.markdown import one_line, write_markdown
from pipeline.corpus.metadata import iso_date

if TYPE_CHECKING:
    from lxml.html import HtmlElement

WHO = re.compile(r"author|user-?name|poster|by-?line|creator|nick-?name|hnuser|(?:^|[-_])user(?:$|[-_])")
ABOUT = re.compile(r"info|stat|extra|detail|title|rank|badge|avatar|count")
"""Classes of what is told of a user beside the name."""
WHAT = re.compile(
    r"(?:^|[-_])(?:body|content|message|text|entry|comment|markdown|cooked|prose|bbwrapper|richtext|inner)"
    r"(?:$|[-_])|(?:text|body|content)$"
)
WHEN = re.compile(r"(?:^|[-_])(?:date|time|datetime|age|posted|published|when)(?:$|[-_])|(?:date|time)$")
BESIDE = re.compile(
    r"signature|avatar|profile|user[-_]?info|user-?details|userextras|reaction|toolbar|button|controls|permalink"
    r"|(?:^|[-_])(?:actions|likes|votes?|sig|reply|footer|navs?|togg)(?:$|[-_])"
)
"""Classes of what stands in a post beside its text."""
QUOTES = frozenset(("blockquote", "cite", "q"))
NO_TEXT = frozenset(
    ("script", "style", "noscript", "template", "form", "button", "select", "textarea", "nav")
)
OPENER = re.compile(r"^(?:by|por|par|von|from|de)\s+", re.IGNORECASE)
DIGITS = re.compile(r"\d+")
BEFORE_A_SITE = re.compile(r"\s+[|·»–—-]\s+")
NAME_CHARACTERS = 60
LEAST_CHARACTERS = 20
"""Of a post outside links: a list of threads is made of links."""
WITHIN = 0.6
"""What holds two blocks of another make, and little beside them, is a frame and no post."""
NEARLY = 0.8
MOST_NAMES = 5_000

Key = tuple[str, str]
"""A tag, with one of its classes or the pattern of its id."""


@dataclass(frozen=True)
class Block:
    """A post as the page has it."""

    author: str
    date: str | None
    text: str
    """Markdown; empty where the page names a thread's author and shows no text of theirs."""


@dataclass(frozen=True)
class Blocks:
    title: str
    opening: Block | None
    """What the thread begins with, where that is made otherwise than the posts: a story, an article."""
    posts: tuple[Block, ...]


def find_blocks(page: "HtmlElement") -> Blocks | None:
    """The posts of a page in their order, or None if there are not two of one make."""
    tree = copy.deepcopy(page)
    names = _names(tree)
    if len(names) < 2 or len(names) > MOST_NAMES:
        return None
    best = max(_groups(names), key=lambda found: found[0], default=None)
    if best is None:
        return None
    _, inside = best
    title = _title(tree)
    opening = _opening(tree, names, inside, title)
    # The innermost first: taken out of the one around it, a post is no longer part of that one's text.
    posts = {block: _block(block, name, names[name]) for block, name in reversed(inside.items())}
    found = tuple(posts[block] for block in inside)
    if opening is not None and opening.author == found[0].author:
        opening = None
    return Blocks(title, opening, found)


def tokens(element: "HtmlElement") -> Iterator[str]:
    """An element's classes in lower case, and its id without numbers."""
    yield from (element.get("class") or "").lower().split()
    if identity := element.get("id"):
        yield DIGITS.sub("", identity.lower())


def _names(tree: "HtmlElement") -> "dict[HtmlElement, str]":
    """The elements that name a user, each with the name, in the page's order; none within quotations."""
    found: dict[HtmlElement, str] = {}
    for element in tree.iter():
        if not isinstance(element.tag, str):
            continue
        marks = f"{element.get('rel') or ''} {element.get('itemprop') or ''} {element.get('property') or ''}"
        named = _names_somebody(element) or {"author", "creator"} & set(marks.split())
        if named and not _is_quoted(element) and (name := _name(element)):
            found[element] = name
    # WordPress, for one, says of a whole comment that it is its author's.
    outer = {each for element in found for each in element.iterancestors()}
    return {element: name for element, name in found.items() if element not in outer}


def _names_somebody(element: "HtmlElement") -> bool:
    return any(WHO.search(token) and not ABOUT.search(token) for token in tokens(element))


def _is_quoted(element: "HtmlElement") -> bool:
    around = (element, *element.iterancestors())
    return any(each.tag in QUOTES or "quote" in (each.get("class") or "").lower() for each in around)


def _name(element: "HtmlElement") -> str:
    """The first link's words, or all words if they are few; empty where there is no name."""
    for each in [*element.iter("a"), element]:
        text = OPENER.sub("", one_line(each.text_content())).rstrip(":,")
        if 0 < len(text) <= NAME_CHARACTERS:
            return text
    return ""


def _groups(
    names: "dict[HtmlElement, str]",
) -> "Iterator[tuple[tuple[int, int], dict[HtmlElement, HtmlElement]]]":
    """Of each make that has two blocks at least: how much text is in them, how many they are, and each block
    with the element that names its author, in the page's order."""
    by_key: dict[Key, dict[HtmlElement, HtmlElement]] = {}
    for name in names:
        taken: set[Key] = set()
        for around in [name, *name.iterancestors()]:
            for key in _keys(around):
                if key not in taken:
                    taken.add(key)
                    by_key.setdefault(key, {}).setdefault(around, name)
    repeated = {tuple(blocks): blocks for blocks in by_key.values() if len(blocks) > 1}
    sizes = [{block: _unlinked(block, blocks, names) for block in blocks} for blocks in repeated.values()]
    for blocks, size in zip(repeated.values(), sizes, strict=True):
        frames = {block for other in sizes if other is not size for block in _frames(size, other)}
        posts = {
            block: name
            for block, name in blocks.items()
            if size[block] >= LEAST_CHARACTERS and block not in frames
        }
        if len(posts) > 1:
            yield (sum(size[block] for block in posts), len(posts)), posts


def _keys(element: "HtmlElement") -> set[Key]:
    if element.tag in {"body", "html"}:
        return set()
    types = (element.get("itemtype") or element.get("typeof") or "").rpartition("/")[2]
    keys = {(element.tag, DIGITS.sub("", name)) for name in (element.get("class") or "").split()}
    keys |= {(element.tag, f"@{types}")} if types else set()
    identity = element.get("id") or ""
    return keys | ({(element.tag, f"#{DIGITS.sub('0', identity)}")} if DIGITS.search(identity) else set())


def _unlinked(block: "HtmlElement", alike: "Iterable[HtmlElement]", names: "Iterable[HtmlElement]") -> int:
    """Characters of a block outside links and names, and outside blocks of its own make inside it."""
    skipped = {*alike, *names} - {block}
    total, waiting = 0, [block]
    while waiting:
        element = waiting.pop()
        total += len("".join((element.text or "").split()))
        for child in element:
            total += len("".join((child.tail or "").split()))
            if isinstance(child.tag, str) and child.tag not in NO_TEXT | {"a"} and child not in skipped:
                waiting.append(child)
    return total


def _frames(size: "dict[HtmlElement, int]", other: "dict[HtmlElement, int]") -> "Iterator[HtmlElement]":
    """The blocks that are made of two blocks or more of the other make."""
    inside: dict[HtmlElement, list[int]] = {}
    for block, characters in other.items():
        around = next((each for each in block.iterancestors() if each in size), None)
        if around is not None:
            inside.setdefault(around, []).append(characters)
    for around, found in inside.items():
        if len(found) > 1 and sum(found) >= WITHIN * size[around]:
            yield around


def _opening(
    tree: "HtmlElement",
    names: "dict[HtmlElement, str]",
    posts: "dict[HtmlElement, HtmlElement]",
    title: str,
) -> Block | None:
    """What stands before the posts with a name, a date, and a text or the thread's title."""
    holding = {around for block in posts for around in [block, *block.iterancestors()]}
    first = next(iter(posts))
    before = []
    for element in tree.iter():
        if element is first:
            break
        if element in names:
            before.append(element)
    for name in reversed(before):
        free = [each for each in [name, *name.iterancestors()] if each not in holding]
        if not free or _date(free[-1]) is None:
            continue
        whole = one_line(free[-1].text_content())
        found = _block(free[-1], name, names[name], only_marked=True)
        if len(found.text) >= LEAST_CHARACTERS or (title and title in whole):
            return found
    return None


def _block(block: "HtmlElement", name: "HtmlElement", author: str, only_marked: bool = False) -> Block:
    """The post in a block, which is taken out of the page. With `only_marked` its text is only what a class
    or id says to be a text."""
    date = _date(block)
    for element in [each for each in block.iterdescendants() if _beside(each)]:
        _drop(element)
    if name is not block:
        _drop(name)
    marked = [each for each in block.iterdescendants() if each.get("itemprop") == "text" or _is_text(each)]
    parts = marked or ([] if only_marked else [block])
    texts = [write_markdown(each) for each in parts]
    longest = max(map(len, texts), default=0)
    _drop(block)
    # The innermost that has nearly all of it: around it there are titles and remarks.
    return Block(author, date, next((text for text in texts[::-1] if len(text) >= NEARLY * longest), ""))


def _is_text(element: "HtmlElement") -> bool:
    return any(map(WHAT.search, tokens(element))) and not any(map(WHO.search, tokens(element)))


def _beside(element: "HtmlElement") -> bool:
    if element.tag == "time" or element.tag in NO_TEXT:
        return True
    named = list(tokens(element))
    if any(map(BESIDE.search, named)):
        return True
    return any(map(WHO.search, named)) and not any(map(WHAT.search, named)) and not _is_quoted(element)


def _drop(element: "HtmlElement") -> None:
    if element.getparent() is not None:
        element.drop_tree()


def _date(block: "HtmlElement") -> str | None:
    """The first date that an attribute states."""
    for element in block.iter():
        if element.tag == "time" or any(map(WHEN.search, tokens(element))):
            for attribute in ("datetime", "title", "content"):
                if date := iso_date(element.get(attribute)):
                    return date
    return None


def _title(tree: "HtmlElement") -> str:
    """The first heading that is in the page's title too, else that title up to the site's name."""
    whole = one_line(tree.findtext(".//title") or "")
    for heading in tree.iter("h1", "h2"):
        text = one_line(heading.text_content())
        if text and text in whole:
            return text
    return BEFORE_A_SITE.split(whole)[0]
