"""A Ray head with a job server, as a user's cluster has one."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(sys.executable).parent
START_SECONDS = 150
JOB_SECONDS = 300
STOP_SECONDS = 5


@dataclass(frozen=True)
class Job:
    """A job that has ended.

    Attributes:
        submit_code: What `ray job submit` ended with: 0, or 1 if the command failed.
        exit_code: What the command itself ended with.
        output: What `ray job submit` printed, the output of the command included.
    """

    submit_code: int
    exit_code: int
    output: str


@dataclass(frozen=True)
class JobServer:
    """A running head that takes jobs."""

    address: str

    def submit(self, name: str, *arguments: str) -> Job:
        """Run `python -m biolm_ray` with these arguments on the head, and wait for its end."""
        command = [PROGRAMS / "ray", "job", "submit", "--address", self.address]
        command += ["--submission-id", name, "--", "python", "-m", "biolm_ray", *arguments]
        done = subprocess.run(
            command,
            env=head_environment(),
            capture_output=True,
            text=True,
            timeout=JOB_SECONDS,
            check=False,
        )
        output = done.stdout + done.stderr
        with urllib.request.urlopen(f"{self.address}/api/jobs/{name}", timeout=30) as answer:
            exit_code = json.load(answer)["driver_exit_code"]
        return Job(submit_code=done.returncode, exit_code=exit_code, output=output)


@contextmanager
def running_head() -> Iterator[JobServer]:
    """Start a head with two CPUs, and folders and ports of its own; end it after the block."""
    with tempfile.TemporaryDirectory(prefix="head", ignore_cleanup_errors=True) as folder:
        port, dashboard, agent, client = free_ports(4)
        log = Path(folder) / "head.log"
        command = [PROGRAMS / "ray", "start", "--head", "--block", "--num-cpus=2"]
        command += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={folder}/ray"]
        command += ["--include-dashboard=true", f"--dashboard-port={dashboard}"]
        command += [f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"]
        with log.open("w") as output:
            head = subprocess.Popen(
                command,
                env=head_environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_for(f"http://127.0.0.1:{dashboard}/api/version", head, log)
            wait_for(f"http://127.0.0.1:{agent}/api/local_raylet_healthz", head, log)
            yield JobServer(f"http://127.0.0.1:{dashboard}")
        finally:
            stop(head)


def head_environment() -> dict[str, str]:
    """This process's environment, with our Python first and no other cluster in sight."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return environment | {
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "OMP_NUM_THREADS": "1",
    }


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(url: str, head: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until something answers; jobs submitted earlier fail with an HTTP error."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert head.poll() is None, f"the head ended:\n{log.read_text()}"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"nothing answers at {url}:\n{log.read_text()}")


def stop(head: subprocess.Popen[bytes]) -> None:
    """End the head and all it has started, and no other cluster: `ray stop` would end every one."""
    head.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGKILL)
    head.wait(timeout=60)
