import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.inspection import dropped_pages
from pipeline.compute import Compute
from pipeline.corpus.clean import (
    CleanConfig,
    Documents,
    EarlierDocumentsError,
    Keeper,
    NoDocumentSurvivesError,
    clean,
)
from pipeline.corpus.extract import ExtractConfig, RawDocuments, extract
from pipeline.corpus.rule_files import read_rules
from pipeline.corpus.tables import DROPPED, RAW, bucket_of, document_id, read_rows, shard_name, write_rows
from pipeline.store import Attempt, Made, Store
from pipeline.store.discard import leftovers
from tests.corpus.conftest import Crawled, InThisProcess, MakePages, WebPage
from tests.corpus.samples import ENGLISH, GERMAN, PORTUGUESE, html
from tests.corpus.test_language import BRAZIL, PORTUGAL


def shuffled(sentences: tuple[str, ...], seed: int) -> str:
    """A good text of its own, in lines of which none is a neighbour's."""
    words = " ".join(sentences).split()
    random.Random(seed).shuffle(words)
    return "\n\n".join(" ".join(words[start : start + 12]) + "." for start in range(0, len(words), 12))


TEXTS = [
    *(shuffled(ENGLISH, seed) for seed in range(3)),
    *(shuffled(PORTUGUESE, seed) for seed in range(3)),
    shuffled(ENGLISH, 0) + "\n\nOne sentence more.",
    shuffled(ENGLISH, 1).upper(),
    "\n".join(GERMAN),
    "short",
    "{ } ; " * 100,
    "# heading\n\n```\ncode\n```",
]


def raw_of(
    store: Store,
    documents: list[tuple[str, str]],
    failed: int,
    shards: int,
    name: str,
    author: str | None = None,
    kind: str = "web",
    dates: Mapping[str, str] | None = None,
) -> RawDocuments:
    """What extraction would hand over: documents (url, text), and so many pages it dropped."""

    def build(attempt: Attempt) -> Made:
        rows = [
            {
                "id": document_id(url, text),
                "source": "crawl",
                "url": url,
                "title": "",
                "author": author,
                "date": (dates or {}).get(url),
                "licence": None,
                "html_language": None,
                "kind": kind,
                "text": text,
                "bytes": 1,
                "quality": None,
            }
            for url, text in documents
        ]
        drops = [
            {
                "id": document_id(f"http://failed/{n}", ""),
                "source": "crawl",
                "url": f"http://failed/{n}",
                "title": "",
                "text": "",
                "reason": "empty",
                "value": None,
                "threshold": None,
                "detail": "",
            }
            for n in range(failed)
        ]
        for number in range(shards):
            for folder, found, schema in (("raw", rows, RAW), ("dropped", drops, DROPPED)):
                inside = [row for row in found if bucket_of(str(row["id"]), shards) == number]
                write_rows(attempt.path(f"{folder}/{shard_name(number)}"), inside, schema)
        return Made(
            files=attempt.publish_folder("raw") | attempt.publish_folder("dropped"),
            counts={"pages": len(rows) + failed},
        )

    return store.make(RawDocuments, Crawled(name=name), {}, build)


documents_in = st.lists(
    st.tuples(st.sampled_from([f"http://x/{n}" for n in range(6)]), st.sampled_from(TEXTS)), max_size=14
)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(documents=documents_in, failed=st.integers(0, 3), shards=st.integers(1, 3))
def test_no_page_leaves_without_a_reason(
    tmp_path_factory: pytest.TempPathFactory,
    here: InThisProcess,
    documents: list[tuple[str, str]],
    failed: int,
    shards: int,
) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")))
    documents = [("http://sure/", TEXTS[2]), *documents]
    made = clean(store, raw_of(store, documents, failed, shards, "raw"), CleanConfig(), here)
    counts, kept, dropped = (
        made.record.counts,
        read_rows(made.paths("kept/")),
        read_rows(made.paths("dropped/")),
    )
    reasons = {name: n for name, n in counts.items() if name.startswith("dropped.")}
    assert counts["pages"] == len(documents) + failed == counts["kept"] + sum(reasons.values())
    assert counts["kept"] == sum(n for name, n in counts.items() if name.startswith("kept.")) == len(kept)
    given_urls = [url for url, _ in documents] + [f"http://failed/{n}" for n in range(failed)]
    assert Counter(row["url"] for row in kept + dropped) == Counter(given_urls)
    assert Counter(f"dropped.{row['reason']}" for row in dropped) == reasons
    assert all(row["reason"] for row in dropped)
    assert len({row["id"] for row in kept}) == len(kept)


