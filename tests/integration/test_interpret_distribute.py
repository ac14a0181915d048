"""Scores of many sequences: inline or spread over workers, broken off or not, one table."""

import gc
import gzip
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from small_models import BLOCK_SIZE, NUM_ROWS, make_tokenizer, write_model, write_prepared

from biolm_ray.config.schema import (
    OWN_CODE,
    InterpretConfig,
    TrustedCode,
)
from biolm_ray.data.targets import Scaler, Targets
from biolm_ray.errors import BiolmError, ConfigError, DataError, ResourceError
from biolm_ray.inference import crew, spreading, table_work
from biolm_ray.inference.distribute import PARTS, score_tables
from biolm_ray.inference.leave_one_out import make_planner, score_sequence
from biolm_ray.inference.loaded_scores import load_scores
from biolm_ray.inference.plans import ScoringPlan
from biolm_ray.inference.scorer import UnitScorer
from biolm_ray.inference.table_work import LooSummary
from biolm_ray.inference.worker import ScoringJob, ScoringWorker
from biolm_ray.models.saved import load_model
from biolm_ray.preparation.prepared import PreparedData
from biolm_ray.report.text import describe_scoring

EXAMPLE = Path(__file__).parents[2] / "examples/mean_pool_plugin.py"
REMOVE = InterpretConfig(edit="remove")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("data") / "prepared", make_tokenizer())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [write_model(root / str(seed), make_tokenizer(), seed) for seed in (0, 1)]


def score_inline(
    folders: list[Path],
    prepared: Path,
    out_csv: Path,
    rows=None,
    settings=REMOVE,
    num_workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    trusted: TrustedCode = OWN_CODE,
) -> LooSummary:
    rows = np.arange(NUM_ROWS) if rows is None else rows
    plan = ScoringPlan(tuple(folders), rows, out_csv)
    (summary,) = score_tables(
        [plan],
        prepared,
        settings,
        num_workers=num_workers,
        trusted=trusted,
        progress=progress,
    )
    return summary


def contents(summary: LooSummary) -> tuple[bytes, bytes]:
    return summary.path.read_bytes(), summary.path.with_suffix(".parquet").read_bytes()


def test_the_table_holds_the_scores_of_every_row_in_the_order_asked_for(
    folders: list[Path], prepared: Path, tmp_path: Path
) -> None:
    rows = np.array([5, 2, 17])
    summary = score_inline(folders[:1], prepared, tmp_path / "loo_scores_remove.csv", rows)
    table = pd.read_csv(summary.path)
    model, data = load_model(folders[0]), PreparedData.open(prepared)
    lengths = np.minimum(data.lengths[rows], BLOCK_SIZE)
    assert table["sequence"].tolist() == np.repeat(["g5", "g2", "g17"], lengths).tolist()
    plan = make_planner(REMOVE, model.tokenizer)
    scores = [score_sequence(model, data.encoded(int(row)), plan).loo[:, 0] for row in rows]
    np.testing.assert_allclose(table["loo"], np.concatenate(scores), rtol=0, atol=1e-12)
    assert (summary.num_sequences, summary.num_positions) == (3, len(table))
    assert 0 <= summary.largest_difference < 1e-5
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["loo_scores_remove.csv", "loo_scores_remove.parquet"]


def test_workers_write_the_same_bytes_as_one_process(
    folders: list[Path], prepared: Path, tmp_path: Path, ray_cluster: None
) -> None:
    calls: list[tuple[int, int]] = []
    alone = score_inline(folders, prepared, tmp_path / "alone" / "x.csv")
    spread = score_inline(
        folders,
        prepared,
        tmp_path / "spread" / "x.csv",
        num_workers=2,
        progress=lambda *done: calls.append(done),
    )
    assert contents(spread) == contents(alone)
    assert spread.num_positions == alone.num_positions
    assert spread.noise_floors == alone.noise_floors
    assert calls[-1] == (spread.num_positions, spread.num_positions)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert "loo_std" in pd.read_csv(alone.path).columns


