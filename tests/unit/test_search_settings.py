"""A search is gone on with only where what it was begun with can be read."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.experiment.search import SETTINGS, search

TUNE = {
    **{"filepath": "rows.tsv", "seqpos": 2, "labelpos": 3, "task": "regression"},
    **{"crossvalidation": 2, "tune.space": {"training.learning_rate": [0.1, 0.2]}},
}


def begun(continues: bool) -> None:
    raise AssertionError("nothing is touched")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]"])
def test_damaged_settings_are_told_with_what_to_do(tmp_path: Path, text: str):
    (tmp_path / SETTINGS).write_text(text)
    trial: Any = SimpleNamespace(prepared="prepared/abc", folder=tmp_path / "trials")
    config = load_config(None, "tune", TUNE)
    with pytest.raises(DataError, match=rf"{SETTINGS}: damaged .* or set tune\.resume: false"):
        search(config, trial, tmp_path, begun)
    (tmp_path / SETTINGS).write_text('{"tune": []}')
    with pytest.raises(ConfigError, match=r"differing: .*tune"):
        search(config, trial, tmp_path, begun)
