"""Moving results aside: whole, with their record, and whatever happens in between."""

import json
import logging
import os
import signal
from datetime import datetime
from pathlib import Path

import pytest

from biolm_ray.config.schema import MODES
from biolm_ray.errors import DataError, ResourceError
from biolm_ray.results import aside
from biolm_ray.results.aside import finish_moving, new_place, set_aside
from biolm_ray.results.contents import (
    MODE_FOLDERS,
    describe_results,
    holds_results,
    results_to_replace,
)
from biolm_ray.results.manifest import (
    MANIFEST,
    FoldRecord,
    Manifest,
    ModeRecord,
    file_digest,
    new_run,
    read_manifest,
    record_tables,
    with_mode,
    write_manifest,
)

RUN = new_run("0.1.0")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def make_experiment(output: Path) -> Path:
    """Three folds, tables of scores by them and by a model from elsewhere, and a log."""
    folds, weights = [], []
    for name in "012":
        folder = output / "fine-tune" / name
        weights.append(write(folder / "model.safetensors", f"weights {name}"))
        files = {"model.safetensors": file_digest(weights[-1])}
        folds.append(FoldRecord(name=name, folder=f"fine-tune/{name}", files=files))
    write(output / "fine-tune" / "logs" / "run.log", "a line\n")
    write(output / "pre-train" / "model.safetensors", "language")
    record = ModeRecord(run=RUN, folds=tuple(folds))
    write_manifest(output, with_mode(Manifest(), "fine-tune", record))
    own = write(output / "fine-tune" / "0" / "loo_scores_remove.csv", "own rows")
    new = write(output / "interpret" / "loo_scores_mask.csv", "new rows")
    other = write(output / "interpret" / "loo_scores_remove.csv", "of another model")
    write(output / "interpret" / "loo_scores_mask" / "tokens.csv", "readings")
    write(output / "interpret" / "loo_scores_mask_window3.csv", "not recorded")
    predicted = write(output / "predict" / "test_predictions.csv", "predicted")
    record_tables(output, "interpret", RUN, [own], weights[:1])
    record_tables(output, "interpret", RUN, [new], weights)
    record_tables(output, "interpret", RUN, [other], [write(output / "x" / "w", "elsewhere")])
    record_tables(output, "predict", RUN, [predicted], weights)
    return output


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and "logs" not in path.parts
    }


PATHS = ["fine-tune", "interpret/loo_scores_mask", "interpret/loo_scores_mask.csv", "predict"]


def test_what_is_made_of_replaced_models_goes_with_them(tmp_path):
    assert results_to_replace(make_experiment(tmp_path), "fine-tune") == PATHS
    assert results_to_replace(tmp_path, "tune") == []


def test_results_of_unknown_runs_are_replaced_too(tmp_path):
    write(tmp_path / "fine-tune" / "0" / "model.safetensors", "weights")
    assert results_to_replace(tmp_path, "fine-tune") == ["fine-tune"]
    assert describe_results(tmp_path, ["fine-tune"]) == "fine-tune (nothing says of which run)"


@pytest.mark.parametrize(
    ("name", "worth"),
    [
        ("logs/run.log", False),
        ("config.yaml", False),
        ("tokenizer.json", False),
        ("0/checkpoint/000001-000000000-abc.pt", False),
        ("0/training_settings.json", False),
        ("0/steps.csv", False),
        ("tboard/0/events", False),
        (".probe-1/question", False),
        ("0/model.safetensors", True),
        ("0/loo_scores_remove.csv", True),
        ("trials.json", True),
        ("out_of_fold.csv", True),
    ],
)
def test_what_a_failed_run_leaves_is_nothing_to_keep(tmp_path, name, worth):
    write(tmp_path / "fine-tune" / name, "")
    assert holds_results(tmp_path / "fine-tune") is worth


def test_results_are_told_with_their_number_and_time(tmp_path):
    make_experiment(tmp_path)
    time = RUN.started[:16].replace("T", " ")
    assert describe_results(tmp_path, PATHS) == (
        f"{', '.join(PATHS)} (3 models and 3 files, of {time} UTC)"
    )


def test_many_files_of_a_kind_are_counted_where_results_are_told(tmp_path):
    plots = [f"interpret/plots/{number:02d}_g.png" for number in range(12)]
    assert describe_results(tmp_path, ["fine-tune", *plots, "predict/a.csv", "predict/b.csv"]) == (
        "fine-tune, 12 .png files in interpret/plots, predict/a.csv, predict/b.csv (nothing says "
        "of which run)"
    )


