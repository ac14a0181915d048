"""The notice that a training is about to end: the run is stopped, or its node taken away."""

from collections.abc import Collection
from typing import Any

import ray
from ray._private.state import state
from ray.exceptions import GetTimeoutError, RayActorError

ANSWER_SECONDS = 1.0
TAKEN_AWAY = 3  # NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED among Ray's reasons


def preemption_announced(nodes: Collection[str]) -> bool:
    """Tell whether one of the nodes (hexadecimal ids) is to be taken away soon.

    Ray Train's own `get_preemption_info` waits for all workers and knows nothing of a single
    worker in a task; this asks where it asks, may be called by one worker alone, and takes
    about a millisecond.
    """
    return not state.get_draining_nodes().keys().isdisjoint(nodes)


def were_taken_away(nodes: Collection[str], all_nodes: list[dict]) -> bool:
    """Tell whether one of the nodes has gone after a notice; `all_nodes` is `ray.nodes()`."""
    return any(
        node["NodeID"] in nodes and not node["Alive"] and node["DeathReason"] == TAKEN_AWAY
        for node in all_nodes
    )


def stop_announced(board: Any) -> bool:
    """Tell whether the run is about to be stopped; a board that does not answer knows of nothing.

    Takes one or two milliseconds.
    """
    try:
        return ray.get(board.stops.remote(), timeout=ANSWER_SECONDS)
    except (GetTimeoutError, RayActorError):
        return False
