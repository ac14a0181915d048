"""Runs of one process take turns."""

import os
import threading

import pytest

from biolm_ray import finetune, load_config
from biolm_ray.errors import ResourceError
from biolm_ray.experiment.turns import TURNS, Turns


def in_a_thread(what):
    """What a call raises in another thread, in words."""
    told = []

    def call():
        with pytest.raises(ResourceError) as caught:
            what()
        told.append(str(caught.value))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return told[0]


def test_a_second_thread_is_told_what_runs():
    turns = Turns()

    def run():
        with turns.taken("predict (b)"):
            pass

    with turns.taken("fine-tune (a)"):
        run()
        told = in_a_thread(run)
    assert told.startswith("fine-tune (a) is running in another thread of this process")
    run()


def test_runs_of_a_process_that_has_joined_a_cluster_share_it():
    turns = Turns()

    def run():
        with turns.taken("predict (b)", joined=True):
            raise ResourceError("ran")

    with turns.taken("fine-tune (a)", joined=True):
        assert in_a_thread(run) == "ran"


def test_a_failed_run_leaves_the_turn_to_others():
    turns = Turns()
    for _ in range(2):
        with pytest.raises(ValueError, match="x"), turns.taken("predict (a)"):
            raise ValueError("x")


def test_a_process_that_was_forked_off_one_that_has_run_is_refused():
    turns = Turns()
    with turns.taken("predict (a)"):
        pass
    turns.process = os.getppid()  # as a child sees it
    with (
        pytest.raises(ResourceError, match=r"was forked off .* with the method spawn"),
        turns.taken("predict (a)"),
    ):
        pass


def test_every_stage_takes_its_turn(tmp_path):
    config = {"filepath": "rows.tsv", "seqpos": 2, "labelpos": 3, "task": "regression"}
    given = config | {"outputpath": str(tmp_path / "out")}
    with TURNS.taken("predict (a)"):
        told = in_a_thread(lambda: finetune(load_config(None, "fine-tune", given)))
    assert told.startswith("predict (a) is running")
    assert not list((tmp_path / "out").glob("*"))
