"""Models with their tokenizer, signature and lineage, logged to a run and registered under a name."""

import json
import logging
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.store import Artifact, Record, Storage, read_record
from pipeline.tracking.lineage import lineage
from pipeline.tracking.runs import Runs

log = logging.getLogger(__name__)

MODEL_FOLDER = "model"
MODEL_TAG = "moinho.model"
ARTIFACT_TAG = "moinho.artifact"
VERDICT, CHAMPION = "verdict.json", "champion"
"""Of a round of feedback: its file, and the alias of the model that won last."""
RECURRENT = "RecurrentForCausalLM"
"""The one class of models that is not transformers' own."""
REQUIREMENTS = ("transformers", "torch", "accelerate", "safetensors", "sentencepiece")

SETTINGS = (("max_new_tokens", "integer", 64), ("do_sample", "boolean", True), ("temperature", "double", 0.7))
"""What `mlflow models serve` lets a request set: name, type, and what holds where it does not."""


def is_model(record: Record) -> bool:
    return f"{MODEL_FOLDER}/config.json" in record.files


def log_model(runs: Runs, storage: Storage, run: str, record: Record, name: str) -> None:
    """Log the model to the run, once: safetensors and JSON, and its URI as a tag of the run. One whose
    kind MLflow knows no task for (what an encoder and a decoder do together, recurrent ones) as files alone.

    The weights are loaded and saved again: MLflow 3.17 cannot copy a folder with transformers 5
    (its pipelines are named lazily). Nothing is generated, since signature and requirements are given.
    """
    if MODEL_TAG in runs.client.get_run(run).data.tags:
        return
    import mlflow
    import transformers
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from transformers import AutoTokenizer

    import mlflow.transformers  # isort: skip

    uri, folder = _logged(runs, run), _folder(storage, record)
    task, opened_as = _kind(folder)
    if task is None:
        runs.client.log_artifacts(run, str(folder), name)
        return
    if uri is None:
        text = Schema([ColSpec(DataType.string)])
        mlflow.set_tracking_uri(runs.uri)
        mlflow.set_registry_uri(runs.uri)
        mlflow.set_experiment(experiment_id=runs.experiment)
        uri = mlflow.transformers.log_model(
            {
                "model": getattr(transformers, opened_as).from_pretrained(
                    folder,
                    dtype="auto",
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                ),
                "tokenizer": AutoTokenizer.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                ),
            },
            name=name,
            task=task,
            model_card=_card(storage, record),
            signature=ModelSignature(
                inputs=text,
                outputs=text,
                params=ParamSchema(
                    [ParamSpec(name, DataType[kind], default) for name, kind, default in SETTINGS]
                    if task == "text-generation"
                    else []
                ),
            ),
            pip_requirements=[f"{package}=={version(package)}" for package in REQUIREMENTS],
            metadata=_metadata(storage, record),
            run_id=run,
        ).model_uri
    runs.client.set_tag(run, MODEL_TAG, uri)


def _kind(folder: Path) -> tuple[str | None, str]:
    """MLflow's task for the model in a folder, and the class of transformers that opens it."""
    architecture = (json.loads((folder / "config.json").read_bytes()).get("architectures") or [""])[0]
    if architecture.endswith(("ForMaskedLM", "ForPreTraining")):
        return "fill-mask", "AutoModelForMaskedLM"
    if architecture.endswith("ForConditionalGeneration") or architecture == RECURRENT:
        return None, ""
    return "text-generation", "AutoModelForCausalLM"


def register(runs: Runs, name: str, run: str, record: Record) -> None:
    """A version of the registered model `name` for the model that `run` logged, unless there is one."""
    from mlflow.exceptions import MlflowException

    tags = runs.client.get_run(run).data.tags
    if MODEL_TAG not in tags:
        return
    uri, name = tags[MODEL_TAG], re.sub(r"[/:]", "-", name)
    try:
        runs.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    key = {"moinho.key": record.key, ARTIFACT_TAG: f"{record.stage}/{record.key}"}
    known = runs.client.search_model_versions(f"name = '{name}'")
    if not any(found.tags.get("moinho.key") == record.key for found in known):
        import mlflow

        mlflow.set_tracking_uri(runs.uri)
        mlflow.set_registry_uri(runs.uri)
        mlflow.register_model(uri, name, tags=key)


def promote(runs: Runs, storage: Storage, name: str, record: Record) -> None:
    """The challenger that won a round of feedback, by its record: the newest version of the registered model
    `name`, and its champion."""
    told = storage.read(f"{record.stage}/{record.key}/{record.files[VERDICT].path}")
    verdict = json.loads(told)["rounds"][-1]
    model = read_record(storage, verdict["champion"])
    if not verdict["promoted"] or model is None:
        return
    made = runs.find("moinho.attempt", model.attempt)
    if made is None:
        return
    register(runs, name, made.info.run_id, model)
    for known in runs.client.search_model_versions(f"name = '{name}'"):
        if known.tags.get("moinho.key") == model.key:
            runs.client.set_registered_model_alias(name, CHAMPION, known.version)


def _logged(runs: Runs, run: str) -> str | None:
    """The URI of a model that was logged to the run completely; halves are deleted."""
    found = runs.client.search_logged_models([runs.experiment], filter_string=f"source_run_id = '{run}'")
    for model in found:
        if str(model.status) == "READY":
            return str(model.model_uri)
        runs.client.delete_logged_model(model.model_id)
    return None


def _folder(storage: Storage, record: Record) -> Path:
    kind = type("Recorded", (Artifact,), {"stage": record.stage, "role": MODEL_FOLDER})
    artifact: Artifact = kind(storage, record.key)
    return artifact.folder(MODEL_FOLDER)


def _metadata(storage: Storage, record: Record) -> dict[str, Any]:
    """What it was made from: keys and digests, all the way up to the crawl."""
    above = {base: found.digest for base, found in lineage(storage, record).items()}
    return {
        "artifact": f"{record.stage}/{record.key}",
        "digest": record.digest,
        "lineage": json.dumps(above),
        "commit": record.commit or "",
    }


def _card(storage: Storage, record: Record) -> Any:
    """A model card of our own; without one, MLflow would look for it on the hub."""
    from huggingface_hub import ModelCard

    lines = [f"# {record.stage}/{record.key}", "", "Made by moinho from:", ""]
    lines += [f"- {base}: {found.digest}" for base, found in lineage(storage, record).items()]
    return ModelCard("\n".join(lines) + "\n")
