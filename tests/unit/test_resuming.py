import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import Config
from biolm_ray.errors import ConfigError, DataError
from biolm_ray.experiment.begun import TrainingSettings, differences
from biolm_ray.experiment.resuming import check_resumable, plan_jobs
from biolm_ray.experiment.storage import SETTINGS
from biolm_ray.files import write_json
from biolm_ray.models.card import CARD_FILE
from biolm_ray.models.stored_weights import WEIGHTS_FILE
from biolm_ray.records import write_record
from biolm_ray.training.checkpoint import CHECKPOINTS
from biolm_ray.training.fold_tables import ALL_RESULTS
from biolm_ray.training.outcome import DONE, mark_done

LEAST = {"filepath": "rows.tsv", "seqpos": 2, "labelpos": 3, "task": "regression"}


@dataclass(frozen=True)
class Job:
    config: Config
    folder: Path
    prepared: str = "prepared/abc"
    rows_digest: str = "rows"
    weights: Path | None = None

    @property
    def name(self) -> str:
        return f"fold {self.folder.name}"

    @property
    def board(self) -> Path:
        return self.folder / "tboard"


def differing_settings(before: TrainingSettings, now: TrainingSettings) -> list[str]:
    return [each.name for each in differences(before, now)]


def make_jobs(folder: Path, number: int = 2, **changes) -> list[Job]:
    job = {name: changes.pop(name) for name in ("prepared", "weights") if name in changes}
    config = load_config(None, "fine-tune", {**LEAST, **changes})
    return [Job(config, folder / str(fold), **job) for fold in range(number)]


def begin(plan) -> None:
    if plan.anew:
        (plan.job.folder / DONE).unlink(missing_ok=True)
    write_record(plan.job.folder / SETTINGS, plan.settings)


def finish(job: Job) -> None:
    for name in (WEIGHTS_FILE, CARD_FILE, ALL_RESULTS):
        write_json(job.folder / name, {})
    mark_done(job, {})


def run(jobs: list[Job], resume, finishing: int) -> list:
    """Begin all that is missing and finish the first few; gives the plans of those begun."""
    missing = [plan for plan in plan_jobs(jobs, resume) if plan.metrics is None]
    for plan in missing:
        begin(plan)
    for plan in missing[:finishing]:
        finish(plan.job)
    return missing


def names(plans) -> list[str]:
    return [plan.job.name for plan in plans]


@pytest.mark.parametrize("resume", [True, "auto"])
def test_finished_models_are_kept_and_the_others_continued(tmp_path, resume):
    jobs = make_jobs(tmp_path, 3)
    run(jobs, False, finishing=1)
    plans = plan_jobs(jobs, resume)
    assert [plan.metrics for plan in plans] == [{}, None, None]
    assert [plan.anew for plan in plans[1:]] == [False, False]
    assert [plan.job.weights for plan in plans[1:]] == [None, None]


@pytest.mark.parametrize("resume", [True, "auto", 5])
def test_a_mark_without_weights_is_no_finished_model(tmp_path, resume):
    jobs = make_jobs(tmp_path)
    run(jobs, False, finishing=2)
    (jobs[0].folder / WEIGHTS_FILE).unlink()
    if resume == 5:
        with pytest.raises(ConfigError, match="0 holds no trained model"):
            plan_jobs(jobs, resume)
        return
    assert [plan.metrics for plan in plan_jobs(jobs, resume)] == [None, {}]


@pytest.mark.parametrize("resume", [True, "auto"])
def test_what_was_never_begun_is_begun(tmp_path, resume):
    assert [plan.anew for plan in plan_jobs(make_jobs(tmp_path), resume)] == [True, True]


def test_without_resume_everything_begins_anew(tmp_path):
    jobs = make_jobs(tmp_path)
    run(jobs, False, finishing=2)
    assert [(plan.anew, plan.metrics) for plan in plan_jobs(jobs, False)] == [(True, None)] * 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"training.learning_rate": 0.5}, "training.learning_rate"),
        ({"blocksize": 99}, "preprocessing.block_size"),
        ({"prepared": "prepared/other"}, "data set"),
    ],
)
@pytest.mark.parametrize("resume", [True, 3])
def test_changed_settings_are_refused_by_name(tmp_path, changes, named, resume):
    run(make_jobs(tmp_path), False, finishing=2)
    with pytest.raises(ConfigError, match=rf"0 was begun.*differing: {named}.*\. Set them back"):
        plan_jobs(make_jobs(tmp_path, **changes), resume)


def test_a_changed_setting_is_told_with_its_flag_and_both_values(tmp_path):
    run(make_jobs(tmp_path, nepochs=60), False, finishing=1)
    said = r"differing: training\.num_epochs \(--nepochs\) is 61, was 60\. Set them back"
    with pytest.raises(ConfigError, match=said):
        plan_jobs(make_jobs(tmp_path, nepochs=61), True)
    with pytest.raises(ConfigError, match=r"\(--nepochs\) is not set, was 60"):
        plan_jobs(make_jobs(tmp_path), True)


