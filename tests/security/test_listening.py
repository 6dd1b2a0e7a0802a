"""What listens where: a training's processes are reached from the cluster's own addresses alone."""

import contextlib
import json
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.meeting_place import interface_of, store_on_one_address
from tests.object_store import free_ports
from tests.training.toys import toy_attempt


def listening(process: psutil.Process) -> set[str]:
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in process.net_connections("tcp")
        if connection.laddr and connection.status == psutil.CONN_LISTEN
    }


def test_torch_s_store_listens_on_its_address_alone_and_works() -> None:
    (port,) = free_ports(1)
    before = {each.laddr for each in psutil.Process().net_connections("tcp")}
    first = store_on_one_address("127.0.0.1", port, 0, 1, timedelta(seconds=30))
    other = store_on_one_address("127.0.0.1", port, 1, 1, timedelta(seconds=30))
    other.set("grain", "wheat")
    assert first.get("grain") == b"wheat"
    opened = [
        each.laddr
        for each in psutil.Process().net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr not in before
    ]
    assert [(each.ip, each.port) for each in opened] == [("127.0.0.1", port)]


def test_an_interface_is_found_by_its_address() -> None:
    name = interface_of("127.0.0.1")
    assert name is not None
    assert name in dict(socket.if_nameindex()).values()
    assert interface_of("192.0.2.1") is None


def tell_where_it_listens(settings: dict[str, Any]) -> None:
    """In a training worker, once all of them have met."""
    import torch
    import torch.distributed as dist

    dist.all_reduce(torch.ones(1))
    told = json.dumps(sorted(listening(psutil.Process())))
    Path(settings["folder"], f"{dist.get_rank()}.json").write_text(told)
    dist.barrier()


@pytest.mark.everything
def test_nothing_of_a_training_listens_beyond_this_machine(compute: Compute, tmp_path: Path) -> None:
    beside = Compute(ComputeConfig(training_workers=2), temp_dir=compute.temp_dir)
    beside.train(tell_where_it_listens, {"folder": str(tmp_path)}, toy_attempt(tmp_path / "store"))
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert told == [["127.0.0.1"]] * 2
    servers = set[str]()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            servers |= listening(child)
    assert servers == {"127.0.0.1"}
