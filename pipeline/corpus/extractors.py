"""Readers of HTML behind one interface: bytes of a page → title, language attribute and text.

Runs in the extractor's own process (see extractor_process.py), never in the task's.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lxml.html

from pipeline.corpus.charset import decode
from pipeline.corpus.markdown import LINE_END, one_line, write_markdown
from pipeline.corpus.metadata import linked_data, metas_on_use, read_metadata
from pipeline.corpus.readers.read import Extracted, TooDeepError
from pipeline.corpus.threads import read_thread

if TYPE_CHECKING:
    from lxml.html import HtmlElement

DEPTH_LIMIT = 256
"""Elements inside each other. libxml2 leaves out what is nested deeper, so such a page is dropped."""
DEFINITION_LEVEL, MEMBER_LEVEL, LOWEST_LEVEL = 2, 3, 6
BESIDE_A_SIGNATURE = {"decorator", "view-source-button", "view-value-button"}
MARKED_CLASSES = frozenset(
    ("headerlink", "viewcodelink", "inherited", "docstring", "attr", "sig", "titlepage")
)
LAID_OUT = re.compile(r"\n {3,}\S|^[+=-]{4,}", re.MULTILINE)
NEW_ENTRY = re.compile(r"\n(?=\S)|(?<=\S)\n(?= {3,}\S)")


THREAD_SHARE = 0.5
"""A page is a thread if that has half as much text as the extractor finds, else it only has one."""
SURE_SHARE = 0.9
"""Of the text outside links, what the fast extractor keeps where it can be trusted."""
LEAST_HEADS = 2
"""A page with so many headings is expected to keep some."""
PARAGRAPH_CHARACTERS = 20
INLINE = frozenset(
    (
        *("a", "abbr", "acronym", "b", "bdi", "bdo", "br", "cite", "code", "em", "i", "img", "kbd", "mark"),
        *("q", "s", "samp", "small", "span", "strong", "sub", "sup", "tt", "u", "var"),
    )
)


def extract_page(
    html: bytes, charset: str | None, extractor: str, threads: bool = False, expected: bool = False
) -> Extracted:
    """The page's main text as Markdown, by the extractor of that name, and what the page says of itself.

    What looks like navigation is lost. With `threads`, a page that is mostly a thread is written as
    threads.py says; where one is `expected`, whatever its markup. Raises TooDeepError; whatever the
    extractor raises travels.
    """
    decoded = decode(html, charset)
    tree = parse(decoded)
    if tree is None:
        return Extracted("", "")
    title = _title(tree)
    linked = linked_data(tree)
    known = read_metadata(tree, linked)
    metas = metas_on_use(tree)
    thread = read_thread(decoded, tree, linked, expected) if threads else None
    text = _main_text(tree, extractor)
    laid_out = "" if thread is None else thread.markdown()
    mostly = thread is not None and len(laid_out) >= THREAD_SHARE * len(text)
    return Extracted(
        title,
        laid_out if mostly else text,
        language=known.language,
        author=known.author,
        date=known.date,
        licence=known.licence,
        metas=metas,
        nuls=decoded.count("\0"),
        thread=mostly,
    )


def _main_text(tree: "HtmlElement", extractor: str) -> str:
    for navigation in list(tree.iter("nav")):
        # Where trafilatura finds little it falls back to all there is, menus included.
        navigation.drop_tree()
    head_definitions(tree)
    name_paragraphs(tree)
    body = EXTRACTORS[extractor](tree)
    if heads(body) < LEAST_HEADS <= heads(tree):
        # trafilatura looks for an article; where a page has none it gathers paragraphs alone.
        make_an_article(tree)
        body = EXTRACTORS[extractor](tree)
    return "" if body is None else write_markdown(body)


def parse(text: str) -> "HtmlElement | None":
    """The page's tree, or None where there is nothing in it. Raises TooDeepError."""
    parser = lxml.html.HTMLParser(remove_comments=True, remove_pis=True, encoding="utf-8")
    data = text.replace("\0", "").replace(LINE_END, " ").encode("utf-8", "replace")
    if not data.strip():
        return None
    try:
        tree = lxml.html.document_fromstring(data, parser=parser)
    except lxml.etree.ParserError:
        return None
    if any("depth" in entry.message for entry in parser.error_log):
        raise TooDeepError(f"more than {DEPTH_LIMIT} elements inside each other")
    return tree


def with_trafilatura(tree: "HtmlElement") -> Any:
    """The choice for quality. `deduplicate` stays off: its cache makes a page depend on those before it."""
    from trafilatura import bare_extraction

    document = bare_extraction(
        tree,
        fast=True,
        deduplicate=False,
        include_comments=False,
        include_formatting=True,
        include_tables=True,
        with_metadata=False,
    )
    return None if document is None else getattr(document, "body", None)


def with_resiliparse(tree: "HtmlElement") -> Any:
    """The choice for throughput: its reduced HTML, read again as a tree."""
    from resiliparse.extract.html2text import extract_plain_text

    reduced = extract_plain_text(
        lxml.html.tostring(tree, encoding="unicode"),
        preserve_formatting="minimal_html",
        main_content=True,
        alt_texts=False,
    )
    return lxml.html.fromstring(reduced) if reduced.strip() else None


def fast_then_careful(tree: "HtmlElement") -> Any:
    """resiliparse, and trafilatura where that leaves out more than menus are made of.

    Of 103 labelled pages of documentation a fifth is read twice: F1 .961 in a third of trafilatura's
    time, where trafilatura has .971 and resiliparse .939.
    """
    body = with_resiliparse(tree)
    if _characters(body) >= SURE_SHARE * _unlinked_characters(tree):
        return body
    return with_trafilatura(tree)


