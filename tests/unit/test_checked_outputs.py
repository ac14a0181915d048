"""What a model returns, checked at every forward pass."""

import copy

import numpy as np
import pytest
import torch
from small_models import BLOCK_SIZE, NUM_ROWS, make_tokenizer, write_model, write_prepared
from torch import nn

from biolm_ray.config.load import load_config
from biolm_ray.config.schema import TrustedCode
from biolm_ray.data.splits import Fold
from biolm_ray.errors import ConfigError, TrainingError
from biolm_ray.models.checked_outputs import check_outputs
from biolm_ray.models.saved import load_model
from biolm_ray.training.fold import FoldJob, train_fold
from biolm_ray.training.workers import Workers

IDS, LENGTHS = torch.ones(3, 5, dtype=torch.int64), torch.full((3,), 5)


class Returns(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, token_ids, lengths, specifiers=None):
        return self.output


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (None, "returned None;"),
        ({"logits": torch.zeros(3, 2)}, "a dict;"),
        (torch.zeros(3, 0), r"a tensor of shape \(3, 0\)"),
        (torch.zeros(3), r"a tensor of shape \(3,\)"),
        (torch.zeros(1, 2), r"a tensor of shape \(1, 2\)"),
        (torch.zeros(3, 2, dtype=torch.int64), "a tensor of int64"),
    ],
)
def test_a_model_that_returns_anything_else_is_named_with_what_is_right(output, found):
    module = Returns(output)
    check_outputs(module, "mine", 2, kind=TrainingError)
    told = r"model mine: its forward pass returned .*shape \(3, 2\), sequences x outputs"
    for each in (module, copy.deepcopy(module)):
        with pytest.raises(TrainingError, match=told) as caught:
            each(IDS, LENGTHS)
        assert caught.match(found)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_numbers_of_the_right_shape_pass(kind):
    module = Returns(torch.zeros(3, 2, dtype=kind))
    check_outputs(module, "mine", 2)
    assert module(IDS, LENGTHS) is module.output


PLUGIN = """
from torch import nn

from biolm_ray.config.schema import Section
from biolm_ray.models.spec import ModelSpec, Recipe


class Options(Section):
    pass


class Model(nn.Module):
    def __init__(self, options, inputs):
        super().__init__()
        self.layer = nn.Linear(inputs.vocabulary_size, 1)

    def forward(self, token_ids, lengths, specifiers=None):
        return None


SPEC = ModelSpec(
    name="mine",
    summary="A test.",
    options=Options,
    build=Model,
    recipe=lambda options: Recipe(learning_rate=1.0),
)
"""


def test_a_loaded_model_names_its_plugin(tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN)
    folder = write_model(tmp_path / "model", make_tokenizer(), 0, plugin=plugin)
    model = load_model(folder, trusted=TrustedCode(plugin=str(plugin)))
    with pytest.raises(ConfigError, match=rf"model mine of plugin {plugin}: .* returned None"):
        model.module(IDS, LENGTHS)


def test_a_training_names_the_plugin_whose_model_returns_nothing(tmp_path):
    plugin, tokenizer = tmp_path / "plugin.py", make_tokenizer()
    plugin.write_text(PLUGIN)
    tokenizer.save(tmp_path)
    settings = {"filepath": "rows.tsv", "seqpos": 2, "labelpos": 3, "task": "regression"}
    settings |= {"blocksize": BLOCK_SIZE, "model.name": "mine", "model.plugin": str(plugin)}
    rows = np.arange(NUM_ROWS)
    job = FoldJob(
        config=load_config(None, "fine-tune", settings),
        prepared=str(write_prepared(tmp_path / "data", tokenizer)),
        tokenizer=tmp_path,
        fold=Fold(0, "0", rows[4:], rows[:4], rows[:0]),
        folder=tmp_path / "fold",
        board=tmp_path / "board",
    )
    with pytest.raises(TrainingError, match=rf"model mine of plugin {plugin}: .* returned None"):
        train_fold(job, Workers(), lambda event: None)
