"""Telling an MLflow server what models have learnt, once their results are written."""

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from biolm_ray.config.meanings import USED_PARTS
from biolm_ray.config.schema import Config
from biolm_ray.errors import ConfigError
from biolm_ray.masking import masked
from biolm_ray.training.fold_tables import ALL_RESULTS, read_results
from biolm_ray.training.journal import read_state

log = logging.getLogger("biolm_ray")

RESULTS_TAG = "biolm_ray.results"
MOST_PARAMETERS = 100
MOST_METRICS = 1000
# A server that is down is asked for seconds, not minutes; nothing of a run is told to others; a
# plain folder will do.
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
}

Metrics = list[tuple[str, float, int]]
"""Names, values and epochs."""


def check_tracking(uri: str | None) -> None:
    """Stop before training where MLflow is asked for and missing.

    Raises:
        ConfigError: It is.
    """
    if uri is not None and find_spec("mlflow") is None:
        raise ConfigError(
            f"run.mlflow {uri}: this needs one more package: pip install 'biolm-ray[mlflow]'"
        )


def track(config: Config, folders: Mapping[str, Path]) -> None:
    """Write one MLflow run per trained model: settings, metrics of every epoch, final metrics.

    The experiment has the name of the output folder. A model that is there already, with the very
    same results, is not written again. Trouble with the server is told as a warning.

    Args:
        config: Of the run, with the tracking URI.
        folders: Of the finished models, by their names.
    """
    uri = config.run.mlflow
    if uri is None or not folders:
        return
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    try:
        _write_runs(uri, config, folders)
    except Exception as error:  # of MLflow and what it is made of; the results stand without it
        cause = " ".join(str(error).split())[-300:] or type(error).__name__
        log.warning(
            "MLflow at %s could not be told: %s. All results are in %s; run again with --resume to "
            "tell it later",
            uri,
            cause,
            config.output_path,
            exc_info=error,
        )
        return
    log.info("MLflow: %d runs at %s", len(folders), uri)


def flat_settings(config: Config) -> dict[str, str]:
    """Give the settings that matter to the results of a mode and that are set, by dotted name."""
    flat: dict[str, Any] = {"mode": config.mode, "task": config.task, "output": config.output_path}
    for part in USED_PARTS[config.mode]:
        if part == "run":
            continue
        for key, value in getattr(config, part).model_dump(mode="json").items():
            if (part, key) == ("model", "options"):
                flat |= {f"model.{name}": option for name, option in value.items()}
            else:
                flat[f"{part}.{key}"] = value
    return {
        name: masked(value if isinstance(value, str) else json.dumps(value))
        for name, value in flat.items()
        if value is not None
    }


def read_metrics(folder: Path) -> Metrics:
    """Read the metrics of every epoch, and the final ones that are no repetition of theirs.

    The final ones belong to the best epoch. Values that are no finite number are left out.

    Raises:
        DataError: A file of theirs is missing or damaged.
    """
    final = read_results(folder)
    metrics = [
        ("train_loss" if name == "loss" else name, value, int(entry.epoch))
        for entry in read_state(folder).log_history
        for name, value in entry.values.items()
        if name == "loss" or name.startswith("eval_")
    ]
    by_epoch = {name for name, _, _ in metrics}
    best_epoch = int(final.get("epoch") or 0)
    last = [(name.removesuffix(" rho"), value, best_epoch) for name, value in final.items()]
    metrics += [entry for entry in last if entry[0] not in by_epoch]
    return [
        (name, value, epoch)
        for name, value, epoch in metrics
        if value is not None and math.isfinite(value)
    ]


def _write_runs(uri: str, config: Config, folders: Mapping[str, Path]) -> None:
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    name = Path(config.output_path).name
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)
    parameters = [Param(key, value) for key, value in flat_settings(config).items()]
    for model, folder in folders.items():
        results = sha256(model.encode() + (folder / ALL_RESULTS).read_bytes()).hexdigest()
        if client.search_runs([experiment], f"tags.`{RESULTS_TAG}` = '{results}'"):
            continue
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, value, step in read_metrics(folder)]
        run = client.create_run(experiment, run_name=model).info.run_id
        try:
            for some in _chunks(parameters, MOST_PARAMETERS):
                client.log_batch(run, params=some)
            for some in _chunks(metrics, MOST_METRICS):
                client.log_batch(run, metrics=some)
            client.set_tag(run, RESULTS_TAG, results)
        except BaseException:
            with suppress(Exception):  # the server may be gone; why is told by the first error
                client.set_terminated(run, "FAILED")
            raise
        client.set_terminated(run)


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
