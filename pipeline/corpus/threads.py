"""Threads of forums, question-and-answer sites, FAQs and mailing lists: who asks and who answers is kept.

A thread is written in this layout, whatever site it is from:

    # How is the mill stopped?

    **Q (Ana Lima, 2021-03-04):**

    The text of the post, as Markdown.

    **A (Bruno, 2021-03-05, ✓):**

    The text of the reply.

    **C (Eva):**

    A comment on the post before.

Q is whoever opened the thread, in each of their posts; A is whoever answers; C comments. Name and
date are left out where the page does not say them (`**Q:**`), ✓ marks an accepted answer. A message
of a mailing list stands alone: it is an A if its subject says that it replies.

Read are schema.org's QAPage, FAQPage, Question and DiscussionForumPosting, as JSON-LD, microdata or RDFa
(Stack Exchange and Discourse write microdata), and the markup of phpBB, of Stack Exchange, and of the
archives that pipermail and MHonArc make. Of a source of threads every other page is looked at for posts by
its structure alone (thread_blocks.py).
"""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lxml.html

from pipeline.corpus.markdown import one_line, tidy, write_markdown
from pipeline.corpus.metadata import iso_date, names_of, types_of
from pipeline.corpus.thread_blocks import find_blocks

if TYPE_CHECKING:
    from lxml.html import HtmlElement

MAY_BE_A_THREAD = re.compile(
    r"\b(?:QAPage|FAQPage|DiscussionForumPosting)\b|schema\.org/Question\b|\btypeof=[\"'][^\"']*\bQuestion\b|<!--beginarticle-->"
    r"|<!--X-Body-of-Message-->|\bpostbody\b|\bid=[\"']question[\"']"
)
TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
REPLY = re.compile(r"^(?:\[[^\]]*\]\s*)?(?:re|res|aw|sv|antw)\s*(?:\[\d+\])?:", re.IGNORECASE)
PIPERMAIL = re.compile(
    r"<h1>(?P<subject>.*?)</h1>.*?<b>(?P<author>.*?)</b>.*?<i>(?P<date>.*?)</i>.*?"
    r"<!--beginarticle-->(?P<body>.*?)<!--endarticle-->",
    re.IGNORECASE | re.DOTALL,
)
MHONARC = re.compile(r"<!--X-Body-of-Message-->(?P<body>.*?)<!--X-Body-of-Message-End-->", re.DOTALL)
MHONARC_FIELD = re.compile(r"<!--X-(Subject|From-R13|Date): (.*?) -->")
ADDRESS = re.compile(r"\s*<[^<>]*>\s*$")


@dataclass(frozen=True)
class Post:
    role: str
    """Q, A or C."""
    text: str
    author: str = ""
    date: str | None = None
    accepted: bool = False


@dataclass(frozen=True)
class Thread:
    title: str
    posts: tuple[Post, ...]

    def markdown(self) -> str:
        """In the layout that this module's docstring states."""
        blocks = [f"# {self.title}"] if self.title else []
        for post in self.posts:
            known = [part for part in (post.author, post.date, "✓" if post.accepted else None) if part]
            told = f" ({', '.join(known)})" if known else ""
            blocks += [f"**{post.role}{told}:**", post.text]
        return "\n\n".join(blocks)


def read_thread(
    html: str, tree: "HtmlElement", linked: list[dict[str, Any]], expected: bool = False
) -> Thread | None:
    """The thread on a page, or None if it has none. A thread has a question, and more than that alone
    unless it is a message of a mailing list. Where one is `expected`, posts are told by the page's
    structure too, by which a list of articles may look like a thread."""
    if not (expected or MAY_BE_A_THREAD.search(html)):
        return None
    message = _message(html)
    if message is not None:
        return message
    readers: tuple[Callable[[], Thread | None], ...] = (
        lambda: _from_linked(linked),
        lambda: _from_microdata(tree),
        lambda: _from_phpbb(tree),
        lambda: _from_stack_exchange(tree),
        *([lambda: _from_blocks(tree)] if expected else []),
    )
    for read in readers:
        found = read()
        if found is not None:
            posts = tuple(post for post in found.posts if post.text)
            if len(posts) > 1 and posts[0].role == "Q":
                return Thread(found.title, posts)
    return None


def _from_linked(linked: list[dict[str, Any]]) -> Thread | None:
    for each in linked:
        types = types_of(each)
        entities = each.get("mainEntity") or []
        entities = [
            one for one in (entities if isinstance(entities, list) else [entities]) if _is_object(one)
        ]
        if "FAQPage" in types:
            posts = [post for entity in entities for post in _faq_posts(entity)]
            return Thread(_line(each.get("name") or each.get("headline")), tuple(posts))
        if "QAPage" in types and entities:
            return _linked_question(entities[0])
        if "Question" in types:
            return _linked_question(each)
        if "DiscussionForumPosting" in types:
            return _linked_discussion(each)
    return None


