"""A claim that holds on a whole cluster: an actor of the artifact's name, which ends with its driver.

Names of actors are given out by one process of the cluster, so of several drivers one gets it. A driver that
is killed loses its actors, and with them its claims. As every claim this one only saves work.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

NAMESPACE = "moinho"
LOOK_SECONDS = 0.5


class Claim:
    """Is there, and does nothing."""


@contextlib.contextmanager
def claimed(name: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the claim in the block. `waiting` is called once if somebody else has it; then it is waited for.

    Needs a cluster that was joined.
    """
    import ray

    ask: Any = ray.remote(Claim).options(name=name, namespace=NAMESPACE, num_cpus=0, max_restarts=0)
    holder: Any = None
    told = False
    while holder is None:
        try:
            holder = ask.remote()
        except ValueError:  # the name is taken
            if not told:
                waiting()
                told = True
            time.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        ray.kill(holder)
