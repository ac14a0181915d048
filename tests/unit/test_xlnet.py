import numpy as np
import pytest
import torch

from biolm_ray.errors import ConfigError
from biolm_ray.models.batches import Framing, collate
from biolm_ray.models.corruption import choose_spans, permutation_inputs
from biolm_ray.models.spec import ModelInputs
from biolm_ray.models.xlnet import SPEC, XLNetOptions

SPECIALS = {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "[BOS]": 5, "[EOS]": 6}
INPUTS = ModelInputs(vocabulary_size=11, special_ids=SPECIALS, block_size=32, num_outputs=2)
TINY = XLNetOptions(d_model=16, n_layer=2, n_head=2, d_inner=32, dropout=0.0)
FRAMING = Framing(prefix_ids=(2,), suffix_ids=(3,), pad_id=1, padding_side="left", block_size=32)
assert SPEC.pretraining is not None
PRETRAINING = SPEC.pretraining


def _batch(*sequences):
    return collate([(np.array(tokens), None) for tokens in sequences], FRAMING)


def _generator():
    return torch.Generator().manual_seed(0)


def test_the_defaults_are_the_base_model():
    assert XLNetOptions().model_dump() == {
        "d_model": 768,
        "n_layer": 12,
        "n_head": 12,
        "d_inner": 3072,
        "dropout": 0.1,
    }


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="d_model 10 must be a multiple of n_head 4"):
        XLNetOptions(d_model=10, n_head=4)


def test_specifiers_are_refused():
    inputs = INPUTS.model_copy(update={"num_specifiers": 2})
    with pytest.raises(ConfigError, match="takes no specifier values, but tokens carry 2"):
        SPEC.build(TINY, inputs)


def test_spans_cover_about_a_sixth_and_never_special_tokens():
    is_special = torch.zeros(200, 100, dtype=torch.bool)
    is_special[:, :10] = True
    chosen = choose_spans(is_special, _generator())
    assert not (chosen & is_special).any()
    assert 0.13 < chosen[:, 10:].float().mean() < 0.20
    assert chosen.any(dim=1).all()


def test_a_row_of_one_token_is_still_guessed():
    is_special = torch.tensor([[True, False, True]] * 50)
    assert choose_spans(is_special, _generator())[:, 1].all()


def test_a_chosen_token_sees_only_those_earlier_in_the_order():
    chosen = torch.zeros(4, 12, dtype=torch.bool)
    chosen[:, [2, 3, 4, 9]] = True
    hidden, mapping = permutation_inputs(chosen, _generator())
    assert mapping.argmax(2).tolist() == [[2, 3, 4, 9]] * 4
    for row in range(4):
        among = hidden[row][chosen[row]][:, chosen[row]]
        assert sorted(among.sum(1).tolist()) == [1, 2, 3, 4]
        assert among.diagonal().eq(1).all()
        assert hidden[row][:, ~chosen[row]].sum() == 0
        assert hidden[row][~chosen[row]][:, chosen[row]].eq(1).all()


def test_a_guess_does_not_depend_on_the_token_it_guesses():
    torch.manual_seed(0)
    module = PRETRAINING.build(TINY, INPUTS).eval()
    batch = _batch([7, 8, 9, 10, 7, 8])
    chosen = torch.zeros_like(batch.token_ids, dtype=torch.bool)
    chosen[:, 3:6] = True
    hidden, mapping = permutation_inputs(chosen, _generator())
    before = module(batch.token_ids, batch.lengths, perm_mask=hidden, target_mapping=mapping)
    for number, position in enumerate((3, 4, 5)):
        changed = batch.token_ids.clone()
        changed[0, position] = 9 if changed[0, position] != 9 else 8
        after = module(changed, batch.lengths, perm_mask=hidden, target_mapping=mapping)
        torch.testing.assert_close(after[0, number], before[0, number], rtol=0, atol=1e-7)


def test_the_loss_of_a_fresh_model_is_near_that_of_guessing():
    torch.manual_seed(0)
    module = PRETRAINING.build(TINY, INPUTS)
    loss, count = PRETRAINING.loss(module, _batch([7, 8, 9] * 8, [10] * 5), INPUTS, _generator())
    assert count >= 2
    assert abs(loss.item() / count - np.log(11)) < 0.3


def test_pre_training_learns_a_repeated_motif():
    torch.manual_seed(0)
    options = XLNetOptions(d_model=32, n_layer=2, n_head=2, d_inner=64, dropout=0.0)
    module = PRETRAINING.build(options, INPUTS)
    batch = _batch(*[np.roll([7, 8, 9, 10] * 5, shift) for shift in range(4)])
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    generator = _generator()
    for _ in range(240):
        loss, count = PRETRAINING.loss(module, batch, INPUTS, generator)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    assert loss.item() / count < 0.5


def test_fine_tuning_takes_over_the_pre_trained_encoder():
    torch.manual_seed(0)
    language_model = PRETRAINING.build(TINY, INPUTS)
    module = SPEC.build(TINY, INPUTS)
    fresh = SPEC.load_pretrained(module, language_model.state_dict())
    assert all(name.startswith(("sequence_summary.", "logits_proj.")) for name in fresh)
    assert len(fresh) == 4
    given = language_model.state_dict()
    name = "network.transformer.layer.1.ff.layer_1.weight"
    assert torch.equal(module.state_dict()[name], given[name])


def test_weights_of_another_size_or_model_are_refused():
    module = SPEC.build(TINY, INPUTS)
    wider = PRETRAINING.build(TINY, INPUTS.model_copy(update={"vocabulary_size": 13}))
    with pytest.raises(ConfigError, match=r"word_embedding.weight has the shape \[13, 16\]"):
        SPEC.load_pretrained(module, wider.state_dict())
    with pytest.raises(ConfigError, match="they begin with 'gru"):
        SPEC.load_pretrained(module, {"gru.bias": torch.zeros(3)})
