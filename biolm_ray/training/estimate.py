"""How long an epoch will take and how much memory it needs, from a few micro-batches."""

import resource
import sys
import time

import torch

from biolm_ray.training.accumulation import Accumulator, Loaded
from biolm_ray.training.workers import Workers

# A forward pass alone against one with its backward pass.
JUDGING_SHARE = 1 / 3


def estimate(
    accumulator: Accumulator,
    samples: list[Loaded],
    num_rows: int,
    num_judged: int,
    workers: Workers,
) -> dict[str, float | str]:
    """Try some micro-batches, the one of the longest rows first, and throw the gradients away.

    Where the longest do not fit into the GPU's memory it is known, and mended, before training.

    Args:
        accumulator: Makes the passes.
        samples: Micro-batches, the longest rows first.
        num_rows: Rows that all workers train on in an epoch.
        num_judged: Rows that they validate with after it.
        workers: They share the work.

    Returns:
        `seconds_per_epoch`, and `memory_gb`: of the GPU at the longest rows, or else of the
        process; nothing without samples.
    """
    if not samples:
        return {}
    longest, *typical = samples
    if torch.device(workers.device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(workers.device)
    accumulator.module.train()
    accumulator.add_gradients([(0, longest)], 1.0, -1, 0)
    memory = _peak_bytes(workers.device)
    started = time.monotonic()
    for number, loaded in enumerate(typical or [longest], 1):
        accumulator.add_gradients([(0, loaded)], 1.0, -1, number)
    num_tried = sum(len(loaded.rows) for loaded in typical or [longest])
    seconds_per_row = (time.monotonic() - started) / num_tried / workers.size
    accumulator.module.zero_grad(set_to_none=True)
    seconds = seconds_per_row * (num_rows + JUDGING_SHARE * num_judged)
    return {"seconds_per_epoch": seconds, "memory_gb": memory / 1e9}


def _peak_bytes(device: torch.device | str) -> float:
    if torch.device(device).type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1.0 if sys.platform == "darwin" else 1024.0)
