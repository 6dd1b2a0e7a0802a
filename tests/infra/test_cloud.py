"""Files of Ray's cluster launcher: right by Ray's own schema, and as closed as they say."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2] / "infra" / "cloud"
CLOUDS = ("aws", "gcp")


def read(cloud: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / f"{cloud}.yaml").read_text())
    return found


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_takes_the_file_and_fills_it_out(cloud: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(read(cloud))
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert types["head"]["max_workers"] == 0
    assert types["head"]["resources"]["CPU"] == 0
    assert types["gpu-spot"]["resources"]["GPU"] == 1
    assert sum(each["max_workers"] for each in types.values()) == prepared["max_workers"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_cluster_in_a_cloud_is_closed_and_wants_its_token(cloud: str) -> None:
    found = read(cloud)
    assert "--env RAY_AUTH_MODE=token" in found["docker"]["run_options"]
    assert "~/.ray" in found["file_mounts"], "where Ray looks for the token"
    head = " ".join(found["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0" in head
    assert found["idle_timeout_minutes"] <= 15
    text = (ROOT / f"{cloud}.yaml").read_text()
    assert "0.0.0.0" not in text
    assert ":latest" not in text


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_head_stays_and_workers_are_on_spot(cloud: str) -> None:
    spots = {
        "aws": ("InstanceMarketOptions", "MarketType", "spot"),
        "gcp": ("scheduling", "provisioningModel", "SPOT"),
    }
    section, field, value = spots[cloud]
    for name, node in read(cloud)["available_node_types"].items():
        told = node["node_config"].get(section, {}).get(field)
        assert told == (None if name == "head" else value), name


def test_aws_uses_the_users_own_network_group_and_roles() -> None:
    """By itself Ray opens port 22 to the world, and gives the head all rights over EC2 and every bucket."""
    for name, node in read("aws")["available_node_types"].items():
        config = node["node_config"]
        assert config["SecurityGroupIds"], name
        assert config["SubnetIds"], name
        assert config["IamInstanceProfile"]["Name"] == ("moinho-head" if name == "head" else "moinho-worker")
        assert config["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        assert all(disk["Ebs"]["Encrypted"] for disk in config["BlockDeviceMappings"])


def test_gcp_uses_the_users_own_network() -> None:
    for name, node in read("gcp")["available_node_types"].items():
        (interface,) = node["node_config"]["networkInterfaces"]
        assert interface["subnetwork"].endswith("/subnetworks/moinho"), name


@pytest.mark.parametrize("cloud", CLOUDS)
def test_nothing_of_the_users_own_is_in_the_file(cloud: str) -> None:
    text = json.dumps(read(cloud))
    assert "AKIA" not in text
    assert "password" not in text.lower()
    assert os.path.expanduser("~") not in text or os.path.expanduser("~") == "/"
