import json

import pytest

from pipeline.corpus.extractors import extract_page
from pipeline.corpus.metadata import iso_date
from pipeline.corpus.readers.read import Extracted
from tests.corpus.samples import ENGLISH, html

CC_BY = "https://creativecommons.org/licenses/by/4.0/"


def read(head: str, language: str | None = "en") -> Extracted:
    return extract_page(html(ENGLISH, head=head, language=language).encode(), None, "resiliparse")


def test_linked_data_comes_first() -> None:
    data = {
        "@graph": [
            {"@type": "Organization", "name": "The mills"},
            {
                "@type": ["Article", "https://schema.org/TechArticle"],
                "author": [{"@type": "Person", "name": "Ana Lima"}, "Bruno Sá"],
                "datePublished": "2021-03-04T10:00:00Z",
                "license": {"@id": CC_BY},
            },
        ]
    }
    head = (
        f'<script type="application/ld+json">{json.dumps(data)}</script><meta name="author" content="admin">'
    )
    found = read(head)
    assert (found.author, found.date, found.licence) == ("Ana Lima; Bruno Sá", "2021-03-04", CC_BY)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ('<meta name="DC.creator" content="Ana"><meta name="dcterms.creator" content="Bo">',
         ("Ana; Bo", None, None)),
        ('<meta name="author" content="Ana"><meta name="date" content="2019-05">', ("Ana", "2019-05", None)),
        ('<meta property="article:author" content="https://x/ana">', (None, None, None)),
        (f'<meta name="dcterms.license" content="{CC_BY}">', (None, None, CC_BY)),
        (f'<link rel="license nofollow" href="{CC_BY}">', (None, None, CC_BY)),
        ('<meta name="citation_author" content="A"><meta name="citation_date" content="2020/1/2">',
         ("A", "2020-01-02", None)),
        ('<script type="application/ld+json">{not json</script>', (None, None, None)),
    ],
)  # fmt: skip
def test_what_a_page_states_is_read(head: str, expected: tuple[str | None, ...]) -> None:
    found = read(head)
    assert (found.author, found.date, found.licence) == expected


def test_nothing_is_guessed_from_the_text() -> None:
    text = "<p>By Ana Lima on 4 March 2021. Copyright 2020, all rights reserved.</p>"
    found = extract_page(f"<html><body>{text}</body></html>".encode(), None, "resiliparse")
    assert (found.author, found.date, found.licence, found.language) == (None, None, None, None)


def test_the_language_is_the_pages_own() -> None:
    assert read("", "pt-BR").language == "pt-BR"
    assert read('<meta http-equiv="content-language" content="pt">', None).language == "pt"


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ("2021", "2021"), ("2021-03", "2021-03"), ("2021-03-04T10:00:00Z", "2021-03-04"),
        ("2021-02-30", None),
        ("D:20210304000000Z", "2021-03-04"), ("Thu, 04 Mar 2021 10:00:00 +0000", "2021-03-04"),
        ("yesterday", None), ("", None), (None, None), ("0000-00-00", None), (2021, "2021"),
    ],
)  # fmt: skip
def test_dates_are_written_in_one_way(stated: object, found: str | None) -> None:
    assert iso_date(stated) == found