def _characters(element: Any) -> int:
    """Characters of text, spaces not counted."""
    return 0 if element is None else len("".join(element.text_content().split()))


def _unlinked_characters(tree: "HtmlElement") -> int:
    """Characters of the page's text that is in no link."""
    body = tree.find("body")
    hidden = [] if body is None else [*body.iter("a", "script", "style", "noscript", "template")]
    return _characters(body) - sum(_characters(each) for each in hidden)


EXTRACTORS: dict[str, Callable[["HtmlElement"], Any]] = {
    "trafilatura": with_trafilatura,
    "resiliparse": with_resiliparse,
    "fast-then-careful": fast_then_careful,
}


def heads(tree: Any) -> int:
    """How many headings there are, in a page or in what an extractor made of it."""
    return 0 if tree is None else sum(1 for _ in tree.iter("h1", "h2", "h3", "h4", "head"))


def make_an_article(tree: "HtmlElement") -> None:
    """Put all that the page's body holds into an <article>, in place."""
    body = tree.find("body")
    if body is not None:
        article = lxml.html.Element("article")
        article.text, body.text = body.text, None
        article.extend(list(body))
        body.append(article)


def name_paragraphs(tree: "HtmlElement") -> None:
    """Make paragraphs of the <div>s that hold running text and nothing that stands on a line of its own."""
    for element in tree.iter("div"):
        text = (element.text or "") + "".join(child.tail or "" for child in element)
        if len(text.strip()) >= PARAGRAPH_CHARACTERS and all(
            child.tag in INLINE for child in element.iterdescendants()
        ):
            element.tag = "p"


def head_definitions(tree: "HtmlElement") -> None:
    """Make headings of the names that API documentation defines, in place.

    Extractors take pdoc's `div.attr` and Sphinx's `dt.sig` for page furniture and drop them, and
    with them what the paragraphs below are about.
    """
    found = _by_class(tree, MARKED_CLASSES)
    for furniture in found["headerlink"] + found["viewcodelink"] + found["inherited"]:
        furniture.drop_tree()
    for docstring in found["docstring"]:
        for paragraph in docstring.iter("p"):
            _keep_layout(paragraph)
    _head_pdoc(found)
    _head_sphinx(found)
    _head_docbook(found)


def _by_class(tree: "HtmlElement", names: frozenset[str]) -> "dict[str, list[HtmlElement]]":
    """The elements of each of these classes; one walk through the tree finds them all."""
    found: dict[str, list[HtmlElement]] = {name: [] for name in names}
    for element in tree.xpath("//*[@class]"):
        for name in names.intersection(element.get("class").split()):
            found[name].append(element)
    return found


def _keep_layout(paragraph: "HtmlElement") -> None:
    """Mark the line ends of a paragraph that is a list or table in disguise: parameters, RST tables."""
    if LAID_OUT.search(paragraph.text_content()):
        for element in paragraph.iter():
            if element.text:
                element.text = NEW_ENTRY.sub(LINE_END, element.text)
            if element.tail and element is not paragraph:
                element.tail = NEW_ENTRY.sub(LINE_END, element.tail)


def _head_pdoc(found: "dict[str, list[HtmlElement]]") -> None:
    for docstring in found["docstring"]:
        parent = docstring.getparent()
        if parent is not None and "module-info" not in _classes(parent):
            below = MEMBER_LEVEL if "classattr" in _classes(parent) else DEFINITION_LEVEL
            for heading in docstring.iter("h1", "h2", "h3", "h4", "h5", "h6"):
                heading.tag = f"h{min(LOWEST_LEVEL, int(heading.tag[1]) + below)}"
    for definition in found["attr"]:
        parent = definition.getparent()
        named = any("name" in _classes(child) for child in definition)
        if definition.tag != "div" or parent is None or not named:
            continue
        explained = any("docstring" in _classes(sibling) for sibling in definition.itersiblings())
        if "variable" in _classes(definition) and not explained:
            definition.drop_tree()
            continue
        for extra in [child for child in definition if _classes(child) & BESIDE_A_SIGNATURE]:
            extra.drop_tree()
        member = "classattr" in _classes(parent)
        _become_heading(definition, MEMBER_LEVEL if member else DEFINITION_LEVEL)


def _head_sphinx(found: "dict[str, list[HtmlElement]]") -> None:
    for signature in found["sig"]:
        listing = signature.getparent()
        if signature.tag != "dt" or listing is None or listing.tag != "dl":
            continue
        member = bool(_classes(listing) & {"method", "attribute"})
        _become_heading(signature, MEMBER_LEVEL if member else DEFINITION_LEVEL)
        for entry in listing.iterchildren("dd"):
            entry.tag = "div"
        if not any(child.tag == "dt" for child in listing):
            listing.tag = "div"


def _head_docbook(found: "dict[str, list[HtmlElement]]") -> None:
    """Take DocBook's headings out of their `div.titlepage`, which extractors drop whole."""
    for page in found["titlepage"]:
        for wrapper in list(page.iter("div")):
            wrapper.drop_tag()


def _become_heading(element: "HtmlElement", level: int) -> None:
    """Keep only the element's text, in one line, as a heading."""
    text = one_line(element.text_content())
    text = text.replace("( ", "(").replace(" )", ")").replace(",)", ")").removesuffix(":")
    tail = element.tail
    element.clear()
    element.tag, element.text, element.tail = f"h{level}", text, tail


def _classes(element: "HtmlElement") -> set[str]:
    return set((element.get("class") or "").split())


def _title(tree: "HtmlElement") -> str:
    for path in (".//head/title", ".//title", ".//h1"):
        found = tree.find(path)
        if found is not None and (title := one_line(found.text_content())):
            return title
    return ""
