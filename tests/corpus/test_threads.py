"""Threads as the sites write them: each page has the same posts, so the same text must come of it."""

import codecs
import json
from collections.abc import Callable

import pytest

from pipeline.corpus.extractors import extract_page
from tests.corpus.labelled_pages import agreement
from tests.corpus.samples import ENGLISH

TITLE = "How is the mill stopped?"
QUESTION = f"{ENGLISH[0]} {ENGLISH[1]} How is it stopped in a storm?"
ANSWER = f"{ENGLISH[2]} {ENGLISH[3]} One closes the sluice first."
OTHER = f"{ENGLISH[4]} {ENGLISH[5]} Two people are needed for it."
MENU = '<ul class="menu">' + "".join(f'<li><a href="/{n}">Board {n}</a></li>' for n in range(30)) + "</ul>"
EXPECTED = f"""# {TITLE}

**Q (Ana Lima, 2021-03-04):**

{QUESTION}

**A (Bruno, 2021-03-05, ✓):**

{ANSWER}

**A (Eva, 2021-03-06):**

{OTHER}"""
POSTS = (
    (QUESTION, "Ana Lima", "2021-03-04"),
    (ANSWER, "Bruno", "2021-03-05"),
    (OTHER, "Eva", "2021-03-06"),
)


def page(body: str, head: str = "") -> str:
    footer = "<footer><p>Powered by a forum</p></footer>"
    head = f"<head><title>{TITLE} - Forum</title>{head}</head>"
    return f"<html lang='en'>{head}<body>{MENU}{body}{footer}</body></html>"


def linked() -> str:
    def post(number: int) -> dict[str, object]:
        text, author, date = POSTS[number]
        return {"text": f"<p>{text}</p>", "author": {"@type": "Person", "name": author}, "dateCreated": date}

    answers = {"acceptedAnswer": post(1), "suggestedAnswer": [post(2)]}
    question = {"@type": "Question", "name": TITLE, **post(0), **answers}
    data = json.dumps({"@context": "https://schema.org", "@type": "QAPage", "mainEntity": question})
    shown = "".join(f"<div>{text}</div>" for text, _, _ in POSTS)
    return page(shown, f'<script type="application/ld+json">{data}</script>')


def stack_exchange() -> str:
    def post(number: int, role: str) -> str:
        text, author, date = POSTS[number]
        return (
            f'<div class="{role}" itemprop="{role}" itemscope itemtype="https://schema.org/Answer">'
            f'<div class="s-prose js-post-body" itemprop="text"><p>{text}</p></div><a>Share</a><a>Follow</a>'
            f'<time itemprop="dateCreated" datetime="{date}T10:00:00">ages ago</time>'
            f'<div class="user-details" itemprop="author" itemscope itemtype="http://schema.org/Person">'
            f'<a href="/u"><span itemprop="name">{author}</span></a><span>1,234 reputation</span></div></div>'
        )

    question = post(0, "mainEntity").replace(
        'itemprop="mainEntity" itemscope itemtype="https://schema.org/Answer"', ""
    )
    return page(
        '<div itemscope itemtype="https://schema.org/QAPage"><div itemprop="mainEntity" itemscope '
        'itemtype="https://schema.org/Question"><div id="question-header">'
        f'<h1 itemprop="name">{TITLE}</h1></div><div id="question">{question}</div><h2>2 Answers</h2>'
        f"{post(1, 'acceptedAnswer')}{post(2, 'suggestedAnswer')}</div></div>"
    )


def stack_exchange_without_microdata() -> str:
    def post(number: int, classes: str, identity: str = "") -> str:
        text, author, date = POSTS[number]
        return (
            f'<div class="{classes}" {identity}><div class="votecell">17</div>'
            f'<div class="post-text"><p>{text}</p></div>'
            f'<span class="relativetime" title="{date} 10:00:00Z">Mar 4</span>'
            f'<div class="user-details"><a href="/u">{author}</a></div></div>'
        )

    body = f'<div id="question-header"><h1>{TITLE}</h1></div>' + post(0, "question", 'id="question"')
    return page(body + post(1, "answer accepted-answer") + post(2, "answer"))


def discourse() -> str:
    posts = "".join(
        f'<div id="post_{number}" class="topic-body crawler-post" {kind}><div class="crawler-post-meta">'
        '<span class="creator" itemprop="author" itemscope itemtype="http://schema.org/Person">'
        f'<a itemprop="url" href="/u"><span itemprop="name">{author}</span></a></span>'
        f'<time datetime="{date}T10:00:00Z" itemprop="datePublished">March</time></div>'
        f'<div class="post" itemprop="text"><p>{text}</p></div></div>'
        for number, (text, author, date) in enumerate(POSTS, 1)
        for kind in [
            'itemprop="comment" itemscope itemtype="http://schema.org/Comment"' if number > 1 else ""
        ]
    )
    return page(
        '<div itemscope itemtype="http://schema.org/DiscussionForumPosting">'
        f'<meta itemprop="headline" content="{TITLE}">{posts}</div>'
    )


