"""Models that another run replaces while they are used are not mixed with those before."""

import os
from pathlib import Path

import pytest

from biolm_ray.errors import ConfigError, DataError
from biolm_ray.files import write_text
from biolm_ray.inference.used_models import UsedModels
from biolm_ray.models.saved import CARD_FILE
from biolm_ray.models.stored_weights import WEIGHTS_FILE
from biolm_ray.training.trained_rows import ROWS

REPLACED = "was replaced or removed while the models were used"


@pytest.fixture
def folders(tmp_path) -> list[Path]:
    folders = [tmp_path / name for name in "01"]
    for folder in folders:
        for name in (WEIGHTS_FILE, CARD_FILE):
            write_text(folder / name, "first")
    return folders


def test_models_that_stay_are_used(folders):
    with UsedModels(folders).unchanged():
        assert UsedModels(folders).folders == tuple(folders)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, text) for name in (WEIGHTS_FILE, CARD_FILE) for text in ("other", "first", None)),
        (ROWS, "new"),
    ],
)
def test_a_fold_of_another_run_is_not_used_with_those_before(folders, name, text):
    models, file = UsedModels(folders), folders[1] / name
    before = file.stat() if file.exists() else None
    if text is None:
        file.unlink()
    else:
        write_text(file, text)
        if before is not None:  # as a copy has it
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match=rf"1/{name} {REPLACED}, as by a training that runs there"):
        models.check()
    with pytest.raises(DataError, match=REPLACED), models.unchanged():
        pass


def test_what_fails_since_a_model_is_gone_is_told_as_that_and_else_as_it_is(folders):
    models = UsedModels(folders)
    with pytest.raises(ConfigError, match="as it is"), models.unchanged():
        raise ConfigError("as it is")
    (folders[0] / CARD_FILE).unlink()
    with pytest.raises(DataError, match=REPLACED), models.unchanged():
        raise FileNotFoundError(CARD_FILE)