def test_changed_settings_are_found_without_the_data(tmp_path):
    (job,) = make_jobs(tmp_path / "fine-tune", 1, nepochs=60, outputpath=str(tmp_path))
    run([job], False, finishing=0)
    changes = {"nepochs": 61, "outputpath": str(tmp_path)}
    for resume in (False, "auto", 3):
        changed = make_jobs(tmp_path, 1, resume=resume, **changes)[0].config
        check_resumable(changed)
    check_resumable(make_jobs(tmp_path, 1, **changes | {"nepochs": 60, "resume": True})[0].config)
    with pytest.raises(ConfigError, match=r"0 was begun .* is 61, was 60"):
        check_resumable(make_jobs(tmp_path, 1, resume=True, **changes)[0].config)
    other = make_jobs(tmp_path / "fine-tune", 2, nepochs=61)
    run(other[1:], False, finishing=0)  # a fold that fits: the others may be left over
    check_resumable(make_jobs(tmp_path, 1, resume=True, **changes)[0].config)


@pytest.mark.parametrize(
    ("names_of_files", "said"),
    [
        ([], "fold 0 has no checkpoint yet and begins from the start"),
        (["000002-000000000-aa.pt", "000003-000000000-bb.pt"], "fold 0 goes on after epoch 3"),
        (["000003-000000012-cc.pt"], "fold 0 goes on after step 12 of epoch 4"),
        (["000000-000000012-cc.pt"], "fold 0 goes on after step 12 of epoch 1"),
    ],
)
def test_where_an_interrupted_training_goes_on_is_told(tmp_path, names_of_files, said):
    jobs = make_jobs(tmp_path, 1)
    run(jobs, False, finishing=0)
    for name in names_of_files:
        write_json(tmp_path / "0" / CHECKPOINTS / name, {})
    (plan,) = plan_jobs(jobs, True)
    assert plan.beginning == said
    (anew,) = plan_jobs(jobs, False)
    assert anew.beginning is None


def test_other_earlier_weights_are_a_change_wherever_they_lie(tmp_path):
    for place, content in {"one": "a", "moved": "a", "other": "b"}.items():
        write_json(tmp_path / place / WEIGHTS_FILE, content)
    run(make_jobs(tmp_path, weights=tmp_path / "one"), False, finishing=1)
    plan_jobs(make_jobs(tmp_path, weights=tmp_path / "moved"), True)
    with pytest.raises(ConfigError, match="differing: earlier weights"):
        plan_jobs(make_jobs(tmp_path, weights=tmp_path / "other"), True)


def test_auto_trains_anew_what_was_begun_with_other_settings(tmp_path):
    run(make_jobs(tmp_path), False, finishing=2)
    plans = plan_jobs(make_jobs(tmp_path, **{"training.learning_rate": 0.5}), "auto")
    assert [(plan.anew, plan.metrics) for plan in plans] == [(True, None)] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"patience": 9},
        {"resources.parallel_folds": 1},
        {"resources.max_failures": 0},
        {"resources.wait_minutes": 1},
        {"ngpus": 0},
        {"silent": True},
    ],
)
def test_what_cannot_change_the_result_may_change(tmp_path, changes):
    run(make_jobs(tmp_path), False, finishing=1)
    plans = plan_jobs(make_jobs(tmp_path, **changes), True)
    assert [plan.metrics for plan in plans] == [{}, None]


def test_more_epochs_start_from_the_best_weights(tmp_path):
    jobs = make_jobs(tmp_path)
    run(jobs, False, finishing=2)
    plans = run(jobs, 5, finishing=0)
    assert [plan.job.weights for plan in plans] == [job.folder for job in jobs]
    assert [plan.job.config.training.resume for plan in plans] == [5, 5]
    assert json.loads((jobs[0].folder / SETTINGS).read_text())["more_epochs"] == [5]


@pytest.mark.parametrize("resume", [5, True, "auto"])
def test_more_epochs_that_were_broken_off_go_on_where_they_were(tmp_path, resume):
    jobs = make_jobs(tmp_path)
    run(jobs, False, finishing=2)
    run(jobs, 5, finishing=1)
    plans = run(jobs, resume, finishing=1)
    assert names(plans) == ["fold 1"]
    assert plans[0].anew is False
    assert plans[0].job.config.training.resume == 5
    assert plans[0].job.weights == jobs[1].folder
    assert run(jobs, True, finishing=0) == []