def phpbb() -> str:
    posts = "".join(
        f'<div id="p{number}" class="post"><dl class="postprofile"><dt><a class="username">{author}</a></dt>'
        f'<dd>Posts: 12</dd></dl><div class="postbody"><h3><a href="#p{number}">Re: {TITLE}</a></h3>'
        f'<p class="author">by <strong><a class="username">{author}</a></strong> » '
        f'<time datetime="{date}T10:00:00+00:00">Thu</time></p><div class="content">{text}</div></div></div>'
        for number, (text, author, date) in enumerate(POSTS)
    )
    return page(f'<h2 class="topic-title"><a href="/t">{TITLE}</a></h2>{posts}')


@pytest.mark.parametrize("extractor", ["trafilatura", "resiliparse"])
@pytest.mark.parametrize("site", [linked, stack_exchange, stack_exchange_without_microdata, discourse, phpbb])
def test_who_asks_and_who_answers_is_kept(site: Callable[[], str], extractor: str) -> None:
    found = extract_page(site().encode(), None, extractor, threads=True)
    assert found.thread
    accepts = site not in (discourse, phpbb)
    expected = EXPECTED if accepts else EXPECTED.replace(", ✓", "")
    assert found.text == expected
    assert agreement([(expected, found.text)]).f1 >= 0.9


def test_a_page_is_taken_for_a_thread_only_where_threads_are_looked_for() -> None:
    assert not extract_page(phpbb().encode(), None, "trafilatura").thread


def test_whoever_opened_a_thread_asks_in_each_of_their_posts() -> None:
    text = extract_page(
        phpbb().replace(">Eva<", ">Ana Lima<").encode(), None, "trafilatura", threads=True
    ).text
    assert "**Q (Ana Lima, 2021-03-06):**" in text


def test_a_faq_keeps_its_questions_and_answers() -> None:
    questions = [
        {"@type": "Question", "name": name, "acceptedAnswer": {"@type": "Answer", "text": text}}
        for name, text in (("When is it open?", ENGLISH[7]), ("Who lives there?", f"<p>{ENGLISH[4]}</p>"))
    ]
    data = json.dumps({"@graph": [{"@type": "FAQPage", "name": "Questions", "mainEntity": questions}]})
    shown = "".join(f"<h2>{each['name']}</h2><p>answer</p>" for each in questions)
    html = page(shown, f'<script type="application/ld+json">{data}</script>')
    assert extract_page(html.encode(), None, "trafilatura", threads=True).text == (
        f"# Questions\n\n**Q:**\n\nWhen is it open?\n\n**A:**\n\n{ENGLISH[7]}\n\n"
        f"**Q:**\n\nWho lives there?\n\n**A:**\n\n{ENGLISH[4]}"
    )


def test_a_long_page_with_a_few_questions_stays_a_page() -> None:
    data = {"@type": "FAQPage", "mainEntity": [{"name": "Why?", "acceptedAnswer": {"text": "Because."}}]}
    text = "".join(f"<p>{paragraph}</p>" for paragraph in ENGLISH)
    html = page(
        f"<article>{text}</article>", f'<script type="application/ld+json">{json.dumps(data)}</script>'
    )
    found = extract_page(html.encode(), None, "trafilatura", threads=True)
    assert not found.thread
    assert ENGLISH[3] in found.text


def pipermail(subject: str) -> str:
    return (
        f"<HTML><HEAD><TITLE> [mills] {subject}</TITLE></HEAD><BODY><H1>{subject}</H1>\n<B>Ana Lima</B> \n"
        '<A HREF="mailto:x">ana at example.org</A><BR>\n<I>Thu Mar  4 10:00:00 UTC 2021</I>\n<P><UL>\n'
        '<LI>Previous message: <A HREF="1.html">older</A></LI></UL><HR>\n<!--beginarticle-->\n'
        f"<PRE>{ENGLISH[0]}\n\n&gt; {ENGLISH[1]}\n\n{ENGLISH[2]}\n</PRE>\n<!--endarticle--><HR><UL>"
        '<LI>Next message: <A HREF="2.html">newer</A></LI></UL></BODY></HTML>'
    )


def mhonarc(subject: str) -> str:
    sender = codecs.encode("Ana Lima <ana@example.org>", "rot13").replace("<", "&#60;").replace(">", "&#62;")
    return (
        f"<!-- MHonArc v2.6.19 -->\n<!--X-Subject: {subject} -->\n<!--X-From-R13: {sender} -->\n"
        "<!--X-Date: Thu, 4 Mar 2021 10:00:00 +0000 -->\n<html><head><title>x</title></head><body>"
        "<ul><li><em>From</em>: Ana</li></ul><!--X-Body-of-Message-->\n"
        f"<pre>{ENGLISH[0]}\n\n&gt; {ENGLISH[1]}\n\n{ENGLISH[2]}</pre>\n"
        "<!--X-Body-of-Message-End--><p>Follow-Ups: none</p></body></html>"
    )


@pytest.mark.parametrize("archive", [pipermail, mhonarc])
@pytest.mark.parametrize(("subject", "role"), [("Stopping it", "Q"), ("Re: Stopping it", "A")])
def test_a_message_of_a_mailing_list_says_who_wrote_it(
    archive: Callable[[str], str], subject: str, role: str
) -> None:
    found = extract_page(archive(subject).encode(), None, "trafilatura", threads=True)
    assert found.text.startswith(f"# {subject}\n\n**{role} (Ana Lima, 2021-03-04):**\n\n")
    for line in (ENGLISH[0], f"> {ENGLISH[1]}", ENGLISH[2]):
        assert line in found.text
    assert "older" not in found.text
