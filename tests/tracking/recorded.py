"""Looking into MLflow from the other side, and real servers to record in."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.store import Store
from pipeline.tracking import Destination, ui_command
from pipeline.tracking.destination import ui_environment


class Recorded:
    """What stands in MLflow."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        experiment = self.client.get_experiment_by_name("moinho")
        assert experiment is not None
        self.experiment = experiment.experiment_id
        self.runs = sorted(
            self.client.search_runs([self.experiment]), key=lambda run: int(run.info.start_time)
        )

    def flows(self) -> list[Any]:
        return [run for run in self.runs if "mlflow.parentRunId" not in run.data.tags]

    def stages(self, flow: Any) -> dict[str, Any]:
        return {
            run.data.tags["moinho.stage"]: run
            for run in self.runs
            if run.data.tags.get("mlflow.parentRunId") == flow.info.run_id
        }

    def steps(self, run: Any, metric: str) -> list[int]:
        """The steps at which the metric is recorded, sorted, each as often as it is."""
        return sorted(point.step for point in self.client.get_metric_history(run.info.run_id, metric))

    def files(self, run: Any) -> set[str]:
        return {file.path for file in self.client.list_artifacts(run.info.run_id)}

    def check_sound(self) -> None:
        """Everything was recorded once, has ended, and did not end before it began."""
        tags = [run.data.tags.get("moinho.run") or run.data.tags["moinho.attempt"] for run in self.runs]
        assert len(tags) == len(set(tags))
        for run in self.runs:
            assert run.info.status in ("FINISHED", "FAILED", "KILLED")
            assert run.info.end_time >= run.info.start_time, run.data.tags
            for metric in run.data.metrics:
                steps = self.steps(run, metric)
                assert len(steps) == len(set(steps)), (run.data.tags, metric)


def recorded(store: Store) -> Recorded:
    return Recorded(Destination.of(store.storage).uri)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def has_metrics(store: Store) -> bool:
    """Whether the sender has sent something of the curve that it must not send again."""
    database = store.storage.full("mlflow.db")
    with contextlib.suppress(sqlite3.OperationalError):
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        with contextlib.closing(connection):
            return connection.execute("select 1 from metrics where key = 'loss'").fetchone() is not None
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A server that answers; the leader of a process group of its own."""
    backend = Destination(f"sqlite:///{folder}/server.db", folder / "files", "server")
    backend.prepare()
    with (folder / "server.log").open("wb") as output:
        server = subprocess.Popen(
            [*ui_command(backend, port=port), "--artifacts-destination", str(folder / "served")],
            env=ui_environment(backend),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 120)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


class SlowProxy:
    """Passes on to a port of this machine, and lets each block of the answer wait; between `hold` and
    `let_go` nothing passes, as where a cable is pulled out."""

    def __init__(self, target: int, delay_seconds: float = 0.0) -> None:
        self.target, self.delay_seconds = target, delay_seconds
        self._flows = threading.Event()
        self._flows.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "SlowProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def hold(self) -> None:
        self._flows.clear()

    def let_go(self) -> None:
        self._flows.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                for source, sink, slow in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pump, args=(source, sink, slow), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        with contextlib.suppress(OSError), source, sink:
            while block := source.recv(1 << 16):
                if slow:
                    time.sleep(self.delay_seconds)
                self._flows.wait()
                sink.sendall(block)
            sink.shutdown(socket.SHUT_RDWR)
