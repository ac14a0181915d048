"""What a run says first: values it took itself, fresh weights, batches, the centre token."""

import logging

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import PreprocessingConfig
from biolm_ray.experiment.first_lines import say_assumptions, say_batches, say_center

LEAST = {"filepath": "rows.tsv", "seqpos": 2, "labelpos": 3, "task": "regression"}


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, logger="biolm_ray")
    return caplog


def config_of(model: str, mode: str = "fine-tune", **settings):
    return load_config(None, mode, {**LEAST, "model.name": model, **settings})


def levels(said) -> dict[str, str]:
    return {record.getMessage(): record.levelname for record in said.records}


def test_values_of_the_recipe_are_named_with_what_stops_training(said):
    say_assumptions(config_of("saluki"), None)
    assert said.messages == [
        "not set, so as in the recipe of model saluki: batch_size 32, num_epochs 12, "
        "patience none, learning_rate 0.001, schedule cosine, "
        "stop_metric pearson of the validation rows "
        "(biolm_utils stops on their loss: stop_metric: loss)"
    ]


def test_values_that_are_set_are_not_named(said):
    settings = {"batchsize": 8, "nepochs": 3, "learningrate": 1e-4, "training.stop_metric": "loss"}
    say_assumptions(config_of("saluki", **settings), None)
    assert said.messages == [
        "not set, so as in the recipe of model saluki: patience none, schedule cosine"
    ]
    said.clear()
    say_assumptions(
        config_of("saluki", **settings, patience=2, **{"training.schedule": "linear"}), None
    )
    assert said.messages == []


def test_classes_stop_on_the_loss_and_are_not_scaled(said):
    settings = {"task": "classification", "scaling": "log", "batchsize": 8}
    say_assumptions(config_of("saluki", **settings), None)
    recipe, scaling = said.messages
    assert recipe.endswith("schedule cosine, stop_metric loss")
    assert scaling == "scaling log is for regression: classes are not scaled"
    said.clear()
    say_assumptions(config_of("saluki", task="classification"), None)
    assert len(said.messages) == 1


def test_more_epochs_asked_for_are_not_those_of_the_recipe(said):
    say_assumptions(config_of("saluki", resume=7), None)
    assert "num_epochs" not in said.text


def test_settings_that_are_searched_are_not_named(said):
    say_assumptions(config_of("saluki", "tune", **{"tune.space.batchsize": [8, 16]}), None)
    assert "batch_size" not in said.text
    assert "num_epochs 12" in said.text


def test_xlnet_from_fresh_weights_is_a_warning(said, tmp_path):
    say_assumptions(config_of("xlnet", outputpath=tmp_path), None)
    [warning] = [text for text, level in levels(said).items() if level == "WARNING"]
    assert warning == (
        f"model xlnet starts from fresh weights, since {tmp_path} has no pre-train folder with a "
        "model: run pre-train first, or set fromscratch: true to mean it"
    )


@pytest.mark.parametrize(
    ("settings", "has_weights"),
    [({"fromscratch": True}, False), ({}, True), ({"resume": 3}, False)],
)
def test_no_warning_where_weights_are_there_or_not_wanted(said, tmp_path, settings, has_weights):
    say_assumptions(config_of("xlnet", **settings), tmp_path if has_weights else None)
    assert "WARNING" not in levels(said).values()
    say_assumptions(config_of("xlnet", "pre-train"), None)
    assert "WARNING" not in levels(said).values()


def test_a_batch_of_all_rows_is_told(said):
    say_batches(config_of("saluki", batchsize=64), 64)
    assert said.messages == []
    say_batches(config_of("saluki", batchsize=64), 9)
    say_batches(config_of("saluki"), 9)
    assert said.messages == [
        "batchsize 64 is more than the 9 training rows: a batch takes all of them",
        "batchsize 32 is more than the 9 training rows: a batch takes all of them",
    ]


class Rows:
    """Prepared data of which some rows have the centre token."""

    def __init__(self, num_centered: int) -> None:
        self.num_centered = num_centered

    def __len__(self) -> int:
        return 5


@pytest.mark.parametrize(("num_centered", "level"), [(0, "WARNING"), (3, "INFO"), (5, None)])
def test_a_centre_token_is_counted_and_missed_with_a_warning(said, num_centered, level):
    say_center(PreprocessingConfig(center_token="e", cut_side="left"), Rows(num_centered))
    assert list(levels(said).values()) == ([] if level is None else [level])
    if level is not None:
        start = f"centertoken 'e' stands in {num_centered} of 5 rows; those without it are cut on"
        assert said.messages[0].startswith(f"{start} the left")
    said.clear()
    say_center(PreprocessingConfig(), Rows(0))
    assert said.messages == []
