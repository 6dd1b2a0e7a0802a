"""A Ray cluster: one started on this machine alone, or one that is there already and is joined."""

import contextlib
import functools
import importlib
import json
import logging
import os
import secrets
import signal
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from pipeline.errors import InputError, MoinhoError, StageError

# Set before Ray is imported, here and in every process it starts. The second keeps a local
# cluster on the loopback address: by default each of its servers listens on every interface.
LOCAL_RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "5",
    # A local cluster's head never comes back: its workers need not wait a minute for that; a busy
    # machine needs some seconds to stop it, in which the driver must not give up.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
    # Nobody takes nodes away from it: one process less that watches for that.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
PASSED_ON = ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "TOKENIZERS_PARALLELISM", "TQDM_DISABLE")
"""What the workers of a local cluster inherit from the driver; those of a joined one are told."""
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Where Ray leaves to a job's driver what the job was submitted with."""
PROBE_SECONDS = 10.0
STARTS = 2
"""How often a local Ray is started at most: it gives a start half a minute, which a busy machine may need."""


class ClusterError(InputError):
    """The Ray cluster of `compute.ray_address` cannot be joined."""

    remedy = "Look whether it runs (`ray status`), and whether RAY_AUTH_MODE and the token are the cluster's."


class RayStartError(StageError):
    """Ray could not be started on this machine, mostly since the machine had too much other work."""

    remedy = (
        "Run again when the machine has less to do (`uptime` tells): what is finished is reused. "
        "If it is idle, read Ray's logs in the folder that the message names."
    )


def start_local(temp_dir: str | None, is_wanted: Callable[[], bool] = lambda: True) -> None:
    """Start a cluster of this machine alone. It ends with this process, or with `ray.shutdown`.

    It wants a token of its own, and its files are in `temp_dir`, by default a folder that no other user can
    enter. A start that took Ray too long is tried once more, as long as `is_wanted`. Raises whatever Ray
    raises.
    """
    os.environ.update(LOCAL_RAY_ENVIRONMENT)
    import ray

    if ray.is_initialized():
        return
    temp_dir = temp_dir or str(private_folder())
    for start in range(1, STARTS + 1):
        before = {child.pid for child in psutil.Process().children()}
        try:
            with _discreet(), _apart_from_our_group():
                _take_token()
                _init_local(temp_dir)
            return
        except Exception as error:  # Ray raises Exception itself
            _end_servers(before)
            if start == STARTS or not is_wanted() or not _is_late(error):
                raise


@contextlib.contextmanager
def start_told() -> Iterator[None]:
    """Raises RayStartError in place of what Ray raised in the block; errors of our own pass."""
    try:
        yield
    except MoinhoError:
        raise
    except Exception as error:
        load, cpus = os.getloadavg()[0], len(os.sched_getaffinity(0))
        raise RayStartError(
            f"Ray could not be started on this machine ({_first_line(error)}); {load:.1f} processes ran or "
            f"waited for its {cpus} CPUs in the last minute. Run again when it has less to do; if it is "
            f"idle, read Ray's logs in {_usual_folder()}/ray/session_latest/logs"
        ) from error


def private_folder() -> Path:
    """Where a local Ray keeps its sockets and logs: a short path that no other user of the machine can enter.

    Ray lets everybody write to its own folders, so that another user could put sockets in place of ours; in a
    folder that is closed nobody gets as far as that.
    """
    folder = _usual_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        folder = Path(tempfile.mkdtemp(prefix="moinho-", dir=folder.parent))  # somebody else took the name
    return folder / "ray"


def _usual_folder() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", f"moinho-{os.getuid()}")


@functools.cache
def _own_token() -> str:
    return secrets.token_hex(32)


def _take_token() -> None:
    """A token of this process for the clusters that it starts; without one every user of this machine could
    run programs there as us. Our environment alone has it: the cluster inherits it, nobody else reads it."""
    raylet: Any = importlib.import_module("ray._raylet")
    if os.environ.get("RAY_AUTH_TOKEN") != _own_token():
        os.environ["RAY_AUTH_TOKEN"] = _own_token()
        raylet.AuthenticationTokenLoader.instance().reset_cache()
    if raylet.get_authentication_mode() != raylet.AuthenticationMode.TOKEN:
        raylet.Config.initialize("")  # Ray was imported before our environment said so


def _init_local(temp_dir: str) -> None:
    import ray

    ray.init(
        address="local",
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=temp_dir,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=False,
    )


def _is_late(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or "timed out" in str(error).lower()


def _end_servers(before: set[int]) -> None:
    """End what a start that failed has left: it would hold up the next, and stay to our own end."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.pid not in before and any("/ray/" in word for word in child.cmdline()):
                child.kill()
                child.wait()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def join(address: str) -> None:
    """Join the cluster at `address` (host:port of its head, or auto on one of its nodes).

    Authentication is the cluster's matter: RAY_AUTH_MODE and the token are taken from the
    environment, which a job inherits from its cluster. Raises ClusterError.
    """
    import ray
    from ray.exceptions import AuthenticationError

    if ray.is_initialized():
        return
    try:
        _probe(address)
        with _discreet():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                runtime_env={"env_vars": _passed_on()},
            )
    except (OSError, ValueError, AuthenticationError) as error:
        raise ClusterError(
            f"compute.ray_address is {address}, but no Ray cluster could be joined there "
            f"({_first_line(error)}). Look whether it runs (ray status), and whether RAY_AUTH_MODE "
            "and the token are those of the cluster"
        ) from error


def is_own() -> bool:
    """Whether the Ray that this process is in was started by it, for itself."""
    import ray

    return bool(ray.is_initialized() and os.environ.get("RAY_AUTH_TOKEN") == _own_token())


def node_resources() -> list[dict[str, float]]:
    """What each node of the joined cluster has: CPU, GPU and so on."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _probe(address: str) -> None:
    """Raises OSError at once where nothing listens: Ray itself asks again for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and host and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS).close()


def _passed_on() -> dict[str, str]:
    """Without what the job was submitted with: Ray refuses a name that it is told twice."""
    job = json.loads(os.environ.get(JOB_CONFIG, "{}"))
    told = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ and name not in told}


@contextlib.contextmanager
def deferred_stop() -> Iterator[list[tuple[int, FrameType | None]]]:
    """Ctrl-C and SIGTERM wait until the block's end: an exception in the midst of Ray's start aborts us.

    What came meanwhile is in the list that the block is given. The handlers are put back as they were;
    Ray replaces that of SIGTERM by one that exits.
    """
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    came: list[tuple[int, FrameType | None]] = []
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for each in before:
        signal.signal(each, lambda number, frame: came.append((number, frame)))
    try:
        yield came
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number, frame in came[:1]:  # also where the block failed: that was to be stopped anyway
            deferred = before[signal.Signals(number)]
            if callable(deferred):
                deferred(number, frame)


@contextlib.contextmanager
def _apart_from_our_group() -> Iterator[None]:
    """While Ray starts: its servers get process groups of their own.

    A signal to our group (`timeout`, `kill -- -PGID`, the end of a terminal) is ours to hear: a GCS that
    hears it too leaves the driver waiting for it, some eight seconds, when that leaves the cluster. With
    us they end all the same: Ray has the kernel end them with their parent.
    """
    services: Any = importlib.import_module("ray._private.services")
    start_process = services.ConsolePopen
    services.ConsolePopen = functools.partial(start_process, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = start_process


@contextlib.contextmanager
def _discreet() -> Iterator[None]:
    """While Ray starts: what it tells about its dashboard and its token, users are told by us."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
