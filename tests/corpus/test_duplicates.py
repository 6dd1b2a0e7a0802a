import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.clean_shards import KEYS
from pipeline.corpus.duplicates import band_rows, components, find_duplicates, normalized_hash
from pipeline.corpus.tables import BANDS, document_id, write_rows

WORDS = [f"word{number}" for number in range(400)]


def text_of(seed: int, words: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def found_in(documents: list[tuple[str, str]], shards: int, folder: Path) -> dict[str, tuple[str, str]]:
    """Duplicates among (url, text), spread over so many shards."""
    keys, bands = [], []
    for number in range(shards):
        rows = [
            {"id": document_id(url, text), "url": url, "text_hash": normalized_hash(text), "text": text}
            for url, text in documents[number::shards]
        ]
        keys.append(folder / f"keys-{shards}-{number}")
        bands.append(folder / f"bands-{shards}-{number}")
        write_rows(keys[-1], rows, KEYS)
        banded = [band for row in rows for band in band_rows(str(row["id"]), str(row["text"]), 14, 8)]
        write_rows(bands[-1], banded, BANDS)
    return find_duplicates(keys, bands, folder)


def test_the_same_text_the_same_url_and_nearly_the_same_text_are_found(tmp_path: Path) -> None:
    long = text_of(1)
    documents = {
        "exact": [("http://a/1", long), ("http://a/2", long.upper() + "!")],
        "url": [("http://b/", text_of(2)), ("http://b/", text_of(3))],
        "near": [("http://c/1", text_of(4)), ("http://c/2", text_of(4) + " and a last word")],
        "alone": [("http://d/", text_of(5))],
    }
    found = found_in([document for group in documents.values() for document in group], 1, tmp_path)
    for name, group in documents.items():
        ids = sorted(document_id(url, text) for url, text in group)
        assert ids[0] not in found
        for other in ids[1:]:
            assert found[other] == (f"duplicate-{name}", ids[0])


def test_duplicates_do_not_depend_on_order_or_sharding(tmp_path: Path) -> None:
    documents = [(f"http://x/{n % 17}", text_of(n % 11, 60) + " tail" * (n % 3)) for n in range(40)]
    documents = list(dict.fromkeys(documents))
    expected = found_in(documents, 1, tmp_path)
    assert expected
    random.Random(7).shuffle(documents)
    for shards in (2, 5):
        assert found_in(documents, shards, tmp_path) == expected


def test_unlike_texts_share_no_band(tmp_path: Path) -> None:
    assert found_in([(f"http://x/{n}", text_of(n)) for n in range(200)], 1, tmp_path) == {}


def test_texts_without_words_are_told_apart_by_their_signs() -> None:
    assert normalized_hash("!!!") != normalized_hash("???")
    assert normalized_hash("Olá, mundo") == normalized_hash("olá mundo.")


edges = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("abcdefghij")), max_size=30)


@given(edges=edges, seed=st.integers(0, 1000))
def test_components_are_those_of_a_flood_fill_whatever_the_order(
    edges: list[tuple[str, str]], seed: int
) -> None:
    shuffled = [pair if seed % 2 else pair[::-1] for pair in edges]
    random.Random(seed).shuffle(shuffled)
    neighbours: dict[str, set[str]] = {}
    for one, other in edges:
        neighbours.setdefault(one, set()).add(other)
        neighbours.setdefault(other, set()).add(one)
    expected = {}
    for start in neighbours:
        reached, frontier = {start}, [start]
        while frontier:
            new = neighbours[frontier.pop()] - reached
            reached |= new
            frontier += new
        if min(reached) != start:
            expected[start] = min(reached)
    assert components(shuffled) == expected
