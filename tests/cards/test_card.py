"""The data card says of a corpus what its tables say, however many tasks read them."""

import json
import pydoc_data.topics
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cards import NoCorpusError, card_of
from flows.commands.cards import diff
from pipeline.cards.card import HOSTS, PAGE, CardConfig, DataCard, Described, describe
from pipeline.cards.card_shards import HOST_COLUMNS
from pipeline.cards.diff import overlap
from pipeline.cards.facts import Facts, gathered
from pipeline.cards.page import card_page
from pipeline.corpus.forgotten import write_entry
from pipeline.corpus.hold_out import Corpus
from pipeline.corpus.tables import read_rows
from pipeline.store import Store
from pipeline.store.discard import discard
from tests.browser import browser, wait_for_text
from tests.corpus.samples import PORTUGUESE
from tests.road import moinho
from tests.rows_road import HERE, corpus_and_tokens, write_rows

TOPICS = sorted(pydoc_data.topics.topics.items())
HOSTILE = "</pre><script>alert(1)</script>"


def rows(since: int = 0, changed: str = "") -> Iterator[dict[str, Any]]:
    """English ones of three hosts, a Portuguese one, one that is too short and a copy."""
    for number, (topic, text) in list(enumerate(TOPICS))[since:]:
        yield {
            "url": f"http://{'abc'[number % 3]}.example/{topic}",
            "text": text + (f"\n\n{changed}" if number % 2 else ""),
            "title": HOSTILE if number == 3 else topic,
            "license": "PSF-2.0" if number % 5 == 0 else None,
            "date": f"{2020 + number % 4}-05-01" if number % 2 else None,
        }
    yield {
        "url": "http://pt.example/moinho",
        "text": "\n\n".join([*PORTUGUESE, "A médica disse que ela vem."]),
    }
    yield {"url": "http://pt.example/curto", "text": "curto demais"}
    yield {"url": f"http://copy.example/{since}", "text": TOPICS[since][1]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("card") / "manual", rows())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("card") / "store"))


@pytest.fixture(scope="module")
def described(home: Store, folder: Path) -> tuple[Corpus, DataCard]:
    corpus, tokens = corpus_and_tokens(home, folder)
    home.name("first/tokens", tokens)
    return corpus, describe(home, tokens, corpus, CardConfig(), HERE)


def test_the_card_says_what_the_tables_say(described: tuple[Corpus, DataCard]) -> None:
    corpus, made = described
    facts = made.facts()
    documents = read_rows([*corpus.paths("train/"), *corpus.paths("held-out/")])
    whole = Described.of(_tokens(made), corpus)
    assert whole.documents is not None
    dropped = read_rows(whole.documents.paths("dropped/"))
    assert facts["totals"]["documents"] == len(documents)
    assert facts["totals"]["bytes"] == sum(len(row["text"].encode()) for row in documents)
    assert facts["totals"]["tokens"] == _tokens(made).counts()["tokens"]
    assert facts["totals"]["pages"] == facts["totals"]["kept"] + facts["totals"]["dropped"]
    assert {reason: sizes["documents"] for reason, sizes in facts["dropped"].items()} == Counter(
        row["reason"] for row in dropped
    )
    assert {name: sizes["documents"] for name, sizes in facts["languages"].items()} == Counter(
        row["language"] for row in documents
    )
    assert {name: sizes["documents"] for name, sizes in facts["licences"].items()} == Counter(
        row["licence"] or "" for row in documents
    )
    assert facts["years"] == Counter(row["date"][:4] if row["date"] else "not stated" for row in documents)
    assert sum(facts["years"].values()) == sum(facts["lengths"]["kept"]) == len(documents)
    assert sum(facts["lengths"]["dropped"]) == sum(bool(row["text"]) for row in dropped)
    hosts = pq.read_table(made.path(HOSTS)).to_pylist()
    assert {row["host"]: row["documents"] for row in hosts if row["documents"]} == Counter(
        row["url"].split("/")[2] for row in documents
    )
    assert sum(row["bytes"] for row in hosts) == facts["totals"]["bytes"]
    assert sum(row["tokens"] for row in hosts) == facts["totals"]["tokens"]
    assert sum(row["dropped"] for row in hosts) == facts["totals"]["dropped"]
    assert facts["hosts"]["curve"][-1] == [facts["totals"]["hosts"], 1.0]
    assert ["gender", "female", "médico, médica", 1] in facts["people"]["pt"]["pairs"]
    shown = {each["id"] for each in facts["samples"]}
    assert len(shown) == len({each["url"] for each in facts["samples"]}) == 10
    assert shown < {row["id"] for row in documents}


def _tokens(made: DataCard):  # type: ignore[no-untyped-def]
    from flows.references import made_from

    return made_from(made, "tokens")


def test_it_says_the_same_however_many_shards_there_are(
    described: tuple[Corpus, DataCard], store: Store, folder: Path
) -> None:
    corpus, tokens = corpus_and_tokens(store, folder, shards=5)
    other = describe(store, tokens, corpus, CardConfig(), HERE).facts()
    one = described[1].facts()
    del one["artifacts"], other["artifacts"]
    assert one == other