def test_documents_are_the_same_however_pages_were_crawled_and_wherever_they_were_cleaned(
    store: Store, make_pages: MakePages, compute: Compute, here: Compute
) -> None:
    pages = [
        *(WebPage(f"http://x/en/{n}", page_of(ENGLISH, n, "en")) for n in range(6)),
        *(WebPage(f"http://x/pt/{n}", page_of(PORTUGUESE, n, "pt")) for n in range(6)),
        WebPage("http://x/copy", page_of(ENGLISH, 0, "en")),
        WebPage("http://x/de", html(GERMAN * 2, language="de").encode()),
        WebPage("http://x/short", html(ENGLISH[:1]).encode()),
    ]
    one = cleaned(store, make_pages, pages, 1, compute)
    other = cleaned(store, make_pages, pages[::-1], 3, here)
    assert one.record.digest == other.record.digest
    assert one.record.counts == other.record.counts
    assert one.record.counts["kept.en"] == 6
    assert sum(n for name, n in one.record.counts.items() if name.startswith("kept.pt")) == 6
    assert {row["reason"] for row in read_rows(one.paths("dropped/"))} >= {"language", "duplicate-exact"}
    assert one.kept().num_rows == 12
    assert one.dropped().num_rows == 3
    for path in (*one.paths("kept/"), *one.paths("dropped/")):
        ids = [row["id"] for row in read_rows([path])]
        assert ids == sorted(ids)


def page_of(sentences: tuple[str, ...], seed: int, language: str) -> bytes:
    return html(tuple(shuffled(sentences, seed).split("\n\n")), language=language).encode()


def cleaned(
    store: Store, make_pages: MakePages, pages: list[WebPage], warcs: int, compute: Compute
) -> Documents:
    raw = extract(
        store, make_pages(pages, warcs, name=f"{warcs} files"), None, ExtractConfig(shards=2), compute
    )
    return clean(store, raw, CleanConfig(), compute)


def test_dropped_documents_tell_rule_value_and_threshold(store: Store, here: Compute, tmp_path: Path) -> None:
    raw = raw_of(store, [("http://x/", TEXTS[0]), ("http://y/", "Too short.")], 0, 1, "raw")
    (dropped,) = read_rows(clean(store, raw, CleanConfig(), here).paths("dropped/"))
    assert dropped["text"] == "Too short."
    assert dropped["reason"] in {"few-words", "language", "language-unsure"}
    assert dropped["value"] is not None


def test_languages_that_are_not_wanted_are_dropped_by_name(store: Store, here: Compute) -> None:
    raw = raw_of(store, [("http://x/", TEXTS[0]), ("http://y/", TEXTS[3])], 0, 1, "raw")
    made = clean(store, raw, CleanConfig(languages=("pt",)), here)
    (dropped,) = read_rows(made.paths("dropped/"))
    assert (dropped["reason"], dropped["detail"]) == ("language", "en")
    assert sum(n for name, n in made.record.counts.items() if name.startswith("kept.pt")) == 1


def test_a_corpus_of_nothing_says_which_rule_dropped_most(store: Store, here: Compute) -> None:
    raw = raw_of(store, [("http://x/de", TEXTS[8]), ("http://y/de", TEXTS[8] + "!")], 1, 2, "raw")
    with pytest.raises(
        NoDocumentSurvivesError, match=r"of 3 pages 2 were dropped as 'language'.*Mühle"
    ) as fault:
        clean(store, raw, CleanConfig(), here)
    assert fault.value.exit_code == 1


