import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.compute import (
    Compute,
    ComputeConfig,
    ShardLostError,
    ShardOutput,
    TooFewGpusError,
    TrainingFailedError,
    _training_fault,
    counts_of,
    files_of,
)
from pipeline.errors import InputError
from pipeline.store import Attempt, NoRoomError, Storage
from tests.machine import check_sound, small_disk


def attempt_at(root: Path, name: str) -> Attempt:
    return Attempt(Storage(str(root)), "demo", "key", name)


def write_square(payload: dict[str, Any], output: ShardOutput) -> Mapping[str, int]:
    with Path(payload["log"]).open("a") as log:
        log.write(f"{payload['number']}\n")
    output.path(f"squares/{payload['number']}.txt").write_text(str(payload["number"] ** 2))
    return {"squares": 1}


def write_square_but_die_at_two(payload: dict[str, Any], output: ShardOutput) -> Mapping[str, int]:
    if payload["number"] == 2:
        os._exit(1)
    return write_square(payload, output)


def refuse(payload: Any, output: ShardOutput) -> Mapping[str, int]:
    raise InputError("this page is upside down; turn it")


def shards(log: Path, count: int) -> dict[str, Any]:
    return {f"{n:03}": {"number": n, "log": str(log)} for n in range(count)}


def test_shards_come_back_in_order_with_their_files(compute: Compute, tmp_path: Path) -> None:
    records = compute.map_shards(
        attempt_at(tmp_path, "one"), "square", shards(tmp_path / "log", 5), write_square
    )
    assert [record.identity for record in records] == ["000", "001", "002", "003", "004"]
    assert counts_of(records) == {"squares": 5}
    assert sorted(files_of(records)) == [f"squares/{n}.txt" for n in range(5)]


def test_a_shard_that_kills_its_worker_is_named_and_a_rerun_does_only_what_is_missing(
    compute: Compute, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with pytest.raises(ShardLostError, match="shard 002 failed 3 times"):
        compute.map_shards(attempt_at(tmp_path, "one"), "square", shards(log, 4), write_square_but_die_at_two)
    before = sorted(log.read_text().split())
    assert "2" not in before
    records = compute.map_shards(attempt_at(tmp_path, "two"), "square", shards(log, 4), write_square)
    assert counts_of(records) == {"squares": 4}
    assert sorted(log.read_text().split()) == ["0", "1", "2", "3"]


def test_a_training_whose_workers_die_is_one_clear_error() -> None:
    fault = _training_fault(RuntimeError("worker 1 of 2 died"), None)
    assert isinstance(fault, TrainingFailedError)
    assert str(fault) == "training failed and was not restarted again: RuntimeError: worker 1 of 2 died"


class TwoGpus(Compute):
    """A cluster with two GPUs, as far as it is asked."""

    def gpus(self) -> int:
        return 2


def test_more_workers_than_gpus_are_refused(compute: Compute, tmp_path: Path) -> None:
    compute.start()
    with pytest.raises(TooFewGpusError, match="has 2 GPUs; set at most 2"):
        TwoGpus(ComputeConfig(training_workers=3)).train(print, {}, attempt_at(tmp_path, "one"))


def fill_the_disk(payload: Any, output: ShardOutput) -> Mapping[str, int]:
    raise OSError(errno.ENOSPC, "No space left on device", str(output.path("square.txt")))


def test_a_full_disk_is_told_at_once_and_is_not_the_shards_fault(compute: Compute, tmp_path: Path) -> None:
    with pytest.raises(NoRoomError, match="no room left on the disk of"):
        compute.map_shards(attempt_at(tmp_path, "one"), "square", {"000": 0}, fill_the_disk)


def test_a_lost_shard_is_set_aside_with_its_reason_where_the_user_allows_it(
    compute: Compute, tmp_path: Path
) -> None:
    lenient = Compute(ComputeConfig(lost_shards=1))
    records = lenient.map_shards(
        attempt_at(tmp_path, "one"), "square", shards(tmp_path / "log", 4), write_square_but_die_at_two
    )
    assert [record.identity for record in records if record.lost] == ["002"]
    assert counts_of(records) == {"squares": 3}


def test_a_fault_of_the_input_is_told_at_once_and_not_tried_again(compute: Compute, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="upside down"):
        compute.map_shards(attempt_at(tmp_path, "one"), "read", {"000": None}, refuse)


def write_a_megabyte(payload: dict[str, Any], output: ShardOutput) -> Mapping[str, int]:
    output.path(f"big/{payload['number']}.bin").write_bytes(bytes(1 << 20))
    return write_square(payload, output)


def test_a_full_disk_ends_a_step_at_once_and_with_room_only_the_rest_is_done(
    compute: Compute, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.touch()
    with small_disk(tmp_path / "disk", 3 << 20) as disk:
        root = disk.folder / "store"
        with pytest.raises(NoRoomError, match=f"the disk of {root}"):
            compute.map_shards(attempt_at(root, "one"), "square", shards(log, 8), write_a_megabyte)
        before = log.read_text().split()
        assert len(before) == len(set(before)) < 8
        check_sound(root)
        finished = len(list(root.glob("demo/key/shards/square/*.json")))
        disk.resize(64 << 20)
        records = compute.map_shards(attempt_at(root, "two"), "square", shards(log, 8), write_a_megabyte)
        assert counts_of(records) == {"squares": 8}
        assert len(log.read_text().split()) - len(before) == 8 - finished
        check_sound(root)


def test_a_local_cluster_listens_on_the_loopback_address_alone(compute: Compute) -> None:
    import psutil

    compute.start()
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    addresses = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in family
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}
