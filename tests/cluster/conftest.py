from collections.abc import Iterator

import pytest
from ray_head import JobServer, running_head


@pytest.fixture(scope="session")
def job_server() -> Iterator[JobServer]:
    with running_head() as server:
        yield server
