"""The shortcut of BERT gives what its whole passes give."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from biolm_ray.models import bert_shortcut
from biolm_ray.models.registry import find_spec, read_options
from biolm_ray.models.spec import ModelInputs

SIZES = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SPECIAL_IDS = {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
SPEC = find_spec("huggingface")


def make(architecture: str, **sizes: Any) -> Any:
    """A network in float64 whose norms, biases and embeddings are far from their first values."""
    torch.manual_seed(0)
    inputs = ModelInputs(vocabulary_size=9, special_ids=SPECIAL_IDS, block_size=20, num_outputs=2)
    options = {"architecture": architecture, "config": SIZES | sizes}
    module = SPEC.build(read_options(SPEC, options), inputs).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def within(module: nn.Module, token_ids: Tensor, lengths: Tensor, **more: Any) -> Tensor:
    shortcut = SPEC.shortcut(module)
    assert shortcut is not None
    with shortcut:
        return module(token_ids, lengths, **more)


def removals(length: int) -> Tensor:
    whole = torch.randint(2, 9, (length + 1,))
    return torch.stack([whole[torch.arange(length + 1) != place] for place in range(length)])


BATCHES = {
    "removals": lambda: removals(12),
    "adjacent removals": lambda: removals(19)[5:8],
    "insertions": lambda: torch.stack([row[:9] for row in removals(12)[:3]]),
    "masks": lambda: torch.randint(5, 9, (12,)).repeat(12, 1).fill_diagonal_(4),
    "adjacent masks": lambda: torch.randint(5, 9, (20,)).repeat(2, 1).fill_diagonal_(4),
    "equal rows": lambda: torch.randint(2, 9, (1, 12)).repeat(3, 1),
    "rows without a common place": lambda: torch.arange(4)[:, None].repeat(1, 7),
    "one row": lambda: torch.randint(2, 9, (1, 20)),
    "one token": lambda: torch.tensor([[5], [6]]),
}


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("batch", BATCHES, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_outputs_are_those_of_whole_passes(
    batch: str, depth: int, heads: int, attention: str
) -> None:
    module = make("bert", num_hidden_layers=depth, num_attention_heads=heads)
    module.network.set_attn_implementation(attention)
    token_ids = BATCHES[batch]()
    lengths = torch.full((len(token_ids),), token_ids.shape[1])
    before = module(token_ids, lengths)
    torch.testing.assert_close(within(module, token_ids, lengths), before, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(module(token_ids, lengths), before, rtol=0, atol=0)
    assert len(before.unique(dim=0)) > 1 or batch in ("equal rows", "one row")


@pytest.mark.parametrize(("num_rows", "shares"), [(3, True), (12, False)])
def test_keys_are_shared_where_sequences_differ_in_few_places(
    num_rows: int, shares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[int] = []
    attend = bert_shortcut._attend_sharing

    def spied(*inputs: Tensor) -> Tensor:
        shared.append(int((~inputs[-1]).sum()))
        return attend(*inputs)

    monkeypatch.setattr(bert_shortcut, "_attend_sharing", spied)
    within(make("bert"), removals(19)[:num_rows], torch.full((num_rows,), 19))
    assert shared == ([17] if shares else [])


def test_scores_far_apart_do_not_overflow() -> None:
    module = make("bert")
    first = module.network.bert.encoder.layer[0].attention.self
    first.query.weight.data *= 1_000
    token_ids = removals(19)[5:8]
    lengths = torch.full((3,), 19)
    before = module(token_ids, lengths)
    torch.testing.assert_close(within(module, token_ids, lengths), before, rtol=1e-9, atol=1e-9)


def test_padded_batches_and_given_token_types_take_whole_passes() -> None:
    module = make("bert")
    token_ids = torch.randint(2, 9, (3, 12))
    lengths, full = torch.tensor([12, 5, 1]), torch.full((3,), 12)
    types = (torch.arange(12) > 5).long().repeat(3, 1)
    given = {"token_type_ids": types}
    assert not torch.equal(module(token_ids, full, **given), module(token_ids, full))
    for counts, more in ((lengths, {}), (full, given)):
        plain = module(token_ids, counts, **more)
        assert torch.equal(within(module, token_ids, counts, **more), plain)


def test_a_module_in_training_drops_out_as_ever() -> None:
    module = make("bert").train()
    token_ids, lengths = torch.randint(2, 9, (3, 12)), torch.full((3,), 12)
    torch.manual_seed(1)
    plain = module(token_ids, lengths)
    torch.manual_seed(1)
    assert torch.equal(within(module, token_ids, lengths), plain)


def test_shared_rows_are_projected_once_and_the_last_layer_is_run_on_one() -> None:
    module = make("bert")
    first, last = module.network.bert.encoder.layer
    rows: dict[str, int] = {}

    def count(name: str) -> Any:
        return lambda part, inputs, output: rows.update({name: inputs[0].shape[:-1].numel()})

    first.attention.self.query.register_forward_hook(count("first"))
    last.output.dense.register_forward_hook(count("last"))
    token_ids = torch.arange(8).repeat(5, 1)
    token_ids[torch.arange(5), torch.arange(5)] = 8
    lengths = torch.full((5,), 8)
    within(module, token_ids, lengths)
    assert rows == {"first": 8 + 5, "last": 5}
    module(token_ids, lengths)
    assert rows == {"first": 5 * 8, "last": 5 * 8}


@pytest.mark.parametrize("more", [{}, {"is_decoder": True}, {"num_hidden_layers": 0}])
def test_other_networks_have_no_shortcut(more: dict[str, Any]) -> None:
    assert SPEC.shortcut(make("bert" if more else "esm", **more)) is None
