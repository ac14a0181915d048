"""Our ids beside those the reference system wrote for the same 40 sequences.

The reference's truncation sides are inverted, so its default is compared with our left cut and
its lefttailing with our right cut.
"""

import csv
import json

import numpy as np
import pyarrow as pa
import pytest

from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.tokenization.cropping import crop_window
from biolm_ray.tokenization.fitting import fit
from biolm_ray.tokenization.tokenizer import Tokenizer, TokenizerSettings

PAD, CLS, SEP = 1, 2, 3
SOURCES = {
    "saluki_atomic": "ids/golden40_atomic.json",
    "xlnet_atomic": "ids/golden40_atomic.json",
    "xlnet_bpe": "ids/golden40_bpe.json",
}


@pytest.fixture(scope="module")
def golden(shared):
    return shared / "golden"


def _column(file):
    with file.open(encoding="utf-8", newline="") as lines:
        return [row[4] for row in csv.reader(lines, delimiter="\t")]


@pytest.fixture(scope="module")
def texts(golden):
    return _column(golden / "data/golden_40.tsv")


def _load(golden, source, **settings):
    read = TokenizerSettings(encoding="atomic", token_separator=",", **settings)
    return Tokenizer.load(golden / SOURCES[source], read)


def _cases(golden, source):
    stored = np.load(golden / f"ids/ids_{source}.npz")
    return {name.removesuffix("/ids"): stored[name] for name in stored if name.endswith("/ids")}


def _options(case):
    return dict(part.split("=") for part in case.split("_") if "=" in part)


def _ours(encoded, source, block_size, cut_side, spare_side):
    room = block_size - (0 if source.startswith("saluki") else 2)
    start, stop = crop_window(
        len(encoded.token_ids), room, cut_side, encoded.center, spare_side=spare_side
    )
    return encoded.token_ids[start:stop].tolist()


def _sequence(row):
    """Take the padding and the frame off a golden row."""
    return [token_id for token_id in row.tolist() if token_id not in (PAD, CLS, SEP)]


@pytest.mark.parametrize("source", SOURCES)
def test_uncentred_golden_blocks_are_equal(golden, texts, source):
    encoded = _load(golden, source).encode(texts)
    for case, expected in _cases(golden, source).items():
        options = _options(case)
        if "centertoken" in options:
            continue
        block_size = int(options.get("blocksize", 512))
        cut_side = "right" if "lefttailing" in options else "left"
        blocks = np.full_like(expected, PAD)
        for row, sequence in zip(blocks, encoded, strict=True):
            ids = _ours(sequence, source, block_size, cut_side, "right")
            if source.startswith("saluki"):
                row[: len(ids)] = ids
            else:
                row[block_size - len(ids) - 2 :] = [CLS, *ids, SEP]
        np.testing.assert_array_equal(blocks, expected, err_msg=case)


@pytest.mark.parametrize("source", ["saluki_atomic", "xlnet_atomic"])
def test_centred_golden_blocks_are_equal_where_the_reference_fills_them(golden, texts, source):
    # Without special tokens the reference leaves two places empty when the centre is near the
    # right end; ours holds two more tokens on the left there.
    spare_side = "right" if source.startswith("saluki") else "left"
    num_compared = num_wasted = 0
    for case, expected in _cases(golden, source).items():
        options = _options(case)
        if "centertoken" not in options or "lefttailing" not in options:
            continue
        tokenizer = _load(golden, source, center_token=options["centertoken"])
        for row, sequence in zip(expected, tokenizer.encode(texts), strict=True):
            ids = _ours(sequence, source, int(options["blocksize"]), "right", spare_side)
            reference = _sequence(row)
            num_compared += 1
            if len(reference) < len(ids):
                num_wasted += 1
                assert len(ids) - len(reference) <= 2
                assert source == "saluki_atomic"
                assert sequence.center > 0
            assert ids[len(ids) - len(reference) :] == reference, case
    assert num_compared == 4 * len(texts)
    assert num_wasted < num_compared / 10


def test_centred_golden_bpe_blocks_start_at_the_same_letter(golden, texts):
    # The reference cuts the text and tokenizes it again, which changes tokens.
    expected = _cases(golden, "xlnet_bpe")["blocksize=32_centertoken=gej_lefttailing=True"]
    tokenizer = _load(golden, "xlnet_bpe", center_token="gej")
    encoded = tokenizer.encode(texts)
    assert sum(sequence.center >= 0 for sequence in encoded) == 6
    for row, sequence in zip(expected, encoded, strict=True):
        ids = _ours(sequence, "xlnet_bpe", 32, "right", "left")
        if sequence.center < 0:
            assert ids == _sequence(row)
        ours, reference = ("".join(tokenizer.tokens(part)) for part in (ids, _sequence(row)))
        shorter = min(len(ours), len(reference))
        assert ours[:shorter] == reference[:shorter]


def test_golden_specifiers_are_equal(golden):
    stored = np.load(golden / "ids/ids_saluki_atomic_spec2.npz")
    read = TokenizerSettings(encoding="atomic", token_separator=",", specifier_separator="#")
    texts = _column(golden / "data/golden_40_spec2.tsv")
    tokenizer = fit(texts, TokenizationConfig(), read)
    assert tokenizer.settings.num_specifiers == 2
    encoded = tokenizer.encode(texts)
    for row, sequence in zip(stored["default/ids"], encoded, strict=True):
        assert sequence.token_ids.tolist() == _sequence(row)
    first = encoded[0]
    np.testing.assert_allclose(
        stored["default/onehot_row0"][: len(first.token_ids), -2:], first.specifiers, rtol=1e-6
    )


@pytest.mark.parametrize("encoding", ["atomic", "bpe"])
def test_fitting_on_the_golden_rows_gives_the_golden_vocabulary(golden, texts, encoding):
    stored = json.loads((golden / f"ids/golden40_{encoding}.json").read_text(encoding="utf-8"))
    read = TokenizerSettings(encoding=encoding, token_separator=",")
    tokenizer = fit(reversed(texts), TokenizationConfig(encoding=encoding), read)
    assert tokenizer.vocabulary == stored["model"]["vocab"]


@pytest.mark.parametrize("source", SOURCES)
def test_golden_rows_are_encoded_as_a_block(golden, texts, source):
    tokenizer = _load(golden, source, center_token="gej")
    block = tokenizer.encode_block(pa.array(texts))
    encoded = tokenizer.encode(texts)
    ids = np.split(block.token_ids, block.offsets[1:-1])
    assert [row.tolist() for row in ids] == [row.token_ids.tolist() for row in encoded]
    assert block.centers.tolist() == [row.center for row in encoded]


def test_an_old_experiment_folder_is_a_tokenizer(golden, texts):
    read = TokenizerSettings(encoding="bpe", token_separator=",")
    tokenizer = Tokenizer.load(golden / "old_saluki_experiment", read)
    assert tokenizer.encoding == "atomic"
    assert tokenizer.special_ids["[EOS]"] == 6
    expected = _cases(golden, "saluki_atomic")["default"]
    for row, sequence in zip(expected, tokenizer.encode(texts), strict=True):
        assert sequence.token_ids.tolist() == _sequence(row)
