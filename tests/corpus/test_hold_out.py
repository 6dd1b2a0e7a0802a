import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.compute import Compute
from pipeline.corpus.clean import Documents
from pipeline.corpus.hold_out import HoldOutConfig, hold_out
from pipeline.corpus.hold_out_shards import Cluster, TooFewDocumentsError, choose_clusters
from pipeline.corpus.tables import DOCUMENTS, KEPT, bucket_of, document_id, read_rows, shard_name, write_rows
from pipeline.corpus.word_runs import WORDS_IN_A_ROW, words_of
from pipeline.store import Attempt, Made, Store
from tests.corpus.conftest import Crawled

SPLITS = ("held-out", "train")
WORDS = [f"palavra{number}" for number in range(3_000)]


def page(seed: int, sections: int) -> str:
    chance = random.Random(seed)
    return "\n\n".join(f"## Part {n}\n\n{' '.join(chance.choices(WORDS, k=60))}." for n in range(sections))


PAGES = {f"http://x/{n}": (page(n, 1 + n % 7), "pt" if n % 5 == 0 else "en") for n in range(40)}
LICENCE = "Anyone may copy this page and change it, as long as this very sentence stays in all of its copies."
for n in range(0, 40, 3):
    PAGES[f"http://x/{n}"] = (f"{PAGES[f'http://x/{n}'][0]}\n\n{LICENCE}", PAGES[f"http://x/{n}"][1])
PAGES["http://x/near"] = (page(1, 2) + "\n\nAnd a last word.", "en")
CONFIG = HoldOutConfig(document_bytes=1_500, share=0.1, minimum_documents=12, minimum_bytes=9_000)


def documents_of(store: Store, shards: int) -> Documents:
    def build(attempt: Attempt) -> Made:
        rows = [
            {
                "id": document_id(url, text),
                "source": "crawl",
                "url": url,
                "title": url,
                "author": "Ana Lima",
                "date": "2021",
                "licence": None,
                "text": text,
                "quality": None,
                "language": language,
                "language_score": 1.0,
                "kind": "web",
            }
            for url, (text, language) in PAGES.items()
        ]
        for number in range(shards):
            inside = [row for row in rows if bucket_of(str(row["id"]), shards) == number]
            write_rows(attempt.path(f"kept/{shard_name(number)}"), inside, KEPT)
        return Made(files=attempt.publish_folder("kept"), counts={"kept": len(rows)})

    return store.make(Documents, Crawled(name=f"{shards} shards"), {}, build)


def test_nothing_is_lost_between_pages_and_documents(store: Store, compute: Compute) -> None:
    corpus = hold_out(store, documents_of(store, 2), CONFIG, compute)
    rows = read_rows([*corpus.paths("train/"), *corpus.paths("held-out/")])
    pages: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: str(row["id"])):
        assert row["id"].startswith(row["page_id"])
        assert len(row["text"].encode()) <= CONFIG.document_bytes
        whole = PAGES[row["url"]][0].encode()
        assert whole[row["start"] : row["end"]].decode() == row["text"]
        assert (row["source"], row["author"], row["date"], row["kind"]) == (
            "crawl",
            "Ana Lima",
            "2021",
            "web",
        )
        pages[row["url"]] = pages.get(row["url"], "") + row["text"]
    assert pages == {url: text for url, (text, _) in PAGES.items()}
    counts = corpus.record.counts
    assert counts["train"] + counts["held-out"] == len(rows)
    assert counts["train.bytes"] + counts["held-out.bytes"] == sum(
        len(text.encode()) for text in pages.values()
    )


def test_enough_is_held_out_of_every_language_in_whole_clusters(store: Store, here: Compute) -> None:
    corpus = hold_out(store, documents_of(store, 2), CONFIG, here)
    counts = corpus.record.counts
    assert counts["held-out"] >= CONFIG.minimum_documents
    assert counts["held-out.bytes"] >= CONFIG.minimum_bytes
    assert counts["held-out.bytes"] <= (counts["held-out.bytes"] + counts["train.bytes"]) / 3
    assert counts["held-out.en"] >= 1
    assert counts["held-out.pt"] >= 1
    held_out = read_rows(corpus.paths("held-out/"))
    longest = max(len(row["text"].encode()) for row in held_out)
    assert longest <= counts["held-out.bytes"] / 10
    training = {row["cluster"] for row in read_rows(corpus.paths("train/"))}
    assert training.isdisjoint(row["cluster"] for row in held_out)