def _faq_posts(question: dict[str, Any]) -> Iterator[Post]:
    yield Post("Q", _line(question.get("name") or question.get("text")))
    for answer in _listed(question.get("acceptedAnswer")):
        yield Post("A", _text(answer.get("text")))


def _linked_question(question: dict[str, Any]) -> Thread:
    title = _line(question.get("name"))
    posts = [_linked_post("Q", question, title)]
    for name in ("acceptedAnswer", "suggestedAnswer"):
        for answer in _listed(question.get(name)):
            posts.append(_linked_post("A", answer, accepted=name == "acceptedAnswer"))
            posts += [_linked_post("C", comment) for comment in _listed(answer.get("comment"))]
    return Thread(title, tuple(posts))


def _linked_discussion(opening: dict[str, Any]) -> Thread:
    first = _linked_post("Q", opening)
    posts = [first]

    def add(replies: list[dict[str, Any]]) -> None:
        for reply in replies:
            posts.append(_by_author(_linked_post("A", reply), first))
            add(_listed(reply.get("comment")))

    add(_listed(opening.get("comment")))
    return Thread(_line(opening.get("headline") or opening.get("name")), tuple(posts))


def _linked_post(role: str, value: dict[str, Any], otherwise: str = "", accepted: bool = False) -> Post:
    text = _text(value.get("text") or value.get("articleBody")) or otherwise
    author = "; ".join(names_of(value.get("author")))
    return Post(
        role, text, author, iso_date(value.get("dateCreated") or value.get("datePublished")), accepted
    )


def _from_microdata(tree: "HtmlElement") -> Thread | None:
    questions = _items(tree, "Question")
    if len(questions) > 1 and _items(tree, "FAQPage"):
        posts = []
        for question in questions:
            properties = _properties(question)
            posts.append(Post("Q", _first_line(properties, "name")))
            posts += [_post("A", _properties(answer)) for answer in properties.get("acceptedAnswer", [])]
        return Thread("", tuple(posts))
    for question in questions:
        properties = _properties(question)
        title = _first_line(properties, "name")
        posts = [_post("Q", properties, title), *_comments(properties)]
        for name in ("acceptedAnswer", "suggestedAnswer"):
            for answer in properties.get(name, []):
                inside = _properties(answer)
                posts += [_post("A", inside, accepted=name == "acceptedAnswer"), *_comments(inside)]
        return Thread(title, tuple(posts))
    for discussion in _items(tree, "DiscussionForumPosting"):
        properties = _properties(discussion)
        first = _post("Q", properties)
        replies = [_by_author(_post("A", _properties(each)), first) for each in properties.get("comment", [])]
        return Thread(_first_line(properties, "headline", "name"), (first, *replies))
    return None


def _items(tree: "HtmlElement", type: str) -> "list[HtmlElement]":
    """The elements of schema.org's type, as microdata or as RDFa."""
    found: list[HtmlElement] = tree.xpath("//*[(@itemscope and @itemtype) or @typeof]")
    return [each for each in found if type in _item_types(each)]


def _item_types(element: "HtmlElement") -> set[str]:
    """`Question` of `https://schema.org/Question`, of `schema:Question`, and in RDFa of the word alone."""
    microdata = [each for each in (element.get("itemtype") or "").split() if "schema.org/" in each]
    named = [*microdata, *(element.get("typeof") or "").split()]
    return {re.split(r"[/:#]", each)[-1] for each in named}


def _properties(item: "HtmlElement") -> "dict[str, list[HtmlElement]]":
    """The elements that hold an item's properties; those of items inside it are not its own."""
    found: dict[str, list[HtmlElement]] = {}
    waiting = list(item)[::-1]
    while waiting:
        element = waiting.pop()
        named = f"{element.get('itemprop') or ''} {element.get('property') or ''}".split()
        for name in dict.fromkeys(each.removeprefix("schema:") for each in named):
            found.setdefault(name, []).append(element)
        if element.get("itemscope") is None and element.get("typeof") is None:
            waiting += list(element)[::-1]
    return found


def _post(
    role: str, properties: "dict[str, list[HtmlElement]]", otherwise: str = "", accepted: bool = False
) -> Post:
    texts = properties.get("text") or properties.get("articleBody") or []
    text = next((write_markdown(each) for each in texts if each.tag != "meta"), "") or otherwise
    author = ""
    for person in properties.get("author", []):
        author = author or _first_line(_properties(person), "name") or one_line(person.text_content())
    dates = [
        iso_date(each.get("datetime") or each.get("content") or each.text_content())
        for name in ("dateCreated", "datePublished")
        for each in properties.get(name, [])
    ]
    return Post(role, text, author, next(filter(None, dates), None), accepted)


