"""Predict the rows of a file with one model, or with those of all folds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from jaxtyping import Bool, Int

from biolm_ray.config.schema import PreprocessingConfig, TrustedCode
from biolm_ray.data.targets import Targets
from biolm_ray.experiment.progress import Board
from biolm_ray.inference.predict import (
    MeanPredictions,
    Progress,
    check_same_tokens,
    predict_with_models,
)
from biolm_ray.models.saved import load_model
from biolm_ray.preparation.prepared import PreparedData

ASK_SECONDS = 1.0


def predict_on_ray(
    folders: Sequence[Path],
    prepared: str,
    rows: Int[np.ndarray, " rows"],
    may_predict: Bool[np.ndarray, "models rows"],
    preprocessing: PreprocessingConfig,
    trusted: TrustedCode,
    *,
    num_cpus: int,
    num_gpus: float,
    progress: Progress | None = None,
) -> tuple[MeanPredictions, Targets]:
    """Run `predict_folders` in one Ray task, on a GPU where there is one.

    `progress` is called here, in this process, with what the task has told so far.
    """
    task: Any = ray.remote(num_cpus=num_cpus, num_gpus=num_gpus)(predict_folders)
    if progress is None:
        return ray.get(task.remote(folders, prepared, rows, may_predict, preprocessing, trusted))
    board: Any = ray.remote(num_cpus=0)(Board).remote()
    result = task.remote(folders, prepared, rows, may_predict, preprocessing, trusted, board)
    while not ray.wait([result], timeout=ASK_SECONDS)[0]:
        events, _, _ = ray.get(board.news.remote())
        for event in events.values():
            progress(event["done"], event["all"])
    ray.kill(board)
    return ray.get(result)


def predict_folders(
    folders: Sequence[Path],
    prepared: str,
    rows: Int[np.ndarray, " rows"],
    may_predict: Bool[np.ndarray, "models rows"],
    preprocessing: PreprocessingConfig,
    trusted: TrustedCode,
    board: Any = None,
) -> tuple[MeanPredictions, Targets]:
    """Give the mean prediction of some models, its deviation over several, and their targets.

    Args:
        folders: The models.
        prepared: Location of the data set, tokenized with the models' own tokenizer.
        rows: Which rows of it.
        may_predict: Which models each row is predicted by.
        preprocessing: How sequences are cropped.
        trusted: Code besides our own that may run.
        board: Handle of a `Board` that is told the progress, None to tell nobody.
    """

    def tell(num_done: int, num_all: int) -> None:
        board.report.remote("predict", {"done": num_done, "all": num_all})

    device = "cuda" if torch.cuda.is_available() else "cpu"
    models = [
        load_model(folder, trusted=trusted, preprocessing=preprocessing) for folder in folders
    ]
    for model in models:
        model.module.to(device)
    check_same_tokens(models, [str(folder) for folder in folders])
    predictions = predict_with_models(
        models,
        PreparedData.open(prepared),
        rows,
        may_predict,
        device=device,
        progress=None if board is None else tell,
    )
    return predictions, models[0].card.targets
