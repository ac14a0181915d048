"""Nodes that come, that are checked for what they see, and that are taken away after a notice."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import start_command
from simulated import Nodes, simulated_cluster

from biolm_ray.demo.data import DATA_SETTINGS, write_demo_data

pytestmark = pytest.mark.cluster

SETTINGS = (
    DATA_SETTINGS
    + """\
splits: {num_folds: 2}
preprocessing: {block_size: 512}
training: {batch_size: 8, num_epochs: 1}
model: {name: saluki, channels: 8, num_layers: 3}
"""
)
TRAIN = ("fine-tune", "--configfile", "run.yaml", "--outputpath", "run", "--ngpus", "0")
TAKE_AWAY = """
import sys, time
import ray
from ray._raylet import GcsClient
from biolm_ray.experiment.notices import preemption_announced, were_taken_away

PREEMPTION = 2
ray.init(address=sys.argv[1], log_to_driver=False)

@ray.remote(num_cpus=1, max_retries=0)
def wait_for_notice(started):
    node = ray.get_runtime_context().get_node_id()
    ray.get(started.send.remote(node))
    while not preemption_announced([node, "another"]):
        time.sleep(0.1)
    return True

@ray.remote(num_cpus=0, label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()})
class Started:
    node = None
    def send(self, node):
        self.node = node
    def get(self):
        return self.node

started = Started.remote()
notice = wait_for_notice.remote(started)
while (node := ray.get(started.get.remote())) is None:
    time.sleep(0.1)
assert not preemption_announced([node])
assert not were_taken_away([node], ray.nodes())
client = GcsClient(address=ray.get_runtime_context().gcs_address)
client.drain_node(node, PREEMPTION, "spot", int((time.time() + 8) * 1000))
assert ray.get(notice)
assert not preemption_announced(["another"])
while not were_taken_away([node], ray.nodes()):
    time.sleep(0.2)
print("told and taken away")
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with simulated_cluster(num_nodes=0) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("nodes")
    write_demo_data(folder / "demo.tsv", num_rows=40)
    (folder / "run.yaml").write_text(SETTINGS)
    return folder


def test_a_run_that_finds_no_place_ends_with_what_would_help(nodes: Nodes, folder: Path):
    settings = ["--set", f"resources.address={nodes.address}"]
    settings += ["--set", "resources.wait_minutes=0.02"]
    with start_command(folder, *TRAIN, *settings) as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 4, output
    assert "fold 0, fold 1: nothing could be placed for 0.02 min: 1 model asks" in output
    assert "add nodes or free some, or wait longer (resources.wait_minutes)" in output


def test_a_run_waits_for_a_cluster_that_starts_from_nothing(nodes: Nodes, folder: Path):
    lines = []
    address = f"resources.address={nodes.address}"
    with start_command(folder, *TRAIN, "--set", address) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("waiting:"):
                nodes.add(num_cpus=2)
    output = "".join(lines)
    assert process.returncode == 0, output
    assert "waiting: 1 model asks for 1 CPU; the cluster has 0 of 0 CPUs free on 1 node" in output
    assert sorted(path.parent.name for path in folder.rglob("done.json")) == ["0", "1"]


def test_all_nodes_are_asked_whether_they_share_the_folder(nodes: Nodes, folder: Path):
    address = f"resources.address={nodes.address}"
    with start_command(folder, *TRAIN, "--resume", "--set", address) as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert f"storage: 2 nodes read and write in {folder / 'run' / 'fine-tune'}" in output
    assert "2 of 2 models are finished already" in output
    assert not list(folder.rglob(".probe*"))


def test_a_notice_is_seen_by_the_worker_and_remembered_by_the_driver(nodes: Nodes):
    command = [sys.executable, "-c", TAKE_AWAY, nodes.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.endswith("told and taken away\n"), done.stderr
