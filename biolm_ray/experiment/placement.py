"""How many workers train a model, on what, and how many models at once: pure functions."""

from dataclasses import dataclass

from biolm_ray.config.schema import ResourcesConfig
from biolm_ray.errors import ResourceError
from biolm_ray.experiment.runtime import Cluster
from biolm_ray.wording import all_of, counted


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The workers of each model and how many models train side by side.

    Attributes:
        num_workers: Workers per model.
        use_gpu: Whether each has a GPU.
        cpus_per_worker: CPUs reserved for each; a fraction where workers outnumber CPUs.
        parallel: Models that train at once.
        joined: Whether the cluster was there before, and may grow.
        resources: What the run may take.
        note: One sentence for the user.
    """

    num_workers: int
    use_gpu: bool
    cpus_per_worker: float
    parallel: int
    joined: bool
    resources: ResourcesConfig
    note: str


def place(cluster: Cluster, resources: ResourcesConfig, num_models: int) -> Placement:
    """Decide on the workers for a number of models to train.

    Raises:
        ResourceError: The cluster has GPUs, but can never have as many as asked for.
    """
    wanted, most_gpus = resources.num_gpus, _usable_gpus(cluster, resources)
    if most_gpus and wanted > most_gpus:
        raise ResourceError(
            f"ngpus {wanted} asked for, but the cluster can have {most_gpus} at the most; "
            f"set ngpus to {max(n for n in (1, 2, 4) if n <= most_gpus)} or "
            "add a larger node type"
        )
    use_gpu = bool(wanted and most_gpus)
    num_workers = max(1, wanted)
    capacity = (most_gpus if use_gpu else cluster.most_cpus) // num_workers
    parallel = min(resources.parallel_folds or max(1, capacity), num_models)
    is_missed = wanted and not use_gpu and resources.accelerator != "cpu"
    missing = " (no GPU here)" if is_missed else ""
    on = counted(num_workers, "GPU") if use_gpu else "CPUs"
    if num_workers > 1 and not use_gpu:
        on = f"CPUs, with {num_workers} workers"
    note = f"{_trained_together(num_models, parallel)} on {on}{missing}"
    return Placement(
        num_workers=num_workers,
        use_gpu=use_gpu,
        cpus_per_worker=1.0 if use_gpu else _cpu_share(cluster, parallel * num_workers),
        parallel=parallel,
        joined=cluster.joined,
        resources=resources,
        note=note,
    )


def _trained_together(num_models: int, parallel: int) -> str:
    """Say how many models train at once, up to where each of them trains."""
    if num_models == 1:
        return "the model trains"
    if parallel == num_models:
        return f"{all_of(num_models, 'model')} train at once, each"
    return f"{parallel} of {num_models} models train at a time, each"


def parallel_now(placement: Placement, cluster: Cluster) -> int:
    """Say how many models may be sent off at a time, the cluster being as it is now.

    Of a cluster that was joined, one more is asked for than fits, so that an autoscaler sees that
    something waits.
    """
    if placement.resources.parallel_folds or not placement.joined:
        return placement.parallel
    if placement.use_gpu:
        fit = cluster.num_gpus // placement.num_workers
    else:
        fit = int(cluster.num_cpus / placement.cpus_per_worker + 1e-6) // placement.num_workers
    return max(placement.parallel, fit + 1)


def _usable_gpus(cluster: Cluster, resources: ResourcesConfig) -> int:
    return 0 if resources.accelerator == "cpu" else cluster.most_gpus


def _cpu_share(cluster: Cluster, num_workers: int) -> float:
    """Share the CPUs that are up now among workers that run at once, none beyond its node."""
    if not cluster.num_cpus:
        return 1.0
    share = min(cluster.num_cpus / num_workers, cluster.node_cpus)
    return float(int(share)) if share >= 1 else share


def place_inference(
    cluster: Cluster, resources: ResourcesConfig, num_workers: int | None = None
) -> tuple[int, float]:
    """Decide on the workers that predict or score, and how much of a GPU each has.

    Without a number asked for there is one worker per GPU that the cluster has or can start, or,
    without GPUs or with `ngpus: 0` or `accelerator: cpu`, one per CPU that is up now.
    """
    num_gpus = _usable_gpus(cluster, resources) if resources.num_gpus else 0
    num_workers = num_workers or num_gpus or max(1, cluster.num_cpus)
    return num_workers, min(1.0, num_gpus / num_workers)
