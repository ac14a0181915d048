import sys
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import (
    ActorDiedError,
    OutOfMemoryError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.train import ControllerError, WorkerGroupError

from biolm_ray.errors import (
    ConfigError,
    DataError,
    ResourceError,
    TrainingError,
    UnexpectedError,
    details,
    root_cause,
    without_exits,
)
from biolm_ray.experiment.failures import (
    Outcome,
    describe_failure,
    final_error,
    is_loss,
    raise_failures,
)
from biolm_ray.experiment.last_words import last_printed
from biolm_ray.experiment.progress import SAVED, Board, Display
from biolm_ray.experiment.running import SideBySide


def outcome(name: str, error: Exception | None = None) -> Outcome:
    metrics = None if error else {"test_mse": 1.0}
    return Outcome(SimpleNamespace(name=name), metrics=metrics, error=error)


def told(cause: Exception) -> Exception:
    """An error of a task as `ray.get` raises it."""
    return RayTaskError("train", "traceback", cause).as_instanceof_cause()


def test_finished_jobs_raise_nothing():
    raise_failures([outcome("fold 0"), outcome("fold 1")])


def test_failed_jobs_are_named_with_their_causes():
    outcomes = [outcome("fold 0"), outcome("fold 1", DataError("bad")), outcome("fold 2")]
    with pytest.raises(DataError, match=r"1 of 3 models failed; 2 finished(.|\n)*fold 1: bad"):
        raise_failures(outcomes)


def test_different_causes_are_a_training_error():
    outcomes = [outcome("fold 0", DataError("a")), outcome("fold 1", RuntimeError("b"))]
    with pytest.raises(TrainingError, match=r"fold 0: a\n  fold 1: unexpected RuntimeError: b"):
        raise_failures(outcomes)


def test_a_cause_that_several_jobs_share_is_told_once():
    outcomes = [outcome(f"fold {fold}", ResourceError("no place")) for fold in range(2)]
    with pytest.raises(ResourceError, match=r"\n  fold 0, fold 1: no place$"):
        raise_failures(outcomes)


def test_the_cause_is_found_behind_the_wrappers():
    cause = ConfigError("gradacc 3")
    wrapped = RayTaskError("train", "traceback", cause)
    assert root_cause(wrapped) is cause
    assert root_cause(wrapped.as_instanceof_cause()) is cause
    assert root_cause(told(ControllerError(cause))) is cause


def test_what_can_be_mended_goes_before_what_the_other_workers_say_of_it():
    cause = ConfigError("gradacc 3")
    group = WorkerGroupError("", {0: RuntimeError("connection closed"), 1: told(cause)})
    assert root_cause(told(group)) is cause


@pytest.mark.parametrize(
    "error",
    [
        WorkerCrashedError(),
        OutOfMemoryError("out of memory"),
        told(ActorDiedError()),
        told(WorkerGroupError("", {0: RuntimeError("Connection closed by peer")})),
        told(ControllerError(ActorDiedError())),
    ],
)
def test_a_lost_worker_node_or_controller_is_a_loss(error):
    assert is_loss(error)


@pytest.mark.parametrize(
    "error",
    [
        told(DataError("bad row")),
        told(RuntimeError("size mismatch")),
        told(WorkerGroupError("", {0: RuntimeError("closed"), 1: told(DataError("bad row"))})),
        told(WorkerGroupError("", {0: TypeError("no such argument")})),
        TaskCancelledError(),
    ],
)
def test_what_would_happen_again_is_no_loss(error):
    assert not is_loss(error)


def test_in_the_end_a_loss_tells_how_often_and_what_helps():
    error = final_error(WorkerCrashedError(), 4)
    assert isinstance(error, TrainingError)
    assert str(error).startswith("its worker was lost 4 times; --resume goes on where it was")
    error = final_error(OutOfMemoryError("task was killed"), 1)
    assert isinstance(error, ResourceError)
    assert "ended once because its node ran out of memory; train fewer models" in str(error)
    assert final_error(told(DataError("bad row")), 0).args == ("bad row",)


def test_a_failure_is_told_once_for_each_cause():
    told: dict[str, str] = {}
    defect, missing = AttributeError("no shape"), DataError("rows.tsv: empty")
    said = "fold 0 failed: unexpected AttributeError: no shape (details in run.log)"
    assert describe_failure("fold 0", defect, told) == said
    assert describe_failure("fold 1", missing, told) == "fold 1 failed: rows.tsv: empty"
    said = "fold 2 failed, for the same reason as fold 0"
    assert describe_failure("fold 2", AttributeError("no shape"), told) == said


def test_defects_alone_end_with_the_code_of_defects_and_keep_the_first_as_their_cause():
    defects = [AttributeError("no shape"), KeyError("epoch")]
    with pytest.raises(UnexpectedError, match="fold 0: unexpected AttributeError") as raised:
        raise_failures([outcome(f"fold {fold}", error) for fold, error in enumerate(defects)])
    assert raised.value.exit_code == 1
    assert raised.value.__cause__ is defects[0]


def test_a_model_alone_fails_with_its_cause_alone():
    with pytest.raises(DataError, match=r"^fold 0: bad$"):
        raise_failures([outcome("fold 0", DataError("bad"))])


def test_the_end_of_what_lost_workers_have_printed_is_kept(tmp_path):
    (tmp_path / "worker-aa-01000000-7.out").write_text("a" * 9000 + "\nloading\n")
    (tmp_path / "worker-aa-01000000-7.err").write_text("Segmentation fault\n")
    (tmp_path / "worker-bb-01000000-8.err").write_text("of another\n")
    said = last_printed(tmp_path, ["aa", "cc"])
    assert len(said) < 5000
    assert said.startswith(f"the end of {tmp_path}/worker-aa-01000000-7.out:\na")
    assert said.endswith("loading\nthe end of " + said.rpartition("the end of ")[2])
    assert said.endswith("worker-aa-01000000-7.err:\nSegmentation fault")
    error = final_error(WorkerCrashedError(), 1, said)
    assert str(error).endswith("(what it printed last is in run.log)")
    assert "Segmentation fault" in details(error)


def test_an_exit_in_a_worker_becomes_an_error_that_names_it():
    with (
        pytest.raises(RuntimeError, match=r"sys.exit\(3\) was called in a worker"),
        without_exits(),
    ):
        sys.exit(3)


def test_a_board_that_is_stopped_forgets_earlier_checkpoints():
    board = Board()
    board.report("fold 0", {"progress": 0.5, SAVED: 1.0})
    assert not board.stops()
    board.stop()
    assert board.stops()
    assert board.news()[0] == {"fold 0": {"progress": 0.5}}


def test_a_model_that_is_trained_tells_its_best_epoch(monkeypatch, caplog):
    models: Any = object.__new__(SideBySide)
    models.running, models.outcomes = {"task": SimpleNamespace(name="fold 0")}, {}
    models._hear = lambda: None
    models._display = Display(60)
    metrics = {"epoch": 1.0, "epochs_trained": 60.0, "eval_loss": 0.5}
    monkeypatch.setattr("ray.wait", lambda *arguments, **more: (["task"], []))
    monkeypatch.setattr("ray.get", lambda reference: metrics)
    with caplog.at_level("INFO", "biolm_ray"):
        models.collect()
    assert models.outcomes["fold 0"].metrics == metrics
    said = "fold 0: trained for 60 epochs, best after epoch 1: eval loss 0.5000"
    assert caplog.messages == [said]
