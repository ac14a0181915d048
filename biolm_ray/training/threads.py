"""The threads that a process computes with."""

import torch


def use_threads(num_cpus: float) -> None:
    """Compute with as many threads as a worker has CPUs, one for a share of a CPU.

    Ray sets the number once, by the first task of a process. Another one that the process is given
    later would keep it, and so add numbers up in another order than in a process of its own.
    """
    torch.set_num_threads(max(1, int(num_cpus)))
