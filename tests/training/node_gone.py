"""`python -m tests.training.node_gone GIVEN [announced]`: trains on two nodes here and takes one away.

GIVEN is a file with the configuration and a Toy, pickled. The node goes when the first death's marker is
there; the training then has room for one worker. `announced`: the node is left in good order first, as where
Kubernetes is about to stop a pod.
"""

import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from tests.cluster import ENVIRONMENT, HOST

LEAVE_SECONDS = 120


def main(given: Path, announced: bool) -> None:
    os.environ.update(ENVIRONMENT, RAY_AUTH_MODE="disabled")
    # A short folder: the paths of Ray's sockets may not exceed 107 bytes.
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        from ray.cluster_utils import Cluster

        from pipeline.compute import Compute
        from tests.training.deaths import dying_worker

        config, toy = pickle.loads(given.read_bytes())
        node: dict[str, Any] = {"node_ip_address": HOST, "num_cpus": 1, "dashboard_agent_listen_port": 0}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        other = cluster.add_node(**node, temp_dir=f"{folder}/1")

        def take_away() -> None:
            while not (toy.markers / "0").exists():
                time.sleep(0.1)
            if announced:
                leave = [sys.executable, "-m", "pipeline.training.leave_node", "--node-id", other.node_id]
                done = subprocess.run([*leave, "--seconds", str(LEAVE_SECONDS)], check=False)
                print(f"left with {done.returncode}", flush=True)
            cluster.remove_node(other, allow_graceful=False)

        threading.Thread(target=take_away, daemon=True).start()
        compute = Compute(config.model_copy(update={"ray_address": cluster.address}))
        try:
            compute.train(dying_worker, {"toy": toy}, toy.attempt)
        finally:
            compute.stop()
            cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), announced="announced" in sys.argv[2:])
