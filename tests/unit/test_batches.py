import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from biolm_ray.config.schema import PreprocessingConfig
from biolm_ray.errors import ConfigError
from biolm_ray.models.batches import Framing, RowBatches, collate, crop, frame
from biolm_ray.models.registry import find_spec
from biolm_ray.models.spec import ModelInputs
from biolm_ray.tokenization.tokenizer import Encoded

SPECIALS = {"[UNK]": 0, "[PAD]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
FRAMING = Framing(prefix_ids=(2,), suffix_ids=(3,), pad_id=1, block_size=6)


def _row(*token_ids, specifiers=None):
    return np.array(token_ids, dtype=np.int32), specifiers


def _inputs(block_size=8, specials=SPECIALS):
    return ModelInputs(vocabulary_size=9, special_ids=specials, block_size=block_size)


def test_rows_are_framed_and_padded_on_the_right():
    batch = collate([_row(7), _row(8, 9, 10)], FRAMING)
    assert batch.token_ids.tolist() == [[2, 7, 3, 1, 1], [2, 8, 9, 10, 3]]
    assert batch.lengths.tolist() == [3, 5]
    assert batch.specifiers is None


def test_rows_are_padded_on_the_left_where_the_model_wants_it():
    batch = collate([_row(7), _row(8, 9, 10)], dataclasses.replace(FRAMING, padding_side="left"))
    assert batch.token_ids.tolist() == [[1, 1, 2, 7, 3], [2, 8, 9, 10, 3]]


def test_specifiers_of_special_tokens_and_padding_are_zero():
    rows = [
        _row(7, specifiers=np.array([[2.5]], dtype=np.float32)),
        _row(8, 9, specifiers=np.array([[1.0], [3.0]], dtype=np.float32)),
    ]
    batch = collate(rows, FRAMING)
    assert batch.specifiers is not None
    assert batch.specifiers[..., 0].tolist() == [[0, 2.5, 0, 0], [0, 1, 3, 0]]


def test_a_batch_is_padded_to_its_longest_row_only():
    plain = Framing(pad_id=1, block_size=1000)
    assert collate([_row(7, 8)], plain).token_ids.shape == (1, 2)


def test_a_batch_is_padded_to_a_multiple_on_either_side_but_never_above_the_block_size():
    plain = Framing(pad_id=1, block_size=10, length_multiple=4)
    shapes = [collate([_row(*range(length))], plain).token_ids.shape for length in (1, 4, 5, 9)]
    assert shapes == [(1, 4), (1, 4), (1, 8), (1, 10)]
    left = dataclasses.replace(FRAMING, length_multiple=4, padding_side="left")
    assert collate([_row(7)], left).token_ids.tolist() == [[1, 2, 7, 3]]
    batch = collate([_row(7, specifiers=np.array([[2.5]], dtype=np.float32))], left)
    assert batch.specifiers is not None
    assert batch.specifiers[..., 0].tolist() == [[0, 0, 2.5, 0]]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_batches_of_a_data_set_hold_its_cropped_rows_whatever_the_type_of_their_ids(kind):
    sequences = [np.array([7], dtype=kind), np.arange(10, dtype=kind), np.array([8, 9], kind)]
    prepared = SimpleNamespace(
        lengths=np.array([1, 10, 2], np.uint32), encoded=lambda row: Encoded(sequences[row])
    )
    batches = RowBatches(prepared, FRAMING)
    assert batches.lengths.tolist() == [3, 6, 4]
    padded = dataclasses.replace(FRAMING, length_multiple=4).padded_lengths(batches.lengths)
    assert padded.tolist() == [4, 6, 4]
    batch = batches.load(np.array([1, 0]))
    assert batch.token_ids.tolist() == [[2, 0, 1, 2, 3, 3], [2, 7, 3, 1, 1, 1]]
    assert batch.lengths.tolist() == [6, 3]


def test_a_long_sequence_is_cut_to_the_room_beside_the_special_tokens():
    sequence = Encoded(np.arange(10, dtype=np.int32), np.arange(10.0)[:, None])
    token_ids, specifiers = crop(sequence, FRAMING)
    assert token_ids.tolist() == [0, 1, 2, 3]
    assert specifiers is not None
    assert specifiers[:, 0].tolist() == [0, 1, 2, 3]
    token_ids, _ = crop(sequence, dataclasses.replace(FRAMING, cut_side="left"))
    assert token_ids.tolist() == [6, 7, 8, 9]


def test_a_spec_its_tokenizer_and_the_preprocessing_make_a_framing():
    framing = frame(find_spec("xlnet"), _inputs(), PreprocessingConfig(cut_side="left"))
    assert framing == Framing(
        prefix_ids=(2,),
        suffix_ids=(3,),
        pad_id=1,
        padding_side="left",
        length_multiple=8,
        block_size=8,
        cut_side="left",
    )
    assert framing.room == 6


def test_a_missing_special_token_is_refused_unless_the_model_can_do_without():
    inputs = _inputs(specials={"[UNK]": 0, "[PAD]": 1, "[SEP]": 3})
    with pytest.raises(ConfigError, match=r"puts \[CLS\] around"):
        frame(find_spec("xlnet"), inputs, PreprocessingConfig())
    framing = frame(find_spec("huggingface"), inputs, PreprocessingConfig())
    assert (framing.prefix_ids, framing.suffix_ids) == ((), (3,))


def test_a_block_that_holds_only_special_tokens_is_refused():
    with pytest.raises(ConfigError, match="blocksize 2 leaves no room"):
        frame(find_spec("xlnet"), _inputs(block_size=2), PreprocessingConfig())