def test_what_is_no_longer_in_the_store_is_said_not_to_be_known(store: Store, folder: Path) -> None:
    corpus, tokens = corpus_and_tokens(store, folder)
    discard(store, f"clean/{corpus.record.inputs['documents'].key}")
    made = describe(store, tokens, corpus, CardConfig(), HERE)
    assert made.facts()["dropped"] is made.facts()["personal"] is made.facts()["totals"]["pages"] is None
    assert "dropped" not in made.record.counts
    page = made.path(PAGE).read_text()
    assert page.count("Not known") == 3
    assert "Nothing was left out" not in page


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = Counter[str]()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found[tag] += 1


def tags_of(page: str) -> Counter[str]:
    parser = _Tags()
    parser.feed(page)
    return parser.found


def test_the_page_loads_and_runs_nothing_whatever_documents_have_in_them(
    described: tuple[Corpus, DataCard],
) -> None:
    facts = described[1].facts()
    for sample in [*facts["samples"], *(each for some in facts["samples_dropped"].values() for each in some)]:
        sample |= {"title": HOSTILE, "text": HOSTILE, "url": f"http://x/{HOSTILE}"}
    facts["licences"][HOSTILE] = {"documents": 1, "bytes": 1, "tokens": 1}
    facts["hosts"]["largest"][0]["host"] = HOSTILE
    facts["repeated_lines"] = [{"site": HOSTILE, "line": HOSTILE, "pages": 2}]
    found = tags_of(card_page(facts))
    assert not found & Counter(script=1, link=1, img=1, iframe=1)
    assert found["svg"] >= 5
    assert "mathdefault" not in card_page(facts)
    assert found["details"] >= 3


def test_two_corpora_are_compared_page_by_page(
    described: tuple[Corpus, DataCard],
    home: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second lacks some topics, has others with another text, and leaves a host out."""
    write_entry(home.storage, ["c.example"])
    try:
        folder = write_rows(tmp_path / "other", rows(15, changed="One sentence more."))
        corpus, tokens = corpus_and_tokens(home, folder)
    finally:
        write_entry(home.storage, ["c.example"], taken_back=True)
    home.name("second/card", describe(home, tokens, corpus, CardConfig(), HERE))
    pages = [
        {row["url"]: row["page_id"] for row in read_rows([*each.paths("train/"), *each.paths("held-out/")])}
        for each in (described[0], corpus)
    ]
    shared = overlap(described[0], corpus)
    both = pages[0].keys() & pages[1].keys()
    assert shared.same == sum(pages[0][url] == pages[1][url] for url in both) > 5
    assert shared.changed == len(both) - shared.same > 5
    assert shared.only_first == len(pages[0].keys() - pages[1].keys()) > 5
    assert shared.only_second == len(pages[1].keys() - pages[0].keys()) > 0
    assert set(shared.examples["only_second"]) <= pages[1].keys() - pages[0].keys()

    diff("first", "second", output=tmp_path / "diff.html", store=home.storage.root)
    told = capsys.readouterr().out
    for words in ("in both, read with another text", "only in second", "forgotten", "points"):
        assert words in told
    page = (tmp_path / "diff.html").read_text()
    assert tags_of(page)["table"] >= 6
    assert f"{shared.only_first:,}" in page
    diff("first", "first", store=home.storage.root, as_json=True)
    same = json.loads(capsys.readouterr().out)
    assert (same["pages"]["changed"], same["pages"]["only_first"], same["pages"]["only_second"]) == (0, 0, 0)
    assert all(each["first"] == each["second"] for each in same["figures"])


def test_what_leads_to_no_corpus_is_told(home: Store, described: tuple[Corpus, DataCard]) -> None:
    from rich.console import Console

    with pytest.raises(NoCorpusError, match="hold-out"):
        card_of(home, described[0].key, Console())


def test_a_run_draws_the_card_of_its_corpus(filled_road: Path, tmp_path: Path) -> None:
    store = filled_road / "store"
    told = moinho("corpus", "card", "road", "--output", str(tmp_path / "card.html"), store=store)
    assert told.returncode == 0, told.stderr
    page = (tmp_path / "card.html").read_text()
    assert "<h1>Data card</h1>" in page
    assert "docs.moinho.test" in page


@pytest.mark.everything
def test_a_card_of_ten_thousand_hosts_is_seen_in_a_browser(
    described: tuple[Corpus, DataCard], tmp_path: Path
) -> None:
    corpus, made = described
    hosts = pa.table(
        [
            [f"host-{number:05}.example" for number in range(10_000)],
            [10] * 10_000,
            [10_000_000 // (number + 1) for number in range(10_000)],
            [100] * 10_000,
            [1] * 10_000,
        ],
        schema=HOST_COLUMNS,
    )
    told = made.facts() | {"hosts": gathered(Described.of(_tokens(made), corpus), Facts(), hosts)["hosts"]}
    told["totals"] |= {"hosts": 10_000, "bytes": sum(hosts["bytes"].to_pylist())}
    path = tmp_path / PAGE
    path.write_text(card_page(told), encoding="utf-8")
    assert path.stat().st_size < 1_000_000
    with browser() as page:
        page.get(path.as_uri())
        wait_for_text(page, "Data card", "The 200 largest of 10,000", "host-00000.example", "Personal data")
        width = page.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert width <= 0, "something sticks out to the right"
        assert page.get_log("browser") == []
