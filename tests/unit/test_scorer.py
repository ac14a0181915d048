import platform
import subprocess
import sys

import pytest

TOUCH_MEMORY = """
import resource
import numpy as np
from biolm_ray.inference.scorer import keep_freed_memory

keep_freed_memory()
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 << 20, dtype=np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_that_a_worker_frees_is_not_asked_for_anew() -> None:
    command = [sys.executable, "-c", TOUCH_MEMORY]
    faults = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout
    assert int(faults) < 100
