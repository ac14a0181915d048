"""What a training starts from: the folder that pretrainedmodel names, or the experiment's own."""

import logging
from pathlib import Path

import pytest

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.errors import ConfigError
from biolm_ray.experiment.setup import (
    choose_model,
    earlier_weights,
    find_tokenizer,
    more_epochs_of,
    plan_run,
)
from biolm_ray.files import write_json
from biolm_ray.models.card import CARD_FILE
from biolm_ray.models.stored_weights import WEIGHTS_FILE
from biolm_ray.results.manifest import (
    Digest,
    FoldRecord,
    Manifest,
    ModeRecord,
    file_digest,
    new_run,
    write_manifest,
)
from biolm_ray.tokenization.fitting import fit, fitting_of, make_settings
from biolm_ray.tokenization.settings import TokenizerSettings
from biolm_ray.training.batching import epoch_steps

LEAST = {"filepath": "rows.tsv", "seqpos": 2, "labelpos": 3, "task": "regression", "tokensep": ","}


def config_of(folder: Path, mode: str = "fine-tune", **settings):
    given = {"outputpath": folder / "output", "pretrainedmodel": folder / "given", **settings}
    return load_config(None, mode, LEAST | given)


def put_model(folder: Path) -> Path:
    for name in (WEIGHTS_FILE, CARD_FILE):
        write_json(folder / name, {})
    return folder


def files_of(folder: Path) -> dict[str, Digest]:
    return {name: file_digest(folder / name) for name in (WEIGHTS_FILE, CARD_FILE)}


def put_tokenizer(folder: Path, encoding: str = "bpe") -> Path:
    settings = TokenizerSettings(encoding=encoding, token_separator=",")
    fit(["a,c,g,t"] * 3, TokenizationConfig(encoding=encoding), settings).save(folder)
    return folder


@pytest.mark.parametrize("place", ["", "pre-train", "fine-tune"])
def test_fine_tuning_starts_from_a_model_or_the_one_of_an_experiment(tmp_path, place):
    model = put_model(tmp_path / "given" / place)
    assert earlier_weights(config_of(tmp_path)) == model
    assert earlier_weights(config_of(tmp_path, fromscratch=True)) is None


def test_without_a_folder_named_fine_tuning_starts_from_its_own_pre_training(tmp_path):
    assert earlier_weights(config_of(tmp_path, pretrainedmodel=None)) is None
    own = put_model(tmp_path / "output" / "pre-train")
    assert earlier_weights(config_of(tmp_path, pretrainedmodel=None)) == own
    assert earlier_weights(config_of(tmp_path, "pre-train", pretrainedmodel=None)) is None


@pytest.mark.parametrize("given", [None, "output", "output/pre-train"])
def test_a_pre_training_that_the_manifest_calls_unfinished_is_not_started_from(tmp_path, given):
    own = put_model(tmp_path / "output" / "pre-train")
    named = None if given is None else tmp_path / given
    config = config_of(tmp_path, pretrainedmodel=named)
    fold = FoldRecord(name="", folder="pre-train")
    for folds in ((fold,), (fold.model_copy(update={"files": files_of(own)}),)):
        record = ModeRecord(run=new_run("0.1.0"), folds=folds)
        write_manifest(own.parent, Manifest(modes={"pre-train": record}))
        if folds[0].files:
            assert earlier_weights(config) == own
            (own / WEIGHTS_FILE).write_text("of a run that was broken off")
        with pytest.raises(ConfigError, match=r"is not finished: .*; finish it with pre-train --r"):
            earlier_weights(config)
        assert earlier_weights(config_of(tmp_path, pretrainedmodel=None, fromscratch=True)) is None


def test_a_pre_training_that_has_no_weights_yet_is_not_passed_over(tmp_path):
    record = ModeRecord(run=new_run("0.1.0"), folds=(FoldRecord(name="", folder="pre-train"),))
    write_manifest(tmp_path / "output", Manifest(modes={"pre-train": record}))
    with pytest.raises(ConfigError, match="pre-train holds no finished model; finish it with"):
        earlier_weights(config_of(tmp_path, pretrainedmodel=None))


