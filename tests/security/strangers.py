"""Programs that want something of a Ray cluster, with whatever token they are given."""

import os
import subprocess
import sys
from collections.abc import Mapping

JOIN = """
import ray, sys
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
print("answer", ray.get(ray.remote(lambda: 6 * 7).remote()))
"""
ASK = """
import sys
from ray._raylet import GcsClient
print("answer", len(GcsClient(address=sys.argv[1]).internal_kv_keys(b"", namespace=None)))
"""
ASKING_SECONDS = 300


def asked(program: str, address: str, environment: Mapping[str, str]) -> str:
    """What the program says; it is ended after a while, since Ray asks for long."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, address],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ASKING_SECONDS,
            env=plain | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} | environment,
        )
    except subprocess.TimeoutExpired as late:
        return str(late.stdout)
    return done.stdout
