"""MLflow's client, for writing the same thing twice without harm: what is there already is found first."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

from pipeline.store import lacks_room

log = logging.getLogger(__name__)

METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100
VALUE_CHARACTERS = 500
NAME_CHARACTERS = 250
TAG_CHARACTERS = 4000
SERVER_FAULT = 500
REFUSED = (401, 403, 408, 429)
Point = tuple[str, int]
"""A metric's name and step: what is sent once."""


class Runs:
    """The runs of one experiment. Every method may be called again after it failed half-way."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri, self.experiment = uri, experiment
        self.client = MlflowClient(uri, registry_uri=uri)
        self.skipped = 0
        """Things that MLflow will never take; each is told in the log."""

    def find(self, tag: str, value: str) -> Any | None:
        """The run that bears the tag (an mlflow.entities.Run), deleted ones included."""
        found = self.client.search_runs(
            [self.experiment],
            filter_string=f"tags.`{tag}` = '{value}'",
            run_view_type=ViewType.ALL,
            max_results=1,
        )
        return found[0] if found else None

    def open(self, name: str, tag: str, value: str, tags: Mapping[str, str], start: float) -> str:
        """The id of the run that bears the tag; made if there is none. `start` in seconds since 1970."""
        found = self.find(tag, value)
        if found is not None:
            return str(found.info.run_id)
        every = {tag: value, **{key: text[:TAG_CHARACTERS] for key, text in tags.items()}}
        run = self.client.create_run(
            self.experiment, start_time=milliseconds(start), tags=every, run_name=name
        )
        return str(run.info.run_id)

    def end(self, run: str, status: str, end: float) -> None:
        """`status` as MLflow has it: FINISHED, FAILED or KILLED. A run that has ended stays as it is."""
        info = self.client.get_run(run).info
        if info.status == "RUNNING":
            self.client.set_terminated(run, status, max(milliseconds(end), int(info.start_time)))

    def tag(self, run: str, **tags: str) -> None:
        marks = [RunTag(key.replace("__", "."), value[:TAG_CHARACTERS]) for key, value in tags.items()]
        self.client.log_batch(run, tags=marks)

    def describe(self, run: str, text: str) -> None:
        """What the web page shows at the top of the run, in Markdown."""
        self.client.set_tag(run, "mlflow.note.content", text)

    def params(self, run: str, values: Mapping[str, Any]) -> None:
        given = [Param(name, text) for name, text in flatten(values)]
        for batch in _batches(given, PARAMS_PER_CALL):
            self.client.log_batch(run, params=batch)

    def points(self, run: str, values: Mapping[Point, tuple[float, float]]) -> None:
        """Metrics: (name, step) → (value, time in seconds since 1970)."""
        given = [
            Metric(metric_name(name), float(value), milliseconds(time), step)
            for (name, step), (value, time) in values.items()
        ]
        for batch in _batches(given, METRICS_PER_CALL):
            self.client.log_batch(run, metrics=batch)

    def steps_of(self, run: str, name: str) -> set[int]:
        """The steps at which the metric is recorded already."""
        return {metric.step for metric in self.client.get_metric_history(run, metric_name(name))}

    def attempt(self, what: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Do what a run can do without: a fault that will not pass is logged, and the rest goes on."""
        try:
            function(*arguments)
        except Exception as error:
            if passes(error):
                raise
            self.skipped += 1
            log.exception("not recorded: %s", what)


def passes(error: Exception) -> bool:
    """Whether trying again later may help: the server is away, busy, or refuses our credentials; or a
    disk is full."""
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
        return status >= SERVER_FAULT or status in REFUSED
    away = isinstance(error, requests.RequestException | ConnectionError | TimeoutError)
    return away or lacks_room(error)


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def metric_name(name: str) -> str:
    """MLflow takes letters, digits and `_-. /:`; anything else becomes `_`."""
    return re.sub(r"[^\w\-. /:]", "_", name).strip("/.")[:NAME_CHARACTERS]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested sections as dotted names; lists as JSON; long values cut, with an ellipsis."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            if len(text) > VALUE_CHARACTERS:
                text = text[: VALUE_CHARACTERS - 1] + "…"
            yield metric_name(f"{prefix}{name}"), text


def _batches(items: list[Any], size: int) -> Iterable[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
