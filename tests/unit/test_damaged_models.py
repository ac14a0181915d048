"""Whatever befalls a model folder ends in one sentence that names it, or changes no prediction."""

import json
import logging
from itertools import islice

import pytest
from cards import older_card
from damaged import OTHER, SENTENCE, UNCHANGED, outcomes
from model_folders import KINDS, TOKENIZER, damages_of, own_model, predictions

from biolm_ray.errors import DataError
from biolm_ray.models.card import read_card
from biolm_ray.models.saved import load_model

ABOUT = 60
"""Damages that are tried of each kind of folder; `python tests/damage_trials.py` tries all."""


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", list(KINDS))
def test_a_damaged_model_folder_ends_in_a_sentence_or_predicts_as_before(tmp_path, name):
    whole = KINDS[name].write(tmp_path / "whole")
    every = list(damages_of(whole))
    step = len(every) // ABOUT
    some = islice(every, list(KINDS).index(name), None, step)
    wrong = [
        f"{damage.name[:100]!a}: {found.kind} {found.told!a}"
        for damage, found in outcomes(some, whole, tmp_path / "place", KINDS[name].use)
        if found.kind not in (SENTENCE, UNCHANGED, *([OTHER] if damage.is_edit else []))
    ]
    assert not wrong, "\n".join(wrong)


def test_a_model_folder_of_today_never_predicts_otherwise_without_a_word(tmp_path):
    """Whatever has changed in it; folders of before do not show all that an edit can do."""
    whole = own_model(tmp_path / "whole")
    some = [damage for damage in damages_of(whole) if damage.is_edit][::25]
    wrong = [
        f"{damage.name[:100]!a}: {found.kind} {found.told!a}"
        for damage, found in outcomes(some, whole, tmp_path / "place", predictions)
        if found.kind not in (SENTENCE, UNCHANGED)
    ]
    assert not wrong, "\n".join(wrong)


def test_a_card_tells_its_version_and_what_lies_beside_it(tmp_path):
    written = json.loads((own_model(tmp_path) / "config.json").read_text())
    assert written["format_version"] == 2
    assert sorted(written["files"]) == ["model.safetensors", "tokenization.json", "tokenizer.json"]


def test_a_card_of_a_later_version_is_told_from_a_damaged_one(tmp_path):
    path = own_model(tmp_path) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 3, "new": 1}))
    with pytest.raises(DataError, match=r"later version of biolm_ray \(format 3.*update biolm_ray"):
        load_model(tmp_path)


def test_a_card_from_before_versions_is_read(tmp_path):
    own_model(tmp_path)
    expected = load_model(tmp_path).card
    older_card(tmp_path, plugin=None)
    card = load_model(tmp_path).card
    assert (card.format_version, card.files, card.seal) == (1, {}, None)
    assert (card.targets, card.inputs, card.options) == (
        expected.targets,
        expected.inputs,
        expected.options,
    )


def test_an_edited_card_and_a_tokenizer_of_another_model_are_told(tmp_path):
    path = own_model(tmp_path / "model") / "config.json"
    written = path.read_text()
    path.write_text(written.replace('"center": 2.0', '"center": 2.5'))
    with pytest.raises(DataError, match=r"config\.json: damaged \(something in it has changed"):
        read_card(tmp_path / "model")
    path.write_text(written)
    other = TOKENIZER.vocabulary | {"A": TOKENIZER.vocabulary["C"], "C": TOKENIZER.vocabulary["A"]}
    file = tmp_path / "model" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"] = other
    file.write_text(json.dumps(content, indent=2) + "\n")
    with pytest.raises(DataError, match=r"tokenizer\.json has .*(copy the model folder|train)"):
        read_card(tmp_path / "model")
