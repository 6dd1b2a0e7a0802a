"""`moinho serve`: a model behind Ray Serve, with the interface of OpenAI's clients."""

import hashlib
import importlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import cluster
from pipeline.chat import proxy_answers
from pipeline.chat.limits import Limits
from pipeline.errors import InputError, StageError
from pipeline.models.model import Model

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pipeline.chat.engine import Engine

APPLICATION = "moinho"
SLACK = 64
"""Requests beyond the limits that a replica takes in all the same: to tell them to come back."""
UNSEEN_SECONDS = 30.0
"""How long beyond an answer's own time a request waits for a replica that has died to be there again."""
ENDING_SECONDS = 3.0
"""What answers that are under way are given when it ends."""


class ReplicaStartError(StageError):
    """A replica could not be started: its model cannot be loaded, or does not fit into memory."""

    remedy = "The message has the last of what the replica said; all of it is in Ray's logs, in `serve/`."


class TooManyReplicasError(InputError):
    """The machine or cluster has too few CPUs or GPUs for the replicas."""

    remedy = "Ask for fewer with --replicas, or for a part of a GPU with --gpus 0.5."


class ServeTakenError(InputError):
    """Ray Serve runs on the cluster already, and has one port for all that it serves."""

    remedy = "End it (`serve shutdown`), or join another cluster."


@dataclass(frozen=True)
class Served:
    """What is served, and how much of it."""

    model: Model | Path
    """An artifact, which each replica fetches from the store, or a folder that all nodes see."""
    name: str
    """By which clients ask for it."""
    limits: Limits
    key_sha256: str
    """Of the API key: the cluster is told this and not the key."""
    replicas: int = 1
    gpus: float = 0.0
    """Of each replica."""


def digest_of_key(key: str) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


class Replica:
    """One copy of the model, in a process of its own. Ray Serve calls its methods."""

    def __init__(self, served: Served) -> None:
        from pipeline.chat.answering import Server

        _listen_on_own_address()
        self.engine = loaded(served)
        self.engine.start()
        self._server = Server(self.engine, served.name, served.limits, served.key_sha256)

    def __serve_build_asgi_app__(self) -> "FastAPI":
        from pipeline.chat.openai_api import openai_api

        return openai_api(self._server)

    def check_health(self) -> None:
        """What raises here some times in a row is started anew."""
        self.engine.check()


def loaded(served: Served) -> "Engine":
    """The model in memory: in vLLM where that is there, else in transformers."""
    import torch

    from pipeline.chat import vllm_engine
    from pipeline.chat.engine import engine_of
    from pipeline.hardware import is_quick_at_bf16
    from pipeline.models.model import load_model, load_tokenizer

    if vllm_engine.is_usable():
        folder = served.model if isinstance(served.model, Path) else served.model.model_folder()
        return vllm_engine.VllmEngine(folder, load_tokenizer(folder), served.limits.at_once, served.gpus)
    dtype = None if is_quick_at_bf16() else torch.float32
    if isinstance(served.model, Path):
        model, tokenizer = load_model(served.model, dtype)
    else:
        model, tokenizer = served.model.load(dtype)
    if torch.cuda.is_available():
        model.to("cuda")  # type: ignore[arg-type]  # transformers types it for other decorators
    return engine_of(model, tokenizer, served.limits.at_once)


def start(served: Served, host: str, port: int) -> None:
    """On the Ray that this process has joined or started; returns when the model answers.

    Raises TooManyReplicasError, ServeTakenError, ReplicaStartError.
    """
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _require_room(served)
    if serve.status().proxies:
        raise ServeTakenError("Ray Serve runs on this cluster already; moinho needs one that does not")
    serve.start(
        http_options={
            "host": host,
            "port": port,
            "request_timeout_s": served.limits.seconds + UNSEEN_SECONDS,
        },
        proxy_location="HeadOnly",
        controller_options={"runtime_env": {"env_vars": {proxy_answers.VARIABLE: proxy_answers.CALLBACK}}},
    )
    ingress: Any = serve.ingress()
    deployment: Any = serve.deployment(
        ingress(Replica),
        name=served.name.replace("/", "-"),
        num_replicas=served.replicas,
        max_ongoing_requests=served.limits.at_once + served.limits.waiting + SLACK,
        graceful_shutdown_timeout_s=ENDING_SECONDS,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options={"num_cpus": 1, "num_gpus": served.gpus},
    )
    try:
        serve.run(deployment.bind(served), name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        raise ReplicaStartError(f"{served.name} cannot be served: {_last_said(served)}") from error


def stop() -> None:
    """Ends what was started, and leaves Ray. A Ray of this process ends with that, and what it runs; on a
    cluster that was joined, answers under way are given some seconds."""
    import ray
    from ray import serve

    if not cluster.is_own():
        serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()


def _require_room(served: Served) -> None:
    """Ray itself would wait until the cluster grows. Raises TooManyReplicasError."""
    room = 0
    for node in cluster.node_resources():
        cpus = int(node.get("CPU", 0))
        room += min(cpus, int(node.get("GPU", 0) / served.gpus)) if served.gpus else cpus
    if room < served.replicas:
        each = f"a CPU and {served.gpus:g} GPUs" if served.gpus else "a CPU"
        raise TooManyReplicasError(
            f"{served.replicas} replicas of {each} each are asked for, and there is room for {room} here"
        )


def _last_said(served: Served) -> str:
    """The last line of what Ray Serve tells of the replica."""
    from ray import serve

    deployments = serve.status().applications[APPLICATION].deployments.values()
    said = [line.strip() for each in deployments for line in each.message.splitlines() if line.strip()]
    return said[-1] if said else "its replicas did not start"


def _listen_on_own_address() -> None:
    """Each replica opens a port for other replicas, on every interface. It wants the cluster's token, and
    nobody is to get as far as that."""
    import ray.util

    replica: Any = importlib.import_module("ray.serve._private.replica")
    add_port = replica.add_port_to_grpc_server
    address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    shown = f"[{address}]" if ":" in address else address

    def on_own_address(server: Any, _: str) -> Any:
        return add_port(server, f"{shown}:0")

    replica.add_port_to_grpc_server = on_own_address  # Ray Serve has no setting for it
