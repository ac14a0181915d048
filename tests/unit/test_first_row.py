"""BERT's last layer for the first token alone."""

import pytest
import torch
from torch import nn

from biolm_ray.models.registry import find_spec, read_options
from biolm_ray.models.spec import ModelInputs

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SPECIAL_IDS = {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
SPEC = find_spec("huggingface")


def make(architecture: str) -> nn.Module:
    torch.manual_seed(0)
    inputs = ModelInputs(vocabulary_size=9, special_ids=SPECIAL_IDS, block_size=20)
    options = {"architecture": architecture, "config": SIZES}
    return SPEC.build(read_options(SPEC, options), inputs).double().eval()


@pytest.mark.parametrize("lengths", [[12, 12, 12], [12, 5, 1]])
def test_outputs_are_those_of_the_whole_layer(lengths: list[int]) -> None:
    module = make("bert")
    token_ids, counts = torch.randint(2, 9, (3, 12)), torch.tensor(lengths)
    before = module(token_ids, counts)
    shortcut = SPEC.shortcut(module)
    assert shortcut is not None
    with shortcut:
        within = module(token_ids, counts)
    torch.testing.assert_close(within, before, rtol=0, atol=1e-12)
    torch.testing.assert_close(module(token_ids, counts), before, rtol=0, atol=0)


def test_the_last_layer_is_run_on_one_row_only() -> None:
    module = make("bert")
    rows: list[int] = []
    last = module.network.bert.encoder.layer[-1]  # type: ignore[union-attr]
    last.output.dense.register_forward_hook(  # type: ignore[union-attr]
        lambda part, inputs, output: rows.append(inputs[0].shape[1])
    )
    shortcut = SPEC.shortcut(module)
    assert shortcut is not None
    with shortcut:
        module(torch.randint(2, 9, (1, 7)), torch.tensor([7]))
    module(torch.randint(2, 9, (1, 7)), torch.tensor([7]))
    assert rows == [1, 7]


def test_other_architectures_have_no_shortcut() -> None:
    assert SPEC.shortcut(make("esm")) is None
