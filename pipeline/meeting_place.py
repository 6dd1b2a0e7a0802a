"""Where the processes of a training meet: on the address that the cluster knows their node by.

By itself torch's store, through which they find each other, listens on every interface, and gloo on the one
that the machine's name leads to. Neither asks for a password, so neither is to be reached from elsewhere.
"""

import contextlib
import importlib
import logging
import os
import socket
from datetime import timedelta
from typing import Any

import psutil

log = logging.getLogger(__name__)


def meet_on_own_address() -> None:
    """On each training worker, before its process group is made. What the user has set for gloo counts."""
    import ray.util

    rendezvous: Any = importlib.import_module("torch.distributed.rendezvous")
    rendezvous._create_c10d_store = store_on_one_address  # torch has no setting for it
    interface = interface_of(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)


def store_on_one_address(
    hostname: str, port: int, rank: int, world_size: int, timeout: timedelta, use_libuv: bool = True
) -> Any:
    """torch's store as torch makes it (torch.distributed.rendezvous), but that rank 0 listens on `hostname`
    alone; on every interface where no interface here has that address, as behind a translation of addresses.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    given: dict[str, Any] = {}
    if rank == 0:
        with contextlib.suppress(OSError):
            family = socket.AF_INET6 if ":" in hostname else socket.AF_INET
            given["master_listen_fd"] = socket.create_server((hostname, port), family=family).detach()
        if not given:
            log.warning("no interface has the address %s: torch's store listens on all of them", hostname)
    return TCPStore(
        host_name=hostname,
        port=port,
        world_size=world_size,
        is_master=rank == 0,
        timeout=timeout,
        multi_tenant=True,
        use_libuv=use_libuv,
        **given,
    )


def interface_of(address: str) -> str | None:
    """The name of the interface that has the address, such as lo or eth0; None if there is none."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address == address for each in addresses):
            return name
    return None