def test_a_language_that_cannot_be_told_is_refused_before_anything_starts() -> None:
    with pytest.raises(ValidationError, match=r"no quality rules for 'xx', and it is none of the languages"):
        CleanConfig(languages=("en", "xx"))


def test_undecided_documents_are_kept_and_counted_or_dropped_where_a_variety_is_asked_for(
    store: Store, here: Compute
) -> None:
    brazilian = shuffled(PORTUGUESE, 1) + f"\n\n{BRAZIL}"
    pages = [
        ("http://x/br", brazilian),
        ("http://x/undecided", shuffled(PORTUGUESE, 2)),
        ("http://x/both", shuffled(PORTUGUESE, 3) + f"\n\n{BRAZIL}\n\n{PORTUGAL}"),
    ]
    raw = raw_of(store, pages, 0, 2, "raw")
    counts = clean(store, raw, CleanConfig(languages=("pt-BR",)), here).record.counts
    assert (counts["kept"], counts["kept-undecided"]) == (3, 2)
    config = CleanConfig(languages=("pt-BR",), undecided_variety="drop")
    made = clean(store, raw, config, here)
    assert [row["url"] for row in read_rows(made.paths("kept/"))] == ["http://x/br"]
    assert made.record.counts["kept-undecided"] == 0
    dropped = {row["url"]: row for row in read_rows(made.paths("dropped/"))}
    assert {row["reason"] for row in dropped.values()} == {"undecided-variety"}
    both = dropped["http://x/both"]
    assert both["value"] < both["threshold"] == 0.75
    assert "pt; marks: " in both["detail"]
    everything = clean(store, raw, CleanConfig(languages=("pt",), undecided_variety="drop"), here)
    assert everything.record.counts["kept"] == 3
    assert "kept-undecided" not in everything.record.counts


def test_a_language_without_a_file_gets_rules_of_its_own(store: Store, here: Compute) -> None:
    german = [(f"http://x/{n}", shuffled(GERMAN * 2, n)) for n in range(8)]
    made = clean(store, raw_of(store, german, 0, 2, "raw"), CleanConfig(languages=("de",)), here)
    assert made.record.counts["measured.de"] == 8
    assert made.record.counts["kept.de"] == 8
    (path,) = made.paths("rules/")
    rules = read_rules(path)
    assert "und" in rules.stop_words
    again = CleanConfig(languages=("de",), rule_files=(str(path),))
    assert "measured.de" not in clean(store, raw_of(store, german, 0, 2, "raw"), again, here).record.counts


def test_mixed_documents_are_dropped_by_their_second_language(store: Store, here: Compute) -> None:
    mixed = shuffled(ENGLISH, 0) + "\n\n" + "\n\n".join(PORTUGUESE)
    raw = raw_of(store, [("http://x/", TEXTS[1]), ("http://y/", mixed)], 0, 1, "raw")
    (dropped,) = read_rows(clean(store, raw, CleanConfig(), here).paths("dropped/"))
    assert dropped["reason"] == "mixed-languages"
    assert dropped["value"] > dropped["threshold"] == 0.3
    assert clean(store, raw, CleanConfig(second_language=1), here).record.counts["kept"] == 2


def test_only_the_wanted_variety_is_kept_and_what_is_undecided(store: Store, here: Compute) -> None:
    texts = [BRAZIL, PORTUGAL, PORTUGUESE[0] + " " + PORTUGUESE[5]]
    pages = [(f"http://x/{n}", "\n\n".join([text, *PORTUGUESE[3:5]])) for n, text in enumerate(texts)]
    made = clean(store, raw_of(store, pages, 0, 1, "raw"), CleanConfig(languages=("pt-BR",)), here)
    assert {row["url"]: row["language"] for row in read_rows(made.paths("kept/"))} == {
        "http://x/0": "pt-BR",
        "http://x/2": "pt",
    }
    (dropped,) = read_rows(made.paths("dropped/"))
    assert (dropped["reason"], dropped["detail"]) == ("language", "pt-PT")