def test_results_are_moved_aside_whole_and_can_be_read_there(tmp_path):
    make_experiment(tmp_path)
    before, manifest = contents(tmp_path), read_manifest(tmp_path)
    assert manifest is not None
    to = set_aside(tmp_path, "fine-tune", PATHS)
    moved = {name: text for name, text in before.items() if name.startswith(tuple(PATHS))}
    moved.pop("interpret/loo_scores_mask_window3.csv")
    assert contents(tmp_path / to) == moved
    staying = {name: text for name, text in before.items() if name not in moved}
    assert contents(tmp_path) == staying | {f"{to}/{name}": text for name, text in moved.items()}
    assert (tmp_path / "fine-tune" / "logs" / "run.log").read_text() == "a line\n"
    left, there = read_manifest(tmp_path), read_manifest(tmp_path / to)
    assert left is not None
    assert there is not None
    assert left.moving is None
    assert {mode: len(record.tables) for mode, record in left.modes.items()} == {"interpret": 1}
    assert there.modes["fine-tune"] == manifest.modes["fine-tune"]
    assert {mode: len(record.tables) for mode, record in there.modes.items()} == {
        "fine-tune": 0,
        "interpret": 2,
        "predict": 1,
    }


def test_results_are_removed_whole_where_that_is_asked_for(tmp_path):
    make_experiment(tmp_path)
    to = set_aside(tmp_path, "fine-tune", PATHS, remove=True)
    assert not (tmp_path / to).exists()
    assert set(contents(tmp_path)) == {
        "interpret/loo_scores_mask_window3.csv",
        "interpret/loo_scores_remove.csv",
        "pre-train/model.safetensors",
        "x/w",
    }
    assert (tmp_path / "fine-tune" / "logs" / "run.log").exists()


def test_a_folder_that_is_a_link_moves_as_a_link_to_the_same_place(tmp_path):
    output = make_experiment(tmp_path / "out")
    disk = tmp_path / "disk"
    (output / "fine-tune").rename(disk)
    (output / "fine-tune").symlink_to(Path("..") / "disk", target_is_directory=True)
    to = set_aside(output, "fine-tune", ["fine-tune"])
    assert (output / to / "fine-tune").resolve() == disk
    assert (disk / "0" / "model.safetensors").read_text() == "weights 0"
    assert not (output / "fine-tune").is_symlink()
    assert [path.name for path in (output / "fine-tune").iterdir()] == ["logs"]
    assert (output / "fine-tune" / "logs" / "run.log").read_text() == "a line\n"


class BrokenOffError(Exception):
    """Stands for a power failure."""


@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize("step", range(30))
def test_a_move_that_is_broken_off_anywhere_is_ended_by_the_next_run(
    tmp_path, monkeypatch, step, remove
):
    whole = make_experiment(tmp_path / "whole")
    to = "replaced/removing-x" if remove else "replaced/x"
    set_aside(whole, "fine-tune", PATHS, remove=remove, to=to)
    output = make_experiment(tmp_path / "broken")
    before = contents(output)
    calls = iter(range(step + 1))

    def breaking(function):
        def call(*args, **kwargs):
            if next(calls, None) is None:
                raise BrokenOffError
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", breaking(os.replace))
        patch.setattr(os, "rmdir", breaking(os.rmdir))
        patch.setattr(os, "unlink", breaking(os.unlink))
        try:
            set_aside(output, "fine-tune", PATHS, remove=remove, to=to)
        except BrokenOffError:
            found = read_manifest(output)
            assert found is not None
            if found.moving is None and "fine-tune" in found.modes:
                assert contents(output) == before
    write(output / "fine-tune" / "logs" / "run.log", "the next run opens its log first")
    finish_moving(output, remove=remove)
    if "fine-tune" in (read_manifest(output) or Manifest()).modes:
        assert contents(output) == before
        set_aside(output, "fine-tune", PATHS, remove=remove, to=to)
    assert contents(output) == contents(whole)
    for folder in ("", to):
        found, wanted = read_manifest(output / folder), read_manifest(whole / folder)
        assert (found and set(found.modes)) == (wanted and set(wanted.modes))
        assert found is None or found.moving is None


def test_one_run_may_set_results_aside_twice(tmp_path):
    make_experiment(tmp_path)
    to = set_aside(tmp_path, "interpret", ["fine-tune/0/loo_scores_remove.csv"])
    assert set_aside(tmp_path, "interpret", ["interpret/loo_scores_mask.csv"], to=to) == to
    there = read_manifest(tmp_path / to)
    assert there is not None
    assert [table.path for table in there.modes["interpret"].tables] == [
        "fine-tune/0/loo_scores_remove.csv",
        "interpret/loo_scores_mask.csv",
    ]


def test_two_moves_in_a_second_have_places_of_their_own(tmp_path):
    now = datetime(2026, 3, 1, 9, 30)
    first = new_place(tmp_path, "fine-tune", now)
    assert first == "replaced/fine-tune-2026-03-01-093000"
    (tmp_path / first).mkdir(parents=True)
    assert new_place(tmp_path, "fine-tune", now) == f"{first}-2"
    removing = "replaced/removing-fine-tune-2026-03-01-093000"
    assert new_place(tmp_path, "fine-tune", now, remove=True) == removing


