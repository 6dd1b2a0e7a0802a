"""What infra/kubernetes/ promises, held against the manifests themselves."""

import re
from typing import Any

import pytest

from tests.infra import manifests
from tests.infra.composed import HERE as MLFLOW
from tests.infra.composed import compose
from tests.infra.manifests import CHANGED, KUBERNETES, ROOT, SPECS, WRITTEN, Manifest

ALL = (*WRITTEN, *CHANGED)
RAY = tuple(name for name in ALL if name != "mlflow")
SECRET = re.compile(r"password|secret|token|key", re.IGNORECASE)


def built(name: str) -> list[Manifest]:
    return manifests.build(name) if name in CHANGED else manifests.written(name)


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def of_ray(name: str) -> Manifest:
    (found,) = (manifest for manifest in built(name) if manifest["kind"] in SPECS)
    return found


@pytest.mark.parametrize("name", ALL)
def test_every_manifest_is_right_by_kubernetes_own_schema(name: str) -> None:
    import kubernetes_validate

    for manifest in built(name):
        if manifest["kind"] not in SPECS:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        for template in manifests.pod_templates(manifest).values():
            kubernetes_validate.validate(manifests.as_pod(template), KUBERNETES, strict=True)


@pytest.mark.parametrize("name", RAY)
def test_what_is_kuberays_own_has_the_fields_that_kuberay_knows(name: str) -> None:
    found = of_ray(name)
    SPECS[found["kind"]].model_validate(found["spec"])
    assert found["apiVersion"] == "ray.io/v1"


@pytest.mark.parametrize("name", ALL)
def test_no_container_has_more_rights_than_it_needs(name: str) -> None:
    """Kubernetes' own profile `restricted`, which the namespaces enforce."""
    for manifest in built(name):
        for where, template in manifests.pod_templates(manifest).items():
            pod = template["spec"]
            context = pod["securityContext"]
            assert context["runAsNonRoot"], where
            assert context["runAsUser"] > 0, where
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}, where
            assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), where
            assert all("hostPath" not in volume for volume in pod.get("volumes", [])), where
            for container in containers(pod):
                inner = container["securityContext"]
                assert inner["allowPrivilegeEscalation"] is False, where
                assert inner["capabilities"] == {"drop": ["ALL"]}, where
                assert container["resources"]["requests"] == container["resources"]["limits"], where
                assert not container["image"].endswith(":latest"), where
        if manifest["kind"] == "Namespace":
            assert manifest["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", ALL)
def test_no_manifest_has_a_secret_in_it(name: str) -> None:
    for manifest in built(name):
        assert manifest["kind"] != "Secret"
        for template in manifests.pod_templates(manifest).values():
            for container in containers(template["spec"]):
                for variable in container.get("env", []):
                    is_secret = SECRET.search(variable["name"]) and not variable["name"].endswith("_FILE")
                    assert not is_secret or "valueFrom" in variable, variable["name"]


@pytest.mark.parametrize("name", ALL)
def test_every_image_has_a_version(name: str) -> None:
    """After kustomize has put the names that are to be set at one place into all of them."""
    images = [
        container["image"]
        for manifest in manifests.build(name)
        for template in manifests.pod_templates(manifest).values()
        for container in containers(template["spec"])
    ]
    assert images
    assert all(re.fullmatch(r"[a-z0-9./-]+:[0-9][a-z0-9.-]+", image) for image in images), images


@pytest.mark.parametrize("name", RAY)
def test_a_cluster_wants_its_token_and_its_head_does_no_work(name: str) -> None:
    spec = manifests.cluster_spec(of_ray(name))
    assert spec["authOptions"]["mode"] == "token"
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["rayVersion"] == "2.60.0"
    assert set(spec["autoscalerOptions"]["securityContext"]["capabilities"]["drop"]) == {"ALL"}


