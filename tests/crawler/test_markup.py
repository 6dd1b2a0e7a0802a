"""What is read in a page, held against a real HTML parser, and what hostile pages cost."""

import resource
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler.markup import read_markup, tags, visible_text
from tests.crawler.fuzz import TAG_PIECES, parsed_links


@given(st.lists(st.sampled_from(TAG_PIECES), max_size=12).map("".join))
@example("<a href='x>y'><a href=\"b")
@example("<!--><a href=x>--><a href=y>")
@example("<a href=?a=1&copy=2&amp;b=&eacute;&notit;>")
def test_links_are_those_of_a_parser(text: str) -> None:
    assert read_markup(f"<p>{text}").links == parsed_links(f"<p>{text}")


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    for page in (text, f"<a {text}", f"<a href='{text}", f"<!--{text}", f"<meta name=x content={text}>"):
        read_markup(page)
        visible_text(page)


def test_links_are_joined_with_the_first_base() -> None:
    page = "<base target=t><a href=a#b><base href=' /x/y '><base href=/z/><a href=/c><a href='#d'><a href=a>"
    assert read_markup(page).links == ["/x/a", "/c"]


def test_metas_and_language_are_read() -> None:
    page = "<html lang=pt-BR><META Name=' Robots' content=NoIndex><meta charset=x><meta name=a><html lang=en>"
    assert read_markup(page).metas == [("robots", "NoIndex")]
    assert read_markup(page).language == "pt-BR"
    assert read_markup("<p>").language is None


def test_nothing_is_read_inside_of_raw_text() -> None:
    page = "<script>'<a href=1>'</script><title><a href=2></title><!--<a href=3>--><a href=4><plaintext><a>"
    assert read_markup(page).links == ["4"]
    assert [name for name, _ in tags(page)] == ["script", "title", "a", "plaintext"]


def test_the_visible_text_is_that_without_markup() -> None:
    page = (
        "<title>A  b</title><script>x('<p>')</script><style>y</style><!-- <p>z --><p class='q'>c<br/>d\n"
        "<STYLE a=b>y</style >e</p> 1 < 2 <noscript>f</noscript><script>g"
    )
    assert visible_text(page) == "A b c d e 1 < 2 f"
    assert visible_text("a<!--b") == "a"
    assert visible_text("a<b") == "a"


@pytest.mark.parametrize(
    "page",
    [
        "<script><!--<script></script><a href=1>",
        "<script><!--<script></script></script><a href=1>",
        "<script><!--<script>--></script><a href=1>",
        "<script><!--><script></script><a href=1>",
        "<script><script></script><a href=1>",
        "<script><!--<scripts></script><a href=1>",
    ],
)
def test_a_script_in_a_comment_of_a_script_has_its_own_end(page: str) -> None:
    assert read_markup(page).links == parsed_links(page)


def test_a_hundred_thousand_links_are_read() -> None:
    page = "".join(f"<li><a href='/p/{number}'>{number}</a>" for number in range(100_000))
    assert len(read_markup(page).links) == 100_000


@pytest.mark.parametrize(
    "piece",
    [
        *("<font size={0}><p>", "<a href={0}><b><i><u><div></a>", "<div>", "<table>", "<svg><a href={0}>"),
        *("<", "<!--", "<!", "</", "<a ", "<a x='", "<b x=\"'", "<script>"),
        *("<script><!--<script>", "<a href='&amp;&x={0}", "<b/ ="),
    ],
)  # fmt: skip
def test_a_hostile_page_costs_no_more_than_its_length(piece: str) -> None:
    def seconds(count: int) -> float:
        page = "".join(piece.replace("{0}", str(number)) for number in range(count))
        began = time.process_time()
        read_markup(page)
        visible_text(page)
        return time.process_time() - began

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = 400_000 // len(piece)
    assert seconds(4 * count) < 0.2 + 10 * seconds(count)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
