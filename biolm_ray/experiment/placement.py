"""How many workers train a model, on what, and how many models at once: pure functions."""

from dataclasses import dataclass

from biolm_ray.config.schema import ResourcesConfig
from biolm_ray.errors import ResourceError
from biolm_ray.experiment.runtime import Cluster


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The workers of each model and how many models train side by side.

    Attributes:
        num_workers: Workers per model.
        use_gpu: Whether each has a GPU.
        cpus_per_worker: CPUs reserved for each; a fraction where workers outnumber CPUs.
        parallel: Models that train at once.
        note: One sentence for the user.
    """

    num_workers: int
    use_gpu: bool
    cpus_per_worker: float
    parallel: int
    note: str


def place(cluster: Cluster, resources: ResourcesConfig, num_models: int) -> Placement:
    """Decide on the workers for a number of models to train.

    Raises:
        ResourceError: The cluster has GPUs, but can never have as many as asked for.
    """
    wanted = resources.num_gpus
    if cluster.most_gpus and wanted > cluster.most_gpus:
        raise ResourceError(
            f"ngpus {wanted} asked for, but the cluster can have {cluster.most_gpus} at the most; "
            f"set ngpus to {max(n for n in (1, 2, 4) if n <= cluster.most_gpus)} or "
            "add a larger node type"
        )
    use_gpu = bool(wanted and cluster.most_gpus)
    num_workers = max(1, wanted)
    capacity = (cluster.most_gpus if use_gpu else cluster.most_cpus) // num_workers
    parallel = min(resources.parallel_folds or max(1, capacity), num_models)
    if use_gpu:
        cpus_per_worker = 1.0
    else:
        share = cluster.num_cpus / (parallel * num_workers)
        cpus_per_worker = float(max(1, int(share))) if share >= 1 else max(0.01, share)
    kind = "GPU" if use_gpu else "CPU"
    missing = " (no GPU here)" if wanted and not use_gpu else ""
    note = (
        f"{num_workers} {kind} worker{'s' if num_workers > 1 else ''} per model{missing}, "
        f"{parallel} of {num_models} at a time"
    )
    return Placement(
        num_workers=num_workers,
        use_gpu=use_gpu,
        cpus_per_worker=cpus_per_worker,
        parallel=parallel,
        note=note,
    )
