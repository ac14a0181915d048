"""Start or join Ray: the only place that does."""

import logging
import os
import resource
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import ray
from ray._private import ray_constants
from ray.util.placement_group import PlacementGroup, remove_placement_group

from biolm_ray.experiment.addresses import Address, check_address, choose_address
from biolm_ray.experiment.local_ray import telling_of_death
from biolm_ray.experiment.start_failures import describe_memory_limit, explain_start
from biolm_ray.signals import handlers_kept

log = logging.getLogger("biolm_ray")

TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
LOOPBACK = "127.0.0.1"
# Without this, Ray puts the machine's address in its network in the place of 127.0.0.1, and its
# servers listen on all interfaces. Elsewhere than on Linux it is as Ray does by itself.
KEEPS_TO_LOOPBACK = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


@dataclass(frozen=True)
class Cluster:
    """What the cluster has, or can start, of each resource.

    Attributes:
        joined: Whether it was running before, rather than started for this run.
        num_cpus: CPUs of all nodes that are up now.
        node_cpus: CPUs of the largest of them; no task can have more.
        most_cpus: CPUs once an autoscaler has brought all it may.
        num_gpus: GPUs of all nodes that are up now.
        most_gpus: GPUs once an autoscaler has brought all it may.
    """

    joined: bool
    num_cpus: int
    node_cpus: int
    most_cpus: int
    num_gpus: int
    most_gpus: int


@dataclass(frozen=True)
class Supply:
    """What the cluster has at a moment.

    Attributes:
        free_cpus: CPUs that nothing has taken.
        num_cpus: CPUs of all nodes.
        free_gpus: GPUs that nothing has taken.
        num_gpus: GPUs of all nodes.
        num_nodes: Nodes that are up.
    """

    free_cpus: float
    num_cpus: float
    free_gpus: float
    num_gpus: float
    num_nodes: int


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Join the cluster at `address` or RAY_ADDRESS, else start a local one for the block.

    A cluster that the caller has already joined is used and left running.

    Raises:
        ResourceError: There is no cluster at the address, none can start here, or the one that was
            started has died.
    """
    if ray.is_initialized():
        with telling_of_death():
            yield look_at_cluster(joined=True)
        return
    chosen = choose_address(address)
    check_address(chosen)
    with _token_at_hand() if chosen.is_local else nullcontext():
        try:
            with telling_of_death():
                with handlers_kept():
                    _start(chosen)
                if chosen.is_local:
                    _keep_token_private()
                yield look_at_cluster(joined=not chosen.is_local)
        finally:
            ray.shutdown()


def _start(address: Address) -> None:
    """Start or join, and once more where the machine was only too busy the first time."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    limit = describe_memory_limit(resource.getrlimit(resource.RLIMIT_AS)[0])
    if limit is not None:
        log.warning("%s", limit)
    for is_last in (False, True):
        try:
            with _on_loopback() if address.is_local else nullcontext():
                ray.init(
                    address=address.text,
                    include_dashboard=False if address.is_local else None,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _node_ip_address=LOOPBACK if address.is_local else None,
                )
        except Exception as error:  # Ray raises all kinds, down to Exception itself
            ray.shutdown()
            explained, is_passing = explain_start(error, address)
            if is_last or not is_passing:
                raise explained from error
            log.warning("%s. Trying once more", explained)
        else:
            return


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have a cluster that starts in the block listen on this machine's loopback address alone."""
    name, value = KEEPS_TO_LOOPBACK
    before, enabled = os.environ.get(name), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[name] = value  # read by the processes of the cluster
    ray_constants.ENABLE_RAY_CLUSTER = False  # and by this one
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = enabled
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


@contextmanager
def _token_at_hand() -> Iterator[None]:
    """Set a token for the cluster that starts in the block where the home folder can keep none.

    Ray keeps the token of local clusters there, and fails where it cannot.
    """
    if any(name in os.environ for name in TOKEN_VARIABLES) or _home_keeps_tokens():
        yield
        return
    os.environ[TOKEN_VARIABLES[0]] = secrets.token_hex(32)
    try:
        yield
    finally:
        os.environ.pop(TOKEN_VARIABLES[0], None)


def _home_keeps_tokens() -> bool:
    try:
        folder = Path.home() / ".ray"
        if os.access(folder / "auth_token", os.R_OK):
            return True
        folder.mkdir(exist_ok=True)
    except (OSError, RuntimeError):  # no home folder, or none to write to
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _keep_token_private() -> None:
    """Let nobody else read the word that opens this user's clusters; Ray writes it for all to read.

    Other users of this machine reach its loopback address too.
    """
    if TOKEN_VARIABLES[0] in os.environ:
        return
    token = Path.home() / ".ray" / "auth_token"
    if token.is_file() and token.stat().st_uid == os.getuid() and token.stat().st_mode & 0o077:
        token.chmod(0o600)


def look_at_cluster(*, joined: bool) -> Cluster:
    """Count what is there now and what an autoscaler could add."""
    from ray._private.state import state

    now = ray.cluster_resources()
    later = state.get_max_resources_from_cluster_config() or {}
    num_cpus, num_gpus = int(now.get("CPU", 0)), int(now.get("GPU", 0))
    return Cluster(
        joined=joined,
        num_cpus=num_cpus,
        node_cpus=max(
            (int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]),
            default=0,
        ),
        most_cpus=max(num_cpus, int(later.get("CPU", 0))),
        num_gpus=num_gpus,
        most_gpus=max(num_gpus, int(later.get("GPU", 0))),
    )


def look_at_supply() -> Supply:
    """Count what is there at this moment, and what of it nothing has taken."""
    free, now = ray.available_resources(), ray.cluster_resources()
    return Supply(
        free_cpus=round(free.get("CPU", 0), 2),
        num_cpus=now.get("CPU", 0),
        free_gpus=round(free.get("GPU", 0), 2),
        num_gpus=now.get("GPU", 0),
        num_nodes=sum(node["Alive"] for node in ray.nodes()),
    )


def free_abandoned_places() -> int:
    """Give back what is reserved for workers whose controller has died; gives how many there were.

    Ray keeps such a reservation until the job ends. Ray Train has an actor that removes it, which
    needs the dashboard and does nothing without.
    """
    from ray._private.state import state
    from ray._raylet import PlacementGroupID
    from ray.core.generated import gcs_pb2

    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    accessor = state._connect_and_get_accessor()
    number = 0
    for row in accessor.get_placement_group_table():
        group = gcs_pb2.PlacementGroupTableData.FromString(row)  # pyright: ignore
        abandoned = group.creator_job_id == job and group.creator_actor_dead
        if abandoned and not group.is_detached and group.state != group.REMOVED:
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
            number += 1
    return number
