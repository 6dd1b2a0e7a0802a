"""`python -m tests.benchmarks.waiting GCS STORE [COUNT:SECONDS ...]`: seconds of shards that only wait.

Maps so many shards, each of so many seconds, on the Ray at that address, one group after the other;
prints a line of seconds for each. A process of its own, since Ray reads its token but once in a process.
"""

import sys
import time

from pipeline.compute import Compute
from pipeline.compute_config import ComputeConfig
from pipeline.shards import ShardOutput
from pipeline.store import Attempt, Storage

TOOK = "took "
"""Before the seconds: Ray may print between the lines."""


def wait(seconds: float, output: ShardOutput) -> dict[str, int]:
    """A shard whose work leaves the processor alone."""
    time.sleep(seconds)
    return {"shards": 1}


def main(gcs: str, store: str, *groups: str) -> None:
    compute = Compute(ComputeConfig(ray_address=gcs))
    attempt = Attempt(Storage(store), "wait", "key", "first")
    try:
        for number, group in enumerate(groups):
            count, seconds = group.split(":")
            begun = time.monotonic()
            shards = {f"{shard:05}": float(seconds) for shard in range(int(count))}
            compute.map_shards(attempt, f"{number}", shards, wait)
            print(f"{TOOK}{time.monotonic() - begun}", flush=True)
    finally:
        compute.stop()


if __name__ == "__main__":
    # By its full name: a function of __main__ would travel to Ray's workers by value.
    from tests.benchmarks import waiting

    waiting.main(*sys.argv[1:])
