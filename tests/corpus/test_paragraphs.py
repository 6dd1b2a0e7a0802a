import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.compute import Compute
from pipeline.corpus.clean import CleanConfig, Scope, clean
from pipeline.corpus.duplicates import find_duplicates
from pipeline.corpus.paragraphs import (
    RepeatedParagraphs,
    paragraph_hashes,
    read_repeated,
)
from pipeline.corpus.signatures import write_signatures
from pipeline.corpus.tables import read_rows, write_table
from pipeline.store import Store
from tests.corpus.samples import ENGLISH
from tests.corpus.test_clean import raw_of, shuffled

LICENCE = "Permission is granted to copy this text\nand to change it, as long as this line stays in it."


def document(identity: str, url: str, *paragraphs: str) -> dict[str, str | None]:
    text = "\n\n".join(paragraphs)
    stated = {"kind": "web", "source": "crawl", "date": None, "quality": None}
    return {"id": identity, "url": url, "text": text, **stated}


def left(
    shards: Sequence[Sequence[Mapping[str, str | None]]], scope: Scope, folder: Path
) -> dict[str | None, str]:
    """Document → what is left of its text."""
    signed = {str(number): folder / f"{number}-of-{len(shards)}" for number in range(len(shards))}
    for path, documents in zip(signed.values(), shards, strict=True):
        write_signatures(path, documents, 14, 8, scope)
    texts = {}
    for found in find_duplicates(signed, "smallest-id", folder):
        write_table(folder / "repeated", found.repeated)
        repeated = read_repeated([folder / "repeated"], scope)
        for each in shards[int(found.shard)]:
            texts[each["id"]] = repeated.taken_out(each).text
    return texts


def test_a_paragraph_stays_in_the_first_document_of_its_site(tmp_path: Path) -> None:
    own = [shuffled(ENGLISH[:3], seed).replace("\n\n", " ") for seed in range(4)]
    documents = [
        document("c", "http://a/3", own[0], LICENCE.upper(), own[1]),
        document("a", "http://a/1", own[2], LICENCE),
        document("b", "http://b/2", LICENCE, own[3]),
    ]
    elsewhere = {each["id"]: str(each["text"]) for each in documents}
    of_site = elsewhere | {"c": f"{own[0]}\n\n{own[1]}"}
    of_corpus = of_site | {"b": own[3]}
    for scope, expected in (("off", elsewhere), ("site", of_site), ("corpus", of_corpus)):
        assert left([documents], scope, tmp_path) == expected
        assert left([documents[1:], documents[:1]], scope, tmp_path) == expected


def test_what_is_no_prose_or_short_stays(tmp_path: Path) -> None:
    table = "| a | table | of | many | words | that | stand | in | a | row |"
    code = "```\none two three four five six seven eight nine ten eleven = twelve\n```"
    same = [
        "# A heading of ten words and more that stands in many texts of it",
        table,
        code,
        "Returns a list:",
    ]
    documents = [document(name, f"http://a/{name}", f"Own words of {name}.", *same) for name in "ab"]
    assert left([documents], "site", tmp_path) == {each["id"]: each["text"] for each in documents}


pieces = st.lists(
    st.sampled_from([LICENCE, "# heading", "short", "```\n" + LICENCE + "\n```", "| a | b |", "", "x " * 12]),
    max_size=8,
)


@given(paragraphs=pieces)
def test_all_that_is_no_repeated_paragraph_is_left_as_it_is(paragraphs: list[str]) -> None:
    one = document("a", "http://a/", *paragraphs)
    hashes = paragraph_hashes(one, "site")
    assert len(hashes) == len({each for each in paragraphs if each in (LICENCE, "x " * 12)})
    none = RepeatedParagraphs({"a": frozenset()}, "site").taken_out(one)
    assert none.removed == ()
    every = RepeatedParagraphs({"a": frozenset(hashes)}, "site").taken_out(one)
    assert paragraph_hashes({**one, "text": every.text}, "site") == []
    outside = [each for each in paragraphs if each.strip() and each not in (LICENCE, "x " * 12)]
    assert [each for each in outside if each not in every.text] == []


@pytest.mark.parametrize("shards", [1, 3])
def test_paragraphs_taken_out_are_told_and_stumps_are_dropped(
    store: Store, here: Compute, shards: int
) -> None:
    shared = [shuffled(ENGLISH, seed) for seed in range(8)]
    chance = random.Random(1)
    pages = [("http://a/whole", "\n\n".join(shared[:4]))]
    pages += [("http://a/stump", "\n\n".join([*shared[:4], "\n\n".join(shared[4].split("\n\n")[:2])]))]
    pages += [
        ("http://a/half", "\n\n".join([shared[5], *chance.sample(shared[0].split("\n\n"), 3), shared[6]]))
    ]
    raw = raw_of(store, pages, 0, shards, f"raw {shards}")
    config = CleanConfig(paragraphs_once="site", keeper="longest", duplicate_rows=100)
    made = clean(store, raw, config, here)
    texts = {row["url"]: row["text"] for row in made.kept()}
    counts = made.counts()
    assert counts["pages"] == counts["kept"] + sum(
        n for name, n in counts.items() if name.startswith("dropped.")
    )
    assert counts["removed-paragraphs"] == made.removed_lines().num_rows
    assert set(texts) == {"http://a/stump", "http://a/half"}
    assert texts["http://a/half"] == "\n\n".join([shared[5], shared[6]])
    (dropped,) = read_rows(made.paths("dropped/"))
    assert (dropped["url"], dropped["reason"]) == ("http://a/whole", "paragraphs-elsewhere")
    assert dropped["value"] > dropped["threshold"]
