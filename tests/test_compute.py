import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster import (
    STARTS,
    ClusterError,
    RayStartError,
    private_folder,
    start_local,
    start_told,
)
from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.errors import InputError, UnreadableShardError
from pipeline.shards import ShardLostError, ShardOutput, ShardUnreadableError, counts_of, files_of
from pipeline.store import Attempt, NoRoomError, Storage
from pipeline.training_faults import TrainingFailedError, training_fault
from tests.machine import check_sound, small_disk
from tests.security.strangers import ASK, asked


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


def find_it_torn(payload: dict[str, Any], output: ShardOutput) -> Mapping[str, int]:
    write_square(payload, output)
    raise UnreadableShardError(f"sack {payload['number']}: torn")


def test_what_cannot_be_read_is_tried_once_and_told_in_its_own_words(
    compute: Compute, tmp_path: Path
) -> None:
    log, told = tmp_path / "log", r"demo: sack 0: torn\. .* by --set compute\.lost_shards=1"
    with pytest.raises(ShardUnreadableError, match=f"^{told}$"):
        compute.map_shards(attempt_at(tmp_path, "one"), "square", shards(log, 1), find_it_torn)
    assert log.read_text() == "0\n"
    lenient = Compute(ComputeConfig(lost_shards=1))
    (record,) = lenient.map_shards(attempt_at(tmp_path, "two"), "square", shards(log, 1), find_it_torn)
    assert record.lost == "sack 0: torn"


def note_when(payload: dict[str, Any], output: ShardOutput) -> Mapping[str, int]:
    for told in ("begins", "ends"):
        with Path(payload["log"]).open("a") as log:
            log.write(f"{told}\n")
        time.sleep(0.3)
    return {}


def test_no_more_tasks_run_at_once_than_the_user_allows(compute: Compute, tmp_path: Path) -> None:
    alone = Compute(ComputeConfig(workers=1))
    alone.map_shards(attempt_at(tmp_path, "one"), "note", shards(tmp_path / "log", 3), note_when)
    assert (tmp_path / "log").read_text().split() == ["begins", "ends"] * 3


def test_a_training_whose_workers_die_is_one_clear_error() -> None:
    fault = training_fault(RuntimeError("worker 1 of 2 died"), None)
    assert isinstance(fault, TrainingFailedError)
    assert str(fault) == "training failed and was not restarted again: RuntimeError: worker 1 of 2 died"


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


def where_it_runs(payload: Any, output: ShardOutput) -> Mapping[str, int]:
    import ray

    context = ray.get_runtime_context()
    output.path("where.txt").write_text(f"{context.get_node_id()} {context.get_assigned_resources()}")
    return {}


def test_a_task_beside_the_driver_runs_on_its_node_and_needs_no_cpu_of_it(
    compute: Compute, tmp_path: Path
) -> None:
    import ray

    attempt = attempt_at(tmp_path, "one")
    records = compute.map_shards(attempt, "look", {"000": None}, where_it_runs, beside_driver=True)
    file = files_of(records)["where.txt"]
    told = attempt.storage.read(f"{attempt.base}/{file.path}").decode()
    assert told == f"{ray.get_runtime_context().get_node_id()} {{}}"


def test_a_cluster_that_is_not_there_is_told_at_once_with_its_address() -> None:
    program = (
        "from pipeline.compute import Compute, ComputeConfig\n"
        f"from pipeline.cluster import {ClusterError.__name__}\n"
        "try:\n"
        "    Compute(ComputeConfig(ray_address='127.0.0.1:9')).start()\n"
        "except ClusterError as error:\n"
        "    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert told.stdout.startswith(
        "compute.ray_address is 127.0.0.1:9, but no Ray cluster could be joined there"
    )
    assert "Connection refused" in told.stdout


@pytest.mark.everything
def test_a_local_ray_answers_nobody_without_its_token(compute: Compute) -> None:
    import ray

    compute.start()
    address, token = ray.get_runtime_context().gcs_address, os.environ["RAY_AUTH_TOKEN"]
    wrong = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * len(token)}
    for environment in ({"RAY_AUTH_MODE": "disabled"}, wrong):
        assert "answer" not in asked(ASK, address, environment)
    assert "answer" in asked(ASK, address, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token})


def test_the_files_of_a_local_ray_are_where_no_other_user_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    folder = private_folder()
    assert folder == tmp_path / f"moinho-{os.getuid()}" / "ray"
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert private_folder() == folder
    folder.parent.chmod(0o777)  # as one that somebody else had made before
    other = private_folder().parent
    assert other.name.startswith("moinho-")
    assert other != folder.parent
    assert other.stat().st_mode & 0o777 == 0o700


class SlowRay:
    """Ray's start on a busy machine: the first `late` of them take too long."""

    def __init__(self, late: int, words: str = "The current node timed out during startup.\nThis") -> None:
        self.late, self.words, self.starts = late, words, 0

    def init(self, **settings: Any) -> None:
        self.starts += 1
        if self.starts <= self.late:
            raise Exception(self.words)


@pytest.mark.parametrize(
    ("slow", "wanted", "starts"),
    [(SlowRay(1), True, 2), (SlowRay(2), True, 2), (SlowRay(2), False, 1), (SlowRay(2, "no"), True, 1)],
)
def test_a_start_of_ray_that_took_too_long_is_tried_once_more(
    slow: SlowRay, wanted: bool, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", slow.init)
    expected = contextlib.nullcontext()
    if slow.late == STARTS or slow.words == "no":
        expected = pytest.raises(RayStartError, match=r"\((The current.*startup\.|no)\); .* its \d+ CPUs")
    with expected, start_told():
        start_local(None, lambda: wanted)
    assert slow.starts == starts
