"""An object store that is away for a while, as when its server is restarted, costs time and nothing else."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.store import Storage
from pipeline.store.storage import UnusableStoreError
from tests.object_store import BUCKET, S3Server, server_to_take_away

pytestmark = [pytest.mark.everything, pytest.mark.timeout(300)]

AWAY_SECONDS = 15.0


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with server_to_take_away(tmp_path, monkeypatch) as found:
        yield found


def restart(server: S3Server) -> None:
    server.kill()
    time.sleep(AWAY_SECONDS)
    server.start()


def test_writers_and_readers_wait_for_a_server_that_is_killed_and_started_again(
    server: S3Server, tmp_path: Path
) -> None:
    storage = Storage(f"s3://{BUCKET}/away")
    storage.replace("names/one.json", b"before")
    big = tmp_path / "big"
    big.write_bytes(b"0123456789abcdef" * 1_000_000)
    restarting = threading.Thread(target=restart, args=(server,))
    stop = time.monotonic() + AWAY_SECONDS + 20

    def create(writer: int) -> int:
        number = 0
        while time.monotonic() < stop:
            assert storage.create(f"records/{writer}-{number}.json", f"{writer} {number}".encode())
            number += 1
            time.sleep(0.05)
        return number

    def upload() -> int:
        number = 0
        while time.monotonic() < stop:
            storage.upload(big, f"files/{number}")
            number += 1
        return number

    def append() -> int:
        number = 0
        while time.monotonic() < stop:
            storage.append("journal.jsonl", f"{number}\n".encode())
            number += 1
            time.sleep(0.2)
        return number

    with ThreadPoolExecutor(4) as pool:
        creating = [pool.submit(create, writer) for writer in range(2)]
        uploading, appending = pool.submit(upload), pool.submit(append)
        time.sleep(2)
        restarting.start()
        restarting.join()
        made = [each.result() for each in creating]
        files, lines = uploading.result(), appending.result()
    assert [int(line) for line in storage.read("journal.jsonl").split()] == list(range(lines))
    for writer, count in enumerate(made):
        assert all(
            storage.read(f"records/{writer}-{number}.json") == f"{writer} {number}".encode()
            for number in range(count)
        )
    assert set(storage.sizes("files").values()) == {big.stat().st_size}
    assert len(storage.list("files")) == files
    assert storage.read("names/one.json") == b"before"


def test_a_server_that_never_answered_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s3").mkdir()
    for name, value in S3Server(tmp_path / "s3").environment.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(UnusableStoreError, match="cannot be written"):
        Storage(f"s3://{BUCKET}/nowhere").check()
    assert time.monotonic() - began < 60
