# ruff: noqa: E501 (markup as the sites write it)
"""Threads of forum software that states nothing: told by blocks of one make, each with a name and a text."""

from collections.abc import Callable

import pytest

from pipeline.corpus.extract import ExtractConfig, extract
from pipeline.corpus.extractors import extract_page
from pipeline.corpus.tables import read_rows
from pipeline.store import Store
from tests.corpus.conftest import InThisProcess, MakePages, WebPage
from tests.corpus.samples import ENGLISH, html
from tests.corpus.test_threads import ANSWER, EXPECTED, POSTS, TITLE, page, phpbb

DATED = EXPECTED.replace(", ✓", "")
UNDATED = DATED.replace(", 2021-03-04", "").replace(", 2021-03-05", "").replace(", 2021-03-06", "")


def xenforo() -> str:
    posts = "".join(
        f'<article class="message message--post js-post" data-author="{author}" id="js-post-{number}">'
        '<div class="message-inner"><div class="message-cell message-cell--user"><section class="message-user">'
        f'<div class="message-avatar"><a class="avatar"><img alt="{author}"></a></div>'
        f'<div class="message-userDetails"><h4 class="message-name"><a class="username">{author}</a></h4>'
        '<h5 class="userTitle message-userTitle">Well-known member</h5></div><div class="message-userExtras">'
        "<dl><dt>Joined</dt><dd>May 1, 2007</dd></dl></div></section></div>"
        '<div class="message-cell message-cell--main"><header class="message-attribution"><ul><li>'
        f'<a href="#p"><time class="u-dt" datetime="{date}T10:00:00+0000">Thursday</time></a></li></ul></header>'
        '<div class="message-content js-messageContent"><article class="message-body js-selectToQuote">'
        f'<div class="bbWrapper">{text}</div></article></div><footer class="message-footer">'
        '<a class="reactionsBar">Reactions: 3 people</a></footer></div></div></article>'
        for number, (text, author, date) in enumerate(POSTS)
    )
    return page(
        f'<div class="p-title"><h1 class="p-title-value">{TITLE}</h1></div><div class="p-description"><ul><li>'
        'Thread starter <a class="username">Ana Lima</a></li><li>Start date <time class="u-dt" '
        f'datetime="2021-03-04T10:00:00+0000">Mar 4</time></li></ul></div><div class="block-body">{posts}</div>'
    )


def vbulletin() -> str:
    posts = "".join(
        f'<li class="postbitlegacy postbitim postcontainer {"new" if number else "old"}" id="post_{number}">'
        f'<div class="posthead"><span class="postdate"><span class="date">03-04-2021,&nbsp;'
        '<span class="time">10:00 AM</span></span></span></div><div class="postdetails"><div class="userinfo">'
        f'<div class="username_container"><a class="username online" href="u"><strong>{author}</strong></a>'
        '<span class="usertitle">Senior Member</span></div><dl class="userinfo_extra"><dt>Join Date</dt>'
        '<dd>May 2007</dd></dl></div><div class="postbody"><div class="postrow">'
        f'<h2 class="title icon">Re: {TITLE}</h2><div class="content"><div id="post_message_{number}">'
        f'<blockquote class="postcontent restore">{text}</blockquote></div></div></div></div></div></li>'
        for number, (text, author, _) in enumerate(POSTS)
    )
    return page(f'<h1><span class="threadtitle">{TITLE}</span></h1><ol id="posts" class="posts">{posts}</ol>')


def simple_machines() -> str:
    posts = "".join(
        f'<div class="windowbg" id="msg{number}"><div class="post_wrapper"><div class="poster"><h4>'
        f'<a href="u" title="View profile">{author}</a></h4><ul class="user_info"><li>Full Member</li>'
        '<li>Posts: 112</li></ul></div><div class="postarea"><div class="keyinfo"><h5>'
        f'<a href="#m">Re: {TITLE}</a></h5><a class="smalltext">March 04, 2021, 10:00:00 am</a></div>'
        f'<div class="post"><div class="inner" id="msg_{number}">{text}</div></div></div></div></div>'
        for number, (text, author, _) in enumerate(POSTS)
    )
    return page(f'<div id="display_head"><h2>{TITLE}</h2></div><div id="forumposts">{posts}</div>')


