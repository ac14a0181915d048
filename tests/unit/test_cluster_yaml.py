import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]

# CPUs and GPUs of the instance types in use, as AWS lists them.
INSTANCES = {"m5.2xlarge": (8, 0), "g5.2xlarge": (8, 1), "g5.12xlarge": (48, 4)}


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def workers(cluster: dict[str, Any]) -> dict[str, Any]:
    """The node types that are not the head's."""
    types = dict(cluster["available_node_types"])
    types.pop(cluster["head_node_type"])
    return types


def test_ray_accepts_the_cluster(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_ray_refuses_an_unknown_key(cluster: dict[str, Any]) -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError, match="max_wrkers"):
        validate_config(prepare_config({**cluster, "max_wrkers": 3}))


def test_no_node_type_has_more_workers_than_the_cluster(cluster: dict[str, Any]) -> None:
    """Ray's own check lets this pass."""
    for node_type in workers(cluster).values():
        assert node_type["max_workers"] <= cluster["max_workers"]


def test_workers_have_gpus_start_from_zero_and_are_spot(cluster: dict[str, Any]) -> None:
    for node_type in workers(cluster).values():
        assert node_type["resources"]["GPU"] > 0
        assert node_type["min_workers"] == 0
        assert node_type["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_the_head_node_has_no_gpu_and_is_not_spot(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert "GPU" not in head["resources"]
    assert "InstanceMarketOptions" not in head["node_config"]


def test_each_number_of_gpus_fits_a_node(cluster: dict[str, Any]) -> None:
    assert max(node["resources"]["GPU"] for node in workers(cluster).values()) >= 4


def test_no_node_type_promises_more_than_its_instance_has(cluster: dict[str, Any]) -> None:
    for node_type in cluster["available_node_types"].values():
        num_cpus, num_gpus = INSTANCES[node_type["node_config"]["InstanceType"]]
        assert node_type["resources"]["CPU"] <= num_cpus
        assert node_type["resources"].get("GPU", 0) == num_gpus


def test_the_images_hold_the_ray_that_is_tested_with(cluster: dict[str, Any]) -> None:
    pins = (ROOT / "constraints.txt").read_text()
    version = re.search(r"^ray==(\S+)", pins, re.MULTILINE)
    assert version is not None
    for image in ("head_image", "worker_image"):
        assert cluster["docker"][image].startswith(f"rayproject/ray:{version[1]}-py311-")


def test_what_is_copied_to_the_nodes_exists(cluster: dict[str, Any]) -> None:
    for source in cluster["file_mounts"].values():
        assert (ROOT / source).exists(), source


def test_the_nodes_install_what_starts_further_nodes(cluster: dict[str, Any]) -> None:
    assert "biolm_ray[aws]" in cluster["setup_commands"][-1]
    extra = re.search(r'^aws = \["(.*)"\]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert extra is not None
    assert Requirement(extra[1]).name == "boto3"
