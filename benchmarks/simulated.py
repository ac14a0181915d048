"""A cluster of several nodes on one machine, whose parts can be killed."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from processes import tree

# A dead node is noticed within seconds rather than half a minute.
PATIENCE = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}


class Nodes:
    """A head without CPUs, and nodes of one CPU that come and go."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._nodes: list[Any] = []

    @property
    def address(self) -> str:
        return self._cluster.address

    def add(self, num_cpus: int = 1) -> None:
        self._nodes.append(self._cluster.add_node(num_cpus=num_cpus))

    def kill_one(self, draw: random.Random) -> None:
        """End a node and all that runs on it, without a warning."""
        node = self._nodes.pop(draw.randrange(len(self._nodes)))
        self._cluster.remove_node(node, allow_graceful=False)

    def processes(self, title: str) -> list[psutil.Process]:
        """The processes of the cluster whose title begins so."""
        return [each for each in tree(psutil.Process()) if _title(each).startswith(title)]


@contextmanager
def simulated_cluster(num_nodes: int) -> Iterator[Nodes]:
    """Start a head and some nodes of one CPU as children of this process, and end them."""
    before = {name: os.environ.get(name) for name in PATIENCE}
    os.environ.update(PATIENCE)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = Nodes(cluster)
        for _ in range(num_nodes):
            nodes.add()
        yield nodes
    finally:
        cluster.shutdown()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def kill(process: psutil.Process) -> bool:
    """End a process without a warning; tells whether it was still there."""
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return False
    return True


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""
