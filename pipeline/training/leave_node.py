"""`python -m pipeline.training.leave_node`: this machine is about to go, so leave it in good order.

For what runs before a node of Ray is stopped: a pod's preStop hook, a cloud's notice of a preemption. The
node is closed to new work, the trainings on it are told to go (they save the step they are at, and Ray Train
starts them elsewhere), and the command ends when they have left or the time is up. Where nothing trains it
ends at once.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from pipeline.errors import InputError, MoinhoError

TRAINING_WORKER = "ray::RayTrainWorker"
"""How Ray Train names the processes that train."""
DRAIN_SECONDS = 30.0


class WhichNodeError(InputError):
    """There is no node of Ray on this machine, or more than one."""

    remedy = "Run it where a node runs; of several name one: --node-id, as `ray list nodes` shows it."


@dataclass(frozen=True)
class Node:
    """A node of Ray that runs on this machine."""

    id: str
    gcs: str
    """Address of the cluster's head, host:port."""
    raylet: psutil.Process

    def training_workers(self) -> list[psutil.Process]:
        found = []
        for child in self.raylet.children():
            with contextlib.suppress(psutil.Error):
                if " ".join(child.cmdline()).startswith(TRAINING_WORKER):
                    found.append(child)
        return found


def nodes() -> list[Node]:
    """Those of this machine, or of this container."""
    found = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"] == "raylet":
                flags = dict(
                    part.split("=", 1) for part in process.cmdline() if part.startswith("--") and "=" in part
                )
                found.append(Node(flags["--node_id"], flags["--gcs-address"], process))
    return found


def node(id: str | None) -> Node:
    """The one that is named, or the only one. Raises WhichNodeError."""
    found = [each for each in nodes() if id in (None, each.id)]
    if len(found) != 1:
        told = ", ".join(each.id for each in found) or "none"
        named = "" if id is None else f" named {id}"
        raise WhichNodeError(f"one node of Ray{named} was looked for on this machine, and found: {told}")
    return found[0]


def leave(leaving: Node, seconds: float) -> int:
    """Close the node, tell its training workers to go, and wait for them. How many are still there."""
    end = time.monotonic() + seconds
    _close(leaving, seconds)
    workers = leaving.training_workers()
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.terminate()
    _, left = psutil.wait_procs(workers, timeout=max(0.0, end - time.monotonic()))
    return len(left)


def _close(leaving: Node, seconds: float) -> None:
    """Let the cluster put nothing more on the node. Where that fails the trainings are told all the same."""
    reason = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the machine is about to go")
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", *reason]
    command += ["--address", leaving.gcs, "--node-id", leaving.id]
    command += ["--deadline-remaining-seconds", str(int(seconds))]
    with contextlib.suppress(subprocess.TimeoutExpired):
        told = subprocess.run(command, capture_output=True, text=True, timeout=min(seconds, DRAIN_SECONDS))
        if told.returncode:
            print(f"the node could not be closed to new work: {told.stderr.strip()}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="leave_node", description="Leave this machine in good order.")
    parser.add_argument(
        "--seconds", type=float, default=100.0, help="that are given to the trainings at most"
    )
    parser.add_argument("--node-id", help="of Ray, where several nodes run here")
    given = parser.parse_args(arguments)
    try:
        left = leave(node(given.node_id), given.seconds)
    except MoinhoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if left:
        print(f"{left} training workers did not leave in {given.seconds:.0f} s", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
