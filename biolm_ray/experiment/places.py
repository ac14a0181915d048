"""What the cluster's own books say of work that asks for a place in it.

Ray tells nobody whether work waits for CPUs or has them and is starting its process, which takes
ten seconds and more on a busy machine. Its books do: they count what waits by what it asks for.
"""

from typing import Any

import ray
from ray._private.state import state
from ray.core.generated import gcs_pb2


def num_without_place(cpus: float, gpus: float = 0.0) -> int:
    """Count the tasks and actors that ask for so much and have no place yet.

    One whose process is starting has its place, and does not count. The books are a second old,
    and do not tell whose the work is.
    """
    asked = {name: amount for name, amount in {"CPU": cpus, "GPU": gpus}.items() if amount}
    usage = gcs_pb2.ResourceUsageBatchData.FromString(  # pyright: ignore
        state._connect_and_get_accessor().get_all_resource_usage()
    )
    return sum(
        each.num_ready_requests_queued + each.num_infeasible_requests_queued + each.backlog_size
        for each in usage.resource_load_by_shape.resource_demands
        if _is_same(dict(each.shape), asked)
    )


def num_groups_without_place() -> int:
    """Count the groups of workers, of this run's models, that have no place yet."""
    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    groups = map(
        gcs_pb2.PlacementGroupTableData.FromString,  # pyright: ignore
        state._connect_and_get_accessor().get_placement_group_table(),
    )
    return sum(
        group.creator_job_id == job and group.state in (group.PENDING, group.RESCHEDULING)
        for group in groups
    )


def has_process(actor: Any) -> bool:
    """Whether an actor has been given a process, in which it is created or works."""
    row = state._connect_and_get_accessor().get_actor_info(actor._actor_id)
    return row is not None and gcs_pb2.ActorTableData.FromString(row).pid != 0  # pyright: ignore


def _is_same(shape: dict[str, float], asked: dict[str, float]) -> bool:
    # Shares of a CPU come back with four digits.
    return shape.keys() == asked.keys() and all(
        abs(shape[name] - amount) < 1e-3 for name, amount in asked.items()
    )
