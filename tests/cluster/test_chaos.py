"""Workers and nodes that are killed at random moments change nothing of what is learnt."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]


def test_killed_workers_and_nodes_leave_the_weights_as_they_would_be() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "chaos.py")]
    command += ["--kinds", "worker-or-node", "--times", "2", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tally = json.loads(done.stdout.splitlines()[-1])["worker-or-node"]
    assert (tally["identical"], tally["interruptions"]) == (2, 2)
    assert tally["failures"] == []
