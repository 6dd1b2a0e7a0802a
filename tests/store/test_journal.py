from pathlib import Path

import fsspec
import pytest

from pipeline.store import Journal, JournalReader, Storage, flush_journals


def test_a_reader_gets_every_complete_line_once(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    journal, reader = Journal(storage, "journal", "worker"), JournalReader(storage, "journal")
    assert list(reader.read()) == []
    journal.metrics(3, loss=2.5)
    journal.text("prompt", 3, "O moinho mói")
    first = list(reader.read())
    assert [line["kind"] for line in first] == ["metrics", "text"]
    assert first[0]["values"] == {"loss": 2.5}
    assert first[1]["text"] == "O moinho mói"
    assert list(reader.read()) == []


def test_a_torn_last_line_waits_until_it_is_whole(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    reader = JournalReader(storage, "journal")
    storage.append("journal/a.jsonl", b'{"kind": "metrics"}\n{"kind": "te')
    assert [line["kind"] for line in reader.read()] == ["metrics"]
    storage.append("journal/a.jsonl", b'xt"}\n')
    assert [line["kind"] for line in reader.read()] == ["text"]


def test_a_reader_goes_on_where_another_stopped(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    journal = Journal(storage, "journal", "worker")
    journal.metrics(1, loss=1.0)
    before = JournalReader(storage, "journal")
    list(before.read())
    journal.metrics(2, loss=0.5)
    after = JournalReader(storage, "journal", before.offsets)
    assert [line["step"] for line in after.read()] == [2]


@pytest.mark.parametrize("root", ["{folder}", "memory://journals"])
def test_a_line_at_which_its_reader_failed_comes_again_with_all_that_follow(
    root: str, tmp_path: Path
) -> None:
    storage = Storage(root.format(folder=tmp_path))
    journal, reader = Journal(storage, "journal", "worker"), JournalReader(storage, "journal")
    for step in range(4):
        journal.metrics(step, loss=1.0)
    flush_journals()
    taken = []
    for failing in (1, 2, None):
        for line in reader.read():
            if line["step"] == failing:
                break  # as by an exception: nothing more is asked of the reader
            taken.append(line["step"])
    assert list(reader.read()) == []
    if not storage.is_local:
        fsspec.filesystem("memory").rm("journals", recursive=True)
    assert taken == [0, 1, 2, 3]


def test_on_an_object_store_no_line_is_lost_or_told_twice_where_an_answer_gets_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = Storage("memory://journals")
    journal, reader = Journal(storage, "journal", "worker"), JournalReader(storage, "journal")
    replace = storage.replace

    def written_and_not_answered(path: str, data: bytes) -> None:
        replace(path, data)
        raise ConnectionResetError

    journal.metrics(1, loss=1.0)
    with monkeypatch.context() as away:
        away.setattr(storage, "replace", written_and_not_answered)
        flush_journals()
    told = [line["step"] for line in reader.read()]
    journal.metrics(2, loss=0.5)
    flush_journals()
    told += [line["step"] for line in reader.read()]
    fsspec.filesystem("memory").rm("journals", recursive=True)
    assert told == [1, 2]
