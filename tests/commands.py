"""Start the command line as users do, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def start_command(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `python -m biolm_ray` in a folder; its messages come line by line from `stdout`."""
    return subprocess.Popen(
        [sys.executable, "-m", "biolm_ray", *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
