"""Pre-train one model on Ray, or continue a broken-off pre-training."""

from pathlib import Path

from biolm_ray.config.schema import Config
from biolm_ray.experiment.cross_validation import Begin, train_jobs
from biolm_ray.experiment.failures import Outcome, raise_failures
from biolm_ray.experiment.placement import place
from biolm_ray.experiment.progress import Display
from biolm_ray.experiment.runtime import Cluster
from biolm_ray.training.pretraining import PretrainJob, pretrain


def pretrain_model(
    config: Config,
    cluster: Cluster,
    display: Display,
    *,
    prepared: str,
    tokenizer: Path,
    folder: Path,
    weights: Path | None,
    begin: Begin | None = None,
) -> Outcome:
    """Train a language model into `folder` and give what became of it.

    Raises:
        BiolmError: Training failed.
    """
    job = PretrainJob(
        config=config,
        prepared=prepared,
        tokenizer=tokenizer,
        folder=folder,
        board=folder / "tboard",
        weights=weights,
    )
    placement = place(cluster, config.resources, num_models=1)
    outcomes = train_jobs([job], pretrain, placement, display, config.training.resume, begin)
    raise_failures(outcomes)
    return outcomes[0]
