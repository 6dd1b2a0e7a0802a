"""Which registered models were made from an artifact."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import MoinhoError
from pipeline.tracking.destination import QUIET_ENVIRONMENT, Destination
from pipeline.tracking.models import ARTIFACT_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ERROR_CHARACTERS = 300
ONE_TRY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class RegistryError(MoinhoError):
    """MLflow, where models are registered, does not answer."""

    remedy = "See that the MLflow server is running and its address is right."


@dataclass(frozen=True)
class Registered:
    """A version of a registered model."""

    name: str
    version: str
    artifact: str
    """`stage/key` in the store."""
    aliases: tuple[str, ...]


def registered(destination: Destination, artifacts: Collection[str]) -> list[Registered]:
    """Versions that were registered for one of the artifacts (`stage/key`), by name and version.

    Raises RegistryError.
    """
    if not destination.exists():
        return []
    os.environ.update(QUIET_ENVIRONMENT | ONE_TRY)
    from mlflow import MlflowClient

    try:
        found = [
            Registered(each.name, str(each.version), each.tags[ARTIFACT_TAG], tuple(each.aliases))
            for each in _versions(MlflowClient(destination.uri))
            if each.tags.get(ARTIFACT_TAG) in artifacts
        ]
    except Exception as error:
        # Of many types: those of MLflow, of a database, of HTTP.
        told = " ".join(f"{type(error).__name__}: {error}".split())[:ERROR_CHARACTERS]
        raise RegistryError(f"MLflow ({destination.label}) cannot be asked for its models: {told}") from error
    return sorted(found, key=lambda each: (each.name, int(each.version)))


def _versions(client: "MlflowClient") -> "Iterator[ModelVersion]":
    page = client.search_model_versions()
    yield from page
    while page.token:
        page = client.search_model_versions(page_token=page.token)
        yield from page
