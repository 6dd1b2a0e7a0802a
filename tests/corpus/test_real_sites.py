"""Language and rules on the manuals of Debian packages: `make test-all`, for it reads 1,700 pages."""

import os
from collections import Counter
from typing import Any

import pytest

from pipeline.corpus.clean import CleanConfig
from tests.corpus import real_sites
from tests.corpus.real_sites import Page

pytestmark = [pytest.mark.everything, pytest.mark.timeout(1800)]

UNTRANSLATED = {
    # Portuguese pages in the folder of English.
    *(f"manual/en/{name}.html" for name in ("bind", "filter", "install", "invoking", "upgrading")),
    "manual/en/new_features_2_4.html",
    # English text under a few headings in the folder's language.
    *("manual/es/mod/core.html", "manual/zh-cn/mod/quickreference.html"),
    *(f"manual/{language}/mod/index.html" for language in ("de", "es", "zh-cn")),
}
"""Pages that were read: their text is not in the language that their path names."""


@pytest.fixture(scope="module")
def judged() -> list[tuple[Page, dict[str, Any]]]:
    missing = real_sites.missing()
    if missing and os.environ.get("MOINHO_REQUIRE_SERVICES"):
        pytest.fail(f"install {' '.join(missing)}: infra/install-test-services.sh")
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)}")
    return list(real_sites.judged(list(real_sites.pages()), CleanConfig()))


def test_the_language_is_right_for_99_of_100_pages(judged: list[tuple[Page, dict[str, Any]]]) -> None:
    long = [(page, row) for page, row in judged if len(page.text) >= real_sites.LEAST_CHARACTERS]
    wrong = [
        str(page.path)
        for page, row in long
        if row["language"].split("-")[0] != page.language
        and not any(str(page.path).endswith(name) for name in UNTRANSLATED)
    ]
    assert len(long) > 1_500
    assert len(wrong) <= 0.01 * len(long), wrong


def test_the_manuals_of_brazil_are_not_taken_for_those_of_portugal(
    judged: list[tuple[Page, dict[str, Any]]],
) -> None:
    found = Counter(row["language"] for page, row in judged if page.language == "pt")
    assert found["pt-BR"] >= 0.9 * found.total()
    assert found["pt-PT"] == 0


@pytest.mark.parametrize("language", ["en", "pt"])
def test_most_pages_of_good_manuals_are_kept(
    judged: list[tuple[Page, dict[str, Any]]], language: str
) -> None:
    kept = Counter(row["reason"] is None for page, row in judged if page.language == language)
    assert kept.total() > 70
    assert kept[True] >= 0.6 * kept.total()


def test_indexes_and_stubs_are_dropped(judged: list[tuple[Page, dict[str, Any]]]) -> None:
    rows = {str(page.path): row for page, row in judged}
    for name, reason in {
        "python3.11/html/genindex-P.html": "language-unsure",
        "python3.11/html/py-modindex.html": "few-words",
        "git-doc/everyday.html": "few-words",
        "apache2-doc/manual/en/sitemap.html": "frequent-2-gram",
    }.items():
        assert rows[f"{real_sites.DOCUMENTATION}/{name}"]["reason"] == reason
