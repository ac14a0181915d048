"""Which models a path stands for: however it is written, those that the manifest names."""

import os
from pathlib import Path

import pytest

from biolm_ray.errors import ConfigError, DataError
from biolm_ray.inference.inputs import model_folders
from biolm_ray.models.card import CARD_FILE
from biolm_ray.models.stored_weights import WEIGHTS_FILE
from biolm_ray.results.manifest import (
    MANIFEST,
    FoldRecord,
    Manifest,
    ModeRecord,
    file_digest,
    new_run,
    write_manifest,
)

RUN = new_run("0.1.0")


@pytest.fixture
def experiment(tmp_path) -> Path:
    """Two folds, of which one is not finished, and a model of another run."""
    output, folds = tmp_path / "experiment", []
    for name in "012":
        folder = output / "fine-tune" / name
        folder.mkdir(parents=True)
        for file in (WEIGHTS_FILE, CARD_FILE):
            (folder / file).write_text(f"{file} {name}")
        files = {WEIGHTS_FILE: file_digest(folder / WEIGHTS_FILE)} if name == "0" else {}
        folds.append(FoldRecord(name=name, folder=f"fine-tune/{name}", files=files))
    record = ModeRecord(run=RUN, folds=tuple(folds[:2]))
    write_manifest(output, Manifest(modes={"fine-tune": record}))
    return output


def links_to(place: Path, tmp_path: Path) -> list[Path]:
    """Ways to write a path: as it is, through links, and up again."""
    direct, inside = tmp_path / f"to-{place.name}", tmp_path / "other" / "models"
    inside.parent.mkdir(exist_ok=True)
    write_manifest(inside.parent, Manifest(modes={"fine-tune": ModeRecord(run=RUN)}))
    for link in (direct, inside):
        link.unlink(missing_ok=True)
        link.symlink_to(place)
    return [place, place / "logs" / "..", direct, inside]


def test_missing_models_are_told_however_the_path_is_written(experiment, tmp_path):
    for place in (experiment, experiment / "fine-tune"):
        for path in links_to(place, tmp_path):
            with pytest.raises(ConfigError, match=r"1 of 2 folds not finished \(1\)"):
                model_folders(path)
            (found,) = model_folders(path, allow_missing=True)
            assert found.resolve() == experiment / "fine-tune" / "0"
    for path in links_to(experiment / "fine-tune" / "1", tmp_path):
        with pytest.raises(ConfigError, match="not finished"):
            model_folders(path)


def test_a_fine_tune_folder_on_another_disk_is_known_by_the_manifest(experiment, tmp_path):
    (experiment / "fine-tune").rename(tmp_path / "disk")
    (experiment / "fine-tune").symlink_to(tmp_path / "disk")
    for path in (experiment, experiment / "fine-tune"):
        assert model_folders(path, allow_missing=True) == [experiment / "fine-tune" / "0"]
    assert model_folders(experiment / "fine-tune" / "0") == [experiment / "fine-tune" / "0"]


def test_an_experiment_of_tables_alone_holds_no_model(experiment):
    write_manifest(experiment, Manifest(modes={"fine-tune": ModeRecord(run=RUN)}))
    for path in (experiment, experiment / "fine-tune"):
        for allow_missing in (False, True):
            with pytest.raises(ConfigError, match=f"no fine-tuned model in {path}: set pretrained"):
                model_folders(path, allow_missing=allow_missing)


@pytest.mark.parametrize("damage", ["gone", "pipe", "link"])
def test_a_fold_without_its_weights_is_not_left_out_where_no_manifest_names_it(experiment, damage):
    (experiment / MANIFEST).unlink()
    folds = [experiment / "fine-tune" / name for name in "012"]
    assert model_folders(experiment) == folds
    weights = folds[0] / WEIGHTS_FILE
    weights.unlink()
    if damage == "pipe":
        os.mkfifo(weights)
    elif damage == "link":
        weights.symlink_to("nowhere")
    for path in (experiment, experiment / "fine-tune"):
        with pytest.raises(DataError, match=rf"{folds[0]} has a config\.json, but no weights"):
            model_folders(path)
    (folds[0] / CARD_FILE).unlink()  # as of a fold that trains
    assert model_folders(experiment) == folds[1:]
