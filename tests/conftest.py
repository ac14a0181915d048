"""Fixtures that all tests share: real data beside the repository, and one local Ray cluster."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from time_limits import TIME_LIMITS

# How long an example takes says nothing on a machine that others use too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Shells have what they start in the background ignore Ctrl-C; commands in tests must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test the time limit of its kind, unless it has one of its own."""
    for item in items:
        limit = TIME_LIMITS.get(item.path.parent.name)
        if limit is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(limit))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference outputs beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no folder `shared` beside the repository")
    return folder


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local cluster of two CPUs for the whole test session."""
    import ray

    options = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False}
    try:
        ray.init(address="local", **options)
    except Exception as error:  # Ray raises Exception itself
        if "timed out during startup" not in str(error):
            raise
        ray.shutdown()  # the machine was too busy for its half a minute
        ray.init(address="local", **options)
    yield
    ray.shutdown()
