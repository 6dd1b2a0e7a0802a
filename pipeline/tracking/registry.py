"""Which registered models were made from an artifact."""

import os
from collections.abc import Iterator
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


def registered(destination: Destination) -> list[Registered]:
    """Versions that were registered for an artifact of a store, by name and version. Raises RegistryError."""
    os.environ.update(QUIET_ENVIRONMENT | ONE_TRY)
    from mlflow import MlflowClient

    try:
        client = MlflowClient(destination.uri)
        found = [
            Registered(each.name, str(each.version), each.tags[ARTIFACT_TAG], _aliases(client, each))
            for each in _versions(client)
            if ARTIFACT_TAG in each.tags
        ]
    except Exception as error:
        # Of many types: those of MLflow, of a database, of HTTP.
        told = " ".join(f"{type(error).__name__}: {error}".split())[:ERROR_CHARACTERS]
        raise RegistryError(f"MLflow ({destination.label}) cannot be asked for its models: {told}") from error
    return sorted(found, key=lambda each: (each.name, int(each.version)))


def _aliases(client: "MlflowClient", version: "ModelVersion") -> tuple[str, ...]:
    """A search does not tell them."""
    return tuple(client.get_model_version(version.name, version.version).aliases)


def _versions(client: "MlflowClient") -> "Iterator[ModelVersion]":
    page = client.search_model_versions()
    yield from page
    while page.token:
        page = client.search_model_versions(page_token=page.token)
        yield from page