def _comments(properties: "dict[str, list[HtmlElement]]") -> list[Post]:
    return [_post("C", _properties(each)) for each in properties.get("comment", [])]


def _first_line(properties: "dict[str, list[HtmlElement]]", *names: str) -> str:
    for name in names:
        for element in properties.get(name, []):
            if text := one_line(element.get("content") or element.text_content()):
                return text
    return ""


def _from_phpbb(tree: "HtmlElement") -> Thread | None:
    posts: list[Post] = []
    for body in tree.find_class("postbody"):
        contents = body.find_class("content")
        if not contents:
            continue
        lines = body.find_class("author")
        names = [
            each
            for line in lines
            for each in line.find_class("username") + line.find_class("username-coloured")
        ]
        dates = [iso_date(each.get("datetime")) for line in lines for each in line.iter("time")]
        author = one_line(names[0].text_content()) if names else ""
        post = Post("A", write_markdown(contents[0]), author, next(filter(None, dates), None))
        posts.append(_by_author(post, posts[0]) if posts else Post("Q", post.text, author, post.date))
    titles = tree.find_class("topic-title")
    if not any(post.author for post in posts):
        return None  # Others call a post's body so as well.
    return Thread(one_line(titles[0].text_content()) if titles else "", tuple(posts))


def _from_stack_exchange(tree: "HtmlElement") -> Thread | None:
    question = tree.find('.//*[@id="question"]')
    if question is None:
        return None
    title = tree.find('.//*[@id="question-header"]//h1')
    posts = []
    for role, element in [("Q", question), *(("A", answer) for answer in tree.find_class("answer"))]:
        texts = [
            each for name in ("s-prose", "js-post-body", "post-text") for each in element.find_class(name)
        ]
        owners = [name for each in element.find_class("user-details") for name in each.iter("a")]
        dates = [iso_date(each.get("title")) for each in element.find_class("relativetime")]
        posts.append(
            Post(
                role,
                write_markdown(texts[0]) if texts else "",
                one_line(owners[-1].text_content()) if owners else "",
                next(filter(None, dates), None),
                "accepted-answer" in (element.get("class") or "").split(),
            )
        )
    return Thread("" if title is None else one_line(title.text_content()), tuple(posts))


def _from_blocks(tree: "HtmlElement") -> Thread | None:
    found = find_blocks(tree)
    if found is None:
        return None
    posts: list[Post] = []
    if found.opening is not None:
        opening = found.opening
        posts.append(Post("Q", opening.text or found.title, opening.author, opening.date))
    for block in found.posts:
        post = Post("A" if posts else "Q", block.text, block.author, block.date)
        posts.append(_by_author(post, posts[0]) if posts else post)
    return Thread(found.title, tuple(posts))


def _message(html: str) -> Thread | None:
    """A page of a mailing list's archive: one message."""
    if found := PIPERMAIL.search(html):
        subject, author, date = (_unmarked(found[name]) for name in ("subject", "author", "date"))
    elif found := MHONARC.search(html):
        fields = {
            name: lxml.html.fromstring(f"<p>{value}</p>").text_content()
            for name, value in MHONARC_FIELD.findall(html)
        }
        subject, date = one_line(fields.get("Subject", "")), fields.get("Date", "")
        author = one_line(ADDRESS.sub("", codecs.decode(fields.get("From-R13", ""), "rot13")))
    else:
        return None
    text = _text(found["body"])
    if not text:
        return None
    role = "A" if REPLY.match(subject) else "Q"
    return Thread(subject, (Post(role, text, author, iso_date(date)),))


def _by_author(post: Post, first: Post) -> Post:
    """Whoever opened the thread asks in each of their posts."""
    asks = bool(post.author) and post.author == first.author
    return Post("Q" if asks else post.role, post.text, post.author, post.date, post.accepted)


def _text(value: Any) -> str:
    """Markdown of what is HTML or plain text."""
    if not isinstance(value, str) or not value.strip():
        return ""
    if not TAG.search(value):
        return tidy(value).strip()
    return write_markdown(lxml.html.fragment_fromstring(value, create_parent="div"))


def _unmarked(value: str) -> str:
    return one_line(lxml.html.fragment_fromstring(value, create_parent="div").text_content())


def _line(value: Any) -> str:
    return one_line(_text(value))


def _listed(value: Any) -> list[dict[str, Any]]:
    return [each for each in (value if isinstance(value, list) else [value]) if _is_object(each)]


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)
