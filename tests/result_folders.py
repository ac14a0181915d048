"""What runs leave besides models and prepared data, of each kind a small folder to be damaged."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from damaged import Damage, file_damages, json_damages, parquet_damages
from scored import score_rows, write_scores

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Config
from biolm_ray.errors import DataError
from biolm_ray.experiment.begun import job_settings, search_settings
from biolm_ray.experiment.resuming import plan_jobs
from biolm_ray.experiment.search import SETTINGS as SEARCH_SETTINGS
from biolm_ray.experiment.search import _earlier_trials
from biolm_ray.experiment.storage import SETTINGS
from biolm_ray.experiment.tracking import read_metrics
from biolm_ray.experiment.tried import TRIALS, Trials, Tried
from biolm_ray.files import write_json
from biolm_ray.inference.loaded_scores import explained, load_scores
from biolm_ray.inference.scores_file import KEY
from biolm_ray.inference.units import (
    UnitResult,
    finished_unit,
    make_units,
    save_result,
    table_path,
)
from biolm_ray.models.card import CARD_FILE
from biolm_ray.models.stored_weights import WEIGHTS_FILE
from biolm_ray.records import write_record
from biolm_ray.report.tracks import make_tracks, read_score_pieces
from biolm_ray.results.manifest import (
    FoldRecord,
    ModeRecord,
    TableRecord,
    file_digest,
    new_run,
    read_manifest,
    update_manifest,
    with_mode,
)
from biolm_ray.training.fold_tables import ALL_RESULTS, write_results
from biolm_ray.training.outcome import DONE, done_already, mark_done
from biolm_ray.training.trained_rows import ROWS, read_rows

RATE = "training.learning_rate"
GIVEN = {"filepath": "rows.tsv", "seqpos": 2, "labelpos": 3, "task": "regression"}
UNIT = make_units(np.arange(1), np.array([5]), room=10)[0]


class Said(logging.Handler):
    """Keeps the last warning, so that what is done again has to say so."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def or_said(use: Callable[[], Any]) -> Any:
    """Give a result; where there is none, raise what was said about it."""
    log, said = logging.getLogger("biolm_ray"), Said()
    log.addHandler(said)
    try:
        found = use()
    finally:
        log.removeHandler(said)
    if found is None and said.text:
        raise DataError(said.text)
    return found


@dataclass(frozen=True)
class Job:
    folder: Path
    config: Config = field(default_factory=lambda: load_config(None, "fine-tune", GIVEN))
    prepared: str = "prepared/abc"
    rows_digest: str = "rows"
    weights: Path | None = None

    @property
    def name(self) -> str:
        return "fold 0"

    @property
    def board(self) -> Path:
        return self.folder / "tboard"


def manifest(folder: Path) -> Path:
    run = new_run("0.1.0", "mode: fine-tune\n")
    folder.mkdir()
    (folder / "out_of_fold.csv").write_text("a,b\n")
    digest = file_digest(folder / "out_of_fold.csv")
    record = ModeRecord(
        run=run,
        folds=(FoldRecord(name="0", folder="fine-tune/0", files={"model.safetensors": digest}),),
        tables=(TableRecord(path="out_of_fold.csv", digest=digest, run=run),),
    )
    update_manifest(folder, lambda empty: with_mode(empty, "fine-tune", record))
    return folder


def use_manifest(folder: Path) -> Any:
    found = read_manifest(folder)
    if found is None:  # all that lies there is then read as it is, with a warning
        raise DataError(f"{folder}: nothing vouches for what lies there")
    return found.model_dump(mode="json")


def finished(folder: Path) -> Path:
    folder.mkdir()
    for name in (WEIGHTS_FILE, CARD_FILE):
        (folder / name).write_text(f"content of {name}")
    rows = {name: np.arange(3) for name in ("train", "validation", "test", "kept_aside")}
    hashes = {f"{name}_hashes": np.zeros((3, 2), np.uint64) for name in rows}
    np.savez(folder / ROWS, prepared="abc", digest="d", format_version=1, **rows, **hashes)
    history = [{"epoch": 1.0, "step": 5, "loss": 0.9}, {"epoch": 1.0, "eval_loss": 0.8}]
    write_json(folder / "trainer_state.json", {"epoch": 1, "log_history": history})
    metrics = {"epoch": 1.0, "eval_loss": 0.8, "test_spearman": 0.5, "test_samples": 2.0}
    write_results(folder, metrics)
    mark_done(Job(folder), metrics)
    write_record(folder / SETTINGS, job_settings(Job(folder)))
    return folder


def use_done(folder: Path) -> Any:
    found = or_said(lambda: done_already(Job(folder)))
    if found is None:
        raise DataError(f"{folder}: never finished")
    return found


def use_rows(folder: Path) -> Any:
    found = read_rows(folder)
    if found is None:
        raise DataError(f"{folder}: does not tell")
    return [found.prepared, found.digest, dict(found.rows), dict(found.hashes)]


def use_settings(folder: Path) -> Any:
    (plan,) = plan_jobs([Job(folder)], True)
    if plan.metrics is None:
        raise DataError(f"{folder}: is trained")
    return plan.metrics


SEARCH = {**GIVEN, "crossvalidation": 2, "tune.space": {RATE: {"low": 1e-4, "high": 0.1}}}


def search(folder: Path) -> Path:
    folder.mkdir()
    write_record(folder / SEARCH_SETTINGS, search_settings(_search_config(), "prepared/abc"))
    trials = Trials(folder / TRIALS, "pearson")
    trials.start("a", {RATE: 0.01})
    trials.update("a", value=0.5, folds=2, ended=True)
    trials.start("b", {RATE: 0.02})
    return folder


