"""A test that hangs fails within its time limit, and says where it stood."""

import subprocess
import sys
from pathlib import Path

import pytest
from time_limits import TIME_LIMITS

ROOT = Path(__file__).parents[2]
HANGS = """
import threading

def stand_still():
    threading.Event().wait()

def test_that_hangs():
    threading.Thread(target=stand_still, daemon=True).start()
    threading.Event().wait()

def test_that_comes_after_it():
    pass
"""


def test_a_test_that_hangs_fails_with_the_stacks_of_all_threads_and_the_next_one_runs(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "-o", "timeout=1"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "Timeout" in done.stdout
    assert "test_hangs.py:9:" in done.stdout
    assert "in stand_still" in done.stdout + done.stderr


def test_every_test_has_a_time_limit(request: pytest.FixtureRequest) -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders == set(TIME_LIMITS)
    marker = request.node.get_closest_marker("timeout")
    assert marker is not None
    assert marker.args == (TIME_LIMITS["unit"],)
