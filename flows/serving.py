"""Serving a model until somebody ends it: on Ray Serve for programs, as a page for people."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from flows.people import KEY_VARIABLE, Named
from pipeline.chat.limits import Limits
from pipeline.tracking.destination import require_free

if TYPE_CHECKING:
    from fastapi import FastAPI

STOPS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Asked:
    """What `moinho serve` was asked for."""

    named: Named
    limits: Limits
    key: str
    is_new_key: bool
    host: str
    port: int
    replicas: int
    gpus: float
    address: str | None


def serve_model(asked: Asked, console: Console) -> None:
    """Until Ctrl-C or SIGTERM."""
    from pipeline.chat import serving

    require_free(asked.host, asked.port)
    # What the cluster's processes inherit, others read too; they need no more than its digest.
    os.environ.pop(KEY_VARIABLE, None)
    _start_ray(asked.address, console)
    served = serving.Served(
        asked.named.model,
        asked.named.name,
        asked.limits,
        serving.digest_of_key(asked.key),
        asked.replicas,
        asked.gpus,
    )
    with _until_stopped():
        try:
            with console.status("loading the model"):
                serving.start(served, asked.host, asked.port)
            _tell(asked, console)
            threading.Event().wait()
        finally:
            for each in STOPS:  # a second Ctrl-C is no reason to leave processes behind
                signal.signal(each, signal.SIG_IGN)
            with console.status("ending"):
                serving.stop()


def _start_ray(address: str | None, console: Console) -> None:
    from pipeline import cluster

    with console.status("starting Ray"), cluster.deferred_stop():
        if address is None:
            with cluster.start_told():
                cluster.start_local(None)
        else:
            cluster.join(address)


@contextlib.contextmanager
def _until_stopped() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block, which is a good end."""
    for each in STOPS:  # a shell's script has what it starts in the background ignore Ctrl-C
        signal.signal(each, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        yield


def _tell(asked: Asked, console: Console) -> None:
    """Where it listens, and a request to try."""
    url, limits = f"http://{asked.host}:{asked.port}/v1", asked.limits
    console.print(f"serving [bold]{escape(asked.named.name)}[/bold] at {url}", soft_wrap=True)
    console.print(
        f"limits: {limits.at_once} answers at a time and {limits.waiting} waiting, "
        f"{limits.max_tokens} tokens and {limits.seconds:g} s for each",
        soft_wrap=True,
    )
    if asked.is_new_key:
        console.print(f"API key, for as long as this runs: {asked.key}", soft_wrap=True, highlight=False)
    shown = asked.key if asked.is_new_key else f"${KEY_VARIABLE}"
    body = f'{{"model": "{asked.named.name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    console.print(
        f"try: curl {url}/chat/completions -H 'Content-Type: application/json' "
        f"-H \"Authorization: Bearer {shown}\" -d '{body}'",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    console.print("[dim]Ctrl-C ends it[/dim]")


def serve_page(app: "FastAPI", host: str, port: int, console: Console) -> None:
    """Until Ctrl-C or SIGTERM."""
    import uvicorn

    console.print(f"open http://{host}:{port} in a browser; Ctrl-C ends it", soft_wrap=True)
    # Whoever streams an answer must not hold up the end.
    uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=2)
