"""Fine-tuning parts of a pre-trained model, and what its folder holds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

import biolm_ray
from biolm_ray import load_config
from biolm_ray.demo.data import write_demo_data
from biolm_ray.errors import ConfigError

pytestmark = pytest.mark.usefixtures("ray_cluster")

SIZES = {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 16}
COLUMNS = {"tokensep": ",", "idpos": "id", "seqpos": "sequence"}


def settings_for(folder: Path, **more) -> dict:
    return {
        "filepath": str(folder / "transcripts.tsv"),
        "outputpath": str(folder),
        "encoding": "bpe",
        "vocabsize": 300,
        "blocksize": 32,
        "batchsize": 8,
        "nepochs": 1,
        "model.name": "xlnet",
        **{f"model.{name}": size for name, size in SIZES.items()},
        **COLUMNS,
        **more,
    }


def finetune(folder: Path, output: Path, **more):
    own = {"task": "regression", "labelpos": "half_life_hours", "splitratio": "60,20,20"}
    settings = settings_for(folder, **own, pretrainedmodel=str(folder), **more)
    return biolm_ray.finetune(load_config(None, "fine-tune", {**settings, "outputpath": output}))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    write_demo_data(folder / "transcripts.tsv", num_rows=40)
    settings = settings_for(folder, **{"training.freeze": "encoder"})
    biolm_ray.pretrain(load_config(None, "pre-train", settings))
    return folder


def moved_weights(pretrained: Path, folder: Path) -> tuple[set[str], set[str]]:
    """Name the weights of the encoder that changed, and those that stayed."""
    before = load_file(pretrained / "pre-train" / "model.safetensors")
    after = load_file(folder / "fine-tune" / "model.safetensors")
    shared = before.keys() & after.keys()
    assert not [name for name in after if "lora" in name or "base_layer" in name]
    moved = {name for name in shared if not before[name].equal(after[name])}
    return moved, shared - moved


def test_a_frozen_encoder_is_the_pre_trained_one(pretrained: Path, tmp_path):
    finetune(pretrained, tmp_path, **{"training.freeze": "encoder"})
    moved, stayed = moved_weights(pretrained, tmp_path)
    assert not moved
    assert len(stayed) > 30


def test_adapters_are_merged_into_a_folder_that_predicts(pretrained: Path, tmp_path):
    finetune(pretrained, tmp_path, **{"training.lora_rank": 2, "training.learning_rate": 0.01})
    moved, stayed = moved_weights(pretrained, tmp_path)
    assert {name.split("layer.")[1][2:] for name in moved} == {
        "ff.layer_1.weight",
        "ff.layer_2.weight",
    }
    assert "network.transformer.word_embedding.weight" in stayed
    settings = {
        **COLUMNS,
        "filepath": pretrained / "transcripts.tsv",
        "outputpath": tmp_path / "new",
        "pretrainedmodel": tmp_path / "fine-tune",
    }
    table = biolm_ray.predict(load_config(None, "predict", settings)).table.set_index("sequence")
    tested = pd.read_csv(tmp_path / "fine-tune" / "test_predictions.csv").set_index("sequence")
    assert np.allclose(table.loc[tested.index, "prediction"], tested["prediction"], rtol=1e-4)


def test_a_random_encoder_is_not_frozen(pretrained: Path, tmp_path):
    with pytest.raises(ConfigError, match="would keep random weights"):
        finetune(pretrained, tmp_path, fromscratch=True, **{"training.freeze": "encoder"})
    assert not list(tmp_path.rglob("manifest.json"))
