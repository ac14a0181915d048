import json
from types import SimpleNamespace

import pytest
import ray.cloudpickle
from ray.exceptions import RayTaskError

from biolm_ray.config.load import load_config
from biolm_ray.errors import DataError
from biolm_ray.experiment.search import TrialRecord, _searcher, shown_settings
from biolm_ray.experiment.tried import Trials, Tried, read_trials
from biolm_ray.experiment.waiting import Demand
from biolm_ray.logs import logged

DEMAND = Demand(noun="model")

# Optuna would keep no lists in a data base, which is not asked of it.
pytestmark = pytest.mark.filterwarnings("ignore:Choices for a categorical")

CONFIG = load_config(
    None,
    "tune",
    {
        **{
            "filepath": "x.tsv",
            "seqpos": 2,
            "labelpos": 3,
            "outputpath": "o",
            "task": "regression",
        },
        "tune.space": {
            "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            "training.batch_size": {"low": 2, "high": 9, "integer": True},
            "splits.ratio": [[80, 10, 10], [60, 20, 20]],
        },
    },
)
SPACE = CONFIG.tune.space


def settings(rate=1e-3, batch=4, ratio=0):
    names = ("training.learning_rate", "training.batch_size", "splits.ratio")
    return dict(zip(names, (rate, batch, SPACE["splits.ratio"][ratio]), strict=True))


def tried(trial, *, value=0.5, folds=3, ended=True, error=None, **changes):
    return Tried(
        trial=trial,
        settings=settings(**changes),
        value=value,
        folds=folds,
        ended=ended,
        error=error,
    )


def test_what_is_written_is_read_back(tmp_path):
    path = tmp_path / "trials.json"
    trials = Trials(path, "pearson", [tried("a", ratio=1), tried("b", error="too large")])
    assert trials.start("c", settings(rate=0.00123)) is None
    trials.update("c", value=0.25, folds=1)
    assert read_trials(path, "pearson", SPACE) == list(trials)
    assert [each.counts for each in trials] == [True, False, False]


def test_a_trial_that_was_broken_off_or_failed_is_taken_up_again_once(tmp_path):
    begun = [tried("a"), tried("b", ended=False, batch=5), tried("c", error="x", batch=6)]
    trials = Trials(tmp_path / "trials.json", "pearson", begun)
    assert trials.start("d", settings()) is None
    assert trials.start("e", settings(batch=5)) == "b"
    assert trials.start("f", settings(batch=6)) == "c"
    assert trials.start("g", settings(batch=6)) is None, "f is under way, not broken off"
    assert [each.trial for each in trials] == ["a", "d", "e", "f", "g"]


def test_a_finished_search_of_an_earlier_version_is_read(tmp_path):
    path = tmp_path / "trials.json"
    old = {"settings": {**settings(), "splits.ratio": [80, 10, 10]}, "pearson": 0.5, "folds": 3}
    path.write_text(json.dumps([old | {"error": None}]))
    (found,) = read_trials(path, "pearson", SPACE)
    assert found.counts
    assert found.settings == settings()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"model.plugin": "evil.py"}}, "entry 1 sets model.plugin"),
        ({"settings": settings() | {"training.learning_rate": 3.0}}, "lies outside"),
        ({"settings": settings() | {"splits.ratio": "evil"}}, "none of the values searched"),
        ({"trial": "../../evil"}, "no name of a trial"),
        ({"pearson": "high"}, "'trials.0.value'"),
        ({"folds": None}, "'trials.0.folds'"),
        ({"settings": settings() | {"training.learning_rate": True}}, "lies outside"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path, change, message):
    path = tmp_path / "trials.json"
    (entry,) = Trials(path, "pearson", [tried("a", folds=2)]).entries()
    path.write_text(json.dumps([entry | change]))  # as the first version wrote it, without a seal
    with pytest.raises(DataError, match=f"trials.json: damaged .*{message}.*tune.resume: false"):
        read_trials(path, "pearson", SPACE)


def test_trials_of_another_metric_of_one_name_or_edited_are_refused(tmp_path):
    path = tmp_path / "trials.json"
    trials = Trials(path, "pearson", [tried("a"), tried("a", batch=5)])
    trials.update("a", folds=2)
    with pytest.raises(DataError, match="judged by 'pearson'"):
        read_trials(path, "loss", SPACE)
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 0.6'))
    with pytest.raises(DataError, match="has changed since it was written"):
        read_trials(path, "pearson", SPACE)
    path.write_text(json.dumps(trials.entries() * 2))
    with pytest.raises(DataError, match="a trial stands there twice"):
        read_trials(path, "pearson", SPACE)


