"""Models that train side by side on Ray, with work that fails in all the ways there are."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from biolm_ray.config.schema import ResourcesConfig
from biolm_ray.errors import ConfigError, ResourceError, TrainingError
from biolm_ray.experiment.placement import place
from biolm_ray.experiment.progress import Display
from biolm_ray.experiment.running import run_jobs
from biolm_ray.experiment.runtime import look_at_cluster
from biolm_ray.experiment.storage import SETTINGS
from biolm_ray.files import write_text

pytestmark = pytest.mark.usefixtures("ray_cluster")

QUIET = Display(num_epochs=1, quiet=True)


def make_jobs(folder: Path, number: int) -> list[SimpleNamespace]:
    config = SimpleNamespace(model=SimpleNamespace(plugin=None))
    jobs = [
        SimpleNamespace(name=f"fold {i}", folder=folder / str(i), config=config)
        for i in range(number)
    ]
    for job in jobs:
        write_text(job.folder / SETTINGS, "{}")
    return jobs


def run(jobs, work, **resources):
    settings = ResourcesConfig(num_gpus=0).model_copy(update=resources)
    placement = place(look_at_cluster(joined=True), settings, len(jobs))
    return run_jobs(jobs, work, placement, QUIET)


def attempts(job) -> int:
    return len(list(job.folder.glob("attempt-*")))


def make_work(losses: int, failing: str = ""):
    """Work that first kills its process some times, and then fails for one job."""

    def work(job, workers, report):
        number = len(list(job.folder.glob("attempt-*")))
        (job.folder / f"attempt-{number}").touch()
        if number < losses:
            os.kill(os.getpid(), signal.SIGKILL)
        if job.name == failing:
            raise ConfigError("no such thing")
        return {"attempts": float(number + 1)}

    return work


def test_a_model_that_loses_its_worker_is_taken_up_again(tmp_path):
    outcomes = run(make_jobs(tmp_path, 2), make_work(losses=2))
    assert [outcome.metrics for outcome in outcomes] == [{"attempts": 3.0}] * 2


def test_after_too_many_losses_it_fails_and_says_how_often(tmp_path):
    jobs = make_jobs(tmp_path, 1)
    (outcome,) = run(jobs, make_work(losses=9), max_failures=1)
    assert isinstance(outcome.error, TrainingError)
    assert "its worker was lost 2 times" in str(outcome.error)
    assert attempts(jobs[0]) == 2


def test_an_error_of_ours_ends_its_model_at_once_and_no_other(tmp_path):
    jobs = make_jobs(tmp_path, 3)
    outcomes = run(jobs, make_work(losses=0, failing="fold 1"))
    assert [outcome.metrics is not None for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, ConfigError)
    assert attempts(jobs[1]) == 1


def test_with_several_workers_an_error_of_ours_is_not_repeated_either(tmp_path):
    def work(job, workers, report):
        if workers.is_first:
            number = len(list(job.folder.glob("attempt-*")))
            (job.folder / f"attempt-{number}").touch()
            workers.gather(None)
        raise ConfigError("no such thing")

    jobs = make_jobs(tmp_path, 1)
    (outcome,) = run(jobs, work, num_gpus=2)
    assert isinstance(outcome.error, ConfigError)
    assert attempts(jobs[0]) == 1


def test_a_killed_controller_is_replaced_and_its_places_are_freed(tmp_path):
    def work(job, workers, report):
        number = len(list(job.folder.glob("attempt-*")))
        workers.gather(None)
        if not workers.is_first:
            workers.gather(None)
            return {}
        (job.folder / f"attempt-{number}").touch()
        if number == 0:
            raylet = psutil.Process().parent()
            assert raylet is not None
            for process in raylet.children():
                if process.cmdline()[0].startswith("ray::TrainController"):
                    process.kill()
            time.sleep(60)
        workers.gather(None)
        return {"attempts": number + 1.0}

    (outcome,) = run(make_jobs(tmp_path, 1), work, num_gpus=2, wait_minutes=2.0)
    assert outcome.metrics == {"attempts": 2.0}


def test_a_process_that_is_used_again_computes_with_a_thread_for_each_cpu_it_has_now(tmp_path):
    def count_threads(job, workers, report):
        import torch

        return {"threads": float(torch.get_num_threads())}

    both = run(make_jobs(tmp_path / "both", 2), count_threads)
    assert [outcome.metrics for outcome in both] == [{"threads": 1.0}] * 2
    (alone,) = run(make_jobs(tmp_path / "alone", 1), count_threads)
    assert alone.metrics == {"threads": 2.0}


def test_a_full_disk_is_an_error_of_resources(tmp_path):
    def work(job, workers, report):
        raise OSError(28, "No space left on device")

    (outcome,) = run(make_jobs(tmp_path, 1), work)
    assert isinstance(outcome.error, ResourceError)
    assert "Make room" in str(outcome.error)


def test_models_that_find_no_place_are_given_up_in_time(tmp_path):
    settings = ResourcesConfig(num_gpus=0, parallel_folds=1, wait_minutes=0.02)
    placement = replace(place(look_at_cluster(joined=True), settings, 2), cpus_per_worker=64.0)
    outcomes = run_jobs(make_jobs(tmp_path, 2), make_work(losses=0), placement, QUIET)
    for outcome in outcomes:
        assert isinstance(outcome.error, ResourceError)
        assert "nothing could be placed for 0.02 min: 1 model asks for 64 CPUs" in str(
            outcome.error
        )