@pytest.mark.parametrize("shards", [1, 5])
def test_lines_of_the_site_are_taken_out_and_told(store: Store, here: Compute, shards: int) -> None:
    notice = "All pages of this site are read at 10 o'clock."
    pages = [(f"http://x/{n}", f"{notice}\n\n{shuffled(ENGLISH, n)}\n\n{notice}") for n in range(12)]
    pages += [(f"http://y/{n}", f"{notice}\n\n{shuffled(ENGLISH, 100 + n)}") for n in range(5)]
    made = clean(store, raw_of(store, pages, 0, shards, f"raw{shards}"), CleanConfig(), here)
    removed = read_rows(made.paths("boilerplate/"))
    assert {(row["site"], row["line"]) for row in removed} == {("x", notice)}
    assert sum(row["pages"] for row in removed) == 12 == made.record.counts["removed-lines"]
    with_notice = [row["url"] for row in read_rows(made.paths("kept/")) if notice in row["text"]]
    assert sorted(with_notice) == [f"http://y/{n}" for n in range(5)]


def test_what_books_have_in_common_stays(store: Store, here: Compute) -> None:
    pages = [(f"shelf/{n}.txt", f"CHAPTER I\n\n{shuffled(ENGLISH * 2, n)}") for n in range(12)]
    made = clean(store, raw_of(store, pages, 0, 2, "raw", kind="book"), CleanConfig(), here)
    assert made.record.counts["removed-lines"] == 0
    assert all(row["text"].startswith("CHAPTER I\n") for row in read_rows(made.paths("kept/")))
    assert made.record.counts["kept"] == 12


def test_a_page_of_nothing_but_its_sites_lines_is_dropped_as_such(store: Store, here: Compute) -> None:
    pages = [(f"http://x/{n}", f"Menu\n\n{shuffled(ENGLISH, n)}") for n in range(12)] + [
        ("http://x/menu", "Menu")
    ]
    made = clean(store, raw_of(store, pages, 0, 1, "raw"), CleanConfig(), here)
    (dropped,) = read_rows(made.paths("dropped/"))
    assert (dropped["url"], dropped["reason"], dropped["text"]) == ("http://x/menu", "boilerplate", "")


def test_personal_data_is_replaced_before_documents_are_compared(store: Store, here: Compute) -> None:
    one, other = (f"{TEXTS[0]}\n\nWrite to {name}@example.org or call (212) 555-0123." for name in "ab")
    raw = raw_of(store, [("http://x/", one), ("http://y/", other), ("http://z/", TEXTS[3])], 0, 2, "raw")
    made = clean(store, raw, CleanConfig(), here)
    kept, dropped = read_rows(made.paths("kept/")), read_rows(made.paths("dropped/"))
    assert [row["reason"] for row in dropped] == ["duplicate-exact"]
    (found,) = (row["text"] for row in [*kept, *dropped] if row["url"] == "http://x/")
    assert found.endswith("Write to [email] or call [phone].")
    assert (made.record.counts["personal.email"], made.record.counts["personal.phone"]) == (2, 2)
    assert not any("example.org" in row["text"] or "555" in row["text"] for row in [*kept, *dropped])


def test_an_authors_name_stays_and_the_address_beside_it_does_not(store: Store, here: Compute) -> None:
    pages = [("http://x/", TEXTS[0]), ("http://y/", TEXTS[3])]
    raw = raw_of(store, pages, 0, 1, "raw", author="Ana Lima <ana@example.org>")
    made = clean(store, raw, CleanConfig(), here)
    assert [row["author"] for row in read_rows(made.paths("kept/"))] == ["Ana Lima <[email]>"] * 2
    assert made.record.counts["personal.email"] == 2


def test_equal_pages_are_dropped_without_personal_data_and_accounted_for(store: Store, here: Compute) -> None:
    text = f"{TEXTS[0]}\n\nWrite to a@example.org."
    made = clean(store, raw_of(store, [("http://x/", text)] * 3, 2, 1, "raw"), CleanConfig(), here)
    dropped = read_rows(made.paths("dropped/"))
    assert sorted(row["reason"] for row in dropped) == ["duplicate-exact"] * 2 + ["empty"] * 2
    assert not any("example.org" in row["text"] for row in dropped)
    counts = made.record.counts
    assert (counts["pages"], counts["kept"], counts["personal.email"]) == (5, 1, 3)


