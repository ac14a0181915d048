"""What a fold with one CPU worker costs besides its training: time, CPU seconds and memory.

A model whose work is nothing but the imports of a fold's training is run twice, as users run
theirs, on a cluster started for it: the first pays for a new process, the second finds one.

    python benchmarks/fold_overhead.py
"""

import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import ray

from biolm_ray.config.schema import ResourcesConfig
from biolm_ray.experiment.placement import place
from biolm_ray.experiment.progress import Display
from biolm_ray.experiment.running import run_jobs
from biolm_ray.experiment.runtime import connected
from biolm_ray.experiment.storage import SETTINGS
from biolm_ray.files import write_text

MOST_SECONDS = 8.0
MOST_GB = 1.2


def fold_overhead() -> dict[str, float]:
    """Measure a fold of no work.

    Returns:
        `seconds` from sending the fold off to having its result, in a new process; `seconds_again`
        in one that has trained before; `cpu_seconds` of the new process; `gb`, its proportional
        set size with everything imported that trains Saluki; `ray_gb`, the parts of Ray that all
        folds share.
    """
    with tempfile.TemporaryDirectory() as folder, connected("local") as cluster:
        job = SimpleNamespace(name="model", folder=Path(folder))
        write_text(job.folder / SETTINGS, "{}")
        placement = place(cluster, ResourcesConfig(num_gpus=0, parallel_folds=1), 1)
        figures = []
        for _ in range(2):
            started = time.monotonic()
            (outcome,) = run_jobs([job], import_only, placement, Display(1, quiet=True))
            if outcome.error is not None:
                raise outcome.error
            figures.append({"seconds": time.monotonic() - started, **(outcome.metrics or {})})
        shared = ray_memory()
    return {
        "seconds": figures[0]["seconds"],
        "seconds_again": figures[1]["seconds"],
        "cpu_seconds": figures[0]["cpu_seconds"],
        "gb": figures[0]["gb"],
        "ray_gb": shared,
    }


def import_only(job: Any, workers: Any, report: Any) -> dict[str, float]:
    """Import what a fold of Saluki needs, and measure this process."""
    from biolm_ray.models.registry import find_spec
    from biolm_ray.training.fold import train_fold

    assert train_fold
    find_spec("saluki", None)
    times, memory = psutil.Process().cpu_times(), psutil.Process().memory_full_info()
    return {"cpu_seconds": times.user + times.system, "gb": memory.pss / 1e9}


def ray_memory() -> float:
    """Memory of the processes of Ray that belong to no fold, in GB."""
    assert ray.is_initialized()
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            if not process.cmdline()[0].startswith(("ray::train_with_ray", "ray::IDLE")):
                total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, IndexError):
            continue
    return total / 1e9


if __name__ == "__main__":
    figures = fold_overhead()
    print(
        f"a fold more: {figures['seconds']:.1f} s (at most {MOST_SECONDS:g}), "
        f"{figures['gb']:.2f} GB (at most {MOST_GB:g})"
    )
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
