"""A search is gone on with only where what it was begun with can be read."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.experiment.begun import search_settings
from biolm_ray.experiment.search import SETTINGS, search
from biolm_ray.records import record_values

TUNE = {
    **{"filepath": "rows.tsv", "seqpos": 2, "labelpos": 3, "task": "regression"},
    **{"crossvalidation": 2, "tune.space": {"training.learning_rate": [0.1, 0.2]}},
}


def begun(continues: bool) -> None:
    raise AssertionError("nothing is touched")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", '{"tune": []}'])
def test_damaged_settings_are_told_with_what_to_do(tmp_path: Path, text: str):
    (tmp_path / SETTINGS).write_text(text)
    trial: Any = SimpleNamespace(prepared="prepared/abc", folder=tmp_path / "trials")
    config = load_config(None, "tune", TUNE)
    with pytest.raises(DataError, match=rf"{SETTINGS}: .* or set tune\.resume: false"):
        search(config, trial, tmp_path, begun)


def test_a_search_of_other_settings_is_refused_and_one_of_an_earlier_version_is_not(tmp_path: Path):
    config = load_config(None, "tune", TUNE)
    settings = record_values(search_settings(config, "prepared/abc"))
    del settings["format_version"], settings["training"]["feed"]
    settings["tune"]["num_samples"] = 3
    (tmp_path / SETTINGS).write_text(json.dumps(settings))
    trial: Any = SimpleNamespace(prepared="prepared/abc", folder=tmp_path / "trials")
    with pytest.raises(AssertionError, match="nothing is touched"):
        search(config, trial, tmp_path, begun)
    settings["training"]["feed"] = "streaming"
    (tmp_path / SETTINGS).write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"differing: training\.feed is "):
        search(config, trial, tmp_path, begun)