def test_sharding_changes_neither_the_documents_nor_what_is_held_out(store: Store, here: Compute) -> None:
    splits = [
        {
            row["id"]: (split, row["cluster"])
            for split in ("train", "held-out")
            for row in read_rows(
                hold_out(store, documents_of(store, shards), CONFIG, here).paths(f"{split}/")
            )
        }
        for shards in (1, 3)
    ]
    assert splits[0] == splits[1]


def test_near_duplicates_are_one_cluster(store: Store, here: Compute) -> None:
    corpus = hold_out(store, documents_of(store, 1), CONFIG, here)
    rows = read_rows([*corpus.paths("train/"), *corpus.paths("held-out/")])
    clusters = {row["url"]: row["cluster"] for row in rows if row["url"] in {"http://x/1", "http://x/near"}}
    assert len(clusters) == 2
    assert len(set(clusters.values())) == 1


@pytest.mark.parametrize("shards", [1, 3])
def test_what_training_shares_with_held_out_documents_is_told_by_document(
    store: Store, here: Compute, shards: int
) -> None:
    corpus = hold_out(store, documents_of(store, shards), CONFIG, here)
    held_out, train = ({row["id"]: row for row in read_rows(corpus.paths(f"{s}/"))} for s in SPLITS)
    told = list(read_rows(corpus.paths("overlap/")))
    runs = {tuple(run) for row in held_out.values() for run in windows(row["text"])}
    sharing = {id for id, row in train.items() if not runs.isdisjoint(map(tuple, windows(row["text"])))}
    assert {row["id"] for row in told} == sharing != set()
    assert corpus.record.counts["train.overlapping"] == len(sharing)
    for row in told:
        of_train, other = train[row["id"]], held_out[row["held_out"]]
        assert (row["url"], row["held_out_url"]) == (of_train["url"], other["url"])
        assert row["words"].split() in windows(of_train["text"])
        assert row["words"].split() in windows(other["text"])
        assert 0 < row["share"] <= 1


def windows(text: str) -> list[list[str]]:
    words = words_of(text)
    return [words[start : start + WORDS_IN_A_ROW] for start in range(len(words) - WORDS_IN_A_ROW + 1)]


def test_the_corpus_is_read_as_a_dataset_and_as_texts(store: Store, here: Compute) -> None:
    corpus = hold_out(store, documents_of(store, 2), CONFIG, here)
    dataset = corpus.dataset("train")
    assert dataset.column_names == DOCUMENTS.names
    assert list(dataset["text"]) == list(corpus.texts("train"))
    assert len(list(corpus.texts("held-out"))) == corpus.record.counts["held-out"]


sizes = st.lists(st.tuples(st.integers(1, 30_000), st.sampled_from(["en", "pt"])), min_size=2, max_size=80)


@given(sizes=sizes, seed=st.integers(0, 5))
def test_some_and_at_most_a_third_is_held_out_whatever_the_corpus(
    sizes: list[tuple[int, str]], seed: int
) -> None:
    clusters = [Cluster(f"{n:04d}", language, 1, size, size) for n, (size, language) in enumerate(sizes)]
    held_out = choose_clusters(clusters, HoldOutConfig(seed=seed))
    total = sum(size for size, _ in sizes)
    taken = sum(cluster.bytes for cluster in clusters if cluster.id in held_out)
    assert 0 < len(held_out) < len(clusters)
    assert taken <= total / 3 or len(held_out) == 1
    assert held_out == choose_clusters(clusters[::-1], HoldOutConfig(seed=seed))


def test_a_corpus_of_one_cluster_cannot_be_held_out() -> None:
    with pytest.raises(TooFewDocumentsError, match="7 documents"):
        choose_clusters([Cluster("a", "en", 7, 70_000, 10_000)], HoldOutConfig())
