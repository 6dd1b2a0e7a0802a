"""What is to be left out is kept in any store, and only columns are fetched to look for it."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Config
from pipeline.corpus.forgotten import columns_in, entries_in, forgotten_in, urls_in, write_entry
from pipeline.store import Artifact, Attempt, Made, Store

EVERYWHERE = pytest.mark.parametrize(
    "root", ["folder", pytest.param("s3", marks=pytest.mark.everything)], indirect=True
)


class Table(Artifact):
    stage, role = "table", "table"


def build(attempt: Attempt) -> Made:
    """Two files with a column that nobody asks for."""
    files = {}
    for number in range(2):
        path = attempt.path(f"kept/{number}.parquet")
        urls = [f"http://{name}.example/{number}" for name in ("stays", "leaves")]
        pq.write_table(pa.table({"url": urls, "text": ["x" * 1_000_000, ""], "reason": ["", "y"]}), path)
        files[f"kept/{number}.parquet"] = attempt.publish(path, keep=False)
    return Made(files=files)


@EVERYWHERE
def test_rules_are_kept_and_taken_back(store: Store) -> None:
    write_entry(store.storage, ["a.example", "b.example"], "by mail")
    write_entry(store.storage, ["b.example"], taken_back=True)
    assert forgotten_in(Store(store.storage.root).storage).rules == {"a.example"}
    assert [entry.note for entry in entries_in(store.storage)] == ["by mail", ""]
    assert list(store.records()) == []


@EVERYWHERE
def test_urls_are_read_without_the_rest(store: Store) -> None:
    made = store.make(Table, Config(), {}, build)
    write_entry(store.storage, ["leaves.example"])
    found = forgotten_in(store.storage).only(urls_in(made, "kept/"))
    assert found.rules == {"leaves.example"}
    assert list(columns_in(made, "kept/", ["reason", "url"])) == [
        (reason, f"http://{name}.example/{number}")
        for number in range(2)
        for name, reason in (("stays", ""), ("leaves", "y"))
    ]
