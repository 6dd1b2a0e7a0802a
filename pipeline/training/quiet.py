"""Python's garbage collector kept from stopping a step."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_garbage_collector() -> Iterator[None]:
    """Python's collector would stop every worker at another moment; it runs at evaluations instead."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