def test_a_model_that_was_put_beside_results_is_used_with_a_warning(tmp_path, caplog):
    own = put_model(tmp_path / "output" / "pre-train")
    write_manifest(tmp_path / "output", Manifest())
    assert earlier_weights(config_of(tmp_path, pretrainedmodel=None)) == own
    assert "manifest.json does not name it; it is used as it is" in caplog.text


@pytest.mark.parametrize("fold", ["", "0"])
def test_the_results_that_a_run_replaces_are_not_what_it_starts_from(tmp_path, caplog, fold):
    caplog.set_level(logging.INFO, logger="biolm_ray")
    own = put_tokenizer(tmp_path / "output")
    put_model(own / "fine-tune" / fold)
    assert earlier_weights(config_of(tmp_path, pretrainedmodel=own)) is None
    assert f"pretrainedmodel {own} has a tokenizer and no model: weights are fresh" in caplog.text
    named = own / "fine-tune" / fold
    assert earlier_weights(config_of(tmp_path, pretrainedmodel=named)) == named


@pytest.mark.parametrize("below", ["", "fine-tune"])
def test_a_cross_validated_experiment_lists_its_folds(tmp_path, below):
    for fold in ("10", "0", "1"):
        put_model(tmp_path / "given" / "fine-tune" / fold)
    given = tmp_path / "given" / below
    with pytest.raises(ConfigError) as caught:
        earlier_weights(config_of(tmp_path, pretrainedmodel=given))
    assert str(caught.value) == (
        f"pretrainedmodel {given} is a cross-validated experiment with a model for each fold "
        f"(0, 1, 10); choose one, such as {tmp_path / 'given' / 'fine-tune' / '0'}"
    )


def test_a_tokenizer_alone_serves_fine_tuning_and_decides_on_the_model(tmp_path):
    put_tokenizer(tmp_path / "given")
    config = config_of(tmp_path)
    assert earlier_weights(config) is None
    chosen = choose_model(config, None)
    assert chosen.model.name == "xlnet"
    assert find_tokenizer(chosen, None).encoding == "bpe"


def test_an_encoding_that_the_tokenizer_named_does_not_have_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="biolm_ray")
    put_tokenizer(tmp_path / "given" / "pre-train")
    config = choose_model(config_of(tmp_path, encoding="atomic"), None)
    assert find_tokenizer(config, None).encoding == "bpe"
    assert caplog.messages[-1].endswith(
        "pre-train/tokenizer.json (bpe; the encoding atomic of this run is not used)"
    )


OTHERS = {
    "letter_case": ({}, {"data.letter_case": "upper"}, "the data.letter_case keep", "upper"),
    "nucleotides": (
        {"data.nucleotides": "rna"},
        {"data.nucleotides": "dna"},
        "the data.nucleotides rna",
        "dna",
    ),
    "vocabsize": ({"vocabsize": 99}, {"vocabsize": 9}, "the tokenization.vocabulary_size 99", "9"),
    "sample_size": ({}, {"samplesize": 5}, "the tokenization.sample_size unset", "5"),
    "several": (
        {},
        {"minfreq": 1, "tokenization.replacements": {"a": "b"}},
        "the tokenization.min_frequency 2 and the tokenization.replacements {}",
        "1 and {'a': 'b'}",
    ),
    "of bpe": (
        {"encoding": "bpe", "tokenization.max_token_length": 5},
        {"encoding": "bpe", "tokenization.max_token_length": 6},
        "the tokenization.max_token_length 5",
        "6",
    ),
}


