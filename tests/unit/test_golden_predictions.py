"""A model folder of the reference system predicts what it predicted there."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from biolm_ray.errors import DataError
from biolm_ray.models.batches import collate, crop
from biolm_ray.models.card import read_card
from biolm_ray.models.registry import find_spec, read_options
from biolm_ray.models.saved import is_model_folder, load_model, save_model
from biolm_ray.models.stored_weights import load_weights
from biolm_ray.tokenization.settings import TokenizerSettings

SETTINGS = TokenizerSettings(encoding="atomic", token_separator=",")


@pytest.fixture(scope="module")
def old_folder(shared):
    return shared / "golden/old_saluki_experiment"


@pytest.fixture(scope="module")
def rows(shared):
    return pd.read_csv(shared / "golden/data/golden_40.tsv", sep="\t", header=None)


def _predict(model, texts):
    encoded = model.tokenizer.encode(list(texts))
    batch = collate([crop(sequence, model.framing) for sequence in encoded], model.framing)
    with torch.inference_mode():
        outputs = model.module(batch.token_ids, batch.lengths, batch.specifiers)
    return model.card.targets.decode(outputs.numpy())


def test_predictions_of_an_old_model_equal_the_recorded_ones(old_folder, rows):
    recorded = pd.read_csv(old_folder / "predict_golden40.csv")
    assert recorded["sequence"].tolist() == rows[1].tolist()
    predictions = _predict(load_model(old_folder, settings=SETTINGS), rows[4])
    np.testing.assert_allclose(predictions[:, 0], recorded["prediction"], rtol=1e-6)


def test_an_old_folder_tells_its_variant_sizes_and_scaling(old_folder):
    assert is_model_folder(old_folder)
    card = read_card(old_folder)
    assert card is not None
    assert card.model == "saluki"
    told = [card.options[name] for name in ("variant", "padding", "channels")]
    assert told == ["reference", "blocksize", 64]
    assert card.targets.scaler is not None
    assert card.targets.scaler.kind == "log"
    assert card.inputs.block_size == 512


def test_an_old_model_is_saved_in_the_new_format_unchanged(old_folder, rows, tmp_path):
    old = load_model(old_folder, settings=SETTINGS)
    save_model(tmp_path, old.module, old.card, old.tokenizer)
    assert not list(tmp_path.glob("*.pkl")) + list(tmp_path.glob("*.bin"))
    new = load_model(tmp_path)
    assert np.array_equal(_predict(new, rows[4][:5]), _predict(old, rows[4][:5]))


def test_an_old_model_can_be_trained_further(old_folder):
    card = read_card(old_folder)
    assert card is not None
    spec = find_spec(card.model)
    module = spec.build(read_options(spec, card.options), card.inputs)
    assert spec.load_pretrained(module, load_weights(old_folder)) == []


def test_files_of_two_old_models_mixed_up_are_refused(old_folder, tmp_path):
    for name in ("pytorch_model.bin", "config.json"):
        shutil.copy(old_folder / name, tmp_path)
    text = (old_folder / "tokenizer.json").read_text().replace('"tej": 18', '"tej": 18, "n": 19')
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(DataError, match="belong to different models"):
        load_model(tmp_path, settings=SETTINGS)


@pytest.fixture(scope="module")
def old_xlnet(shared):
    settings = TokenizerSettings(encoding="bpe", token_separator=",")
    return load_model(shared / "golden/old_xlnet_experiment", settings=settings)


def test_predictions_of_an_old_xlnet_are_those_it_made_with_padding_masked(old_xlnet, rows):
    """Recorded beside the reference outputs; see the test below for those without a mask."""
    predictions = _predict(old_xlnet, rows[4][:2])[:, 0]
    np.testing.assert_allclose(predictions, [1.0422865, 1.0422], atol=3e-3)


def test_an_old_xlnet_that_attends_to_padding_predicts_exactly_what_was_recorded(
    shared, old_xlnet, rows
):
    recorded = pd.read_csv(shared / "golden/old_xlnet_experiment/predict_golden2.csv")
    assert old_xlnet.card.inputs.vocabulary_size == 685
    for text, expected in zip(rows[4][:2], recorded["prediction"], strict=True):
        token_ids = old_xlnet.tokenizer.encode([text])[0].token_ids.tolist()
        padded = torch.tensor([[*[1] * (510 - len(token_ids)), 2, *token_ids, 3]])
        with torch.inference_mode():
            outputs = old_xlnet.module.network(input_ids=padded).logits
        decoded = old_xlnet.card.targets.decode(outputs.numpy())
        np.testing.assert_allclose(decoded[0, 0], expected, rtol=1e-6)
