"""Predict the rows of a file with one model, or with those of all folds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import ray
import torch
from jaxtyping import Int

from biolm_ray.config.schema import PreprocessingConfig
from biolm_ray.data.targets import Targets
from biolm_ray.inference.predict import check_same_tokens, predict_with_models
from biolm_ray.models.saved import load_model
from biolm_ray.tokenization.prepared import PreparedData
from biolm_ray.training.fold_tables import Predictions


def predict_on_ray(
    folders: Sequence[Path],
    prepared: Path,
    rows: Int[np.ndarray, " rows"],
    preprocessing: PreprocessingConfig,
    *,
    num_cpus: int,
    num_gpus: float,
) -> tuple[Predictions, Predictions | None, Targets]:
    """Run `predict_folders` in one Ray task, on a GPU where there is one."""
    task = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus)(predict_folders)
    return ray.get(task.remote(folders, prepared, rows, preprocessing))


def predict_folders(
    folders: Sequence[Path],
    prepared: Path,
    rows: Int[np.ndarray, " rows"],
    preprocessing: PreprocessingConfig,
) -> tuple[Predictions, Predictions | None, Targets]:
    """Give the mean prediction of some models, its deviation over several, and their targets."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    models = [load_model(folder, preprocessing=preprocessing) for folder in folders]
    for model in models:
        model.module.to(device)
    check_same_tokens(models, [str(folder) for folder in folders])
    mean, deviation = predict_with_models(models, PreparedData.open(prepared), rows, device=device)
    return mean, deviation, models[0].card.targets
