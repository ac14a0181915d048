"""A worker that is killed in the middle of training costs at most the epoch it was in."""

import os
import signal
from pathlib import Path

import pytest
from commands import start_command

from biolm_ray.demo.data import DATA_SETTINGS, write_demo_data

pytestmark = pytest.mark.cluster

SETTINGS = (
    DATA_SETTINGS
    + """\
splits: {ratio: [60, 20, 20]}
preprocessing: {block_size: 512}
training: {batch_size: 8, num_epochs: 12, scaling: log}
model: {name: saluki, channels: 64}
resources: {num_gpus: 0, address: local}
"""
)


TRAIN = ("fine-tune", "--configfile", "run.yaml", "--outputpath")


def training_worker(ancestor: int) -> int:
    """The process that trains, among all that descend from another one."""
    parents, titles = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                titles[int(entry.name)] = (entry / "cmdline").read_text()
                parents[int(entry.name)] = int(fields[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    for process, title in titles.items():
        if title.startswith("ray::train_with_ray"):
            above = process
            while above in parents:
                above = parents[above]
                if above == ancestor:
                    return process
    raise AssertionError("no worker trains")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the worker in /proc")
def test_a_killed_worker_is_replaced_and_ends_with_the_same_weights(tmp_path: Path):
    write_demo_data(tmp_path / "demo.tsv", num_rows=60)
    (tmp_path / "run.yaml").write_text(SETTINGS)
    with start_command(tmp_path, *TRAIN, "calm") as calm:
        output, _ = calm.communicate(timeout=300)
    assert calm.returncode == 0, output

    lines, kills = [], []
    with start_command(tmp_path, *TRAIN, "killed") as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            lines.append(line)
            if "/12  train loss" in line and not kills:
                kills.append(training_worker(killed.pid))
                os.kill(kills[0], signal.SIGKILL)
    assert killed.returncode == 0, "".join(lines)
    assert kills
    weights = [tmp_path / run / "fine-tune" / "model.safetensors" for run in ("calm", "killed")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
