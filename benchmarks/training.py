"""How fast models train and predict, and what distribution costs, against the plain alternatives.

Prints a table and, as its last line, one JSON object. About twelve minutes on two cores, which
should have nothing else to do. The chaos of interruptions is `make chaos`; whether Saluki is better
with padding or without, `saluki_padding.py`.

    make bench-training
    make bench-training ARGS="--only saluki"
"""

import os
import tempfile
import time
from pathlib import Path

import ray
from fold_overhead import MOST_GB, MOST_SECONDS, fold_overhead
from measures import take_measures
from saluki_step import HUMAN, YEAST, measure_prediction, measure_training
from transformers_step import measure as measure_transformers

import biolm_ray
from biolm_ray.config.load import load_config
from biolm_ray.demo.data import write_demo_data

TABLE = (
    ("saluki_training_yeast", "Saluki training, yeast lengths, against plain", 5, 8),
    ("saluki_training_human", "Saluki training, human lengths, against plain", 5, 8),
    ("saluki_prediction_yeast", "Saluki prediction, yeast lengths, against plain", 5, 10),
    ("saluki_prediction_human", "Saluki prediction, human lengths, against plain", 5, 10),
    ("bert_training", "BERT fine-tuning against padding to 512", 2, 4),
    ("xlnet_training", "XLNet fine-tuning against padding to 512", 2, 4),
    ("folds_side_by_side", "10 folds on 2 cores against one after another on 1", 1.8, 1.95),
    ("fold_seconds", "fixed time of a fold with one worker, s", MOST_SECONDS, MOST_SECONDS),
    ("fold_gb", "memory of a fold besides its model, GB", MOST_GB, MOST_GB),
)
NUM_FOLDS = 10


def saluki() -> dict[str, float]:
    """Saluki against the plain padded one-hot loop of the reference's meaning."""
    return {
        "saluki_training_yeast": measure_training(YEAST)["ratio"],
        "saluki_training_human": measure_training(HUMAN)["ratio"],
        "saluki_prediction_yeast": measure_prediction(YEAST)["ratio"],
        "saluki_prediction_human": measure_prediction(HUMAN)["ratio"],
    }


def transformers() -> dict[str, float]:
    """Batches of similar length against rows padded to 512 tokens."""
    found = measure_transformers()
    return {f"{name}_training": values["ratio"] for name, values in found.items()}


def folds() -> dict[str, float]:
    """Ten folds of Saluki through the whole of `finetune`, two at a time and one at a time."""
    seconds = {num_cpus: _cross_validation_seconds(num_cpus) for num_cpus in (1, 2)}
    return {"folds_side_by_side": seconds[1] / seconds[2]}


def _cross_validation_seconds(num_cpus: int) -> float:
    """Time the cross-validation on a cluster of so many CPUs that is up already."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "transcripts.tsv"
        write_demo_data(data, num_rows=1200)
        settings = {
            "task": "regression",
            "filepath": str(data),
            "outputpath": f"{folder}/out",
            "tokensep": ",",
            "idpos": "id",
            "seqpos": "sequence",
            "labelpos": "half_life_hours",
            "crossvalidation": NUM_FOLDS,
            "blocksize": 1024,
            "nepochs": 10,
            "ngpus": 0,
            "silent": True,
        }
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1")
        ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False)
        try:
            biolm_ray.finetune(load_config(None, "fine-tune", {**settings, "getdata": True}))
            started = time.monotonic()
            biolm_ray.finetune(load_config(None, "fine-tune", settings))
            return time.monotonic() - started
        finally:
            ray.shutdown()


def overhead() -> dict[str, float]:
    """What a fold with one CPU worker costs besides its training."""
    found = fold_overhead()
    return {"fold_seconds": found["seconds"], "fold_gb": found["gb"]}


MEASURES = {
    "saluki": saluki,
    "transformers": transformers,
    "folds": folds,
    "overhead": overhead,
}


if __name__ == "__main__":
    take_measures(__doc__, MEASURES, TABLE)