def use_search(folder: Path) -> Any:
    trial: Any = SimpleNamespace(prepared="prepared/abc", folder=folder / "trials")
    config = _search_config()
    found: list[Tried] = _earlier_trials(config, trial, folder, "pearson", lambda continues: None)
    if not found:
        raise DataError(f"{folder}: begins anew")
    return [each.model_dump() for each in found]


def _search_config() -> Config:
    return load_config(None, "tune", SEARCH)


def unit(folder: Path) -> Path:
    folder.mkdir()
    table_path(folder, UNIT).write_text("x,a,1.5\n")
    pq.write_table(pa.table({"loo": [1.5]}), table_path(folder, UNIT, ending=".parquet"))
    result = UnitResult(num_tokens=5, num_scores=5, largest_difference=1e-7, notes=("some",))
    save_result(folder, UNIT, result)
    return folder


def use_unit(folder: Path) -> Any:
    found = or_said(lambda: finished_unit(folder, UNIT))
    if found is None:
        raise DataError(f"{folder}: never finished")
    return found.model_dump()


def typed_scores(folder: Path) -> Path:
    metadata = {"target": "half_life", "num_models": 2, "noise_floor": 0.5, "format_version": 1}
    rows = pd.concat([score_rows("g", "acgt", range(4)), score_rows("h", "gg", [1, 2])])
    write_scores(folder / "loo_scores_mask.parquet", rows, metadata)
    return folder


def lone_scores(folder: Path) -> Path:
    write_scores(folder / "loo_scores_mask.csv", score_rows("g", "acgt", range(4)))
    return folder


def packed_scores(folder: Path) -> Path:
    write_scores(folder / "loo_scores_mask.csv.gz", score_rows("g", "acgt", range(4)))
    return folder


def use_scores(folder: Path) -> Any:
    scores = load_scores(folder)
    (path,) = folder.glob("loo_scores_*")
    pieces = [track.letters for piece in read_score_pieces(path) for track in make_tracks(piece)]
    values = [list(each) for part in explained(scores.table)[:2] for each in part]
    return [dict(scores.metadata), values, pieces]


def json_of(*names: str) -> Callable[[Path], Iterator[Damage]]:
    """All damages of JSON files."""

    def damages(whole: Path) -> Iterator[Damage]:
        for name in names:
            yield from file_damages(name)
            yield from json_damages(name, json.loads((whole / name).read_text()))

    return damages


def files(*names: str) -> Callable[[Path], Iterator[Damage]]:
    return lambda whole: chain.from_iterable(file_damages(name) for name in names)


def _unit_damages(whole: Path) -> Iterator[Damage]:
    yield from json_of("000000.json")(whole)
    yield from files("000000.csv", "000000.parquet")(whole)


def _epoch_damages(whole: Path) -> Iterator[Damage]:
    yield from json_of("trainer_state.json")(whole)
    yield from files(ALL_RESULTS)(whole)


def _scores_damages(whole: Path) -> Iterator[Damage]:
    """Those of the table, and of what is stored in it of its making."""
    name = "loo_scores_mask.parquet"
    table = pq.read_table(whole / name)
    yield from file_damages(name)
    yield from parquet_damages(name, table, lambda path, other: pq.write_table(other, path))
    metadata = json.loads((table.schema.metadata or {})[KEY])
    for damage in chain(file_damages("metadata"), json_damages("metadata", metadata)):
        yield Damage(
            damage.name, lambda folder, damage=damage: _in_table(folder / name, damage), True
        )


def _in_table(path: Path, damage: Damage) -> None:
    """Damage the metadata of a table as a file would be."""
    table = pq.read_table(path)
    aside = path.parent / "metadata"
    aside.write_bytes((table.schema.metadata or {})[KEY])
    damage.apply(path.parent)
    stored = None
    if aside.is_file() and aside.stat().st_size < 1 << 25:
        stored = {KEY: aside.read_bytes()}
    if aside.is_dir():
        aside.rmdir()
    else:
        aside.unlink(missing_ok=True)
    pq.write_table(table.replace_schema_metadata(stored), path)


def _text_damages(name: str) -> Callable[[Path], Iterator[Damage]]:
    """Without a size beyond all memory: tables in CSV may be of any size."""

    def damages(whole: Path) -> Iterator[Damage]:
        for damage in file_damages(name):
            if "terabyte" not in damage.name:
                # A lone CSV has no digest: a row or a number that is cut may be as it was.
                yield Damage(damage.name, damage.apply, is_edit=True)

    return damages


@dataclass(frozen=True)
class Kind:
    """A kind of folder.

    Attributes:
        write: Makes one.
        use: What is read of it, or a sentence.
        damages: What befalls it.
    """

    write: Callable[[Path], Path]
    use: Callable[[Path], Any]
    damages: Callable[[Path], Iterator[Damage]]


RESULTS = {
    "manifest": Kind(manifest, use_manifest, json_of("manifest.json")),
    "mark of a finished model": Kind(finished, use_done, json_of(DONE, ALL_RESULTS)),
    "rows of a model": Kind(finished, use_rows, files(ROWS)),
    "epochs of a model": Kind(finished, read_metrics, _epoch_damages),
    "settings of a training": Kind(finished, use_settings, json_of(SETTINGS)),
    "search": Kind(search, use_search, json_of(SEARCH_SETTINGS, TRIALS)),
    "part of scores": Kind(unit, use_unit, _unit_damages),
    "typed scores": Kind(typed_scores, use_scores, _scores_damages),
    "lone scores": Kind(lone_scores, use_scores, _text_damages("loo_scores_mask.csv")),
    "packed scores": Kind(packed_scores, use_scores, _text_damages("loo_scores_mask.csv.gz")),
}
