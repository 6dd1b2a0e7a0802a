"""Extraction measured on real pages, against labels that no extractor had a part in."""

import time

import pytest

from pipeline.corpus.extractors import extract_page
from tests.corpus.labelled_pages import SITES, Agreement, LabelledPage, agreement, labelled_pages
from tests.machine import SERVICES_REQUIRED

LEAST_PAGES = 60


@pytest.fixture(scope="module")
def pages() -> list[LabelledPage]:
    found = list(labelled_pages())
    missing = sorted(set(SITES) - {page.site for page in found})
    if missing and not SERVICES_REQUIRED:
        pytest.skip(f"not installed: {', '.join(SITES[name].package for name in missing)}")
    assert not missing
    assert len(found) >= LEAST_PAGES
    return found


def test_agreement_counts_what_is_right_too_much_and_missing() -> None:
    assert agreement([("a b c d e", "a b c d e")]).f1 == 1
    assert agreement([("a b c d e f g h", "a b c d")]) == Agreement(1.0, 0.2)
    assert agreement([("a b c d", "a b c d e f g h")]) == Agreement(0.2, 1.0)
    assert agreement([("a b c d", "d c b a")]).f1 == 0


@pytest.mark.everything
@pytest.mark.parametrize(("extractor", "least"), [("trafilatura", 0.95), ("fast-then-careful", 0.95)])
def test_the_main_text_of_real_pages_is_found(
    pages: list[LabelledPage], extractor: str, least: float
) -> None:
    read = [(page.label, extract_page(page.html, None, extractor).text) for page in pages]
    assert agreement(read).f1 >= least


@pytest.mark.everything
def test_the_fast_extractor_takes_a_fifth_of_the_time(pages: list[LabelledPage]) -> None:
    def seconds(extractor: str) -> float:
        extract_page(pages[0].html, None, extractor)
        start = time.process_time()
        for page in pages:
            extract_page(page.html, None, extractor)
        return time.process_time() - start

    assert seconds("trafilatura") >= 5 * seconds("resiliparse")
