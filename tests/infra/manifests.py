"""The Kubernetes manifests as they are applied, and what KubeRay's own kinds may hold.

The fields of RayCluster and RayJob that are used here are written down below, strictly, after the definitions
of KubeRay 1.7. Pod templates in them are a kind of Kubernetes itself, checked against its schema.
`python -m tests.infra.manifests CRDS` holds all manifests against KubeRay's definitions themselves: CRDS is
the folder crds/ of its Helm chart, which no package index has.
"""

import copy
import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

ROOT = Path(__file__).parents[2] / "infra" / "kubernetes"
WRITTEN = ("cluster", "job", "mlflow")
CHANGED = ("trial", "trial-job")
"""Made from the former by patches, which kubectl knows how to apply."""
KUBERNETES = "1.32"
"""Whose schema the manifests are checked against."""

Manifest = dict[str, Any]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AuthOptions(Strict):
    mode: Literal["token", "disabled"]
    secretName: str


class AutoscalerOptions(Strict):
    version: Literal["v1", "v2"]
    idleTimeoutSeconds: int = Field(ge=0)
    upscalingMode: Literal["Default", "Aggressive", "Conservative"]
    resources: dict[str, dict[str, str]]
    securityContext: dict[str, Any]


class Group(Strict):
    rayStartParams: dict[str, str]
    template: dict[str, Any]


class WorkerGroup(Group):
    groupName: str
    minReplicas: int = Field(ge=0)
    maxReplicas: int = Field(ge=0)
    priority: int = 0


class ClusterSpec(Strict):
    rayVersion: str
    authOptions: AuthOptions
    enableInTreeAutoscaling: bool
    autoscalerOptions: AutoscalerOptions
    headGroupSpec: Group
    workerGroupSpecs: list[WorkerGroup]


class SubmitterConfig(Strict):
    backoffLimit: int = Field(ge=0)


class JobSpec(Strict):
    entrypoint: str
    submissionMode: Literal["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]
    backoffLimit: int = Field(ge=0)
    activeDeadlineSeconds: int = Field(gt=0)
    shutdownAfterJobFinishes: bool
    ttlSecondsAfterFinished: int = Field(ge=0)
    submitterConfig: SubmitterConfig
    submitterPodTemplate: dict[str, Any]
    rayClusterSpec: ClusterSpec


SPECS: dict[str, type[Strict]] = {"RayCluster": ClusterSpec, "RayJob": JobSpec}


@functools.cache
def build(name: str) -> list[Manifest]:
    """What `kubectl apply --kustomize infra/kubernetes/NAME` would send. Raises CalledProcessError."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: what kustomize makes of the manifests is not looked at")
    told = subprocess.run(
        [kubectl, "kustomize", str(ROOT / name)], check=True, capture_output=True, text=True, timeout=120
    )
    return [manifest for manifest in yaml.safe_load_all(told.stdout) if manifest]


def written(name: str) -> list[Manifest]:
    """The manifests of a folder and of those that it builds on, as they stand in the repository."""
    (told,) = read(ROOT / name / "kustomization.yaml")
    found: list[Manifest] = []
    for resource in told["resources"]:
        found += read(ROOT / name / resource) if resource.endswith(".yaml") else written(f"{name}/{resource}")
    return found


def read(path: Path) -> list[Manifest]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of definitions with 25,000 lines
    return [manifest for manifest in yaml.load_all(path.read_text(), loader) if manifest]


def cluster_spec(manifest: Manifest) -> Manifest:
    spec: Manifest = manifest["spec"]
    found: Manifest = spec["rayClusterSpec"] if manifest["kind"] == "RayJob" else spec
    return found


def pod_templates(manifest: Manifest) -> dict[str, Manifest]:
    """Name → pod template, of any kind that has some."""
    spec = manifest.get("spec", {})
    if manifest["kind"] not in SPECS:
        return {manifest["metadata"]["name"]: spec["template"]} if "template" in spec else {}
    cluster = cluster_spec(manifest)
    found = {"head": cluster["headGroupSpec"]["template"]}
    found |= {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    if "submitterPodTemplate" in spec:
        found["submitter"] = spec["submitterPodTemplate"]
    return found


def as_pod(template: Manifest) -> Manifest:
    """The pod that a template makes, for the schema."""
    metadata = {"name": "pod", **template.get("metadata", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def unknown_fields(value: Any, schema: Any, where: str = "") -> Iterator[str]:
    """Fields that a definition does not know: the API server would drop or refuse them."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from unknown_fields(item, schema.get("items", {}), f"{where}[{number}]")
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    for name, item in value.items():
        if properties is not None and name in properties:
            yield from unknown_fields(item, properties[name], f"{where}.{name}")
        elif others:
            yield from unknown_fields(item, others if isinstance(others, dict) else {}, f"{where}.{name}")
        elif properties is not None:
            yield f"{where}.{name}"


def check_against(definition: Manifest, manifest: Manifest) -> None:
    """Raises AssertionError for unknown fields, and ValidationError for wrong values."""
    import jsonschema

    versions = {each["name"]: each for each in definition["spec"]["versions"]}
    schema = copy.deepcopy(versions[manifest["apiVersion"].rpartition("/")[2]]["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"x-kubernetes-preserve-unknown-fields": True}
    jsonschema.validate(manifest, schema)
    assert list(unknown_fields(manifest, schema)) == []


def main(folder: Path) -> None:
    definitions = [read(path)[0] for path in sorted(folder.glob("*.yaml"))]
    by_kind = {each["spec"]["names"]["kind"]: each for each in definitions}
    for name in (*WRITTEN, *CHANGED):
        for manifest in build(name):
            if manifest["kind"] in by_kind:
                check_against(by_kind[manifest["kind"]], manifest)
                print(f"{name}: {manifest['kind']} {manifest['metadata']['name']} is right")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