def test_what_cannot_be_moved_is_told(tmp_path, monkeypatch):
    make_experiment(tmp_path)

    def refuse(source, target):
        raise PermissionError("read-only")

    monkeypatch.setattr(aside, "_move", refuse)
    with pytest.raises(ResourceError, match=r"cannot be moved to replaced/.* \(read-only\)"):
        set_aside(tmp_path, "fine-tune", ["fine-tune"])


def begin_moving(output: Path, *paths: str, to: str = "replaced/x") -> None:
    """Leave a manifest that has begun with a move, after which what was moved is to be removed."""
    moving = {"to": to, "paths": paths, "remove": True}
    content = Manifest().model_dump(mode="json") | {"moving": moving}
    write(output / MANIFEST, json.dumps(content))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folders_that_move_are_those_of_all_modes():
    assert set(MODE_FOLDERS) == set(MODES)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("mydata", "mydata is not moved .* it is no result"),
        ("rows.tsv", "it is no result"),
        ("link/precious", "it is no result"),
        ("fine-tune/precious", "fine-tune is a link"),
        ("predict/link/precious", "predict/link is a link"),
        ("tune/here", "replaced/x/tune is a link"),
    ],
)
def test_a_manifest_that_came_with_a_folder_moves_nothing_else(tmp_path, path, problem):
    output, other = tmp_path / "output", tmp_path / "other"
    for place in (other / "precious", output / "mydata" / "a", output / "predict" / "a.csv"):
        write(place, "mine")
    write(output / "rows.tsv", "mine")
    write(output / "tune" / "here", "a result")
    (output / "replaced" / "x").mkdir(parents=True)
    for link in ("link", "fine-tune", "predict/link", "replaced/x/tune"):
        (output / link).symlink_to(other)
    begin_moving(output, "predict/a.csv", path)
    before = everything(tmp_path)
    with pytest.raises(DataError, match=problem):
        finish_moving(output, remove=True)
    assert everything(tmp_path) == before
    if "link" not in problem or path.startswith("predict"):
        with pytest.raises(DataError, match=problem):
            set_aside(output, "predict", [path])
        assert everything(tmp_path) == before


def test_what_another_run_was_to_remove_is_kept_unless_this_one_removes_too(tmp_path, caplog):
    caplog.set_level(logging.INFO, "biolm_ray")
    for name, remove in {"kept": False, "removed": True}.items():
        write(tmp_path / name / "predict" / "a.csv", "a table")
        write(tmp_path / name / "replaced" / "x" / "b.csv", "another one")
        begin_moving(tmp_path / name, "predict", to="replaced/removing-x")
        finish_moving(tmp_path / name, remove=remove)
    kept, removed = tmp_path / "kept" / "replaced", tmp_path / "removed" / "replaced"
    assert (kept / "x-2" / "predict" / "a.csv").read_text() == "a table"
    assert [path.name for path in removed.iterdir()] == ["x"]
    assert sorted(path.name for path in kept.iterdir()) == ["x", "x-2"]
    going_on, renamed, removing = (record.getMessage() for record in caplog.records)
    assert going_on == (
        "an earlier run was broken off while it moved results to "
        f"{kept}/removing-x; going on with it: predict"
    )
    assert renamed == f"they were to be removed, and are kept in {kept}/x-2"
    assert "and removing them (run.replaced_results: remove): predict" in removing


def test_a_manifest_that_came_with_a_folder_removes_no_replaced_results(tmp_path):
    write(tmp_path / "replaced" / "x" / "predict" / "a.csv", "mine")
    write(tmp_path / "replaced" / "x" / "fine-tune" / "0" / "model.safetensors", "mine")
    begin_moving(tmp_path, "predict", to="replaced/x")
    finish_moving(tmp_path, remove=True)
    assert set(contents(tmp_path)) == {
        "replaced/x/fine-tune/0/model.safetensors",
        "replaced/x/predict/a.csv",
    }


def test_tables_in_a_mode_folder_on_another_disk_are_replaced(tmp_path):
    write(tmp_path / "disk" / "0" / "loo_scores_mask.csv", "scores")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "fine-tune").symlink_to(tmp_path / "disk")
    to = set_aside(tmp_path / "out", "interpret", ["fine-tune/0/loo_scores_mask.csv"])
    assert (tmp_path / "out" / to / "fine-tune/0/loo_scores_mask.csv").read_text() == "scores"


def test_a_stop_takes_effect_once_results_are_moved_whole(tmp_path, monkeypatch):
    make_experiment(tmp_path)
    paths = results_to_replace(tmp_path, "fine-tune")
    assert len(paths) > 1
    move = aside._move

    def stop_and_move(source: Path, target: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        move(source, target)

    monkeypatch.setattr(aside, "_move", stop_and_move)
    with pytest.raises(KeyboardInterrupt):
        set_aside(tmp_path, "fine-tune", paths, to="replaced/x")
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.moving is None
    assert all((tmp_path / "replaced/x" / path).exists() for path in paths)