@pytest.mark.parametrize("name", RAY)
def test_rays_own_autoscaler_understands_the_cluster(name: str) -> None:
    """What it would scale by: Ray's code reads the resource as it does in the head's pod."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    found = of_ray(name)
    metadata = {"name": "moinho", "namespace": "moinho"}
    derived = _derive_autoscaling_config_from_ray_cr(
        {"metadata": metadata, "spec": manifests.cluster_spec(found)}
    )
    types: dict[str, Any] = derived["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["cpu"]["resources"]["CPU"] >= 2
    if name in ("cluster", "job"):
        assert types["gpu-spot"]["resources"]["GPU"] == types["gpu"]["resources"]["GPU"] == 1
        assert types["gpu-spot"]["priority"] > types["gpu"]["priority"], "spot nodes come first"
        assert types["gpu-spot"]["min_workers"] >= 1, "a training takes the GPUs that it finds"
    else:
        assert set(types) == {"headgroup", "cpu"}


def test_a_job_has_the_same_cluster_as_the_standing_one() -> None:
    job, cluster = (
        manifests.cluster_spec(manifests.read(ROOT / path)[0])
        for path in ("job/rayjob.yaml", "cluster/raycluster.yaml")
    )
    pod = job["headGroupSpec"]["template"]["spec"]
    # The configuration of the run comes along with the job, on the head alone.
    assert pod["volumes"].pop() == {"name": "run", "configMap": {"name": "moinho-run"}}
    assert pod["containers"][0]["volumeMounts"].pop()["mountPath"] == "/etc/moinho"
    assert job == cluster


def test_gpu_workers_have_time_to_save_a_checkpoint_before_they_go() -> None:
    for name, template in manifests.pod_templates(of_ray("cluster")).items():
        if name.startswith("gpu"):
            pod = template["spec"]
            command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
            assert command[:3] == ["python", "-m", "pipeline.training.leave_node"]
            assert float(command[4]) < pod["terminationGracePeriodSeconds"]


def test_spot_workers_stand_nodes_of_their_kind_and_give_way_to_others() -> None:
    spot = manifests.pod_templates(of_ray("cluster"))["gpu-spot"]["spec"]
    (priority,) = (each for each in built("cluster") if each["kind"] == "PriorityClass")
    assert spot["priorityClassName"] == priority["metadata"]["name"]
    assert priority["value"] < 0
    assert priority["preemptionPolicy"] == "Never"
    keys = {toleration["key"] for toleration in spot["tolerations"]}
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot", "karpenter.sh/capacity-type"} <= keys


@pytest.mark.parametrize("name", RAY)
def test_only_the_clusters_own_pods_reach_the_ports_of_ray_and_users_the_dashboard(name: str) -> None:
    found = built(name)
    policies = {each["metadata"]["name"]: each["spec"] for each in found if each["kind"] == "NetworkPolicy"}
    ours = policies["ray-from"]["podSelector"]["matchLabels"]
    for where, template in manifests.pod_templates(of_ray(name)).items():
        assert ours.items() <= template["metadata"]["labels"].items(), where
    own, others = policies["ray-from"]["ingress"]
    assert own == {"from": [{"podSelector": {"matchLabels": ours}}]}, (
        "of this namespace, since no other is named"
    )
    assert [port["port"] for port in others["ports"]] == [8265]
    assert all("namespaceSelector" in source for source in others["from"])
    (outside,) = (rule for rule in policies["ray-to"]["egress"] if "ipBlock" in rule["to"][0])
    assert {"10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"} <= set(outside["to"][0]["ipBlock"]["except"])


def test_the_configuration_that_comes_with_the_job_is_one() -> None:
    from flows.configuration import load
    from flows.web_to_model import WebToModel

    assert load(WebToModel, ROOT / "job" / "run.toml").name == "trial"


def test_mlflow_runs_on_kubernetes_as_compose_runs_it() -> None:
    services = compose()["services"]
    found = {
        each["metadata"]["name"]: each
        for each in built("mlflow")
        if each["kind"] in ("Deployment", "StatefulSet")
    }
    pods = {name: each["spec"]["template"]["spec"]["containers"][0] for name, each in found.items()}
    assert set(pods) == set(services)
    assert pods["mlflow"]["command"] == services["mlflow"]["command"]
    assert pods["objects"]["args"] == services["objects"]["command"]
    for name in ("postgres", "objects"):
        assert pods[name]["image"] == services[name]["image"]
    here = {each["name"]: each["value"] for each in pods["mlflow"]["env"]}
    there = dict(services["mlflow"]["environment"])
    assert here.pop("MLFLOW_SERVER_ALLOWED_HOSTS").startswith("localhost,")
    there.pop("MLFLOW_SERVER_ALLOWED_HOSTS")
    assert here == there
    assert (ROOT / "mlflow" / "auth.ini").read_text() == (MLFLOW / "auth.ini").read_text()


def test_compose_shows_itself_to_this_machine_alone_and_has_no_password() -> None:
    found = compose()
    for name, service in found["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        assert "ports" not in service or name == "mlflow", name
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert int(service["user"].partition(":")[0]) > 0, name
        assert "healthcheck" in service, name
        assert set(service["secrets"]) <= set(found["secrets"]), name
        for variable in service.get("environment", {}):
            assert not SECRET.search(variable) or variable.endswith("_FILE"), variable
    assert all(secret["file"].startswith("secrets/") for secret in found["secrets"].values())
    ignored = (ROOT.parents[1] / ".gitignore").read_text().splitlines()
    assert "/infra/mlflow/secrets/" in ignored
