import lxml.html
import pytest

from pipeline.corpus.charset import decode
from pipeline.corpus.extractors import EXTRACTORS, extract_page
from pipeline.corpus.markdown import write_markdown
from pipeline.corpus.readers.read import TooDeepError
from tests.corpus.samples import ENGLISH, PDOC, PORTUGUESE, html


def markdown_of(body: str) -> str:
    return write_markdown(lxml.html.document_fromstring(body))


@pytest.mark.parametrize("extractor", sorted(EXTRACTORS))
def test_an_article_is_found_between_navigation_and_footer(extractor: str) -> None:
    found = extract_page(html(ENGLISH).encode(), "utf-8", extractor)
    assert found.title == "The mill"
    assert found.language == "en"
    assert all(sentence in found.text for sentence in ENGLISH)
    assert "About us" not in found.text


def test_api_documentation_keeps_signatures_in_one_line_with_nothing_escaped() -> None:
    text = extract_page(PDOC.encode(), "utf-8", "trafilatura").text
    assert "## def load(file_name, *, skip_keys=False) -> dict\n" in text
    assert "\\" not in text
    assert "\t" not in text
    assert "names_with_underscores" in text
    assert "@cached" not in text
    assert '```\n>>> sample.load("_a_file", *rest)  # <not> a heading\n```' in text


def test_parameters_keep_a_line_each_and_headings_in_docstrings_stand_below_the_name() -> None:
    text = extract_page(PDOC.encode(), "utf-8", "trafilatura").text
    assert "#### Parameters" in text
    assert "\nskip_keys : bool, optional\nWhether keys" in text
    assert "| code | meaning |\n|---|---|\n| r | read only |" in text
    assert "- one thing\n- another thing" in text


def test_variables_without_a_word_about_them_are_left_out() -> None:
    assert "empty" not in extract_page(PDOC.encode(), "utf-8", "trafilatura").text


def test_sphinx_signatures_become_headings() -> None:
    entry = (
        '<dl class="py function"><dt class="sig sig-object py" id="f"><span class="sig-name">grind</span>'
        '(<em>corn</em>, <em>fine=True</em>)<a class="headerlink" href="#f">¶</a></dt>'
        f"<dd><p>{ENGLISH[0]}</p></dd></dl>"
    )
    page = html(ENGLISH).replace("</article>", f"{entry}</article>")
    text = extract_page(page.encode(), "utf-8", "trafilatura").text
    assert f"## grind(corn, fine=True)\n\n{ENGLISH[0]}" in text
    assert "¶" not in text


def test_a_page_nested_too_deeply_is_refused() -> None:
    with pytest.raises(TooDeepError):
        extract_page(b"<div>" * 100_000 + b"deep" + b"</div>" * 100_000, None, "trafilatura")


def test_a_page_with_hardly_any_text_does_not_give_its_menu_instead() -> None:
    page = html(("One line.",)).replace("</ul></nav>", "<li>Somewhere else</li>" * 50 + "</ul></nav>")
    assert "Somewhere else" not in extract_page(page.encode(), None, "trafilatura").text


@pytest.mark.parametrize("page", [b"", b"   ", b"\0\0\0", b"<html></html>", b"<!-- nothing -->"])
def test_a_page_without_text_gives_empty_text(page: bytes) -> None:
    assert extract_page(page, None, "trafilatura").text == ""


@pytest.mark.parametrize(
    ("encoding", "declared", "head"),
    [
        ("utf-8", "utf-8", ""),
        ("utf-8", None, ""),
        ("utf-8", "iso-8859-1", ""),
        ("iso-8859-1", "ISO-8859-1", ""),
        ("iso-8859-1", None, '<meta charset="iso-8859-1">'),
        ("windows-1252", None, '<meta http-equiv="Content-Type" content="text/html; charset=latin1">'),
        ("iso-8859-1", "utf-8", ""),
        ("iso-8859-1", "no-such-encoding", ""),
        ("utf-16", None, ""),
        ("utf-16-le", "utf-16-le", ""),
        ("utf-8-sig", "iso-8859-1", ""),
    ],
)
def test_portuguese_is_read_right_in_whatever_encoding(
    encoding: str, declared: str | None, head: str
) -> None:
    page = html(PORTUGUESE, title="O moinho", head=head, language="pt")
    text = decode(page.encode(encoding), declared)
    assert PORTUGUESE[5] in text
    assert "\ufffd" not in text


def test_code_tables_lists_and_quotes_read_like_markdown() -> None:
    text = markdown_of(
        "<h2>Use</h2><p>Call <code>run()</code><br>twice.</p><pre>a\n  b ``` c\n</pre>"
        "<ol><li>first<ul><li>inner</li></ul></li><li>second</li></ol><blockquote><p>said</p></blockquote>"
    )
    assert text == (
        "## Use\n\nCall `run()`\ntwice.\n\n````\na\n  b ``` c\n````\n\n"
        "1. first\n\n   - inner\n2. second\n\n> said"
    )


def test_a_block_that_repeats_the_one_before_is_written_once() -> None:
    assert markdown_of("<p>again</p><div><p>again</p></div><p>other</p>") == "again\n\nother"


def test_what_cannot_be_seen_is_left_out() -> None:
    text = markdown_of("<p>so\u00adft\u200b \u00a0spa\u0301ce\ue000</p>")
    assert text == "soft spáce"


def test_tables_drawn_in_docstrings_lose_their_borders_and_keep_their_lines() -> None:
    table = (
        "<p>+------+--------+\n| JSON | Python |\n+======+========+\n| null | None |\n+------+--------+</p>"
    )
    page = PDOC.replace("<ul><li>one thing", f"{table}<ul><li>one thing")
    assert "\n| JSON | Python |\n| null | None |\n" in extract_page(page.encode(), None, "trafilatura").text


def test_a_page_without_an_article_keeps_its_headings() -> None:
    paragraph = "<p>" + "O guia explica os comandos do sistema, um por um, com exemplos. " * 4 + "</p>"
    heads = ("<h1>Guia</h1>", "<h2>1.1 Comandos</h2>", "<h2>1.2 Arquivos</h2>")
    page = "<html><body>" + "".join(head + paragraph for head in heads)
    text = extract_page(page.encode(), "utf-8", "trafilatura").text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Guia",
        "## 1.1 Comandos",
        "## 1.2 Arquivos",
    ]


def test_docbook_headings_and_paragraphs_in_divs_are_kept() -> None:
    paragraph = (
        "Os pacotes contêm <code>todos</code> os arquivos de que um comando precisa, e mais alguns. " * 3
    )
    section = (
        '<div class="section"><div class="titlepage"><div><div><h2 class="title">{}</h2></div></div></div>'
        '<div class="para">{}</div></div>'
    )
    page = "<html><body>" + section.format("Pacotes", paragraph) + section.format("Arquivos", paragraph)
    text = extract_page(page.encode(), "utf-8", "trafilatura").text
    assert "## Pacotes" in text
    assert "## Arquivos" in text
    assert text.count("Os pacotes contêm `todos` os arquivos") >= 2
