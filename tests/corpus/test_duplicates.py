import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.clean import Keeper
from pipeline.corpus.duplicates import find_duplicates, near, smallest_joined
from pipeline.corpus.signatures import SIGNATURES, write_bands, write_signatures
from pipeline.corpus.tables import document_id

WORDS = [f"word{number}" for number in range(400)]
Document = Mapping[str, Any]
"""A row of SIGNATURES."""
Found = dict[str, tuple[str, str]]
"""Document → reason and keeper."""


def text_of(seed: int, words: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def signed(documents: Iterable[tuple[str, str]], folder: Path) -> list[Document]:
    """The signatures of (url, text)."""
    rows = [
        {"id": document_id(url, text), "url": url, "text": text, "date": None, "quality": None}
        for url, text in documents
    ]
    write_signatures(folder / "signatures.parquet", rows, 14, 8)
    found: list[Document] = pq.read_table(folder / "signatures.parquet").to_pylist()
    return found


def found_in(
    shards: Sequence[Sequence[Document]],
    folder: Path,
    keeper: Keeper = "smallest-id",
    earlier: Sequence[Document] = (),
) -> Found:
    paths, before = {}, [folder / "earlier.parquet"] if earlier else []
    for path in before:
        pq.write_table(pa.Table.from_pylist(list(earlier), SIGNATURES), path)
    for number, rows in enumerate(shards):
        paths[f"{number:05d}"] = folder / f"{number}-of-{len(shards)}.parquet"
        pq.write_table(pa.Table.from_pylist(list(rows), SIGNATURES), paths[f"{number:05d}"])
    found: Found = {}
    for part in find_duplicates(paths, keeper, folder, before):
        ids = part.duplicates["id"].to_pylist()
        assert ids == sorted(ids)
        assert set(ids) <= {row["id"] for row in shards[int(part.shard)]}
        found |= {row["id"]: (row["reason"], row["keeper"]) for row in part.duplicates.to_pylist()}
    return found


def test_the_same_text_the_same_url_and_nearly_the_same_text_are_found(tmp_path: Path) -> None:
    long = text_of(1)
    documents = {
        "exact": [("http://a/1", long), ("http://a/2", long.upper() + "!")],
        "url": [("http://b/", text_of(2)), ("http://b/", text_of(3))],
        "near": [("http://c/1", text_of(4)), ("http://c/2", text_of(4) + " and a last word")],
        "alone": [("http://d/", text_of(5))],
    }
    rows = signed((document for group in documents.values() for document in group), tmp_path)
    found = found_in([rows], tmp_path)
    for name, group in documents.items():
        ids = sorted(document_id(url, text) for url, text in group)
        assert ids[0] not in found
        for other in ids[1:]:
            assert found[other] == (f"duplicate-{name}", ids[0])


def test_unlike_texts_share_no_band(tmp_path: Path) -> None:
    assert found_in([signed([(f"http://x/{n}", text_of(n)) for n in range(200)], tmp_path)], tmp_path) == {}


def test_sections_are_joined_by_their_bands_alone(tmp_path: Path) -> None:
    texts = {"b": text_of(1) + " more", "c": text_of(2), "a": text_of(1)}
    for name, text in texts.items():
        write_bands(tmp_path / name, [{"id": name, "text": text}], 20, 5)
    assert near([tmp_path / name for name in texts], tmp_path) == {"b": "a"}


@st.composite
def signatures(draw: st.DrawFn) -> list[Document]:
    """Documents with few different hashes, URLs, lengths, dates and scores."""
    ids = draw(st.lists(st.integers(0, 999), unique=True, max_size=14))
    number = st.integers(0, 9)
    return [
        {
            "id": f"{identity:03d}",
            "bands": [10 * band + draw(number) for band in range(2)],
            "text_hash": draw(number),
            "url": f"http://x/{draw(number)}",
            "bytes": draw(st.integers(1, 3)),
            "replaced": draw(st.sampled_from([0, 0, 1, 2])),
            "date": draw(st.sampled_from([None, "2021", "2021-03", "2022-01-01"])),
            "quality": draw(st.sampled_from([None, 0.0, 0.5, 1.0])),
        }
        for identity in ids
    ]


def last_if_none(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)


BEST: dict[Keeper, Callable[[Document], Any]] = {
    "smallest-id": lambda row: 0,
    "longest": lambda row: row["bytes"],
    "newest": lambda row: last_if_none(row["date"]),
    "best-quality": lambda row: last_if_none(row["quality"]),
}


def naively(documents: Sequence[Document], keeper: Keeper, earlier: Sequence[Document] = ()) -> Found:
    """The same by looking at every pair: first equal texts, then equal URLs, then chains of equal bands."""
    ranked = sorted([*documents, *earlier], key=lambda row: row["id"])
    ranked.sort(key=lambda row: (row in earlier, -row["replaced"], BEST[keeper](row)), reverse=True)
    found: Found = {}
    for reason, alike in (
        ("duplicate-exact", lambda one, other: one["text_hash"] == other["text_hash"]),
        ("duplicate-url", lambda one, other: one["url"] == other["url"]),
        ("duplicate-near", lambda one, other: set(one["bands"]) & set(other["bands"])),
    ):
        left = [row for row in ranked if row["id"] not in found]
        edges = [(n, m) for n, one in enumerate(left) for m, other in enumerate(left) if alike(one, other)]
        for number, smallest in flooded(len(left), edges).items():
            if number != smallest:
                of_earlier = "-earlier" if left[smallest] in earlier else ""
                found[left[number]["id"]] = (reason + of_earlier, left[smallest]["id"])
    return {row["id"]: found[row["id"]] for row in documents if row["id"] in found}


def flooded(count: int, edges: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Number → smallest one that is reached from it."""
    neighbours: dict[int, set[int]] = {number: set() for number in range(count)}
    for one, other in edges:
        neighbours[one].add(other)
        neighbours[other].add(one)
    smallest: dict[int, int] = {}
    for start in range(count):
        frontier = [] if start in smallest else [start]
        while frontier:
            number = frontier.pop()
            if number not in smallest:
                smallest[number] = start
                frontier += neighbours[number]
    return smallest


@pytest.mark.parametrize("keeper", get_args(Keeper))
@settings(max_examples=15)
@given(documents=signatures(), old=st.integers(0, 5), shards=st.integers(1, 5), seed=st.integers(0, 1000))
def test_the_best_of_each_group_is_kept_whatever_the_order_and_sharding(
    tmp_path_factory: pytest.TempPathFactory,
    keeper: Keeper,
    documents: list[Document],
    old: int,
    shards: int,
    seed: int,
) -> None:
    earlier, new = documents[:old], documents[old:]
    expected = naively(new, keeper, earlier)
    random.Random(seed).shuffle(new)
    spread = [new[number::shards] for number in range(shards)]
    assert found_in(spread, tmp_path_factory.mktemp("found"), keeper, earlier) == expected


def test_a_document_that_did_not_change_is_an_earlier_one(tmp_path: Path) -> None:
    rows = signed([("http://a/", text_of(1)), ("http://b/", text_of(2))], tmp_path)
    expected = {row["id"]: ("duplicate-exact-earlier", row["id"]) for row in rows}
    assert found_in([rows], tmp_path, earlier=rows) == expected


def test_the_ends_of_a_chain_have_one_keeper(tmp_path: Path) -> None:
    """a resembles b and b resembles c; the best of the three stands for both, though they differ."""
    row = {"text_hash": 0, "url": "", "bytes": 1, "replaced": 0, "date": None, "quality": None}
    chain = [
        row | {"id": name, "bands": bands, "text_hash": number, "url": name, "bytes": size}
        for number, (name, bands, size) in enumerate([("a", [1, 2], 5), ("b", [2, 3], 7), ("c", [3, 4], 9)])
    ]
    assert found_in([chain], tmp_path, "longest") == dict.fromkeys("ab", ("duplicate-near", "c"))
    assert found_in([chain], tmp_path, "newest") == dict.fromkeys("bc", ("duplicate-near", "a"))


numbered = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30)


@given(edges=numbered, cut=st.integers(0, 30))
def test_components_are_those_of_a_flood_fill_however_edges_are_cut(
    edges: list[tuple[int, int]], cut: int
) -> None:
    parts = [np.array(part, np.int32).T for part in (edges[:cut], edges[cut:]) if part]
    found = smallest_joined(12, ((one, other) for one, other in parts))
    assert dict(enumerate(found.tolist())) == flooded(12, edges)
