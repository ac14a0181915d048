"""The notice that a node is about to be taken away, as with spot instances."""

from collections.abc import Collection

from ray._private.state import state

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