def put_own_tokenizer(folder: Path, **settings) -> Path:
    config = config_of(folder, pretrainedmodel=None, **settings)
    learnt = fit(["a,c,g,t"] * 3, config.tokenization, make_settings(config))
    learnt.learnt_from("digest", 0.0, fitting_of(config.tokenization)).save(folder / "output")
    return folder / "output"


def chosen_config(folder: Path, **settings):
    return choose_model(config_of(folder, pretrainedmodel=None, **settings), None)


@pytest.mark.parametrize(("learnt", "now", "has", "asks"), OTHERS.values(), ids=OTHERS)
def test_an_own_tokenizer_learnt_with_other_settings_is_not_used(tmp_path, learnt, now, has, asks):
    output = put_own_tokenizer(tmp_path, **learnt)
    assert find_tokenizer(chosen_config(tmp_path, **learnt), None).vocabulary
    left_out = {name: value for name, value in learnt.items() if name == "encoding"}
    assert find_tokenizer(chosen_config(tmp_path, **left_out), None).vocabulary
    with pytest.raises(ConfigError) as caught:
        find_tokenizer(chosen_config(tmp_path, **now), None)
    assert str(caught.value) == (
        f"{output / 'tokenizer.json'} has {has}, this run asks for {asks}; run tokenize again or "
        "choose another outputpath"
    )


def test_nothing_is_said_of_what_an_own_tokenizer_does_not_tell_or_does_not_depend_on(tmp_path):
    put_tokenizer(tmp_path / "output", "atomic")
    assert find_tokenizer(chosen_config(tmp_path, vocabsize=9, minfreq=1), None).vocabulary
    put_own_tokenizer(tmp_path)
    other = chosen_config(tmp_path, **{"tokenization.max_token_length": 5})
    assert find_tokenizer(other, None).vocabulary


def test_pre_training_takes_the_tokenizer_and_not_the_weights(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="biolm_ray")
    folder = put_tokenizer(put_model(tmp_path / "given" / "pre-train"))
    config = config_of(tmp_path, "pre-train")
    assert earlier_weights(config) is None
    assert "gives its tokenizer alone" in caplog.text
    assert more_epochs_of(config, None) == config
    assert find_tokenizer(choose_model(config, None), None).vocabulary
    assert earlier_weights(config_of(tmp_path, "pre-train", resume=True)) is None
    assert earlier_weights(config_of(tmp_path, "pre-train", resume=3)) == folder


def test_pre_training_a_model_from_elsewhere_further_begins_here_and_then_goes_on_here(tmp_path):
    config = config_of(tmp_path, "pre-train", resume=3)
    folder = put_model(tmp_path / "given")
    training = more_epochs_of(config, earlier_weights(config)).training
    assert (training.num_epochs, training.resume) == (3, "auto")
    own = put_model(tmp_path / "output" / "pre-train")
    assert earlier_weights(config) == own
    assert more_epochs_of(config, own) == config
    assert more_epochs_of(config_of(tmp_path, resume=3), folder).training.resume == 3


@pytest.mark.parametrize(("mode", "wanted"), [("pre-train", "tokenizer"), ("fine-tune", "model")])
def test_a_folder_without_either_is_refused(tmp_path, mode, wanted):
    with pytest.raises(ConfigError, match=rf"given holds no {wanted}; give the folder of a model"):
        earlier_weights(config_of(tmp_path, mode))


class Rows:
    """Prepared data of ten rows without splits."""

    num_rows = 10
    labels = splits = None


def test_a_batch_size_above_the_rows_is_no_end(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="biolm_ray")
    config = config_of(tmp_path, dev=True, batchsize=64, **{"model.name": "saluki"})
    [fold] = plan_run(config, Rows(), tmp_path)
    assert (len(fold.train), len(fold.validation)) == (9, 1)
    assert "batchsize 64 is more than the 9 training rows: a batch takes all of them" in caplog.text
    [only] = epoch_steps(fold.train, batch_size=64, accumulation=1, seed=0, fold=0, epoch=0)
    assert sorted(only[0]) == fold.train.tolist()