def test_a_kind_that_is_off_stays_and_only_what_is_set_is_part_of_the_key() -> None:
    off = CleanConfig.model_validate({"privacy": {"phone": False}})
    assert off.identity() == {"privacy": {"phone": False}}
    assert CleanConfig.model_validate({"privacy": {"phone": True}}).identity() == {}


NEAR = [
    ("http://a/", TEXTS[0]),
    ("http://b/", TEXTS[0] + "\n\nOne sentence more."),
    ("http://c/", TEXTS[0] + "!"),
]


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(
    ("keeper", "kept"), [("longest", "http://b/"), ("newest", "http://c/"), ("best-quality", None)]
)
def test_of_duplicates_the_one_that_the_rule_prefers_is_kept(
    store: Store, here: Compute, keeper: Keeper, kept: str | None, shards: int
) -> None:
    raw = raw_of(store, NEAR, 0, shards, "raw", dates={"http://c/": "2024-05-01", "http://b/": "2024"})
    made = clean(store, raw, CleanConfig(keeper=keeper), here)
    ids = {url: document_id(url, text) for url, text in NEAR}
    kept = kept or min(ids, key=lambda url: ids[url])
    assert [row["url"] for row in made.kept()] == [kept]
    assert {row["detail"] for row in made.dropped()} <= set(ids.values())
    assert made.counts()["pages"] == 3
    assert sum(n for name, n in made.counts().items() if name.startswith("dropped.duplicate-")) == 2


def test_what_an_earlier_run_kept_is_not_taken_again(store: Store, here: Compute) -> None:
    old = clean(store, raw_of(store, NEAR[:1], 0, 2, "old"), CleanConfig(), here)
    store.name("old/documents", old)
    pages = [
        *(("http://new/1", TEXTS[0].upper()), ("http://a/", TEXTS[1]), NEAR[1]),
        *(("http://new/2", TEXTS[2]), ("http://new/3", TEXTS[2] + "!")),
    ]
    raw = raw_of(store, pages, 1, 2, "new")
    made = clean(store, raw, CleanConfig(earlier=("old/documents",), keeper="longest"), here)
    reasons = {
        row["url"]: (row["reason"], row["detail"]) for row in made.dropped() if row["reason"] != "empty"
    }
    (keeper,) = (row["id"] for row in old.kept())
    assert {reasons.pop(url) for url in ("http://new/1", "http://a/", "http://b/")} == {
        (f"duplicate-{kind}-earlier", keeper) for kind in ("exact", "url", "near")
    }
    assert [reason for reason, _ in reasons.values()] == ["duplicate-exact"]
    assert made.counts()["pages"] == 6
    assert made.counts()["kept"] == 1
    assert made.record.inputs["earlier-0"].key == old.key
    references = (old.base, f"clean/{old.key[:6]}")
    by_key = clean(store, raw, CleanConfig(earlier=references, keeper="longest"), here)
    assert by_key.key == made.key
    assert clean(store, raw, CleanConfig(keeper="longest"), here).key != made.key
    store.name("new/documents", made)
    store.storage.remove("names/old/documents.json")
    assert [piece.path for piece in leftovers(store).artifacts if piece.path == old.base] == []
    urls = {page.id: page.detail for page in dropped_pages(made, {})}
    assert urls[document_id(*pages[0])] == f"http://a/ (in {old.base})"


@pytest.mark.parametrize("reference", ["other/documents", "clean/ffff", "clean/", "documents", "run/raw"])
def test_earlier_documents_that_are_not_there_are_told(store: Store, here: Compute, reference: str) -> None:
    raw = raw_of(store, NEAR, 0, 1, "raw")
    store.name("run/documents", clean(store, raw, CleanConfig(), here))
    store.name("run/raw", raw)
    with pytest.raises(EarlierDocumentsError, match=f"names '{reference}'.* there is run/documents"):
        clean(store, raw, CleanConfig(earlier=(reference,)), here)
