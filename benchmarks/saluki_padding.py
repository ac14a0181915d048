"""The default Saluki that starts at the end of a sequence, against one that reads padding first.

Trains both on the same folds with the same seed, on one core and without Ray. Prints the test
scores of each fold as they come, a table, and as its last line one JSON object. The file is a
table with the columns `id`, `sequence`, `label` and `fold`.

    .venv/bin/python benchmarks/saluki_padding.py data.tsv.gz --folds 0 1 --epochs 6
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from biolm_ray.config.load import load_config, with_settings
from biolm_ray.config.schema import Config
from biolm_ray.data.splits import Fold
from biolm_ray.experiment.cross_validation import fold_jobs
from biolm_ray.experiment.setup import (
    choose_model,
    fit_run_tokenizer,
    plan_run,
    tokenize_data,
)
from biolm_ray.training.fold import train_fold
from biolm_ray.training.workers import Workers

PADDINGS = ("none", "blocksize")
SCORES = ("pearson", "spearman", "r2")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help="counted from 0")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rows", type=int, help="use only the first so many rows")
    parser.add_argument("--block-size", type=int, default=12_288)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def configuration(given: argparse.Namespace, folder: Path) -> Config:
    settings = {
        "task": "regression",
        "outputpath": folder,
        "filepath": given.file.resolve(),
        "stripheader": True,
        "columnsep": "\t",
        "idpos": "id",
        "seqpos": "sequence",
        "labelpos": "label",
        "splitpos": "fold",
        "model.name": "saluki",
        "data.max_rows": given.rows,
        "preprocessing.block_size": given.block_size,
        "training.batch_size": 32,
        "training.num_epochs": given.epochs,
        "training.seed": given.seed,
    }
    return choose_model(load_config(None, "fine-tune", settings), None)


def scores_of(config: Config, folds: list[Fold], prepared: str, padding: str) -> np.ndarray:
    """Train and test a model per fold; give its scores, one row per fold."""
    folder = Path(config.output_path)
    chosen = with_settings(config, {"model.padding": padding})
    jobs = fold_jobs(
        chosen,
        folds,
        prepared=prepared,
        tokenizer=folder,
        folder=folder / padding,
        weights=None,
    )
    rows = []
    for job in jobs:
        started = time.monotonic()
        metrics = train_fold(job, Workers(), lambda event: None)
        rows.append([metrics[f"test_{name}"] for name in SCORES])
        print_row(f"{job.name}, {padding}", rows[-1], f"{time.monotonic() - started:6.0f} s")
    return np.array(rows)


def print_row(name: str, values: list[float] | np.ndarray, note: str = "") -> None:
    print(f"{name:24}" + "".join(f"{value:10.4f}" for value in values) + f"  {note}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    given = read_arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = configuration(given, folder)
        tokenizer = fit_run_tokenizer(config)
        prepared = tokenize_data(
            config, tokenizer, prepared_in=str(folder / "prepared"), folder=folder
        )
        folds = [plan_run(config, prepared, tokenizer)[index] for index in given.folds]
        print(f"{'':24}" + "".join(f"{name:>10}" for name in SCORES))
        found = {
            padding: scores_of(config, folds, prepared.location, padding) for padding in PADDINGS
        }
    for padding, scores in found.items():
        print_row(f"mean, {padding}", scores.mean(axis=0))
    difference = (found["none"] - found["blocksize"]).mean(axis=0)
    print_row("none - blocksize", difference)
    result = {
        padding: dict(zip(SCORES, scores.T.round(4).tolist(), strict=True))
        for padding, scores in found.items()
    }
    result["difference"] = dict(zip(SCORES, difference.round(4).tolist(), strict=True))
    print(json.dumps(vars(given) | {"file": given.file.name} | result))


if __name__ == "__main__":
    main()
