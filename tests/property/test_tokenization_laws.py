import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biolm_ray.config.schema import TokenizationConfig
from biolm_ray.inference.perturb import Source, edited_plainly, plan_insertions, plan_removals
from biolm_ray.tokenization.cropping import crop_window
from biolm_ray.tokenization.fitting import (
    build_word_tokenizer,
    count_tokens,
    fit,
    merge,
)
from biolm_ray.tokenization.kmer import frame_kmers
from biolm_ray.tokenization.tokenizer import TokenizerSettings

ONCE = TokenizationConfig(min_frequency=1)
tokens = st.lists(st.sampled_from(["a", "c", "g", "t", "A", "gej", "s", "x", "é"]), min_size=1)
letters = st.text("acgtsx", min_size=1, max_size=40)


@given(
    length=st.integers(1, 60),
    room=st.integers(1, 60),
    cut_side=st.sampled_from(["left", "right"]),
    spare_side=st.sampled_from(["left", "right"]),
    data=st.data(),
)
def test_a_window_is_full_and_holds_the_centre_in_its_middle(
    length, room, cut_side, spare_side, data
):
    center = data.draw(st.integers(-1, length - 1))
    start, stop = crop_window(length, room, cut_side, center, spare_side)
    assert 0 <= start < stop <= length
    assert stop - start == min(length, room)
    windows = range(length - (stop - start) + 1)
    if center < 0:
        assert start == (windows[0] if cut_side == "right" else windows[-1])
        return
    assert start <= center < stop
    # By brute force: no window is more balanced, and of two the spare side decides.
    lean = 0.5 if spare_side == "left" else -0.5

    def imbalance(first):
        before, after = center - first, first + (stop - start) - 1 - center
        return abs(before - after - lean)

    assert imbalance(start) == min(imbalance(first) for first in windows)


@given(letters, st.integers(1, 9))
def test_kmers_partition_the_text_and_keep_to_their_size(text, size):
    kmers, _ = frame_kmers(list(text), size)
    assert "".join(kmers) == text
    for index, kmer in enumerate(kmers):
        if kmer in ("s", "x"):
            continue
        num_letters = len(kmer) - kmer.count("x")
        assert "s" not in kmer
        assert kmer[0] != "x"
        assert kmer[-1] != "x"
        rest = [later for later in kmers[index + 1 :] if later != "x"]
        assert num_letters == size or (num_letters < size and (not rest or rest[0] == "s"))


@given(letters, letters, st.integers(1, 9))
def test_frames_left_of_a_centre_mirror_those_of_the_reversed_text(left, right, size):
    kmers, center = frame_kmers(list(f"{left}T{right}"), size, "T")
    mirrored, _ = frame_kmers(list(left[::-1]), size)
    straight, _ = frame_kmers(list(right), size)
    assert kmers[center] == "T"
    assert kmers[:center] == [kmer[::-1] for kmer in reversed(mirrored)]
    assert kmers[center + 1 :] == straight


@given(tokens)
def test_atomic_ids_read_back_as_the_tokens(sequence):
    settings = TokenizerSettings(encoding="atomic", token_separator=",")
    text = ",".join(sequence)
    tokenizer = fit([text], ONCE, settings)
    encoded = tokenizer.encode([text])[0]
    assert tokenizer.tokens(encoded.token_ids) == sequence
    assert encoded.num_unknown == 0
    assert encoded.token_ids.dtype == np.int32


@given(tokens, st.sampled_from(["a", "gej", "absent"]))
def test_an_edited_sequence_has_the_centre_that_its_text_would_have(sequence, center):
    settings = TokenizerSettings(encoding="atomic", token_separator=",", center_token=center)
    tokenizer = fit([",".join([*sequence, "a", "gej"])], ONCE, settings)
    whole = tokenizer.encode([",".join(sequence)])[0]
    source = Source(token_ids=whole.token_ids, room=3, is_center=tokenizer.is_center)
    assert source.center == whole.center
    gej = tokenizer.vocabulary["gej"]
    for edits in (plan_removals(source), plan_insertions(source, [gej])):
        for row in range(len(edits.positions)):
            edited = edited_plainly(edits, row)
            text = ",".join(tokenizer.tokens(edited.token_ids))
            if text:
                again = tokenizer.encode([text])[0]
                assert again.token_ids.tolist() == edited.token_ids.tolist()
                assert again.center == edited.center


@given(tokens)
def test_bpe_letters_add_up_to_the_text(sequence):
    text = "".join(sequence)
    encoded = BPE.encode([",".join(sequence)])[0]
    assert BPE.num_letters(encoded.token_ids).sum() == len(text)
    assert encoded.num_unknown == 0


@given(st.lists(tokens, min_size=1, max_size=8), st.integers(0, 9), st.data())
def test_a_vocabulary_depends_neither_on_blocks_nor_on_their_order(rows, seed, data):
    texts = [",".join(row) for row in rows]
    settings = TokenizerSettings(
        encoding=data.draw(st.sampled_from(["atomic", "3mer"])), token_separator=","
    )
    whole = fit(texts, ONCE, settings).vocabulary
    random.Random(seed).shuffle(texts)
    cut = data.draw(st.integers(0, len(texts)))
    counts = merge(count_tokens(part, settings) for part in (texts[:cut], texts[cut:]))
    in_blocks = build_word_tokenizer(counts, ONCE, settings).vocabulary
    assert list(in_blocks.items()) == list(whole.items())


BPE_SETTINGS = TokenizerSettings(encoding="bpe", token_separator=",")
BPE_CONFIG = TokenizationConfig(encoding="bpe")
BPE_TEXTS = ["a,c,g,t,gej,a,c,g", "t,a,c,g,g,gej,A,A", "c,g,c,g,t,a,A"]
BPE = fit(BPE_TEXTS, BPE_CONFIG, BPE_SETTINGS)


def test_a_bpe_vocabulary_does_not_depend_on_the_order_of_rows():
    for seed in range(5):
        texts = random.Random(seed).sample(BPE_TEXTS, len(BPE_TEXTS))
        assert fit(texts, BPE_CONFIG, BPE_SETTINGS).vocabulary == BPE.vocabulary
