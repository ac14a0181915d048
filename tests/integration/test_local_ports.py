"""What a run on this machine alone offers to others, and that it works that way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import start_command

from biolm_ray.demo.data import write_demo_data

PROGRAM = """
import json, os
import ray
from biolm_ray.experiment.runtime import connected

def children():
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                pass
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found

def sockets(pid):
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            yield os.readlink(f"/proc/{pid}/fd/{number}")
    except OSError:
        return

def program(pid):
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read().replace("\\0", " ")

with connected("local"):
    ray.get(ray.remote(children).remote())
    owners = {socket: pid for pid in children() for socket in sockets(pid)}
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(table).read().splitlines()[1:]:
            words = line.split()
            pid = owners.get(f"socket:[{words[9]}]")
            if words[3] == "0A" and pid is not None:
                found.append((words[1].partition(":")[0], program(pid)))
print("LISTENING", json.dumps(found))
"""
# Their counts for Prometheus, on the ports 44217 and 44227; Ray takes no address for them.
EXCEPTIONS = (
    "autoscaler/_private/monitor.py",
    "autoscaler/v2/monitor.py",
    "dashboard/dashboard.py",
)


def is_loopback(address: str) -> bool:
    """Whether an address as the kernel writes it is 127.x.x.x, also within IPv6."""
    return address[-8:].endswith("7F") and address[:-8] in ("", "0" * 16 + "FFFF0000")


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs the tables of Linux")
def test_a_local_run_listens_on_this_machine_alone():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("LISTENING")]
    found = json.loads(line.removeprefix("LISTENING"))
    assert any("raylet" in program for _, program in found)
    assert any("gcs_server" in program for _, program in found)
    open_to_others = [program for address, program in found if not is_loopback(address)]
    assert [p for p in open_to_others if not any(name in p for name in EXCEPTIONS)] == []


def test_two_workers_of_a_local_run_find_each_other(tmp_path: Path):
    write_demo_data(tmp_path / "demo.tsv", num_rows=30)
    command = [
        *("fine-tune", "--task", "regression", "--filepath", "demo.tsv", "--outputpath", "out"),
        *("--seqpos", "sequence", "--labelpos", "half_life_hours", "--splitratio", "60,20,20"),
        *("--tokensep", ",", "--blocksize", "512", "--nepochs", "1", "--ngpus", "2"),
        *("--gradacc", "2", "--batchsize", "4", "--set", "model.channels=4"),
        *("--set", "resources.address=local"),
    ]
    with start_command(tmp_path, *command) as run:
        said, _ = run.communicate(timeout=200)
    assert run.returncode == 0, said
    assert (tmp_path / "out" / "fine-tune" / "model.safetensors").exists()