def test_when_all_are_finished_a_number_trains_on_once_more(tmp_path):
    jobs = make_jobs(tmp_path)
    run(jobs, False, finishing=2)
    run(jobs, 5, finishing=2)
    assert names(run(jobs, 5, finishing=2)) == ["fold 0", "fold 1"]
    assert json.loads((jobs[0].folder / SETTINGS).read_text())["more_epochs"] == [5, 5]


def test_a_run_killed_while_it_began_more_epochs_begins_the_others(tmp_path):
    jobs = make_jobs(tmp_path)
    run(jobs, False, finishing=2)
    begin(plan_jobs(jobs, 5)[0])
    plans = plan_jobs(jobs, 5)
    assert [(plan.anew, plan.metrics) for plan in plans] == [(False, None), (True, None)]


def test_another_number_waits_for_the_one_that_was_broken_off(tmp_path):
    jobs = make_jobs(tmp_path)
    run(jobs, False, finishing=2)
    run(jobs, 5, finishing=1)
    with pytest.raises(ConfigError, match="training for 5 more epochs was broken off; finish it"):
        plan_jobs(jobs, 7)


@pytest.mark.parametrize("finishing", [0, 1])
def test_more_epochs_need_models_that_are_trained(tmp_path, finishing):
    jobs = make_jobs(tmp_path)
    run(jobs, False, finishing=finishing)
    with pytest.raises(ConfigError, match=rf"{finishing} holds no trained model; train it first"):
        plan_jobs(jobs, 5)


def test_models_from_elsewhere_can_be_trained_on(tmp_path):
    jobs = make_jobs(tmp_path, 1)
    for name in (WEIGHTS_FILE, CARD_FILE):
        write_json(jobs[0].folder / name, {})
    (plan,) = plan_jobs(jobs, 5)
    assert plan.job.weights == jobs[0].folder


def test_more_epochs_may_be_trained_with_another_number_of_epochs_in_the_file(tmp_path):
    run(make_jobs(tmp_path), False, finishing=2)
    assert len(run(make_jobs(tmp_path, nepochs=99), 5, finishing=0)) == 2


@pytest.mark.parametrize(
    "text",
    ["{", "", "[" * 100_000, "[]", '"x"', '{"more_epochs": 3}', b"\xff".decode("latin1")],
)
def test_damaged_settings_are_told_with_what_to_do(tmp_path, text):
    jobs = make_jobs(tmp_path)
    run(jobs, False, finishing=2)
    (jobs[1].folder / SETTINGS).write_text(text, encoding="latin1")
    remedy = rf"1/{SETTINGS}: .*put back a copy of it, or remove it to have this model trained"
    for resume in (True, "auto", 3):
        with pytest.raises(DataError, match=remedy):
            plan_jobs(jobs, resume)
    plan_jobs(jobs, False)


SETTINGS_OF_A_JOB = {
    "prepared": "abc",
    "rows": "x",
    "task": "regression",
    "model": {"name": "saluki", "options": {"layers": 3}},
    "weights": None,
    "preprocessing": {"block_size": 512},
    "training": {"seed": 0},
}


def settings_with(**changes) -> TrainingSettings:
    return TrainingSettings(**{**SETTINGS_OF_A_JOB, **changes})


def test_settings_differ_by_their_dotted_names():
    now = settings_with(
        rows="y",
        model={"name": "saluki", "options": {"layers": 4, "channels": 8}},
        training={"seed": 1},
    )
    assert differing_settings(settings_with(), now) == [
        "model.options.channels",
        "model.options.layers",
        "rows of the fold",
        "training.seed",
    ]


def test_a_setting_that_came_later_counts_as_its_default(tmp_path):
    now = settings_with(training={"seed": 0, "loss": "mse", "lora_rank": None, "freeze": "none"})
    assert differing_settings(settings_with(), now) == []
    other = settings_with(training={"seed": 0, "loss": "huber", "lora_rank": 4, "freeze": "none"})
    assert differing_settings(settings_with(), other) == ["training.lora_rank", "training.loss"]


def test_what_is_not_compared_any_more_is_no_difference():
    """The patience of a training was compared once, and that code may run."""
    model = {**SETTINGS_OF_A_JOB["model"], "trust_remote_code": True}
    before = settings_with(training={"seed": 0, "patience": 3}, model=model)
    assert differing_settings(before, settings_with()) == []
    gone = settings_with(training={"seed": 0, "of_an_old_version": 3})
    assert differing_settings(gone, settings_with()) == ["training.of_an_old_version"]


def test_what_an_earlier_version_has_begun_is_gone_on_with(tmp_path):
    jobs = make_jobs(tmp_path)
    run(jobs, False, finishing=1)
    for job in jobs:
        path = job.folder / SETTINGS
        old = json.loads(path.read_text())
        del old["format_version"], old["training"]["feed"], old["preprocessing"]["region"]
        path.write_text(json.dumps(old))
    assert [plan.metrics for plan in plan_jobs(jobs, True)] == [{}, None]