def my_bb() -> str:
    posts = "".join(
        f'<div class="post classic" id="post_{number}"><div class="post_author scaleimages">'
        '<div class="author_avatar"><a href="u"><img alt=""></a></div><div class="author_information">'
        f'<strong><span class="largetext"><a href="u">{author}</a></span></strong><br>Junior Member</div>'
        '<div class="author_statistics">Posts: 12<br>Joined: May 2007</div></div><div class="post_content">'
        '<div class="post_head"><span class="post_date">03-04-2021, 10:00 AM</span></div>'
        f'<div class="post_body scaleimages" id="pid_{number}">{text}</div></div></div>'
        for number, (text, author, _) in enumerate(POSTS)
    )
    return page(f"<table><tr><td><strong>{TITLE}</strong></td></tr></table><div id='posts'>{posts}</div>")


def invision() -> str:
    posts = "".join(
        f'<article id="elComment_{number}" class="cPost ipsBox ipsComment ipsComment_parent">'
        f'<aside class="ipsComment_author cAuthorPane"><h3 class="cAuthorPane_author"><strong><a>{author}</a>'
        '</strong></h3><ul class="cAuthorPane_info"><li>Members</li><li>112 posts</li></ul></aside>'
        f'<div class="ipsColumn ipsComment_content"><div class="ipsComment_meta"><a>Posted <time datetime='
        f'"{date}T10:00:00Z">Thursday</time></a></div><div class="cPost_contentWrap"><div '
        f'class="ipsType_normal ipsType_richText"><p>{text}</p></div></div></div></article>'
        for number, (text, author, date) in enumerate(POSTS)
    )
    return page(f'<h1 class="ipsType_pageTitle">{TITLE}</h1><div id="elPostFeed">{posts}</div>')


def hacker_news() -> str:
    def by(author: str, date: str) -> str:
        age = f'<span class="age" title="{date}T10:00:00 1614852000"><a href="i">on March 4</a></span>'
        return f'<a href="u" class="hnuser">{author}</a> {age}'

    (question, asker, asked), *rest = POSTS
    story = (
        f'<table class="fatitem"><tr class="athing submission" id="1"><td class="title"><span class="titleline">'
        f'<a href="s">{TITLE}</a></span></td></tr><tr><td class="subtext"><span class="subline"><span '
        f'class="score">12 points</span> by {by(asker, asked)}</span></td></tr><tr><td>'
        f'<div class="toptext">{question}</div></td></tr></table>'
    )
    comments = "".join(
        f'<tr class="athing comtr" id="2{number}"><td><table><tr><td class="ind"></td><td class="default"><div>'
        f'<span class="comhead">{by(author, date)} <span class="navs">| <a>parent</a> | <a>next</a></span></span>'
        f'</div><br><div class="comment"><div class="commtext c00">{text}</div><div class="reply"><p><u>'
        '<a href="r">reply</a></u></p></div></div></td></tr></table></td></tr>'
        for number, (text, author, date) in enumerate(rest)
    )
    return page(f'{story}<table class="comment-tree">{comments}</table>')


def hyperkitty() -> str:
    posts = "".join(
        f'<div class="email" id="M{number}7X"><div class="email-header d-flex"><div class="email-author">'
        f'<h2 class="name"><a href="u">{author}</a></h2></div><div class="email-date">'
        f'<div class="time"><span title="Sender&#39;s time">4 Mar 2021</span></div></div></div>'
        f'<div class="email-body"><p>{text}</p></div><div class="email-info"><a class="reply">Reply</a></div></div>'
        for number, (text, author, _) in enumerate(POSTS)
    )
    return page(f'<h1>{TITLE}</h1><section id="thread-content">{posts}</section>')


def nested_comments() -> str:
    """WordPress: an article, below it comments in one another."""
    (question, asker, asked), (answer, one, first), (other, two, second) = POSTS

    def comment(number: int, text: str, author: str, date: str, inside: str = "") -> str:
        return (
            f'<li class="comment byuser comment-author-x bypostauthor" id="comment-{number}"><article '
            f'class="comment-body"><footer class="comment-meta"><div class="comment-author vcard">'
            f'<b class="fn"><a href="u">{author}</a></b> <span class="says">says:</span></div>'
            f'<div class="comment-metadata"><time datetime="{date}T10:00:00">March</time></div></footer>'
            f'<div class="comment-content"><p>{text}</p></div></article>{inside}</li>'
        )

    replies = f'<ol class="children">{comment(2, other, two, second)}</ol>'
    return page(
        f'<article class="post"><h1 class="entry-title">{TITLE}</h1><span class="byline">by <span class="author">'
        f'<a href="u">{asker}</a></span></span><time class="entry-date" datetime="{asked}">March</time>'
        f'<div class="entry-content"><p>{question}</p></div></article><ol class="comment-list">'
        f"{comment(1, answer, one, first, replies)}</ol>"
    )