def test_a_wrong_description_is_told_once_however_many_workers_and_models_there_are(
    prepared: Path, tmp_path: Path, ray_cluster: None
) -> None:
    plugin, text = tmp_path / "wrong.py", EXAMPLE.read_text(encoding="utf-8")
    right, wrong = "left=(len(weight) - 1) // 2", "left=0"
    assert right in text
    plugin.write_text(text.replace(right, wrong), encoding="utf-8")
    folders = [
        write_model(tmp_path / str(seed), make_tokenizer(), seed, plugin=plugin) for seed in (0, 1)
    ]
    code = TrustedCode(plugin=str(plugin))
    alone = score_inline(folders, prepared, tmp_path / "alone" / "x.csv", trusted=code)
    spread = score_inline(
        folders, prepared, tmp_path / "spread" / "x.csv", num_workers=2, trusted=code
    )
    (note,) = spread.notes
    assert note.startswith("model mean_pool: its description as a stack of local layers is not")
    assert describe_scoring(spread).splitlines().count(note) == 1
    assert alone.notes == spread.notes
    assert contents(spread) == contents(alone)
    assert (spread.num_redone, spread.largest_difference < 1e-5) == (0, True)


def break_off_after_five_units(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have the sixth unit raise what Ctrl-C does; gives the numbers of those that are scored."""
    scored: list[int] = []
    original = UnitScorer.score

    def score_until_broken_off(self, unit):
        if len(scored) == 5:
            raise KeyboardInterrupt
        scored.append(unit.index)
        return original(self, unit)

    monkeypatch.setattr(UnitScorer, "score", score_until_broken_off)
    return scored


def test_a_run_that_was_broken_off_does_only_what_is_missing(
    folders: list[Path], prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score_inline(folders[:1], prepared, tmp_path / "whole" / "x.csv")
    original = UnitScorer.score
    scored = break_off_after_five_units(monkeypatch)
    out_csv = tmp_path / "broken" / "x.csv"
    with pytest.raises(KeyboardInterrupt):
        score_inline(folders[:1], prepared, out_csv)
    assert not out_csv.exists()

    again: list[int] = []
    monkeypatch.setattr(
        UnitScorer, "score", lambda self, unit: again.append(unit.index) or original(self, unit)
    )
    summary = score_inline(folders[:1], prepared, out_csv)
    assert not set(again) & set(scored)
    assert out_csv.read_bytes() == whole.path.read_bytes()
    assert summary.num_positions == whole.num_positions
    assert (whole.num_reused, 0 < summary.num_reused < whole.num_positions) == (0, True)
    assert summary.largest_difference == whole.largest_difference
    assert not (out_csv.parent / PARTS).exists()


def test_parts_of_a_broken_off_run_that_are_damaged_are_scored_again(
    folders: list[Path], prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    """A table that is cut, one of another unit, and a mark that is cut."""
    whole = score_inline(folders, prepared, tmp_path / "whole" / "x.csv")
    out_csv = tmp_path / "broken" / "x.csv"
    original = UnitScorer.score
    scored = break_off_after_five_units(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        score_inline(folders, prepared, out_csv)
    (parts,) = (out_csv.parent / PARTS).iterdir()
    names = [f"{index:06d}" for index in scored]
    cut = parts / f"{names[0]}.parquet"
    cut.write_bytes(cut.read_bytes()[:-9])
    (parts / f"{names[1]}.csv").write_bytes((parts / f"{names[2]}.csv").read_bytes())
    (parts / f"{names[3]}.json").write_text('{"result": {')

    again: list[int] = []
    monkeypatch.setattr(
        UnitScorer, "score", lambda self, unit: again.append(unit.index) or original(self, unit)
    )
    summary = score_inline(folders, prepared, out_csv)
    assert set(again) & set(scored) == {scored[0], scored[1], scored[3]}
    assert caplog.text.count("; its sequences are scored again") == 3
    assert contents(summary) == contents(whole)


def plans_of(folders: list[Path], out: Path) -> list[ScoringPlan]:
    """A table for each of the models, as after a cross-validation: each has rows of its own."""
    return [
        ScoringPlan((folder,), np.arange(number, NUM_ROWS, 2), out / folder.name / "x.csv")
        for number, folder in enumerate(folders)
    ]


def watch_workers(
    monkeypatch: pytest.MonkeyPatch,
    distribute: str,
    before_task: Callable[[Sequence[ScoringJob]], None],
) -> None:
    """Call a function with the jobs, in the worker's process, ahead of each of its tasks.

    It must be local to a test, since workers cannot import this module.
    """

    class Worker(ScoringWorker):
        def work(self, job, unit):
            before_task(self.jobs)
            return super().work(job, unit)

    class Trial(spreading.TaskTrial):
        def step(self):
            before_task(self.worker.jobs)
            return super().step()

    watched = {"actors": ("ScoringWorker", Worker), "tune": ("TaskTrial", Trial)}
    monkeypatch.setattr(spreading, *watched[distribute])


@pytest.mark.parametrize("distribute", ["actors", "tune"])
def test_the_same_workers_go_from_table_to_table(
    folders: list[Path],
    prepared: Path,
    tmp_path: Path,
    ray_cluster: None,
    monkeypatch: pytest.MonkeyPatch,
    distribute: Literal["actors", "tune"],
) -> None:
    alone = [
        score_inline(list(plan.folders), prepared, plan.out_csv, plan.rows)
        for plan in plans_of(folders, tmp_path / "alone")
    ]
    processes = tmp_path / "processes"
    processes.mkdir()
    watch_workers(monkeypatch, distribute, lambda jobs: (processes / str(os.getpid())).touch())
    calls: list[tuple[int, int]] = []
    spread = score_tables(
        plans_of(folders, tmp_path),
        prepared,
        InterpretConfig(distribute=distribute),
        num_workers=1,
        progress=lambda *counts: calls.append(counts),
    )
    assert len(list(processes.iterdir())) == 1
    assert [contents(summary) for summary in spread] == [contents(summary) for summary in alone]
    num_positions = sum(summary.num_positions for summary in alone)
    assert calls[-1] == (num_positions, num_positions)
    assert min(total for _, total in calls) > max(summary.num_positions for summary in alone)


def test_a_run_broken_off_in_its_second_table_keeps_the_first(
    folders: list[Path], prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[tuple[str, int]] = []
    original = UnitScorer.score

    def score_until_broken_off(self, unit):
        name = self.job.model_folders[0].name
        if name == folders[1].name and len(scored) > 14:
            raise KeyboardInterrupt
        scored.append((name, unit.index))
        return original(self, unit)

    plans = plans_of(folders, tmp_path)
    monkeypatch.setattr(UnitScorer, "score", score_until_broken_off)
    with pytest.raises(KeyboardInterrupt):
        score_tables(plans, prepared, REMOVE, num_workers=0)
    assert [plan.out_csv.exists() for plan in plans] == [True, False]
    first = plans[0].out_csv.read_bytes()

    once = list(scored)
    scored.clear()
    monkeypatch.setattr(
        UnitScorer,
        "score",
        lambda self, unit: (
            scored.append((self.job.model_folders[0].name, unit.index)) or original(self, unit)
        ),
    )
    summaries = score_tables(plans, prepared, REMOVE, num_workers=0)
    assert scored
    assert not set(scored) & set(once)
    assert plans[0].out_csv.read_bytes() == first
    assert summaries[0].num_reused == summaries[0].num_positions
    assert 0 < summaries[1].num_reused < summaries[1].num_positions
    assert not any((plan.out_csv.parent / PARTS).exists() for plan in plans)


def test_a_model_that_does_not_fit_is_told_before_the_first_table_is_begun(
    folders: list[Path], prepared: Path, tmp_path: Path
) -> None:
    other = Targets(task="classification", classes=("low", "high"))
    wrong = write_model(tmp_path / "wrong", make_tokenizer(), 0, other)
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="the model predicts numbers"):
        score_tables(
            plans_of([wrong, folders[0]], out),
            prepared,
            InterpretConfig(class_name="low"),
            num_workers=0,
        )
    assert not out.exists()


@pytest.mark.parametrize("distribute", ["actors", "tune"])
def test_a_table_that_cannot_be_written_ends_the_run_and_its_units_are_kept(
    folders: list[Path],
    prepared: Path,
    tmp_path: Path,
    ray_cluster: None,
    monkeypatch: pytest.MonkeyPatch,
    distribute: Literal["actors", "tune"],
) -> None:
    def disk_is_full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    plans = plans_of(folders, tmp_path)
    settings = InterpretConfig(distribute=distribute)
    with monkeypatch.context() as patch:
        patch.setattr(table_work, "merge_tables", disk_is_full)
        with pytest.raises(ResourceError, match="no space is left"):
            score_tables(plans, prepared, settings, num_workers=1)
    first, _ = score_tables(plans, prepared, settings, num_workers=1)
    assert first.num_reused == first.num_positions


def test_the_noise_floor_is_the_standard_error_of_a_score_over_the_whole_table(
    folders: list[Path], prepared: Path, tmp_path: Path
) -> None:
    summary = score_inline(folders, prepared, tmp_path / "x.csv")
    single = [
        score_inline([folder], prepared, tmp_path / folder.name / "x.csv") for folder in folders
    ]
    loo = np.stack([pd.read_csv(one.path)["loo"] for one in single])
    expected = np.sqrt((loo.var(axis=0, ddof=1) / 2).mean())
    assert summary.noise_floors == pytest.approx((expected,), rel=1e-9)
    assert single[0].noise_floors == ()
    scores = load_scores(tmp_path / "x.csv")
    assert scores.metadata["noise_floor"] == summary.noise_floors[0]
    assert scores.metadata["largest_difference"] == summary.largest_difference
    assert scores.table["loo"].to_numpy() == pytest.approx(loo.mean(axis=0), abs=1e-12)
    assert scores.table["loo_model"].to_numpy() == pytest.approx(loo.mean(axis=0) / 3, abs=1e-9)


def test_a_compressed_table_holds_the_same_rows(
    folders: list[Path], prepared: Path, tmp_path: Path
) -> None:
    rows = np.arange(3)
    plain = score_inline(folders[:1], prepared, tmp_path / "plain" / "x.csv", rows)
    settings = InterpretConfig(compress=True)
    packed = score_inline(folders[:1], prepared, tmp_path / "x.csv", rows, settings)
    assert packed.path.name == "x.csv.gz"
    assert gzip.decompress(packed.path.read_bytes()) == plain.path.read_bytes()


def test_a_class_of_choice_is_scored_beside_all_others(tmp_path: Path) -> None:
    targets = Targets(task="classification", classes=("low", "mid", "high"))
    folder = write_model(tmp_path / "model", make_tokenizer(), 0, targets)
    unlabelled = write_prepared(tmp_path / "prepared", make_tokenizer(), with_labels=False)
    settings = InterpretConfig(class_name="mid", edit="saturation")
    score_inline([folder], unlabelled, tmp_path / "x.csv", np.arange(4), settings)
    scores = load_scores(tmp_path / "x.csv")
    assert scores.table["loo"].tolist() == scores.table["loo_mid"].tolist()
    assert set(scores.table["pred"]) <= {"low", "mid", "high"}
    summed = scores.table[["loo_low", "loo_mid", "loo_high"]].sum(axis=1)
    assert np.allclose(summed, 0, atol=1e-9)
    assert scores.metadata["classes"] == ["low", "mid", "high"]
    assert scores.metadata["class_name"] == "mid"
    assert (scores.table["token"] != scores.table["replacement"]).all()


def test_scores_that_are_no_numbers_are_refused_and_no_table_is_written(
    prepared: Path, tmp_path: Path
) -> None:
    scaler = Scaler(kind="log", center=800.0)
    beyond = Targets(task="regression", scaler=scaler)
    folder = write_model(tmp_path / "model", make_tokenizer(), 0, beyond)
    message = rf"model {folder}: the prediction of '.*' is not a finite number: .* scaled by log"
    with pytest.raises(DataError, match=message):
        score_inline([folder], prepared, tmp_path / "x.csv")
    assert not list(tmp_path.glob("x.*"))


def test_a_class_is_refused_before_anything_is_scored_where_numbers_are_predicted(
    folders: list[Path], prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="the model predicts numbers"):
        score_inline(
            folders, prepared, tmp_path / "x.csv", settings=InterpretConfig(class_name="nucleus")
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("distribute", ["actors", "tune"])
def test_a_worker_that_dies_is_replaced_and_nothing_is_lost(
    folders: list[Path],
    prepared: Path,
    tmp_path: Path,
    ray_cluster: None,
    monkeypatch: pytest.MonkeyPatch,
    distribute: Literal["actors", "tune"],
) -> None:
    alone = score_inline(folders[:1], prepared, tmp_path / "alone" / "x.csv")

    def die_once(jobs: Sequence[ScoringJob]) -> None:
        sign = jobs[0].parts.parent / "has died"
        if not sign.exists():
            sign.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    watch_workers(monkeypatch, distribute, die_once)
    settings = InterpretConfig(distribute=distribute)
    spread = score_inline(
        folders[:1], prepared, tmp_path / "spread" / "x.csv", settings=settings, num_workers=2
    )
    assert (spread.path.parent / PARTS / "has died").exists()
    assert contents(spread) == contents(alone)


def test_workers_that_the_cluster_has_no_room_for_keep_no_work_from_the_others(
    folders: list[Path], prepared: Path, tmp_path: Path, ray_cluster: None
) -> None:
    rows = np.arange(12)
    alone = score_inline(folders[:1], prepared, tmp_path / "alone" / "x.csv", rows)
    spread = score_inline(folders[:1], prepared, tmp_path / "x.csv", rows, num_workers=12)
    assert contents(spread) == contents(alone)


def test_trials_of_ray_tune_write_the_same_tables_as_one_process(
    folders: list[Path], prepared: Path, tmp_path: Path, ray_cluster: None
) -> None:
    alone = score_inline(folders, prepared, tmp_path / "alone" / "x.csv")
    settings = InterpretConfig(distribute="tune")
    spread = score_inline(
        folders, prepared, tmp_path / "spread" / "x.csv", settings=settings, num_workers=2
    )
    assert contents(spread) == contents(alone)
    assert sorted(path.name for path in spread.path.parent.iterdir()) == ["x.csv", "x.parquet"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # trials that end so leave files open
def test_ctrl_c_ends_scoring_on_trials_and_is_heard_after_it(
    folders: list[Path],
    prepared: Path,
    tmp_path: Path,
    ray_cluster: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler = signal.getsignal(signal.SIGINT)

    def press(*_, **__) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(spreading._TrialResults, "on_trial_start", press)
    settings = InterpretConfig(distribute="tune")
    with pytest.raises(KeyboardInterrupt):
        score_inline(folders[:1], prepared, tmp_path / "x.csv", settings=settings, num_workers=1)
    gc.collect()
    assert signal.getsignal(signal.SIGINT) is handler
    assert not (tmp_path / "x.csv").exists()


def test_workers_that_keep_dying_end_the_run_with_a_clear_message(
    folders: list[Path],
    prepared: Path,
    tmp_path: Path,
    ray_cluster: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch_workers(monkeypatch, "actors", lambda jobs: os.kill(os.getpid(), signal.SIGKILL))
    monkeypatch.setattr(crew, "RESTARTS", 0)
    with pytest.raises(ResourceError, match=r"keep dying .* what is finished is kept"):
        score_inline(folders[:1], prepared, tmp_path / "x.csv", num_workers=1)


def test_an_error_of_a_worker_arrives_as_itself(
    folders: list[Path],
    prepared: Path,
    tmp_path: Path,
    ray_cluster: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(jobs: Sequence[ScoringJob]) -> None:
        raise DataError("row 3 is not as it should be")

    watch_workers(monkeypatch, "actors", refuse)
    with pytest.raises(BiolmError) as caught:
        score_inline(folders[:1], prepared, tmp_path / "x.csv", num_workers=1)
    assert type(caught.value) is DataError
    assert "is not as it should be" in str(caught.value)
    assert not (tmp_path / "x.csv").exists()


def test_a_replacement_run_names_both_tokens_and_the_keys_it_could_not_use(
    folders: list[Path], prepared: Path, tmp_path: Path
) -> None:
    settings = InterpretConfig(edit="replace", replacements={"a": "g", "gej": "t", "N": "c"})
    summary = score_inline(folders[:1], prepared, tmp_path / "x.csv", settings=settings)
    table = pd.read_csv(summary.path)
    assert list(table.columns[:3]) == ["sequence", "token", "replacement"]
    assert dict(zip(table["token"], table["replacement"], strict=True)) == {"a": "g", "gej": "t"}
    assert summary.unused_replacements == ("N",)


@pytest.mark.parametrize(
    ("edit", "words"), [("remove", "not used with remove"), ("saturation", "no token carries")]
)
def test_a_wish_to_drop_numbers_that_can_do_nothing_is_told(
    folders: list[Path],
    prepared: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    edit: str,
    words: str,
) -> None:
    settings = InterpretConfig.model_validate({"edit": edit, "replace_specifiers": True})
    score_inline(folders[:1], prepared, tmp_path / "x.csv", np.arange(1), settings=settings)
    assert words in caplog.text


def test_a_dictionary_with_an_unknown_token_stops_before_anything_is_written(
    folders: list[Path], prepared: Path, tmp_path: Path
) -> None:
    settings = InterpretConfig(edit="replace", replacements={"a": "gek"})
    with pytest.raises(ConfigError, match="nearest is 'gej'"):
        score_inline(folders[:1], prepared, tmp_path / "x.csv", settings=settings)
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_labels_leaves_their_column_empty(
    folders: list[Path], tmp_path: Path
) -> None:
    unlabelled = write_prepared(tmp_path / "prepared", make_tokenizer(), with_labels=False)
    summary = score_inline(folders[:1], unlabelled, tmp_path / "x.csv", np.arange(2))
    assert pd.read_csv(summary.path)["label"].isna().all()