def test_a_continued_search_begins_with_what_was_broken_off_and_knows_the_rest(tmp_path):
    ended = [tried(str(i), batch=2 + i % 8, value=i / 20) for i in range(12)]
    trials = Trials(tmp_path / "t.json", "pearson", [*ended, tried("x", ended=False, ratio=1)])
    searcher = _searcher(CONFIG, "pearson", trials)
    assert searcher.suggest("first") == settings(ratio=1)
    fresh = [searcher.suggest(f"fresh {i}") for i in range(3)]
    assert not [each for each in fresh if each in [known.settings for known in trials]]
    study = searcher._ot_study
    assert study.best_value == 11 / 20


def test_a_continued_search_does_not_draw_its_first_points_again(tmp_path):
    first = _searcher(CONFIG, "pearson", Trials(tmp_path / "t.json", "pearson"))
    drawn = [first.suggest(str(i)) for i in range(3)]
    for has_ended in (True, False):
        earlier = [
            Tried(trial=str(i), settings=each, value=0.1, folds=3, ended=has_ended)
            for i, each in enumerate(drawn)
        ]
        again = _searcher(CONFIG, "pearson", Trials(tmp_path / "t.json", "pearson", earlier))
        taken_up = [again.suggest(f"again {i}") for i in range(0 if has_ended else 3)]
        assert taken_up == ([] if has_ended else drawn)
        assert all(again.suggest(f"more {i}") not in drawn for i in range(3))


def test_a_trial_whose_process_cannot_start_is_written_down_as_failed(tmp_path):
    path = tmp_path / "trials.json"
    record = TrialRecord(Trials(path, "pearson"), tmp_path, "pearson", 1, DEMAND)
    trial = SimpleNamespace(trial_id="a", config=settings(), pickled_error_file=None)
    record.on_trial_error(0, [trial], trial)
    (written,) = read_trials(path, "pearson", SPACE)
    error = "its process could not be started or was lost"
    assert (written.settings, written.ended, written.error) == (settings(), True, error)


def test_a_trial_that_fails_is_told_when_it_does_with_where_in_the_file(tmp_path, capsys):
    failure = tmp_path / "error.pkl"
    cause = RayTaskError("run_trial", "File plugin.py, line 7", DataError("no rows"))
    failure.write_bytes(ray.cloudpickle.dumps(cause.as_instanceof_cause()))
    record = TrialRecord(Trials(tmp_path / "t.json", "pearson"), tmp_path, "pearson", 4, DEMAND)
    trial = SimpleNamespace(trial_id="a", config={"rate": 3}, pickled_error_file=str(failure))
    with logged(tmp_path, quiet=True):
        record.on_trial_error(0, [trial], trial)
    assert capsys.readouterr().err == "trial 1 of 4 failed: no rows; with rate 3\n"
    assert "File plugin.py, line 7" in (tmp_path / "run.log").read_text()


def test_a_trial_names_its_folds_as_their_training_does_and_says_when_it_is_stopped(
    tmp_path, capsys
):
    record = TrialRecord(Trials(tmp_path / "t.json", "pearson"), tmp_path, "pearson", 4, DEMAND)
    trial = SimpleNamespace(trial_id="a", config={"training.learning_rate": 3e-4})
    record.on_trial_start(0, [trial], trial)
    result = {"pearson": 0.5, "fold": 1, "fold_name": "fold 0", "num_folds": 3}
    with logged(tmp_path, quiet=False):
        record.on_trial_result(0, [trial], trial, result)
        last = {**result, "fold": 2, "fold_name": "fold 1", "done": True}
        record.on_trial_result(0, [trial], trial, last)
        whole = {**result, "fold": 3, "fold_name": "fold 2", "done": True}
        record.on_trial_result(0, [trial], trial, whole)
        record.on_trial_result(0, [trial], trial, {**result, "fold_name": "model", "num_folds": 1})
    assert capsys.readouterr().err.splitlines() == [
        "trial 1 of 4, fold 0: mean pearson 0.5000 with training.learning_rate 0.0003",
        "trial 1 of 4, fold 1: mean pearson 0.5000 with training.learning_rate 0.0003",
        "trial 1 of 4 is stopped after 2 of 3 folds: others are better so far",
        "trial 1 of 4, fold 2: mean pearson 0.5000 with training.learning_rate 0.0003",
        "trial 1 of 4: pearson 0.5000 with training.learning_rate 0.0003",
    ]
    best = {"training.learning_rate": 3e-4, "model.channels": 8}
    assert shown_settings(best) == "training.learning_rate 0.0003, model.channels 8"
