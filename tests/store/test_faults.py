"""A full disk, in memory: what libraries make of it, and what stays."""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Config
from pipeline.errors import StageError
from pipeline.store import (
    Artifact,
    Attempt,
    Journal,
    JournalReader,
    Made,
    NoRoomError,
    NotWritableError,
    Storage,
    Store,
    fault_of_machine,
    require_room,
)
from tests.machine import SmallDisk, check_sound, small_disk

DISK_BYTES = 2 << 20
BLOCK = np.random.default_rng(0).integers(0, 255, 2 * DISK_BYTES, dtype=np.uint8)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", DISK_BYTES) as disk:
        yield disk


def write_plainly(path: Path) -> None:
    path.write_bytes(BLOCK.tobytes())


def write_by_numpy(path: Path) -> None:
    np.save(path, BLOCK)


def write_by_torch(path: Path) -> None:
    import torch

    torch.save([torch.from_numpy(BLOCK[:1000]).clone() for _ in range(3000)], path)


def write_by_safetensors(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"block": BLOCK}, path)


def write_by_parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"block": BLOCK}), path)


def write_by_sqlite(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE blocks (block)")
        database.execute("INSERT INTO blocks VALUES (?)", (BLOCK.tobytes(),))
        database.commit()


def write_by_duckdb(path: Path) -> None:
    import duckdb

    with duckdb.connect(path) as database:
        database.execute("CREATE TABLE numbers AS SELECT range, hash(range) AS h FROM range(2000000)")


@pytest.mark.parametrize(
    "write",
    [
        write_plainly,
        write_by_numpy,
        write_by_torch,
        write_by_safetensors,
        write_by_parquet,
        write_by_sqlite,
        write_by_duckdb,
    ],
)
def test_a_full_disk_is_known_by_whatever_a_library_makes_of_it(
    disk: SmallDisk, write: Callable[[Path], None]
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which one is up to the library)
        write(disk.folder / "file")
    fault = fault_of_machine(caught.value, disk.folder)
    assert isinstance(fault, NoRoomError)
    assert f"no room left on the disk of {disk.folder} (" in str(fault)
    assert "of 2.1 MB" in str(fault)
    assert "then run again" in str(fault)
    assert fault.__cause__ is caught.value


def test_a_fault_of_the_work_stays_what_it_is(tmp_path: Path) -> None:
    assert fault_of_machine(ValueError("the wind dropped"), tmp_path) is None
    assert fault_of_machine(StageError("no grain"), tmp_path) is None
    assert fault_of_machine(KeyboardInterrupt(), tmp_path) is None
    assert fault_of_machine(PermissionError(13, "Permission denied", "/elsewhere/file"), tmp_path) is None
    refused = PermissionError(13, "Permission denied", str(tmp_path / "file"))
    assert isinstance(fault_of_machine(refused, tmp_path), NotWritableError)


def test_a_disk_without_room_for_one_more_file_is_full_too(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", DISK_BYTES, files=20) as disk:
        with pytest.raises(OSError, match="No space") as caught:
            [(disk.folder / str(number)).touch() for number in range(30)]
        assert "no more files can be added" in str(fault_of_machine(caught.value, disk.folder))


def test_temporary_files_without_room_are_told_before_anything_is_started(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(disk.folder))
    require_room()
    disk.leave(100_000)
    with pytest.raises(NoRoomError, match=r"\$RAY_TMPDIR") as caught:
        require_room()
    assert str(disk.folder) in str(caught.value)


def test_what_was_not_written_whole_is_not_seen(disk: SmallDisk) -> None:
    storage = Storage(str(disk.folder))
    for publish in (storage.create, storage.replace):
        with pytest.raises(OSError, match="No space"):
            publish("names/record.json", BLOCK.tobytes())
        assert storage.list("names") == []


def test_a_journal_that_met_a_full_disk_can_be_read_whole(disk: SmallDisk) -> None:
    storage = Storage(str(disk.folder))
    journal, reader = Journal(storage, "journal", "worker"), JournalReader(storage, "journal")
    with pytest.raises(OSError, match="No space"):
        [journal.text("sample", step, "x" * 100_000) for step in range(100)]
    disk.resize(2 * DISK_BYTES)
    journal.text("sample", 1000, "there is room again")
    lines = list(reader.read())
    assert [line["step"] for line in lines] == [*range(len(lines) - 1), 1000]


class Flour(Artifact):
    stage, role = "grind", "flour"


def test_a_stage_on_a_full_disk_fails_with_one_message_and_is_made_once_there_is_room(
    disk: SmallDisk,
) -> None:
    def grind(attempt: Attempt) -> Made:
        path = attempt.path("flour.bin")
        path.write_bytes(BLOCK.tobytes())
        return Made({"flour.bin": attempt.publish(path)})

    store = Store(str(disk.folder / "store"))
    with pytest.raises(NoRoomError, match="Make room there, or move the store"):
        store.make(Flour, Config(), {}, grind)
    assert list(store.records()) == []
    disk.resize(8 * DISK_BYTES)
    flour = store.make(Flour, Config(), {}, grind)
    assert flour.path("flour.bin").read_bytes() == BLOCK.tobytes()
    check_sound(disk.folder / "store")


def test_a_name_that_points_there_already_is_not_written_again(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    flour = store.make(Flour, Config(), {}, lambda attempt: Made({}))
    store.name("farm/flour", flour)
    path = tmp_path / "store/names/farm/flour.json"
    os.utime(path, (0, 0))
    store.name("farm/flour", flour)
    assert path.stat().st_mtime == 0