def rdfa() -> str:
    def post(number: int) -> str:
        text, author, date = POSTS[number]
        return (
            f'<span property="author" typeof="Person"><span property="name">{author}</span></span>'
            f'<span property="dateCreated" content="{date}">March</span><div property="text"><p>{text}</p></div>'
        )

    answers = "".join(
        f'<div property="suggestedAnswer" typeof="schema:Answer">{post(number)}</div>' for number in (1, 2)
    )
    return page(
        f'<div vocab="https://schema.org/" typeof="QAPage"><div property="mainEntity" typeof="schema:Question">'
        f'<h1 property="schema:name">{TITLE}</h1>{post(0)}{answers}</div></div>'
    )


SOFTWARE = {
    xenforo: DATED,
    vbulletin: UNDATED,
    simple_machines: UNDATED,
    my_bb: UNDATED,
    invision: DATED,
    hacker_news: DATED,
    hyperkitty: UNDATED,
    nested_comments: DATED,
}


@pytest.mark.parametrize("extractor", ["trafilatura", "resiliparse"])
@pytest.mark.parametrize("site", SOFTWARE)
def test_posts_are_told_by_the_structure_of_a_page(site: Callable[[], str], extractor: str) -> None:
    found = extract_page(site().encode(), None, extractor, threads=True, expected=True)
    assert found.thread
    assert found.text == SOFTWARE[site]


def test_a_thread_in_rdfa_is_read_like_one_in_microdata() -> None:
    found = extract_page(rdfa().encode(), None, "trafilatura", threads=True)
    assert found.text == DATED


def test_structure_alone_makes_no_thread_where_none_is_expected() -> None:
    assert not extract_page(xenforo().encode(), None, "trafilatura", threads=True).thread


def test_a_quoted_author_is_not_the_author() -> None:
    quote = f'<blockquote><a class="username">Zoe</a> wrote: {ENGLISH[6]}</blockquote>{ANSWER}'
    text = extract_page(
        xenforo().replace(ANSWER, quote).encode(), None, "trafilatura", threads=True, expected=True
    ).text
    assert "(Zoe" not in text
    assert f"**A (Bruno, 2021-03-05):**\n\n> Zoe wrote: {ENGLISH[6]}\n\n{ANSWER}" in text


def test_an_index_of_threads_is_none() -> None:
    rows = "".join(
        f'<div class="structItem structItem--thread"><div class="structItem-title"><a href="/t{n}">{line}</a>'
        f'</div><a class="username" href="u">Ana {n}</a><time datetime="2021-03-04">March</time></div>'
        for n, line in enumerate(ENGLISH)
    )
    found = extract_page(page(rows).encode(), None, "trafilatura", threads=True, expected=True)
    assert not found.thread


def test_many_posts_on_a_page_are_all_found() -> None:
    posts = xenforo().partition('<div class="block-body">')[2].partition("<footer><p>Powered")[0]
    many = page(f"<h1>{TITLE}</h1><div class='block-body'>{posts * 50}</div>")
    found = extract_page(many.encode(), None, "resiliparse", threads=True, expected=True)
    assert found.text.count("**A (Bruno, 2021-03-05):**") == 50


def test_pages_of_a_source_of_threads_in_which_there_is_none_are_counted(
    store: Store, make_pages: MakePages, here: InThisProcess
) -> None:
    pages = [
        WebPage("http://x/known", phpbb().encode()),
        WebPage("http://x/told", hyperkitty().encode()),
        WebPage("http://x/none", html(ENGLISH).encode()),
    ]
    raw = extract(store, make_pages(pages), None, ExtractConfig(kind="thread", shards=1), here)
    assert raw.record.counts["threads-unrecognised"] == 1
    texts = {row["url"]: row["text"] for row in read_rows(raw.paths("raw/"))}
    assert texts["http://x/told"] == UNDATED
    other = extract(store, make_pages(pages, name="web"), None, ExtractConfig(shards=1), here)
    assert "threads-unrecognised" not in other.record.counts
